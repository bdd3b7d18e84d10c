//! RAdam.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, correction, moved, root};
use crate::optim::{Update, counted, same_length, update_all, within};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 16;

/// RAdam (Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020): Adam that
/// leaves the second moment out as long as it rests on too few gradients.
///
/// ```text
/// g = grad + weight_decay p       decoupled: g = grad, p = p - lr weight_decay p
/// m = beta1 m + (1 - beta1) g
/// v = beta2 v + (1 - beta2) g^2
/// r = r_max - 2 t beta2^t / (1 - beta2^t),  r_max = 2 / (1 - beta2) - 1       t = 1, 2, ...
/// a = sqrt((r - 4) (r - 2) r_max / ((r_max - 4) (r_max - 2) r))
/// p = p - lr m / (1 - beta1^t) a sqrt(1 - beta2^t) / (sqrt(v) + eps)          where r > 5
/// p = p - lr m / (1 - beta1^t)                                                elsewhere
/// ```
///
/// ```
/// use recurra::optim::Radam;
///
/// let (mut p, mut m, mut v) = ([1.0, 2.0], [0.0; 2], [0.0; 2]);
/// Radam { lr: 0.5, ..Radam::default() }.step(&mut p, &[1.5, 0.0], &mut m, &mut v, 1, None)?;
/// assert!((p[0] - 0.25_f64).abs() < 1e-8);
/// assert_eq!(p[1], 2.0);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Radam {
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
    /// Decay the parameter itself, not through its gradient.
    pub decoupled: bool,
}

impl Default for Radam {
    fn default() -> Self {
        let (beta1, beta2) = (0.9, 0.999);
        Self { lr: 1e-3, beta1, beta2, eps: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

impl Radam {
    /// Updates `param` and its moments `m` and `v`, which are zero before the first step. `step`
    /// counts from 1. All slices have one length. Small moments become zero as in [`Adam`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    ///
    /// [`Adam`]: crate::optim::Adam
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], m: &mut [T], v: &mut [T], step: u64,
        threads: Option<usize>,
    ) -> Result<()> {
        let operation = "radam_step";
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "beta1", self.beta1, 1.0)?;
        within(operation, "beta2", self.beta2, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        counted(operation, step)?;
        let n = param.len();
        same_length(operation, "grad", n, grad.len())?;
        same_length(operation, "m", n, m.len())?;
        same_length(operation, "v", n, v.len())?;
        let threads = threads_for(operation, threads, n.saturating_mul(COST))?;
        update_all(&self.rectified::<T>(step), param, grad, [m, v], threads)
    }

    /// The numbers of one step.
    fn rectified<T: Element>(&self, step: u64) -> Rectified<T> {
        let rectification = self.rectification(step);
        let scale = rectification.map_or(1.0, |a| a * correction(self.beta2, step).sqrt());
        Rectified {
            decay: Decay::new(self.decoupled, self.lr, self.weight_decay),
            moments: [Average::new(self.beta1), Average::of_squares(self.beta2)],
            rate: T::from_f64(self.lr / correction(self.beta1, step) * scale),
            eps: rectification.map(|_| T::from_f64(self.eps)),
        }
    }

    /// The factor `a` of the formula, where the second moment is used.
    fn rectification(&self, step: u64) -> Option<f64> {
        let most = 2.0 / (1.0 - self.beta2) - 1.0;
        let t = step as f64;
        let r = most - 2.0 * t * libm::pow(self.beta2, t) / correction(self.beta2, step);
        (r > 5.0).then(|| ((r - 4.0) * (r - 2.0) * most / ((most - 4.0) * (most - 2.0) * r)).sqrt())
    }
}

/// The numbers of a step in the parameter's precision.
struct Rectified<T> {
    decay: Decay<T>,
    moments: [Average<T>; 2],
    rate: T,
    /// None as long as the second moment is not used.
    eps: Option<T>,
}

impl<T: Element> Update<T, 2> for Rectified<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [m, v]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let (p, g) = self.decay.of(l, p, g);
        let m = self.moments[0].with(l, m, g);
        let v = self.moments[1].with_square(l, v, g);
        let direction = match self.eps {
            Some(eps) => l.div(m, root(l, v, eps)),
            None => m,
        };
        (moved(l, p, self.rate, direction), [m, v])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: Radam, skipped: u64) -> impl Stepper<T, 2> {
        move |p: &mut [T], g: &[T], [m, v]: [&mut [T]; 2], t, threads| {
            let step = if t == 0 { 0 } else { t + skipped };
            o.step(p, g, m, v, step, threads)
        }
    }

    fn kinds() -> [Radam; 3] {
        let radam = Radam { lr: 0.1, ..Radam::default() };
        let decayed = Radam { weight_decay: 0.3, eps: 0.1, ..radam };
        [radam, decayed, Radam { decoupled: true, ..decayed }]
    }

    fn naive(o: Radam, p: &mut f64, g: f64, [m, v]: &mut [f64; 2], t: i32) {
        let g = if o.decoupled { g } else { g + o.weight_decay * *p };
        if o.decoupled {
            *p -= o.lr * o.weight_decay * *p;
        }
        *m = o.beta1 * *m + (1.0 - o.beta1) * g;
        *v = o.beta2 * *v + (1.0 - o.beta2) * g * g;
        let most = 2.0 / (1.0 - o.beta2) - 1.0;
        let power = o.beta2.powi(t);
        let r = most - 2.0 * f64::from(t) * power / (1.0 - power);
        let mut step = o.lr * *m / (1.0 - o.beta1.powi(t));
        if r > 5.0 {
            let a = (r - 4.0) * (r - 2.0) * most / ((most - 4.0) * (most - 2.0) * r);
            step *= a.sqrt() * (1.0 - power).sqrt() / (v.sqrt() + o.eps);
        }
        *p -= step;
    }

    /// The second moment is used from the sixth step on: of steps 4, 5 and 6 the last one does.
    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            assert!(o.rectification(5).is_none() && o.rectification(6).is_some());
            for skipped in [0, 3] {
                let naive = |p: &mut f64, g, m: &mut _, t| naive(o, p, g, m, t + skipped as i32);
                follows_the_formula(&format!("{o:?}"), stepper(o, skipped), naive);
            }
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        for skipped in [0, 7] {
            for o in kinds() {
                same_bits_everywhere(&format!("{o:?}"), COST, stepper(o, skipped));
            }
        }
    }

    #[test]
    fn vanishing_moments_become_zero() {
        let (mut p, mut m, mut v) = ([1.0_f32; 2], [1.3e-29, 2.0], [4.7e-38, 1e-30]);
        Radam::default().step(&mut p, &[0.0; 2], &mut m, &mut v, 9, None).unwrap();
        assert_eq!((m, v), ([0.0, 1.8], [0.0, 9.99e-31]));
        assert!(p[0] == 1.0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let o = kinds()[0];
        let text = |o, lengths, grad, t| refusal(stepper(o, 0), lengths, grad, t);
        let cases = [
            (text(o, [2; 2], 1, 1), "grad: expected shape of param = (2,), got (1,)"),
            (text(o, [1, 2], 2, 1), "m: expected shape of param = (2,), got (1,)"),
            (text(o, [2, 0], 2, 1), "v: expected shape of param = (2,), got (0,)"),
            (text(o, [2; 2], 2, 0), "step: expected an integer from 1 on, got 0"),
            (
                text(Radam { beta2: 1.0, ..o }, [2; 2], 2, 1),
                "beta2: expected 0 <= beta2 < 1, got 1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("radam_step: {expected}"));
        }
    }
}
