//! Averages of weights.

use crate::error::Result;
use crate::optim::{Update, same_length, update_all};
use crate::parallel::threads_for;
use crate::shape::refuse;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// Moves `average` towards `values` by a part `weight` of the way: `a = a + weight (x - a)`.
///
/// With a constant weight it is an exponential moving average, with `1 / n` for the n-th values
/// their mean.
///
/// ```
/// let mut mean = [0.0, 0.0];
/// for (n, values) in [[1.0, 2.0], [3.0, 4.0]].iter().enumerate() {
///     recurra::optim::blend(&mut mean, values, 1.0 / (n + 1) as f64, None)?;
/// }
/// assert_eq!(mean, [2.0, 3.0]);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for lengths that differ, a weight that is not from 0
/// to 1, and a number of threads that is zero.
pub fn blend<T: Element>(
    average: &mut [T], values: &[T], weight: f64, threads: Option<usize>,
) -> Result<()> {
    let operation = "blend_";
    if !(0.0..=1.0).contains(&weight) {
        return Err(refuse(operation, "weight", "0 <= weight <= 1", weight.to_string()));
    }
    same_length(operation, "values", average.len(), values.len())?;
    let threads = threads_for(operation, threads, average.len().saturating_mul(COST))?;
    update_all(&Towards(T::from_f64(weight)), average, values, [], threads)
}

/// The part of the way.
struct Towards<T>(T);

impl<T: Element> Update<T, 0> for Towards<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, a: L::V, x: L::V, _: [L::V; 0]) -> (L::V, [L::V; 0]) {
        (l.fma(l.splat(self.0), l.sub(x, a), a), [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, same_bits_everywhere};

    fn stepper<T: Element>(weight: f64) -> impl Stepper<T, 0> {
        move |a: &mut [T], x: &[T], _: [&mut [T]; 0], _, threads| blend(a, x, weight, threads)
    }

    #[test]
    fn averages_are_those_of_the_formula() {
        for w in [0.0, 0.01, 0.5, 1.0] {
            follows_the_formula("blend", stepper(w), |a, x, [], _| *a = (1.0 - w) * *a + w * x);
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        same_bits_everywhere("blend", COST, stepper(0.3));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let text = |values: &[f64], weight| {
            blend(&mut [0.0, 0.0], values, weight, None).unwrap_err().to_string()
        };
        let length = "blend_: values: expected shape of param = (2,), got (1,)";
        assert_eq!(text(&[1.0], 0.5), length);
        let weight = "blend_: weight: expected 0 <= weight <= 1, got NaN";
        assert_eq!(text(&[1.0, 1.0], f64::NAN), weight);
    }
}
