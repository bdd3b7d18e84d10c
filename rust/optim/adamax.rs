//! Adamax.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, correction, moved};
use crate::optim::{Update, counted, same_length, update_all, within, without_tiny};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 12;

/// Adamax (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, section 7.1): Adam with
/// the largest gradient of late in place of the root of the second moment.
///
/// ```text
/// g = grad + weight_decay p
/// m = beta1 m + (1 - beta1) g
/// u = max(beta2 u, |g| + eps)
/// p = p - lr / (1 - beta1^t) m / u       t = 1, 2, ...
/// ```
///
/// ```
/// use recurra::optim::Adamax;
///
/// let (mut p, mut m, mut u) = ([1.0, 2.0], [0.0; 2], [0.0; 2]);
/// Adamax { lr: 0.5, ..Adamax::default() }.step(&mut p, &[3.0, 0.0], &mut m, &mut u, 1, None)?;
/// assert!((p[0] - 0.5_f64).abs() < 1e-8);
/// assert_eq!(p[1], 2.0);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adamax {
    /// Step size, 0 or more.
    pub lr: f64,
    /// Decay of the first moment, from 0 to below 1.
    pub beta1: f64,
    /// Decay of the largest gradient, from 0 to below 1.
    pub beta2: f64,
    /// Added to the gradient's size, 0 or more.
    pub eps: f64,
    /// 0 or more; pulls parameters to zero through the gradient.
    pub weight_decay: f64,
}

impl Default for Adamax {
    fn default() -> Self {
        Self { lr: 2e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl Adamax {
    /// Updates `param`, its moment `m` and the largest gradients `u`, which are zero before the
    /// first step. `step` counts from 1. All slices have one length. What is below 2^-96 (float64:
    /// 2^-960) in `m` and `u` becomes zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], m: &mut [T], u: &mut [T], step: u64,
        threads: Option<usize>,
    ) -> Result<()> {
        let operation = "adamax_step";
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "beta1", self.beta1, 1.0)?;
        within(operation, "beta2", self.beta2, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        counted(operation, step)?;
        same_length(operation, "grad", param.len(), grad.len())?;
        same_length(operation, "m", param.len(), m.len())?;
        same_length(operation, "u", param.len(), u.len())?;
        let threads = threads_for(operation, threads, param.len().saturating_mul(COST))?;
        let update = Largest {
            decay: Decay::new(false, self.lr, self.weight_decay),
            moment: Average::new(self.beta1),
            keep: T::from_f64(self.beta2),
            rate: T::from_f64(self.lr / correction(self.beta1, step)),
            eps: T::from_f64(self.eps),
        };
        update_all(&update, param, grad, [m, u], threads)
    }
}

/// The numbers of a step in the parameter's precision.
struct Largest<T> {
    decay: Decay<T>,
    moment: Average<T>,
    /// What stays of the largest gradient.
    keep: T,
    rate: T,
    eps: T,
}

impl<T: Element> Update<T, 2> for Largest<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [m, u]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let (p, g) = self.decay.of(l, p, g);
        let m = self.moment.with(l, m, g);
        let (old, new) = (l.mul(l.splat(self.keep), u), l.add(l.abs(g), l.splat(self.eps)));
        let u = without_tiny(l, l.select_lt(new, old, old, new), T::TINY);
        (moved(l, p, self.rate, l.div(m, u)), [m, u])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: Adamax) -> impl Stepper<T, 2> {
        move |p: &mut [T], g: &[T], [m, u]: [&mut [T]; 2], t, threads| {
            o.step(p, g, m, u, t, threads)
        }
    }

    fn kinds() -> [Adamax; 2] {
        let adamax = Adamax { lr: 0.1, ..Adamax::default() };
        [adamax, Adamax { beta2: 0.5, weight_decay: 0.3, eps: 0.1, ..adamax }]
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            follows_the_formula(&format!("{o:?}"), stepper(o), |p, g, [m, u], t| {
                let g = g + o.weight_decay * *p;
                *m = o.beta1 * *m + (1.0 - o.beta1) * g;
                *u = (o.beta2 * *u).max(g.abs() + o.eps);
                *p -= o.lr / (1.0 - o.beta1.powi(t)) * *m / *u;
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
    fn vanishing_moments_become_zero_and_nan_is_seen() {
        let (mut p, mut m, mut u) = ([1.0_f32; 2], [1.3e-29, 2.0], [4.0, 4.0]);
        Adamax::default().step(&mut p, &[0.0, f32::NAN], &mut m, &mut u, 9, None).unwrap();
        assert_eq!((p[0], m[0], u[0]), (1.0, 0.0, 4.0 * 0.999));
        assert!(p[1].is_nan() && m[1].is_nan() && u[1].is_nan());
    }

    #[test]
    fn bad_arguments_are_refused() {
        let o = kinds()[0];
        let cases = [
            (refusal(stepper(o), [2; 2], 1, 1), "grad: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [1, 2], 2, 1), "m: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [2, 0], 2, 1), "u: expected shape of param = (2,), got (0,)"),
            (refusal(stepper(o), [2; 2], 2, 0), "step: expected an integer from 1 on, got 0"),
            (
                refusal(stepper(Adamax { lr: f64::NAN, ..o }), [2; 2], 2, 1),
                "lr: expected 0 <= lr < inf, got NaN",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("adamax_step: {expected}"));
        }
    }
}
