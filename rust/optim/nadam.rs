//! NAdam.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, correction, root};
use crate::optim::{Update, counted, same_length, update_all, within};
use crate::parallel::threads_for;
use crate::shape::refuse;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 16;

/// NAdam (Dozat, Incorporating Nesterov Momentum into Adam, 2016).
///
/// ```text
/// g = grad + weight_decay p       decoupled: g = grad, p = p - lr weight_decay p
/// mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)                          t = 1, 2, ...
/// m = beta1 m + (1 - beta1) g
/// v = beta2 v + (1 - beta2) g^2
/// d = (1 - mu_t) / (1 - mu_1 ... mu_t) g + mu_t+1 / (1 - mu_1 ... mu_t+1) m
/// p = p - lr d / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// ```
/// use recurra::optim::Nadam;
///
/// let (mut p, mut m, mut v, mut product) = ([1.0, 2.0], [0.0; 2], [0.0; 2], 1.0);
/// let nadam = Nadam { lr: 0.5, ..Nadam::default() };
/// for step in 1..3 {
///     product = nadam.step(&mut p, &[3.0, 0.0], [&mut m, &mut v], step, product, None)?;
/// }
/// assert!(p[0] < 0.2 && p[1] == 2.0 && product < 0.25);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nadam {
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
    /// How slowly the look ahead grows to its full size, 0 or more.
    pub momentum_decay: f64,
    /// Decay the parameter itself, not through its gradient.
    pub decoupled: bool,
}

impl Default for Nadam {
    fn default() -> Self {
        let (beta1, beta2, momentum_decay) = (0.9, 0.999, 4e-3);
        let eps = 1e-8;
        Self { lr: 2e-3, beta1, beta2, eps, weight_decay: 0.0, momentum_decay, decoupled: false }
    }
}

impl Nadam {
    /// Updates `param` and its `moments` m and v, which are zero before the first step. `step`
    /// counts from 1; `mu_product` is 1 at the first step and after that what the last step
    /// returned. All slices have one length. Small moments become zero as in [`Adam`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ and hyperparameters out
    /// of range.
    ///
    /// [`Adam`]: crate::optim::Adam
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], moments: [&mut [T]; 2], step: u64, mu_product: f64,
        threads: Option<usize>,
    ) -> Result<f64> {
        let operation = "nadam_step";
        self.check(operation, step, mu_product)?;
        let n = param.len();
        same_length(operation, "grad", n, grad.len())?;
        same_length(operation, "m", n, moments[0].len())?;
        same_length(operation, "v", n, moments[1].len())?;
        let threads = threads_for(operation, threads, n.saturating_mul(COST))?;
        let product = mu_product * self.mu(step);
        update_all(&self.ahead::<T>(step, product), param, grad, moments, threads)?;
        Ok(product)
    }

    fn check(&self, operation: &'static str, step: u64, mu_product: f64) -> Result<()> {
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "beta1", self.beta1, 1.0)?;
        within(operation, "beta2", self.beta2, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        within(operation, "momentum_decay", self.momentum_decay, f64::INFINITY)?;
        counted(operation, step)?;
        Self::check_product(mu_product)
    }

    /// Refuses what no step returned.
    pub(crate) fn check_product(mu_product: f64) -> Result<()> {
        match (0.0..=1.0).contains(&mu_product) {
            true => Ok(()),
            false => {
                let expected = "0 <= mu_product <= 1";
                Err(refuse("nadam_step", "mu_product", expected, mu_product.to_string()))
            }
        }
    }

    fn mu(&self, step: u64) -> f64 {
        self.beta1 * (1.0 - 0.5 * libm::pow(0.96, step as f64 * self.momentum_decay))
    }

    /// The numbers of one step. `sqrt(1 - beta2^t)` is moved out of the quotient, which saves a
    /// division.
    fn ahead<T: Element>(&self, step: u64, product: f64) -> Ahead<T> {
        let (mu, next) = (self.mu(step), self.mu(step + 1));
        let scale = correction(self.beta2, step).sqrt();
        Ahead {
            decay: Decay::new(self.decoupled, self.lr, self.weight_decay),
            moments: [Average::new(self.beta1), Average::of_squares(self.beta2)],
            of_gradient: T::from_f64(self.lr * scale * (1.0 - mu) / (1.0 - product)),
            of_moment: T::from_f64(self.lr * scale * next / (1.0 - product * next)),
            eps: T::from_f64(self.eps * scale),
        }
    }
}

/// The numbers of a step in the parameter's precision.
struct Ahead<T> {
    decay: Decay<T>,
    moments: [Average<T>; 2],
    of_gradient: T,
    of_moment: T,
    eps: T,
}

impl<T: Element> Update<T, 2> for Ahead<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [m, v]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let (p, g) = self.decay.of(l, p, g);
        let m = self.moments[0].with(l, m, g);
        let v = self.moments[1].with_square(l, v, g);
        let direction = l.fma(l.splat(self.of_moment), m, l.mul(l.splat(self.of_gradient), g));
        (l.sub(p, l.div(direction, root(l, v, self.eps))), [m, v])
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: Nadam) -> impl Stepper<T, 2> {
        let product = Cell::new(1.0);
        move |p: &mut [T], g: &[T], moments: [&mut [T]; 2], t, threads| {
            let before = if t == 1 { 1.0 } else { product.get() };
            o.step(p, g, moments, t, before, threads).map(|after| product.set(after))
        }
    }

    fn kinds() -> [Nadam; 3] {
        let nadam = Nadam { lr: 0.1, ..Nadam::default() };
        let decayed = Nadam { weight_decay: 0.3, momentum_decay: 0.5, eps: 0.1, ..nadam };
        [nadam, decayed, Nadam { decoupled: true, ..decayed }]
    }

    fn naive(o: Nadam, p: &mut f64, g: f64, [m, v]: &mut [f64; 2], t: i32) {
        let g = if o.decoupled { g } else { g + o.weight_decay * *p };
        if o.decoupled {
            *p -= o.lr * o.weight_decay * *p;
        }
        let mu = |t: i32| o.beta1 * (1.0 - 0.5 * 0.96_f64.powf(f64::from(t) * o.momentum_decay));
        let product: f64 = (1..=t).map(mu).product();
        *m = o.beta1 * *m + (1.0 - o.beta1) * g;
        *v = o.beta2 * *v + (1.0 - o.beta2) * g * g;
        let root = (*v / (1.0 - o.beta2.powi(t))).sqrt() + o.eps;
        *p -= o.lr * (1.0 - mu(t)) / (1.0 - product) * g / root;
        *p -= o.lr * mu(t + 1) / (1.0 - product * mu(t + 1)) * *m / root;
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            follows_the_formula(&format!("{o:?}"), stepper(o), |p, g, m, t| naive(o, p, g, m, t));
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        for o in kinds() {
            same_bits_everywhere(&format!("{o:?}"), COST, stepper(o));
        }
    }

    #[test]
    fn vanishing_moments_become_zero() {
        let (mut p, mut m, mut v) = ([1.0_f32; 2], [1.3e-29, 2.0], [4.7e-38, 1e-30]);
        let nadam = Nadam::default();
        nadam.step(&mut p, &[0.0; 2], [&mut m, &mut v], 9, 0.1, None).unwrap();
        assert_eq!((m, v), ([0.0, 1.8], [0.0, 9.99e-31]));
        assert!(p[0] == 1.0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let o = kinds()[0];
        let product =
            o.step(&mut [0.0; 2], &[0.0; 2], [&mut [0.0; 2], &mut [0.0; 2]], 1, 1.1, None);
        let cases = [
            (refusal(stepper(o), [2; 2], 1, 1), "grad: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [1, 2], 2, 1), "m: expected shape of param = (2,), got (1,)"),
            (refusal(stepper(o), [2, 0], 2, 1), "v: expected shape of param = (2,), got (0,)"),
            (refusal(stepper(o), [2; 2], 2, 0), "step: expected an integer from 1 on, got 0"),
            (
                product.unwrap_err().to_string().replace("nadam_step: ", ""),
                "mu_product: expected 0 <= mu_product <= 1, got 1.1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got.replace("nadam_step: ", ""), expected);
        }
    }
}
