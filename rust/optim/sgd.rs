//! Stochastic gradient descent.

use crate::error::Result;
use crate::optim::parts::{Decay, moved};
use crate::optim::{Update, given, same_length, update_all, within, without_tiny};
use crate::parallel::threads_for;
use crate::shape::refuse;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// Stochastic gradient descent, with momentum (Polyak, Some methods of speeding up the convergence
/// of iteration methods, 1964) and Nesterov's variant of it (1983; in this form Sutskever, Martens,
/// Dahl and Hinton, On the importance of initialization and momentum in deep learning, 2013).
///
/// ```text
/// g = grad + weight_decay p
/// v = momentum v + g              at the first step v = g
/// p = p - lr v                    nesterov: p - lr (g + momentum v); no momentum: p - lr g
/// ```
///
/// ```
/// use recurra::optim::Sgd;
///
/// let (mut p, mut v) = ([1.0, 2.0], [0.0; 2]);
/// let sgd = Sgd { lr: 0.5, momentum: 0.5, ..Sgd::default() };
/// sgd.step(&mut p, &[1.0, 0.0], Some(&mut v), true, None)?;
/// sgd.step(&mut p, &[1.0, 0.0], Some(&mut v), false, None)?;
/// assert_eq!((p, v), ([-0.25, 2.0], [1.5, 0.0]));
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// Step size, 0 or more.
    pub lr: f64,
    /// How much of the last step is kept, 0 or more.
    pub momentum: f64,
    /// 0 or more; pulls parameters to zero through the gradient.
    pub weight_decay: f64,
    /// Look ahead along the momentum.
    pub nesterov: bool,
}

impl Sgd {
    /// Updates `param` and, with momentum, `momentum_buffer`, which is only written at the `first`
    /// step. All have one length. Momentum below 2^-96 (float64: 2^-960) becomes zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ, hyperparameters out of
    /// range, and a momentum without its buffer or the other way round.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], momentum_buffer: Option<&mut [T]>, first: bool,
        threads: Option<usize>,
    ) -> Result<()> {
        let operation = "sgd_step";
        self.check(operation)?;
        let (buffer, n) = (momentum_buffer, param.len());
        let has_momentum = self.momentum > 0.0;
        given(operation, "momentum_buffer", "momentum", has_momentum, buffer.as_deref(), n)?;
        same_length(operation, "grad", param.len(), grad.len())?;
        let threads = threads_for(operation, threads, param.len().saturating_mul(COST))?;
        let update = Descent {
            lr: T::from_f64(self.lr),
            momentum: T::from_f64(self.momentum),
            decay: Decay::new(false, self.lr, self.weight_decay),
            nesterov: self.nesterov,
            first,
        };
        match buffer {
            None => update_all(&update, param, grad, [], threads),
            Some(buffer) => update_all(&update, param, grad, [buffer], threads),
        }
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "momentum", self.momentum, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(refuse(operation, "nesterov", "false without momentum", "true"));
        }
        Ok(())
    }
}

/// The numbers of [`Sgd`] in the parameter's precision.
struct Descent<T> {
    lr: T,
    momentum: T,
    decay: Decay<T>,
    nesterov: bool,
    first: bool,
}

impl<T: Element> Update<T, 0> for Descent<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, _: [L::V; 0]) -> (L::V, [L::V; 0]) {
        let (p, g) = self.decay.of(l, p, g);
        (moved(l, p, self.lr, g), [])
    }
}

impl<T: Element> Update<T, 1> for Descent<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [v]: [L::V; 1]) -> (L::V, [L::V; 1]) {
        let momentum = l.splat(self.momentum);
        let (p, g) = self.decay.of(l, p, g);
        let v = if self.first { g } else { l.fma(momentum, v, g) };
        let v = without_tiny(l, v, T::TINY);
        let direction = if self.nesterov { l.fma(momentum, v, g) } else { v };
        (moved(l, p, self.lr, direction), [v])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::{numbers, on_every_isa};

    fn naive(s: &Sgd, p: &mut [f64], g: &[f64], v: &mut [f64], first: bool) {
        for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
            let g = g + s.weight_decay * *p;
            *v = if first { g } else { s.momentum * *v + g };
            *p -= s.lr * if s.nesterov { g + s.momentum * *v } else { *v };
        }
    }

    const KINDS: [Sgd; 4] = [
        Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false },
        Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.2, nesterov: false },
        Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false },
        Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.2, nesterov: true },
    ];

    /// Three steps: the parameter, and the momentum where there is one.
    fn run<T: Element>(sgd: &Sgd, n: usize, threads: usize) -> (Vec<T>, Vec<T>) {
        let p = numbers::<T>(1, n, 1);
        let (mut p, mut v) = (p.into_raw_vec_and_offset().0, vec![T::from_f64(f64::NAN); n]);
        for step in 0..3 {
            let g = numbers::<T>(1, n, step + 2);
            let buffer = (sgd.momentum > 0.0).then_some(&mut v[..]);
            let g = g.as_slice().unwrap();
            sgd.step(&mut p, g, buffer, step == 0, Some(threads)).unwrap();
        }
        (p, if sgd.momentum > 0.0 { v } else { Vec::new() })
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for sgd in KINDS {
            let n = 37;
            let (p, _) = run::<f64>(&sgd, n, 1);
            let (mut q, mut v) =
                (numbers::<f64>(1, n, 1).into_raw_vec_and_offset().0, vec![0.0; n]);
            for step in 0..3 {
                let g = numbers::<f64>(1, n, step + 2);
                naive(&sgd, &mut q, g.as_slice().unwrap(), &mut v, step == 0);
            }
            assert!(p.iter().zip(&q).all(|(p, q)| (p - q).abs() < 1e-15), "{sgd:?}");
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        const { assert!(300_001 * COST >= WORTH_SPLITTING) };
        for sgd in KINDS {
            let expected = run::<f32>(&sgd, 300_001, 1);
            on_every_isa(|isa| {
                for threads in [1, 2, 3] {
                    let got = run::<f32>(&sgd, 300_001, threads);
                    assert_eq!(got, expected, "{sgd:?} on {isa}, {threads} threads");
                }
            });
        }
    }

    #[test]
    fn vanishing_momentum_becomes_zero() {
        let (mut p, mut v) = ([1.0_f32; 3], [2e-29, 1.3e-29, 1.0]);
        let sgd = Sgd { momentum: 0.9, ..KINDS[2] };
        sgd.step(&mut p, &[0.0; 3], Some(&mut v), false, None).unwrap();
        assert_eq!(v, [2e-29 * 0.9, 0.0, 0.9]);
    }

    #[test]
    fn an_infinite_parameter_stays_where_there_is_no_decay() {
        let mut p = [f32::NEG_INFINITY];
        KINDS[0].step(&mut p, &[1.0], None, true, None).unwrap();
        assert_eq!(p, [f32::NEG_INFINITY]);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let text = |sgd: Sgd, n: usize, buffer: Option<usize>| {
            let mut v = buffer.map(|n| vec![0.0; n]);
            let error = sgd.step(&mut [0.0; 2], &vec![0.0; n], v.as_deref_mut(), true, None);
            error.unwrap_err().to_string()
        };
        let cases = [
            (text(KINDS[0], 3, None), "grad: expected shape of param = (2,), got (3,)"),
            (
                text(KINDS[2], 2, Some(1)),
                "momentum_buffer: expected shape of param = (2,), got (1,)",
            ),
            (text(KINDS[2], 2, None), "momentum_buffer: expected an array with momentum, got none"),
            (
                text(KINDS[0], 2, Some(2)),
                "momentum_buffer: expected none without momentum, got an array",
            ),
            (
                text(Sgd { nesterov: true, ..KINDS[0] }, 2, None),
                "nesterov: expected false without momentum, got true",
            ),
            (
                text(Sgd { lr: f64::NAN, ..KINDS[0] }, 2, None),
                "lr: expected 0 <= lr < inf, got NaN",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("sgd_step: {expected}"));
        }
    }
}
