//! Adam, AdamW and AMSGrad.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, correction, moved, root};
use crate::optim::{Update, counted, same_length, update_all, within};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 16;

/// Adam (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015) and, with `decoupled`
/// weight decay, AdamW (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019).
///
/// ```text
/// g = grad + weight_decay p       decoupled: g = grad, p = p - lr weight_decay p
/// m = beta1 m + (1 - beta1) g
/// v = beta2 v + (1 - beta2) g^2
/// p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)       t = 1, 2, ...
/// ```
///
/// ```
/// use recurra::optim::Adam;
///
/// let (mut p, mut m, mut v) = ([1.0, 2.0], [0.0; 2], [0.0; 2]);
/// Adam { lr: 0.5, ..Adam::default() }.step(&mut p, &[3.0, 0.0], &mut m, &mut v, 1, None)?;
/// assert!((p[0] - 0.5_f64).abs() < 1e-8);
/// assert_eq!(p[1], 2.0);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Step size, 0 or more.
    pub lr: f64,
    /// Decay of the first moment, from 0 to below 1.
    pub beta1: f64,
    /// Decay of the second moment, from 0 to below 1.
    pub beta2: f64,
    /// Added to the root of the second moment, 0 or more.
    pub eps: f64,
    /// 0 or more.
    pub weight_decay: f64,
    /// Decay the parameter itself (AdamW), not through its gradient.
    pub decoupled: bool,
}

impl Default for Adam {
    fn default() -> Self {
        let (beta1, beta2) = (0.9, 0.999);
        Self { lr: 1e-3, beta1, beta2, eps: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

impl Adam {
    /// Updates `param` and its moments `m` and `v`, which are zero before the first step. `step`
    /// counts from 1. All slices have one length. First moments below 2^-96 (float64: 2^-960) and
    /// second moments below 2^-124 (2^-988) become zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], m: &mut [T], v: &mut [T], step: u64,
        threads: Option<usize>,
    ) -> Result<()> {
        let n = param.len();
        let threads = self.check(n, grad.len(), [("m", m.len()), ("v", v.len())], step, threads)?;
        update_all(&self.moments::<T>(step), param, grad, [m, v], threads)
    }

    /// As `step`, for AMSGrad (Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018):
    /// `moments` are m, v and the largest v so far, which stands in the place of v under the root.
    ///
    /// # Errors
    /// As `step`.
    pub fn amsgrad_step<T: Element>(
        &self, param: &mut [T], grad: &[T], moments: [&mut [T]; 3], step: u64,
        threads: Option<usize>,
    ) -> Result<()> {
        let [m, v, v_max] = &moments;
        let lengths = [("m", m.len()), ("v", v.len()), ("v_max", v_max.len())];
        let threads = self.check(param.len(), grad.len(), lengths, step, threads)?;
        update_all(&self.moments::<T>(step), param, grad, moments, threads)
    }

    /// Refuses what is wrong; returns the number of threads.
    fn check<const M: usize>(
        &self, param: usize, grad: usize, moments: [(&'static str, usize); M], step: u64,
        threads: Option<usize>,
    ) -> Result<usize> {
        let operation = "adam_step";
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "beta1", self.beta1, 1.0)?;
        within(operation, "beta2", self.beta2, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        counted(operation, step)?;
        same_length(operation, "grad", param, grad)?;
        for (name, length) in moments {
            same_length(operation, name, param, length)?;
        }
        threads_for(operation, threads, param.saturating_mul(COST))
    }

    /// The numbers of one step. Both corrections are moved out of the quotient, which saves a
    /// division: `(m / c1) / (sqrt(v / c2) + eps) = (sqrt(c2) / c1) m / (sqrt(v) + sqrt(c2) eps)`.
    fn moments<T: Element>(&self, step: u64) -> Moments<T> {
        let scale = correction(self.beta2, step).sqrt();
        Moments {
            decay: Decay::new(self.decoupled, self.lr, self.weight_decay),
            averages: [Average::new(self.beta1), Average::of_squares(self.beta2)],
            rate: T::from_f64(self.lr * scale / correction(self.beta1, step)),
            eps: T::from_f64(self.eps * scale),
        }
    }
}

/// The numbers of a step in the parameter's precision.
struct Moments<T> {
    decay: Decay<T>,
    averages: [Average<T>; 2],
    rate: T,
    eps: T,
}

impl<T: Element> Update<T, 2> for Moments<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [m, v]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let (p, g) = self.decay.of(l, p, g);
        let m = self.averages[0].with(l, m, g);
        let v = self.averages[1].with_square(l, v, g);
        (moved(l, p, self.rate, l.div(m, root(l, v, self.eps))), [m, v])
    }
}

impl<T: Element> Update<T, 3> for Moments<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(
        &self, l: L, p: L::V, g: L::V, [m, v, most]: [L::V; 3],
    ) -> (L::V, [L::V; 3]) {
        let (p, g) = self.decay.of(l, p, g);
        let m = self.averages[0].with(l, m, g);
        let v = self.averages[1].with_square(l, v, g);
        // A NaN in v stays there, and comes out of this: it is the second operand.
        let most = l.max(most, v);
        (moved(l, p, self.rate, l.div(m, root(l, most, self.eps))), [m, v, most])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: Adam) -> impl Stepper<T, 2> {
        move |p: &mut [T], g: &[T], [m, v]: [&mut [T]; 2], t, threads| {
            o.step(p, g, m, v, t, threads)
        }
    }

    fn amsgrad<T: Element>(o: Adam) -> impl Stepper<T, 3> {
        move |p: &mut [T], g: &[T], moments: [&mut [T]; 3], t, threads| {
            o.amsgrad_step(p, g, moments, t, threads)
        }
    }

    fn kinds() -> [Adam; 4] {
        let adam = Adam { lr: 0.1, ..Adam::default() };
        let decayed = Adam { weight_decay: 0.3, ..adam };
        [adam, decayed, Adam { decoupled: true, ..decayed }, Adam { beta1: 0.0, eps: 1e-2, ..adam }]
    }

    /// `largest` takes the new second moment, and returns what stands in its place.
    fn naive(
        o: Adam, p: &mut f64, g: f64, [m, v]: [&mut f64; 2], t: i32,
        largest: impl FnOnce(f64) -> f64,
    ) {
        let g = if o.decoupled { g } else { g + o.weight_decay * *p };
        if o.decoupled {
            *p -= o.lr * o.weight_decay * *p;
        }
        *m = o.beta1 * *m + (1.0 - o.beta1) * g;
        *v = o.beta2 * *v + (1.0 - o.beta2) * g * g;
        let (m, v) = (*m / (1.0 - o.beta1.powi(t)), largest(*v) / (1.0 - o.beta2.powi(t)));
        *p -= o.lr * m / (v.sqrt() + o.eps);
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            let name = format!("{o:?}");
            follows_the_formula(&name, stepper(o), |p, g, [m, v], t| {
                naive(o, p, g, [m, v], t, |v| v);
            });
            let forgetful = Adam { beta2: 0.1, ..o };
            follows_the_formula(&name, amsgrad(forgetful), |p, g, [m, v, most], t| {
                naive(forgetful, p, g, [m, v], t, |v| {
                    *most = most.max(v);
                    *most
                });
            });
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        for o in kinds() {
            same_bits_everywhere(&format!("{o:?}"), COST, stepper(o));
            same_bits_everywhere(&format!("AMSGrad {o:?}"), COST, amsgrad(o));
        }
    }

    #[test]
    fn vanishing_moments_become_zero() {
        let (mut p, mut m, mut v) = ([1.0_f32; 2], [1.3e-29, 2.0], [4.7e-38, 1e-30]);
        Adam::default().step(&mut p, &[0.0; 2], &mut m, &mut v, 9, None).unwrap();
        assert_eq!((m, v), ([0.0, 1.8], [0.0, 9.99e-31]));
        assert!(p[0] == 1.0);
    }

    #[test]
    fn small_gradients_count_even_with_a_small_eps() {
        let (mut p, mut m, mut v) = ([1.0_f32], [0.0], [0.0]);
        let adam = Adam { lr: 0.5, eps: 1e-16, ..Adam::default() };
        adam.step(&mut p, &[1e-14], &mut m, &mut v, 1, None).unwrap();
        assert!((p[0] - 0.505).abs() < 1e-3, "{p:?}");
    }

    #[test]
    fn what_is_no_number_stays_the_largest() {
        let mut moments = [[0.0_f32], [0.0], [9.0]];
        let mut p = [1.0];
        for (t, g) in [(1, f32::NAN), (2, 1.0)] {
            let moments = moments.each_mut().map(|m| &mut m[..]);
            Adam::default().amsgrad_step(&mut p, &[g], moments, t, None).unwrap();
        }
        assert!(moments[2][0].is_nan() && p[0].is_nan());
    }

    #[test]
    fn bad_arguments_are_refused() {
        let o = Adam::default();
        let cases = [
            (refusal(stepper(o), [2; 2], 3, 1), "grad: expected shape of param = (2,), got (3,)"),
            (refusal(stepper(o), [1, 2], 2, 1), "m: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [2, 0], 2, 1), "v: expected shape of param = (2,), got (0,)"),
            (
                refusal(amsgrad(o), [2, 2, 1], 2, 1),
                "v_max: expected shape of param = (2,), got (1,)",
            ),
            (refusal(stepper(o), [2; 2], 2, 0), "step: expected an integer from 1 on, got 0"),
            (
                refusal(stepper(Adam { beta2: 1.0, ..o }), [2; 2], 2, 1),
                "beta2: expected 0 <= beta2 < 1, got 1",
            ),
            (
                refusal(amsgrad(Adam { eps: -1.0, ..o }), [2; 3], 2, 1),
                "eps: expected 0 <= eps < inf, got -1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("adam_step: {expected}"));
        }
    }
}
