//! One element at a time: the oracle for the other sets, and what runs where none of them is.

use super::{Element, Kernel, Lanes};

/// Plain Rust arithmetic; `mul_add` rounds once on every platform.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

/// A function of its own, as on the other sets: inlined everywhere, the tiles would be most of the
/// library.
#[inline(never)]
fn compiled<T: Element, K: Kernel<T>>(lanes: Scalar, kernel: K) -> K::Output
where
    Scalar: Lanes<T>,
{
    kernel.run(lanes)
}

macro_rules! lanes {
    ($t:ty, $mantissa:expr) => {
        impl Lanes<$t> for Scalar {
            type V = $t;
            const N: usize = 1;
            const ROWS: usize = 4;

            #[inline(always)]
            fn splat(self, x: $t) -> $t {
                x
            }
            #[inline(always)]
            fn add(self, a: $t, b: $t) -> $t {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $t, b: $t) -> $t {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $t, b: $t) -> $t {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $t, b: $t) -> $t {
                a / b
            }
            #[inline(always)]
            fn sqrt(self, a: $t) -> $t {
                a.sqrt()
            }
            #[inline(always)]
            fn fma(self, a: $t, b: $t, c: $t) -> $t {
                a.mul_add(b, c)
            }
            #[inline(always)]
            fn fnma(self, a: $t, b: $t, c: $t) -> $t {
                (-a).mul_add(b, c)
            }
            #[inline(always)]
            fn max(self, a: $t, x: $t) -> $t {
                if a > x { a } else { x }
            }
            #[inline(always)]
            fn min(self, a: $t, x: $t) -> $t {
                if a < x { a } else { x }
            }
            #[inline(always)]
            fn abs(self, a: $t) -> $t {
                a.abs()
            }
            #[inline(always)]
            fn with_sign(self, a: $t, sign: $t) -> $t {
                a.copysign(sign)
            }
            #[inline(always)]
            fn low_bits_as_exponent(self, a: $t) -> $t {
                <$t>::from_bits(a.to_bits() << $mantissa)
            }
            #[inline(always)]
            fn select_lt(self, a: $t, b: $t, x: $t, y: $t) -> $t {
                if a < b { x } else { y }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $t {
                // SAFETY: the caller vouches for one element.
                unsafe { p.read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, v: $t) {
                // SAFETY: the caller vouches for one element.
                unsafe { p.write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn load_part(self, p: *const $t, n: usize) -> $t {
                // SAFETY: the caller vouches for `n` elements.
                unsafe { if n == 0 { 0.0 } else { p.read_unaligned() } }
            }
            #[inline(always)]
            unsafe fn store_part(self, p: *mut $t, v: $t, n: usize) {
                // SAFETY: the caller vouches for `n` elements.
                unsafe {
                    if n > 0 {
                        p.write_unaligned(v);
                    }
                }
            }
            #[inline(always)]
            fn enter<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                compiled(self, kernel)
            }
        }
    };
}

lanes!(f32, 23);
lanes!(f64, 52);
