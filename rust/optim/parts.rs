//! What the formulas of several optimizers share.

use crate::optim::without_tiny;
use crate::simd::{Element, Lanes};

/// A second moment is a square, and its root meets an `eps` that may be small: it may become a
/// good deal smaller than a first moment before it counts as zero. 2^-28
const SQUARE: f64 = 1.0 / (1u64 << 28) as f64;

/// Below this, a second moment becomes zero: 2^-124, and 2^-988 in double precision.
pub(super) fn tiny_square<T: Element>() -> T {
    T::TINY * T::from_f64(SQUARE)
}

/// `1 - beta^step`: what is missing in an average that began with zero.
pub(super) fn correction(beta: f64, step: u64) -> f64 {
    1.0 - libm::pow(beta, step as f64)
}

/// Weight decay: through the gradient, or of the parameter itself.
pub(super) struct Decay<T> {
    through_gradient: T,
    /// What decoupled decay leaves of the parameter.
    keep: T,
}

impl<T: Element> Decay<T> {
    pub(super) fn new(decoupled: bool, lr: f64, weight_decay: f64) -> Self {
        let [through, direct] =
            if decoupled { [0.0, lr * weight_decay] } else { [weight_decay, 0.0] };
        Self { through_gradient: T::from_f64(through), keep: T::from_f64(1.0 - direct) }
    }

    /// The parameter and the gradient to go on with.
    #[inline(always)]
    pub(super) fn of<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V) -> (L::V, L::V) {
        // Without decay nothing is added: zero times an infinite parameter would be NaN.
        let g = match self.through_gradient == T::default() {
            true => g,
            false => l.fma(l.splat(self.through_gradient), p, g),
        };
        (l.mul(p, l.splat(self.keep)), g)
    }
}

/// A moving average, `beta a + (1 - beta) x`.
pub(super) struct Average<T> {
    keep: T,
    take: T,
    /// Averages below become zero.
    tiny: T,
}

impl<T: Element> Average<T> {
    /// An average of gradients.
    pub(super) fn new(beta: f64) -> Self {
        Self { keep: T::from_f64(beta), take: T::from_f64(1.0 - beta), tiny: T::TINY }
    }

    /// An average of their squares.
    pub(super) fn of_squares(beta: f64) -> Self {
        Self { tiny: tiny_square(), ..Self::new(beta) }
    }

    #[inline(always)]
    pub(super) fn with<L: Lanes<T>>(&self, l: L, a: L::V, x: L::V) -> L::V {
        let sum = self.sum(l, a, l.mul(l.splat(self.take), x));
        without_tiny(l, sum, self.tiny)
    }

    #[inline(always)]
    pub(super) fn with_square<L: Lanes<T>>(&self, l: L, a: L::V, x: L::V) -> L::V {
        let sum = self.sum(l, a, l.mul(l.mul(l.splat(self.take), x), x));
        without_tiny(l, sum, self.tiny)
    }

    /// `beta a + (1 - beta) x`, of which only the direction is needed: nothing becomes zero.
    #[inline(always)]
    pub(super) fn once<L: Lanes<T>>(&self, l: L, a: L::V, x: L::V) -> L::V {
        self.sum(l, a, l.mul(l.splat(self.take), x))
    }

    #[inline(always)]
    fn sum<L: Lanes<T>>(&self, l: L, a: L::V, part: L::V) -> L::V {
        l.fma(l.splat(self.keep), a, part)
    }
}

/// `p - rate * direction`
#[inline(always)]
pub(super) fn moved<T: Element, L: Lanes<T>>(l: L, p: L::V, rate: T, direction: L::V) -> L::V {
    l.fma(l.splat(-rate), direction, p)
}

/// `sqrt(v) + eps`
#[inline(always)]
pub(super) fn root<T: Element, L: Lanes<T>>(l: L, v: L::V, eps: T) -> L::V {
    l.add(l.sqrt(v), l.splat(eps))
}
