//! Lion.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, moved};
use crate::optim::{Update, same_length, update_all, within};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// Lion (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023): every element moves by
/// the same amount, `lr`, in the direction of a moving average.
///
/// ```text
/// p = p - lr weight_decay p
/// p = p - lr sign(beta1 m + (1 - beta1) grad)
/// m = beta2 m + (1 - beta2) grad
/// ```
///
/// ```
/// use recurra::optim::Lion;
///
/// let (mut p, mut m) = ([1.0, 2.0, 3.0], [0.0; 3]);
/// Lion { lr: 0.5, ..Lion::default() }.step(&mut p, &[3.0, 0.0, -0.1], &mut m, None)?;
/// assert_eq!(p, [0.5, 2.0, 3.5]);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lion {
    /// Step size, 0 or more.
    pub lr: f64,
    /// Weight of the moment in the direction, from 0 to below 1.
    pub beta1: f64,
    /// Decay of the moment, from 0 to below 1.
    pub beta2: f64,
    /// 0 or more; decays the parameter itself.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { lr: 1e-4, beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

impl Lion {
    /// Updates `param` and its moment `m`, which is zero before the first step. All slices have
    /// one length. Moments below 2^-96 (float64: 2^-960) become zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], m: &mut [T], threads: Option<usize>,
    ) -> Result<()> {
        let operation = "lion_step";
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "beta1", self.beta1, 1.0)?;
        within(operation, "beta2", self.beta2, 1.0)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        same_length(operation, "grad", param.len(), grad.len())?;
        same_length(operation, "m", param.len(), m.len())?;
        let threads = threads_for(operation, threads, param.len().saturating_mul(COST))?;
        let signs = Signs {
            decay: Decay::new(true, self.lr, self.weight_decay),
            direction: Average::new(self.beta1),
            moment: Average::new(self.beta2),
            lr: T::from_f64(self.lr),
        };
        update_all(&signs, param, grad, [m], threads)
    }
}

/// The numbers of a step in the parameter's precision.
struct Signs<T> {
    decay: Decay<T>,
    direction: Average<T>,
    moment: Average<T>,
    lr: T,
}

impl<T: Element> Update<T, 1> for Signs<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [m]: [L::V; 1]) -> (L::V, [L::V; 1]) {
        let (p, g) = self.decay.of(l, p, g);
        let direction = sign(l, self.direction.once(l, m, g));
        (moved(l, p, self.lr, direction), [self.moment.with(l, m, g)])
    }
}

/// 1 or -1; zero and NaN as they are.
#[inline(always)]
fn sign<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let one = l.with_sign(l.splat(T::from_f64(1.0)), x);
    l.select_lt(l.splat(T::default()), l.abs(x), one, x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(lion: Lion) -> impl Stepper<T, 1> {
        move |p: &mut [T], g: &[T], [m]: [&mut [T]; 1], _, threads| lion.step(p, g, m, threads)
    }

    fn kinds() -> [Lion; 2] {
        let lion = Lion { lr: 0.1, ..Lion::default() };
        [lion, Lion { weight_decay: 0.3, beta1: 0.5, ..lion }]
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            follows_the_formula(&format!("{o:?}"), stepper(o), |p, g, [m], _| {
                *p -= o.lr * o.weight_decay * *p;
                *p -= o.lr * (o.beta1 * *m + (1.0 - o.beta1) * g).signum();
                *m = o.beta2 * *m + (1.0 - o.beta2) * g;
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
    fn zero_moves_nothing_and_nan_is_seen() {
        let (mut p, mut m) = ([1.0_f32; 3], [0.0; 3]);
        let lion = kinds()[0];
        lion.step(&mut p, &[-0.0, f32::NAN, f32::NEG_INFINITY], &mut m, None).unwrap();
        assert_eq!((p[0], p[2]), (1.0, 1.1));
        assert!(p[1].is_nan());
    }

    #[test]
    fn vanishing_moments_become_zero_but_small_gradients_count() {
        let (mut p, mut m) = ([1.0_f32; 2], [1.2e-29, 2.0]);
        kinds()[0].step(&mut p, &[0.0, 0.0], &mut m, None).unwrap();
        assert_eq!((p, m), ([0.9; 2], [0.0, 1.98]));
        kinds()[0].step(&mut p, &[-1e-30, 0.0], &mut m, None).unwrap();
        assert_eq!(p[0], 1.0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let lion = kinds()[0];
        let cases = [
            (refusal(stepper(lion), [2], 3, 1), "grad: expected shape of param = (2,), got (3,)"),
            (refusal(stepper(lion), [1], 2, 1), "m: expected shape of param = (2,), got (1,)"),
            (
                refusal(stepper(Lion { beta1: 1.0, ..lion }), [2], 2, 1),
                "beta1: expected 0 <= beta1 < 1, got 1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("lion_step: {expected}"));
        }
    }
}
