//! Adagrad.

use crate::error::Result;
use crate::optim::parts::{Decay, moved, root, tiny_square};
use crate::optim::{Update, counted, same_length, update_all, within, without_tiny};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 16;

/// Adagrad (Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and
/// Stochastic Optimization, 2011).
///
/// ```text
/// g = grad + weight_decay p
/// s = s + g^2
/// p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)       t = 1, 2, ...
/// ```
///
/// ```
/// use recurra::optim::Adagrad;
///
/// let (mut p, mut sum) = ([1.0, 2.0], [0.0; 2]);
/// Adagrad { lr: 0.5, ..Adagrad::default() }.step(&mut p, &[3.0, 0.0], &mut sum, 1, None)?;
/// assert!((p[0] - 0.5_f64).abs() < 1e-9);
/// assert_eq!((p[1], sum), (2.0, [9.0, 0.0]));
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adagrad {
    /// Step size, 0 or more.
    pub lr: f64,
    /// How the step size falls with the number of steps, 0 or more.
    pub lr_decay: f64,
    /// Added to the root of the sum, 0 or more.
    pub eps: f64,
    /// 0 or more; pulls parameters to zero through the gradient.
    pub weight_decay: f64,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self { lr: 1e-2, lr_decay: 0.0, eps: 1e-10, weight_decay: 0.0 }
    }
}

impl Adagrad {
    /// Updates `param` and the `sum` of squares, which begins with any number from 0 on. `step`
    /// counts from 1. All slices have one length. Sums below 2^-124 (float64: 2^-988) become zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], sum: &mut [T], step: u64, threads: Option<usize>,
    ) -> Result<()> {
        let operation = "adagrad_step";
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "lr_decay", self.lr_decay, f64::INFINITY)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        counted(operation, step)?;
        same_length(operation, "grad", param.len(), grad.len())?;
        same_length(operation, "sum", param.len(), sum.len())?;
        let threads = threads_for(operation, threads, param.len().saturating_mul(COST))?;
        let update = Summed {
            decay: Decay::new(false, self.lr, self.weight_decay),
            rate: T::from_f64(self.lr / (1.0 + (step - 1) as f64 * self.lr_decay)),
            eps: T::from_f64(self.eps),
            tiny: tiny_square(),
        };
        update_all(&update, param, grad, [sum], threads)
    }
}

/// The numbers of a step in the parameter's precision.
struct Summed<T> {
    decay: Decay<T>,
    rate: T,
    eps: T,
    tiny: T,
}

impl<T: Element> Update<T, 1> for Summed<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [s]: [L::V; 1]) -> (L::V, [L::V; 1]) {
        let (p, g) = self.decay.of(l, p, g);
        let s = without_tiny(l, l.fma(g, g, s), self.tiny);
        (moved(l, p, self.rate, l.div(g, root(l, s, self.eps))), [s])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: Adagrad) -> impl Stepper<T, 1> {
        move |p: &mut [T], g: &[T], [s]: [&mut [T]; 1], t, threads| o.step(p, g, s, t, threads)
    }

    fn kinds() -> [Adagrad; 2] {
        let adagrad = Adagrad { lr: 0.1, ..Adagrad::default() };
        [adagrad, Adagrad { lr_decay: 0.5, weight_decay: 0.3, eps: 0.1, ..adagrad }]
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            follows_the_formula(&format!("{o:?}"), stepper(o), |p, g, [s], t| {
                let g = g + o.weight_decay * *p;
                *s += g * g;
                *p -= o.lr / (1.0 + f64::from(t - 1) * o.lr_decay) * g / (s.sqrt() + o.eps);
            });
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        for o in kinds() {
            same_bits_everywhere(&format!("{o:?}"), COST, stepper(o));
        }
    }

    #[test]
    fn sums_too_small_to_be_fast_are_zero() {
        let (mut p, mut sum) = ([1.0_f32; 2], [0.0, 1.0]);
        kinds()[0].step(&mut p, &[2e-19, 0.0], &mut sum, 1, None).unwrap();
        assert_eq!(sum, [0.0, 1.0]);
        assert!((p[0], p[1]) == (1.0, 1.0));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let o = kinds()[0];
        let cases = [
            (refusal(stepper(o), [2], 3, 1), "grad: expected shape of param = (2,), got (3,)"),
            (refusal(stepper(o), [1], 2, 1), "sum: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [2], 2, 0), "step: expected an integer from 1 on, got 0"),
            (
                refusal(stepper(Adagrad { lr_decay: -1.0, ..o }), [2], 2, 1),
                "lr_decay: expected 0 <= lr_decay < inf, got -1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("adagrad_step: {expected}"));
        }
    }
}
