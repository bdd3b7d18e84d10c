//! RMSprop.

use crate::error::Result;
use crate::optim::parts::{Average, Decay, moved, root};
use crate::optim::{Update, given, same_length, update_all, within, without_tiny};
use crate::parallel::threads_for;
use crate::simd::{Element, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 16;

/// RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6, 2012), also `centered`
/// (Graves, Generating Sequences With Recurrent Neural Networks, 2013) and with momentum.
///
/// ```text
/// g = grad + weight_decay p
/// v = alpha v + (1 - alpha) g^2
/// a = alpha a + (1 - alpha) g                     centered; elsewhere a = 0
/// d = g / (sqrt(v - a^2) + eps)
/// b = momentum b + d                              with momentum; elsewhere b = d
/// p = p - lr b
/// ```
///
/// ```
/// use recurra::optim::RmsProp;
///
/// let (mut p, mut v) = ([1.0_f64, 2.0], [0.0; 2]);
/// let rmsprop = RmsProp { lr: 0.5, alpha: 0.75, ..RmsProp::default() };
/// rmsprop.step(&mut p, &[3.0, 0.0], &mut v, None, None, None)?;
/// assert_eq!(v, [2.25, 0.0]);
/// assert!(p[0].abs() < 1e-8 && p[1] == 2.0);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// Step size, 0 or more.
    pub lr: f64,
    /// Decay of the averages, from 0 to below 1.
    pub alpha: f64,
    /// Added to the root, 0 or more.
    pub eps: f64,
    /// 0 or more; pulls parameters to zero through the gradient.
    pub weight_decay: f64,
    /// How much of the last step is kept, 0 or more.
    pub momentum: f64,
    /// Divide by the standard deviation of gradients, not by the root of their squares.
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        let (weight_decay, momentum) = (0.0, 0.0);
        Self { lr: 1e-2, alpha: 0.99, eps: 1e-8, weight_decay, momentum, centered: false }
    }
}

impl RmsProp {
    /// Updates `param`, the average `v` of squares, where `centered` the `average` of gradients,
    /// and with momentum the `momentum_buffer`, all zero before the first step. All slices have
    /// one length. Averages of squares below 2^-124 (float64: 2^-988) and the others below 2^-96
    /// (2^-960) become zero. A variance that rounding made negative counts as zero.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ, hyperparameters out of
    /// range, and slices that are missing or not used.
    pub fn step<T: Element>(
        &self, param: &mut [T], grad: &[T], v: &mut [T], average: Option<&mut [T]>,
        momentum_buffer: Option<&mut [T]>, threads: Option<usize>,
    ) -> Result<()> {
        let operation = "rmsprop_step";
        self.check(operation)?;
        let n = param.len();
        given(operation, "average", "centered", self.centered, average.as_deref(), n)?;
        let buffer = momentum_buffer;
        let has_momentum = self.momentum > 0.0;
        given(operation, "momentum_buffer", "momentum", has_momentum, buffer.as_deref(), n)?;
        same_length(operation, "grad", n, grad.len())?;
        same_length(operation, "v", n, v.len())?;
        let threads = threads_for(operation, threads, n.saturating_mul(COST))?;
        let update = self.scaled::<T>();
        match (average, buffer) {
            (None, None) => update_all(&update, param, grad, [v], threads),
            (Some(other), None) | (None, Some(other)) => {
                update_all(&update, param, grad, [v, other], threads)
            }
            (Some(a), Some(b)) => update_all(&update, param, grad, [v, a, b], threads),
        }
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        within(operation, "lr", self.lr, f64::INFINITY)?;
        within(operation, "alpha", self.alpha, 1.0)?;
        within(operation, "eps", self.eps, f64::INFINITY)?;
        within(operation, "weight_decay", self.weight_decay, f64::INFINITY)?;
        within(operation, "momentum", self.momentum, f64::INFINITY)
    }

    fn scaled<T: Element>(&self) -> Scaled<T> {
        Scaled {
            decay: Decay::new(false, self.lr, self.weight_decay),
            square: Average::of_squares(self.alpha),
            average: Average::new(self.alpha),
            momentum: T::from_f64(self.momentum),
            lr: T::from_f64(self.lr),
            eps: T::from_f64(self.eps),
            centered: self.centered,
        }
    }
}

/// The numbers of a step in the parameter's precision.
struct Scaled<T> {
    decay: Decay<T>,
    square: Average<T>,
    average: Average<T>,
    momentum: T,
    lr: T,
    eps: T,
    centered: bool,
}

impl<T: Element> Scaled<T> {
    /// The gradient over its standard deviation, and the average of gradients.
    #[inline(always)]
    fn centred<L: Lanes<T>>(&self, l: L, g: L::V, v: L::V, a: L::V) -> (L::V, L::V) {
        let a = self.average.with(l, a, g);
        let variance = l.max(l.splat(T::default()), l.fnma(a, a, v));
        (l.div(g, root(l, variance, self.eps)), a)
    }

    #[inline(always)]
    fn kept<L: Lanes<T>>(&self, l: L, b: L::V, direction: L::V) -> L::V {
        without_tiny(l, l.fma(l.splat(self.momentum), b, direction), T::TINY)
    }
}

impl<T: Element> Update<T, 1> for Scaled<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [v]: [L::V; 1]) -> (L::V, [L::V; 1]) {
        let (p, g) = self.decay.of(l, p, g);
        let v = self.square.with_square(l, v, g);
        (moved(l, p, self.lr, l.div(g, root(l, v, self.eps))), [v])
    }
}

/// The second moment is the average where `centered`, the momentum elsewhere.
impl<T: Element> Update<T, 2> for Scaled<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, [v, o]: [L::V; 2]) -> (L::V, [L::V; 2]) {
        let (p, g) = self.decay.of(l, p, g);
        let v = self.square.with_square(l, v, g);
        if self.centered {
            let (direction, a) = self.centred(l, g, v, o);
            return (moved(l, p, self.lr, direction), [v, a]);
        }
        let b = self.kept(l, o, l.div(g, root(l, v, self.eps)));
        (moved(l, p, self.lr, b), [v, b])
    }
}

impl<T: Element> Update<T, 3> for Scaled<T> {
    #[inline(always)]
    fn update<L: Lanes<T>>(
        &self, l: L, p: L::V, g: L::V, [v, a, b]: [L::V; 3],
    ) -> (L::V, [L::V; 3]) {
        let (p, g) = self.decay.of(l, p, g);
        let v = self.square.with_square(l, v, g);
        let (direction, a) = self.centred(l, g, v, a);
        let b = self.kept(l, b, direction);
        (moved(l, p, self.lr, b), [v, a, b])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{Stepper, follows_the_formula, refusal, same_bits_everywhere};

    fn stepper<T: Element>(o: RmsProp) -> impl Stepper<T, 3> {
        move |p: &mut [T], g: &[T], [v, a, b]: [&mut [T]; 3], _, threads| {
            let (a, b) = (o.centered.then_some(a), (o.momentum > 0.0).then_some(b));
            o.step(p, g, v, a, b, threads)
        }
    }

    fn kinds() -> [RmsProp; 5] {
        let plain = RmsProp { lr: 0.1, ..RmsProp::default() };
        let centered = RmsProp { centered: true, alpha: 0.7, eps: 1e-2, ..plain };
        let momentum = RmsProp { momentum: 0.9, ..plain };
        let decayed = RmsProp { weight_decay: 0.3, ..plain };
        [plain, centered, momentum, decayed, RmsProp { momentum: 0.5, ..centered }]
    }

    fn naive(o: RmsProp, p: &mut f64, g: f64, [v, a, b]: &mut [f64; 3]) {
        let g = g + o.weight_decay * *p;
        *v = o.alpha * *v + (1.0 - o.alpha) * g * g;
        if o.centered {
            *a = o.alpha * *a + (1.0 - o.alpha) * g;
        }
        let mut d = g / ((*v - *a * *a).sqrt() + o.eps);
        if o.momentum > 0.0 {
            *b = o.momentum * *b + d;
            d = *b;
        }
        *p -= o.lr * d;
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for o in kinds() {
            follows_the_formula(&format!("{o:?}"), stepper(o), |p, g, m, _| naive(o, p, g, m));
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
        let (mut v, mut a, mut b) = ([4.7e-38_f32, 1.0], [1.3e-29, 1.0], [1.3e-29, 1.0]);
        let o = RmsProp { momentum: 0.5, centered: true, alpha: 0.5, ..RmsProp::default() };
        let mut p = [1.0; 2];
        o.step(&mut p, &[0.0; 2], &mut v, Some(&mut a), Some(&mut b), None).unwrap();
        assert_eq!((p[0], v, a, b), (1.0, [0.0, 0.5], [0.0, 0.5], [0.0, 0.5]));
    }

    #[test]
    fn a_variance_below_zero_is_zero() {
        let (mut p, mut v, mut a) = ([1.0_f64], [1.0], [1.1]);
        let o = RmsProp { centered: true, eps: 0.5, ..RmsProp::default() };
        o.step(&mut p, &[1.0], &mut v, Some(&mut a), None, None).unwrap();
        assert!((p[0] - (1.0 - 0.01 / 0.5)).abs() < 1e-15);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let [plain, centered, ..] = kinds();
        let extra = plain.step(&mut [0.0], &[0.0], &mut [0.0], Some(&mut [0.0]), None, None);
        let missing = centered.step(&mut [0.0], &[0.0], &mut [0.0], None, None, None);
        let cases = [
            (
                refusal(stepper(plain), [2; 3], 1, 1),
                "grad: expected shape of param = (2,), got (1,)",
            ),
            (
                refusal(stepper(centered), [2, 1, 2], 2, 1),
                "average: expected shape of param = (2,), got (1,)",
            ),
            (
                extra.unwrap_err().to_string(),
                "average: expected none without centered, got an array",
            ),
            (
                missing.unwrap_err().to_string(),
                "average: expected an array with centered, got none",
            ),
            (
                refusal(stepper(RmsProp { alpha: 1.0, ..plain }), [2; 3], 2, 1),
                "alpha: expected 0 <= alpha < 1, got 1",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got.replace("rmsprop_step: ", ""), expected);
        }
    }
}
