//! NEON on AArch64: 4 x f32 or 2 x f64, 32 registers. Every AArch64 processor has it.

use std::arch::aarch64::*;

use super::{Kernel, Lanes};

/// NEON is part of AArch64, so its token can always be made.
#[derive(Debug, Clone, Copy)]
pub struct Neon;

/// Maps operations to the intrinsics that are them.
macro_rules! intrinsics {
    ($v:ty: $($name:ident($($arg:ident),*) = $intrinsic:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $v),*) -> $v {
            // SAFETY: NEON is part of AArch64.
            unsafe { $intrinsic($($arg),*) }
        }
    )*};
}

macro_rules! lanes {
    ($t:ty, $v:ty, $n:expr, $dup:ident, $fma:ident, $fnma:ident, $bsl:ident, $clt:ident, $sign:expr,
     $loadu:ident, $storeu:ident, $exponent:item, $($ops:tt)*) => {
        impl Lanes<$t> for Neon {
            type V = $v;
            const N: usize = $n;
            const ROWS: usize = 8;

            intrinsics!($v: $($ops)*);

            $exponent

            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: NEON is part of AArch64.
                unsafe { $dup(x) }
            }
            #[inline(always)]
            fn fma(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: NEON is part of AArch64.
                unsafe { $fma(c, a, b) }
            }
            #[inline(always)]
            fn fnma(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: NEON is part of AArch64.
                unsafe { $fnma(c, a, b) }
            }
            #[inline(always)]
            fn with_sign(self, a: $v, sign: $v) -> $v {
                // SAFETY: NEON is part of AArch64.
                unsafe { $bsl($sign, sign, a) }
            }
            #[inline(always)]
            fn select_lt(self, a: $v, b: $v, x: $v, y: $v) -> $v {
                // SAFETY: NEON is part of AArch64.
                unsafe { $bsl($clt(a, b), x, y) }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                // SAFETY: the caller vouches for N elements.
                unsafe { $loadu(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, v: $v) {
                // SAFETY: the caller vouches for N elements.
                unsafe { $storeu(p, v) }
            }
            #[inline(always)]
            unsafe fn load_part(self, p: *const $t, n: usize) -> $v {
                let mut all = [0.0; $n];
                // SAFETY: the caller vouches for `n` elements; `all` holds N >= n.
                unsafe {
                    std::ptr::copy_nonoverlapping(p, all.as_mut_ptr(), n.min($n));
                    $loadu(all.as_ptr())
                }
            }
            #[inline(always)]
            unsafe fn store_part(self, p: *mut $t, v: $v, n: usize) {
                let mut all = [0.0; $n];
                // SAFETY: the caller vouches for `n` elements; `all` holds N >= n.
                unsafe {
                    $storeu(all.as_mut_ptr(), v);
                    std::ptr::copy_nonoverlapping(all.as_ptr(), p, n.min($n));
                }
            }
            #[inline(always)]
            fn enter<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                entered(self, kernel)
            }
        }
    };
}

/// A function of its own, as on the other sets; NEON needs no feature to be enabled.
#[inline(never)]
fn entered<T: super::Element, K: Kernel<T>>(lanes: Neon, kernel: K) -> K::Output
where
    Neon: Lanes<T>,
{
    kernel.run(lanes)
}

lanes!(
    f32, float32x4_t, 4, vdupq_n_f32, vfmaq_f32, vfmsq_f32, vbslq_f32, vcltq_f32, vdupq_n_u32(1 << 31),
    vld1q_f32, vst1q_f32,
    #[inline(always)]
    fn low_bits_as_exponent(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(a))) }
    },
    add(a, b) = vaddq_f32;
    sub(a, b) = vsubq_f32;
    mul(a, b) = vmulq_f32;
    div(a, b) = vdivq_f32;
    sqrt(a) = vsqrtq_f32;
    max(a, x) = vmaxq_f32;
    min(a, x) = vminq_f32;
    abs(a) = vabsq_f32;
);

lanes!(
    f64, float64x2_t, 2, vdupq_n_f64, vfmaq_f64, vfmsq_f64, vbslq_f64, vcltq_f64, vdupq_n_u64(1 << 63),
    vld1q_f64, vst1q_f64,
    #[inline(always)]
    fn low_bits_as_exponent(self, a: float64x2_t) -> float64x2_t {
        // SAFETY: NEON is part of AArch64.
        unsafe { vreinterpretq_f64_s64(vshlq_n_s64::<52>(vreinterpretq_s64_f64(a))) }
    },
    add(a, b) = vaddq_f64;
    sub(a, b) = vsubq_f64;
    mul(a, b) = vmulq_f64;
    div(a, b) = vdivq_f64;
    sqrt(a) = vsqrtq_f64;
    max(a, x) = vmaxq_f64;
    min(a, x) = vminq_f64;
    abs(a) = vabsq_f64;
);
