//! Adam and AdamW.

use crate::error::Result;
use crate::optim::{Update, same_length, update_all, within, without_tiny};
use crate::parallel::threads_for;
use crate::shape::refuse;
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
        let operation = "adam_step";
        self.check(operation, step)?;
        let n = param.len();
        same_length(operation, "grad", n, grad.len())?;
        same_length(operation, "m", n, m.len())?;
        same_length(operation, "v", n, v.len())?;
        let threads = threads_for(operation, threads, n.saturating_mul(COST))?;
        update_all(&self.moments::<T>(step), param, grad, [m, v], threads)
    }

    fn check(&self, operation: &'static str, step: u64) -> Result<()> {
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "beta1", self.beta1, 1.0)?;
        within(operation, "beta2", self.beta2, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        match step {
            0 => Err(refuse(operation, "step", "an integer from 1 on", "0")),
            _ => Ok(()),
        }
    }

    /// The numbers of one step. Both corrections are moved out of the quotient, which saves a
    /// division: `(m / c1) / (sqrt(v / c2) + eps) = (sqrt(c2) / c1) m / (sqrt(v) + sqrt(c2) eps)`.
    fn moments<T: Element>(&self, step: u64) -> Moments<T> {
        let correction = |beta: f64| 1.0 - libm::pow(beta, step as f64);
        let root = correction(self.beta2).sqrt();
        let through_gradient = if self.decoupled { 0.0 } else { self.weight_decay };
        let direct = if self.decoupled { self.lr * self.weight_decay } else { 0.0 };
        let number = T::from_f64;
        Moments {
            beta: [number(self.beta1), number(self.beta2)],
            rest: [number(1.0 - self.beta1), number(1.0 - self.beta2)],
            weight_decay: number(through_gradient),
            keep: number(1.0 - direct),
            step: number(self.lr * root / correction(self.beta1)),
            eps: number(self.eps * root),
            tiny: T::TINY * number(SQUARE),
        }
    }
}

/// A second moment is a square, and its root meets an `eps` that may be small: it may become a
/// good deal smaller than a first moment before it counts as zero. 2^-28
const SQUARE: f64 = 1.0 / (1u64 << 28) as f64;

/// The numbers of a step in the parameter's precision.
struct Moments<T> {
    beta: [T; 2],
    rest: [T; 2],
    weight_decay: T,
    /// What decoupled decay leaves of the parameter.
    keep: T,
    step: T,
    eps: T,
    /// Second moments below become zero.
    tiny: T,
}

impl<T: Element> Update<T, 2> for Moments<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [m, v]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let [beta1, beta2] = [l.splat(self.beta[0]), l.splat(self.beta[1])];
        let [rest1, rest2] = [l.splat(self.rest[0]), l.splat(self.rest[1])];
        // Without decay nothing is added: zero times an infinite parameter would be NaN.
        let g = match self.weight_decay == T::default() {
            true => g,
            false => l.fma(l.splat(self.weight_decay), p, g),
        };
        let p = l.mul(p, l.splat(self.keep));
        let m = without_tiny(l, l.fma(beta1, m, l.mul(rest1, g)), T::TINY);
        let v = without_tiny(l, l.fma(beta2, v, l.mul(l.mul(rest2, g), g)), self.tiny);
        let direction = l.div(m, l.add(l.sqrt(v), l.splat(self.eps)));
        (l.fma(l.splat(-self.step), direction, p), [m, v])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::{numbers, on_every_isa};

    fn naive(a: &Adam, p: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64], t: i32) {
        for i in 0..p.len() {
            let g = if a.decoupled { g[i] } else { g[i] + a.weight_decay * p[i] };
            if a.decoupled {
                p[i] -= a.lr * a.weight_decay * p[i];
            }
            m[i] = a.beta1 * m[i] + (1.0 - a.beta1) * g;
            v[i] = a.beta2 * v[i] + (1.0 - a.beta2) * g * g;
            let (m, v) = (m[i] / (1.0 - a.beta1.powi(t)), v[i] / (1.0 - a.beta2.powi(t)));
            p[i] -= a.lr * m / (v.sqrt() + a.eps);
        }
    }

    fn kinds() -> [Adam; 4] {
        let adam = Adam { lr: 0.1, ..Adam::default() };
        let decayed = Adam { weight_decay: 0.3, ..adam };
        [adam, decayed, Adam { decoupled: true, ..decayed }, Adam { beta1: 0.0, eps: 1e-2, ..adam }]
    }

    /// Three steps: the parameter and its moments.
    fn run<T: Element>(adam: &Adam, n: usize, threads: usize) -> [Vec<T>; 3] {
        let mut p = numbers::<T>(1, n, 1).into_raw_vec_and_offset().0;
        let (mut m, mut v) = (vec![T::default(); n], vec![T::default(); n]);
        for step in 1..4 {
            let g = numbers::<T>(1, n, step + 1);
            let g = g.as_slice().unwrap();
            adam.step(&mut p, g, &mut m, &mut v, step, Some(threads)).unwrap();
        }
        [p, m, v]
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for adam in kinds() {
            let n = 37;
            let got = run::<f64>(&adam, n, 1);
            let mut p = numbers::<f64>(1, n, 1).into_raw_vec_and_offset().0;
            let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
            for step in 1..4 {
                let g = numbers::<f64>(1, n, step as u64 + 1);
                naive(&adam, &mut p, g.as_slice().unwrap(), &mut m, &mut v, step);
            }
            for (got, expected) in got.iter().zip([p, m, v]) {
                assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14), "{adam:?}");
            }
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        const { assert!(200_001 * COST >= WORTH_SPLITTING) };
        for adam in kinds() {
            let expected = run::<f32>(&adam, 200_001, 1);
            on_every_isa(|isa| {
                for threads in [1, 2, 3] {
                    let got = run::<f32>(&adam, 200_001, threads);
                    assert_eq!(got, expected, "{adam:?} on {isa}, {threads} threads");
                }
            });
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
    fn bad_arguments_are_refused() {
        let text = |adam: Adam, lengths: [usize; 3], step: u64| {
            let [g, mut m, mut v] = lengths.map(|n| vec![0.0; n]);
            let error = adam.step(&mut [0.0; 2], &g, &mut m, &mut v, step, None);
            error.unwrap_err().to_string()
        };
        let adam = Adam::default();
        let cases = [
            (text(adam, [3, 2, 2], 1), "grad: expected shape of param = (2,), got (3,)"),
            (text(adam, [2, 1, 2], 1), "m: expected shape of param = (2,), got (1,)"),
            (text(adam, [2, 2, 0], 1), "v: expected shape of param = (2,), got (0,)"),
            (text(adam, [2, 2, 2], 0), "step: expected an integer from 1 on, got 0"),
            (text(Adam { beta2: 1.0, ..adam }, [2; 3], 1), "beta2: expected 0 <= beta2 < 1, got 1"),
            (text(Adam { eps: -1.0, ..adam }, [2; 3], 1), "eps: expected 0 <= eps < inf, got -1"),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("adam_step: {expected}"));
        }
    }
}
