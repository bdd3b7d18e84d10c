//! Adadelta.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, moved};
use crate::optim::{Update, same_length, update_all, within};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 24;

/// Adadelta (Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012).
///
/// ```text
/// g = grad + weight_decay p
/// v = rho v + (1 - rho) g^2
/// d = sqrt(u + eps) / sqrt(v + eps) g
/// u = rho u + (1 - rho) d^2
/// p = p - lr d
/// ```
///
/// ```
/// use recurra::optim::Adadelta;
///
/// let (mut p, mut v, mut u) = ([1.0, 2.0], [0.0; 2], [0.0; 2]);
/// Adadelta { rho: 0.75, ..Adadelta::default() }.step(&mut p, &[4.0, 0.0], &mut v, &mut u, None)?;
/// assert_eq!((p[1], v), (2.0, [4.0, 0.0]));
/// assert!((1.0 - p[0] - 2e-3_f64).abs() < 1e-9);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adadelta {
    /// Scales the step, 0 or more.
    pub lr: f64,
    /// Decay of both averages, from 0 to below 1.
    pub rho: f64,
    /// Added to both averages before their roots are taken, 0 or more.
    pub eps: f64,
    /// 0 or more; pulls parameters to zero through the gradient.
    pub weight_decay: f64,
}

impl Default for Adadelta {
    fn default() -> Self {
        Self { lr: 1.0, rho: 0.9, eps: 1e-6, weight_decay: 0.0 }
    }
}

impl Adadelta {
    /// Updates `param` and the averages of squares `v`, of gradients, and `u`, of steps; both are
    /// zero before the first step. All slices have one length. Averages below 2^-124 (float64:
    /// 2^-988) become zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], v: &mut [T], u: &mut [T], threads: Option<usize>,
    ) -> Result<()> {
        let operation = "adadelta_step";
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "rho", self.rho, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        same_length(operation, "grad", param.len(), grad.len())?;
        same_length(operation, "v", param.len(), v.len())?;
        same_length(operation, "u", param.len(), u.len())?;
        let threads = threads_for(operation, threads, param.len().saturating_mul(COST))?;
        let update = Ratio {
            decay: Decay::new(false, self.lr, self.weight_decay),
            average: Average::of_squares(self.rho),
            lr: T::from_f64(self.lr),
            eps: T::from_f64(self.eps),
        };
        update_all(&update, param, grad, [v, u], threads)
    }
}

/// The numbers of a step in the parameter's precision.
struct Ratio<T> {
    decay: Decay<T>,
    average: Average<T>,
    lr: T,
    eps: T,
}

impl<T: Element> Update<T, 2> for Ratio<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [v, u]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let (p, g) = self.decay.of(l, p, g);
        let eps = l.splat(self.eps);
        let v = self.average.with_square(l, v, g);
        let ratio = l.div(l.sqrt(l.add(u, eps)), l.sqrt(l.add(v, eps)));
        let step = l.mul(ratio, g);
        (moved(l, p, self.lr, step), [v, self.average.with_square(l, u, step)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: Adadelta) -> impl Stepper<T, 2> {
        move |p: &mut [T], g: &[T], [v, u]: [&mut [T]; 2], _, threads| o.step(p, g, v, u, threads)
    }

    fn kinds() -> [Adadelta; 2] {
        let adadelta = Adadelta::default();
        [adadelta, Adadelta { lr: 0.5, rho: 0.5, weight_decay: 0.3, eps: 0.1 }]
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            follows_the_formula(&format!("{o:?}"), stepper(o), |p, g, [v, u], _| {
                let g = g + o.weight_decay * *p;
                *v = o.rho * *v + (1.0 - o.rho) * g * g;
                let d = (*u + o.eps).sqrt() / (*v + o.eps).sqrt() * g;
                *u = o.rho * *u + (1.0 - o.rho) * d * d;
                *p -= o.lr * d;
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
    fn vanishing_averages_become_zero() {
        let (mut p, mut v, mut u) = ([1.0_f32; 2], [4.7e-38, 1.0], [1.0, 4.7e-38]);
        Adadelta::default().step(&mut p, &[0.0; 2], &mut v, &mut u, None).unwrap();
        assert_eq!((p, v, u), ([1.0; 2], [0.0, 0.9], [0.9, 0.0]));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let o = kinds()[0];
        let cases = [
            (refusal(stepper(o), [2; 2], 1, 1), "grad: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [1, 2], 2, 1), "v: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [2, 0], 2, 1), "u: expected shape of param = (2,), got (0,)"),
            (
                refusal(stepper(Adadelta { rho: 1.5, ..o }), [2; 2], 2, 1),
                "rho: expected 0 <= rho < 1, got 1.5",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("adadelta_step: {expected}"));
        }
    }
}
