//! Arithmetic of logarithms: lines of float64, sums of exponentials, the natural logarithm.
//!
//! A line is as long as [`padded`] says, so it is made of whole registers on every instruction set;
//! what pads it is minus infinity, the logarithm of zero. Sums of a line are taken in eight parts
//! that stand for the places modulo eight: their order depends on the line's length alone.

use crate::buffer::with_workspace;
use crate::error::Result;
use crate::math::exp_negative;
use crate::simd::{Element, Lanes};

/// The logarithm of zero.
pub(crate) const ZERO: f64 = f64::NEG_INFINITY;
/// Numbers in the widest register, and parts of a sum.
const EIGHT: usize = 8;

/// The length of a line that holds `n` numbers.
pub(crate) fn padded(n: usize) -> usize {
    n.div_ceil(EIGHT).saturating_mul(EIGHT)
}

/// Runs `f` with `len` zeros.
pub(crate) fn with_zeros<R>(len: usize, f: impl FnOnce(&mut [f64]) -> R) -> Result<R> {
    with_workspace(len, |memory: *mut f64| {
        // SAFETY: the workspace has `len` elements that are ours alone, and all bits zero is 0.
        f(unsafe {
            memory.write_bytes(0, len);
            std::slice::from_raw_parts_mut(memory, len)
        })
    })
}

/// The register that starts at `at`.
#[inline(always)]
pub(crate) fn load<L: Lanes<f64>>(l: L, line: &[f64], at: usize) -> L::V {
    let part = &line[at..at + L::N];
    // SAFETY: the part has N elements.
    unsafe { l.load(part.as_ptr()) }
}

/// Writes the register that starts at `at`.
#[inline(always)]
pub(crate) fn store<L: Lanes<f64>>(l: L, line: &mut [f64], at: usize, v: L::V) {
    let part = &mut line[at..at + L::N];
    // SAFETY: the part has N elements.
    unsafe { l.store(part.as_mut_ptr(), v) }
}

/// Copies numbers to the start of a line and pads it.
#[inline(always)]
pub(crate) fn read<'a, T: Element>(from: impl IntoIterator<Item = &'a T>, line: &mut [f64]) {
    line.fill(ZERO);
    line.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f64());
}

/// The largest number of a line; NaN is passed over.
#[inline(always)]
pub(crate) fn largest(line: &[f64]) -> f64 {
    let mut parts = [ZERO; EIGHT];
    for eight in line.chunks_exact(EIGHT) {
        for (most, &x) in parts.iter_mut().zip(eight) {
            *most = if *most < x { x } else { *most };
        }
    }
    parts.into_iter().fold(ZERO, |most, x| if most < x { x } else { most })
}

/// The sum of a line, in eight parts.
#[inline(always)]
pub(crate) fn sum(line: &[f64]) -> f64 {
    let mut parts = [0.0; EIGHT];
    for eight in line.chunks_exact(EIGHT) {
        parts.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x);
    }
    parts.into_iter().fold(0.0, |sum, part| sum + part)
}

/// `e^x` for `x <= 0`, and 0 from where it is nothing beside 1: numbers that underflow are slow.
#[inline(always)]
pub(crate) fn exp<L: Lanes<f64>>(l: L, x: L::V) -> L::V {
    let least = l.splat(-700.0);
    l.select_lt(x, least, l.splat(0.0), exp_negative(l, l.max(least, x)))
}

/// `x` becomes `e^(x - largest x)`; returns the largest and the sum, which is NaN where the largest
/// is infinite or a number is NaN.
#[inline(always)]
pub(crate) fn exponentials<L: Lanes<f64>>(l: L, line: &mut [f64]) -> (f64, f64) {
    let most = largest(line);
    for j in (0..line.len()).step_by(L::N) {
        let x = l.sub(load(l, line, j), l.splat(most));
        store(l, line, j, exp(l, x));
    }
    (most, sum(line))
}

/// `ln(e^x_1 + e^x_2 + ...)` of a line that is used up; minus infinity for the sum of zeros.
#[inline(always)]
pub(crate) fn log_sum<L: Lanes<f64>>(l: L, line: &mut [f64]) -> f64 {
    if largest(line) == ZERO && !line.iter().any(|x| x.is_nan()) {
        return ZERO;
    }
    let (most, sum) = exponentials(l, line);
    most + ln(sum)
}

/// `x` where it is a number, 0 where it is minus infinity: what may be subtracted from such an `x`.
#[inline(always)]
pub(crate) fn or_zero<L: Lanes<f64>>(l: L, x: L::V) -> L::V {
    l.select_lt(x, l.splat(f64::MIN), l.splat(0.0), x)
}

/// Natural logarithm of a normal number above zero, at most 1 ULP from the true value or 2^-54
/// away from it, whichever is more; some finite number for 0, NaN for NaN.
///
/// `y = 2^k m` with `m` from `sqrt 1/2` to `sqrt 2`, and `ln m = 2 artanh s` by the first terms of
/// its series, with `s = (m - 1) / (m + 1)`. No branch and no table: loops over it become vector
/// code, unlike those over `libm::log`.
#[inline(always)]
pub(crate) fn ln(y: f64) -> f64 {
    const HALF_ROOT: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    const ONE: u64 = 1.0_f64.to_bits();
    const FRACTION: u64 = (1 << 52) - 1;
    /// 2^52: an integer below it that stands in its lowest bits is added to it.
    const SHIFT: f64 = 4_503_599_627_370_496.0;
    let bits = y.to_bits().wrapping_add(ONE - HALF_ROOT);
    let k = f64::from_bits((bits >> 52) | SHIFT.to_bits()) - (SHIFT + 1023.0);
    let m = f64::from_bits((bits & FRACTION) + HALF_ROOT);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = 2.0 / 21.0;
    for n in (1..10).rev() {
        series = z.mul_add(series, 2.0 / f64::from(2 * n + 1));
    }
    let [high, low] = <f64 as Element>::LN_2;
    let small = (s * z).mul_add(series, k * low);
    // NaN has a fraction like any other number.
    let small = if y.is_nan() { y } else { small };
    k.mul_add(high, 2.0_f64.mul_add(s, small))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Kernel;
    use crate::testing::{numbers, on_every_isa};

    struct LogSum(Vec<f64>);

    impl Kernel<f64> for LogSum {
        type Output = f64;
        #[inline(always)]
        fn run<L: Lanes<f64>>(mut self, l: L) -> f64 {
            log_sum(l, &mut self.0)
        }
    }

    fn log_sum_of(x: &[f64]) -> f64 {
        let mut line = vec![0.0; padded(x.len())];
        read(x, &mut line);
        f64::dispatch(crate::Isa::current().unwrap(), LogSum(line))
    }

    #[test]
    fn ln_is_that_of_libm() {
        let mut y = f64::MIN_POSITIVE;
        while y < f64::MAX / 1.001 {
            let (got, truth) = (ln(y), libm::log(y));
            assert!((got - truth).abs() <= (truth.abs() * 2.3e-16).max(6e-17), "ln {y:e}: {got:e}");
            y *= 1.000_3;
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(f64::NAN).is_nan() && ln(0.0).is_finite());
        (0..1 << 20).for_each(|i| assert!(ln(1.0 + f64::from(i) * 1e-16) >= 0.0));
    }

    #[test]
    fn logarithms_of_sums_are_those_of_the_definition_on_every_set() {
        for n in [1, 2, 7, 8, 9, 100] {
            let x: Vec<f64> = numbers::<f64>(1, n, 4).iter().map(|x| 30.0 * x).collect();
            let truth = x.iter().map(|&x| libm::exp(x)).sum::<f64>().ln();
            let first = log_sum_of(&x);
            assert!((first - truth).abs() < 1e-14 * truth.abs().max(1.0), "{n}: {first}");
            on_every_isa(|isa| assert_eq!(log_sum_of(&x).to_bits(), first.to_bits(), "{isa}"));
        }
        assert_eq!(log_sum_of(&[ZERO, ZERO]), ZERO);
        assert_eq!(log_sum_of(&[ZERO, 3.0]), 3.0);
        assert_eq!(log_sum_of(&[1e308, -1e308]), 1e308);
        assert!(log_sum_of(&[f64::NAN, 1.0]).is_nan());
        assert_eq!(log_sum_of(&[-800.0, 0.0, -690.0]), 0.0);
    }
}
