//! Exponential, sigmoid and tanh, generic over lanes.
//!
//! All come from one core: `-w = n ln 2 - r` with integer `n` and `|r| <= ln 2 / 2`, then
//! `p = 1 - e^-r` by a polynomial, so `e^-w = 2^n - 2^n p`. Beside 1 it is added in two parts,
//! `1 - e^-w = (1 - 2^n) + 2^n p`, which loses nothing near zero. One true division each.
//!
//! One division for several gates, by a common denominator or by one reciprocal of the product of
//! all, was tried: a dozen multiplications more, and no faster once two chains overlap.
//!
//! Contract, for float32 and float64 on every instruction set, the same bits on all of them:
//! [`sigmoid`] and [`tanh`] are at most 4 ULP from the true value (measured: the `ulp` test says
//! by how much less), [`tanh`] is exactly odd, both saturate exactly to -1, 0 and 1, NaN gives NaN.
//! They are not strictly monotone: neighbours may be one ULP out of order.

use crate::simd::{Element, Kernel, Lanes};

/// `2^(n + lift)` and `p = 1 - e^-r` with `-w = n ln 2 - r`.
#[inline(always)]
fn split_exp<T: Element, L: Lanes<T>>(l: L, w: L::V, lift: T) -> (L::V, L::V) {
    // The sum is so large that it has no fraction: n is rounded, and its exponent is in place.
    let unit = l.splat(T::EXPONENT + lift);
    let t = l.fnma(w, l.splat(T::LOG2_E), unit);
    let n = l.sub(t, unit);
    let r = l.fma(n, l.splat(T::LN_2[0]), w);
    let r = l.fma(n, l.splat(T::LN_2[1]), r);
    let mut q = l.splat(T::EXP_SERIES[T::EXP_SERIES.len() - 1]);
    for &c in T::EXP_SERIES.iter().rev().skip(1) {
        q = l.fma(q, r, l.splat(c));
    }
    (l.low_bits_as_exponent(t), l.fma(l.mul(r, r), q, r))
}

/// From here on sigmoid and tanh are 1 in either precision.
const SATURATED: f64 = 60.0;

/// `e^x` for `x <= 0`, down to the last subnormal number; at most 2 ULP from the true value.
#[inline(always)]
pub fn exp_negative<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let w = l.min(l.splat(T::EXP_MAX), l.sub(l.splat(T::default()), x));
    let (s, p) = split_exp(l, w, T::LIFT.0);
    l.mul(l.fnma(s, p, s), l.splat(T::LIFT.1))
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let w = l.min(l.splat(T::from_f64(SATURATED)), l.max(l.splat(-T::EXP_MAX), x));
    // Both sides of the fraction are smaller by the same power of two: e^-x does not overflow.
    let (s, p) = split_exp(l, w, -T::LIFT.0);
    let one = l.splat(T::LIFT.1);
    l.div(one, l.add(one, l.fnma(s, p, s)))
}

/// `(1 - e^-2|x|) / (1 + e^-2|x|)` with the sign of `x`
#[inline(always)]
pub fn tanh<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let a = l.abs(x);
    let w = l.min(l.splat(T::from_f64(SATURATED)), l.add(a, a));
    let (s, p) = split_exp(l, w, T::default());
    let (one, two) = (l.splat(T::from_f64(1.0)), l.splat(T::from_f64(2.0)));
    let less = l.fma(s, p, l.sub(one, s));
    l.with_sign(l.div(less, l.sub(two, less)), x)
}

/// An activation over a slice, for tests and benchmarks.
#[derive(Debug)]
#[doc(hidden)]
pub struct Map<'a, T> {
    /// Which one.
    pub function: Activation,
    /// Arguments.
    pub x: &'a [T],
    /// Values; as many as arguments.
    pub y: &'a mut [T],
}

/// The activations that cells use.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// [`sigmoid`]
    Sigmoid,
    /// [`tanh`]
    Tanh,
    /// [`exp_negative`]
    ExpNegative,
}

impl<T: Element> Kernel<T> for Map<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let n = self.x.len().min(self.y.len());
        for i in (0..n).step_by(L::N) {
            // SAFETY: elements i .. n exist in both slices.
            unsafe {
                let x = l.load_up_to(self.x.as_ptr().add(i), n - i);
                let y = match self.function {
                    Activation::Sigmoid => sigmoid(l, x),
                    Activation::Tanh => tanh(l, x),
                    Activation::ExpNegative => exp_negative(l, x),
                };
                l.store_up_to(self.y.as_mut_ptr().add(i), y, n - i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;
    use Activation::{ExpNegative, Sigmoid, Tanh};

    fn values<T: Element>(isa: Isa, function: Activation, x: &[T]) -> Vec<T> {
        let mut y = vec![T::default(); x.len()];
        T::dispatch(isa, Map { function, x, y: &mut y });
        y
    }

    /// The distance from the true value in units of a float32's last place there.
    fn ulp(got: f32, truth: f64) -> f64 {
        let exponent = truth.abs().log2().floor().max(-126.0);
        (f64::from(got) - truth).abs() / (exponent - 23.0).exp2()
    }

    fn truth(function: Activation, x: f64) -> f64 {
        match function {
            Sigmoid if x < 0.0 => libm::exp(x) / (1.0 + libm::exp(x)),
            Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            Tanh => libm::tanh(x),
            ExpNegative => libm::exp(x),
        }
    }

    /// The largest error over the float32 numbers `first, first + step, ...` by their bits.
    fn worst_f32(isa: Isa, function: Activation, bits: std::ops::Range<u64>, step: usize) -> f64 {
        let all: Vec<u32> = bits.step_by(step).map(|bits| bits as u32).collect();
        let mut worst = 0.0f64;
        for bits in all.chunks(1 << 14) {
            let keep = |x: &f32| !x.is_nan() && (function != ExpNegative || *x <= 0.0);
            let x: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).filter(keep).collect();
            for (&x, y) in x.iter().zip(values(isa, function, &x)) {
                worst = worst.max(ulp(y, truth(function, f64::from(x))));
            }
        }
        worst
    }

    #[test]
    fn float32_is_within_4_ulp_on_a_sample() {
        for isa in Isa::present() {
            for (function, bound) in [(Sigmoid, 4.0), (Tanh, 4.0), (ExpNegative, 2.0)] {
                let worst = worst_f32(isa, function, 0..1 << 32, 20_011);
                assert!(worst <= bound, "{function:?} on {}: {worst} ULP", isa.name());
            }
        }
    }

    /// Takes minutes: `cargo test --release -- --ignored --nocapture all_float32`
    #[test]
    #[ignore = "all 2^32 numbers take minutes; asked for by name"]
    fn all_float32_numbers_are_within_4_ulp() {
        let isa = Isa::current().unwrap();
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        for (function, bound) in [(Sigmoid, 4.0), (Tanh, 4.0), (ExpNegative, 2.0)] {
            let part = |i: u64| {
                move || {
                    let blocks = (i..256).step_by(threads as usize);
                    let worst = |b| worst_f32(isa, function, b << 24..(b + 1) << 24, 1);
                    blocks.map(worst).fold(0.0, f64::max)
                }
            };
            let worst = std::thread::scope(|scope| {
                let parts: Vec<_> = (0..threads).map(|i| scope.spawn(part(i))).collect();
                parts.into_iter().map(|p| p.join().unwrap()).fold(0.0, f64::max)
            });
            println!("{function:?} on {}: at most {worst:.3} ULP", isa.name());
            assert!(worst <= bound, "{function:?}: {worst} ULP");
        }
    }

    /// Lines of x, sigmoid(x), tanh(x) as bits, correctly rounded: see the script beside the file.
    const FLOAT64: &str = include_str!("../tests/golden/activations.txt");

    #[test]
    fn float64_is_within_4_ulp_on_a_sample() {
        let rows: Vec<[f64; 3]> = FLOAT64
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let mut bits = line.split(' ').map(|b| u64::from_str_radix(b, 16).unwrap());
                [(); 3].map(|()| f64::from_bits(bits.next().unwrap()))
            })
            .collect();
        assert!(rows.len() > 1000);
        let x: Vec<f64> = rows.iter().map(|row| row[0]).collect();
        for isa in Isa::present() {
            for (column, function) in [(1, Sigmoid), (2, Tanh)] {
                for (row, y) in rows.iter().zip(values(isa, function, &x)) {
                    let distance = y.to_bits().abs_diff(row[column].to_bits());
                    assert!(distance <= 4, "{function:?}({:e}): {distance} ULP", row[0]);
                }
            }
        }
    }

    #[test]
    fn all_sets_give_the_same_bits() {
        let x32: Vec<f32> = (0..1 << 20).map(|i| f32::from_bits(i << 12)).collect();
        let x64: Vec<f64> = x32.iter().map(|&x| f64::from(x) * 1.000_000_01).collect();
        for function in [Sigmoid, Tanh] {
            let bits32 = |isa| values(isa, function, &x32).iter().map(number32).collect::<Vec<_>>();
            let bits64 = |isa| values(isa, function, &x64).iter().map(number64).collect::<Vec<_>>();
            let scalar = Isa::named("scalar").unwrap();
            for isa in Isa::present() {
                assert!(bits32(isa) == bits32(scalar), "{function:?} on {}", isa.name());
                assert!(bits64(isa) == bits64(scalar), "{function:?} on {}", isa.name());
            }
        }
    }

    /// Bits, but for NaN, whose sign and payload are not promised.
    fn number32(x: &f32) -> Option<u32> {
        (!x.is_nan()).then(|| x.to_bits())
    }

    fn number64(x: &f64) -> Option<u64> {
        (!x.is_nan()).then(|| x.to_bits())
    }

    #[test]
    fn they_saturate_are_odd_and_let_nan_through() {
        for isa in Isa::present() {
            let ends = [f32::INFINITY, 200.0, 20.0, -200.0, f32::NEG_INFINITY];
            assert_eq!(values(isa, Sigmoid, &ends), [1.0, 1.0, 1.0, 0.0, 0.0]);
            assert_eq!(values(isa, Tanh, &ends), [1.0, 1.0, 1.0, -1.0, -1.0]);
            let ends = ends.map(f64::from);
            assert_eq!(values(isa, Tanh, &ends), [1.0, 1.0, 1.0, -1.0, -1.0]);
            assert_eq!(values(isa, Sigmoid, &[1000.0, 40.0, -800.0]), [1.0, 1.0, 0.0]);
            assert!(values(isa, Sigmoid, &[f32::NAN, -f32::NAN]).iter().all(|y| y.is_nan()));
            assert!(values(isa, Tanh, &[f64::NAN]).iter().all(|y| y.is_nan()));
            let x: Vec<f32> = (0..1 << 18).map(|i| f32::from_bits(i << 13)).collect();
            let minus: Vec<f32> = x.iter().map(|x| -x).collect();
            for (a, b) in values(isa, Tanh, &x).iter().zip(values(isa, Tanh, &minus)) {
                assert!(a.is_nan() || a.to_bits() == (-b).to_bits(), "{a} {b}");
            }
        }
    }
}
