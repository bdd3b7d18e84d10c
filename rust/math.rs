//! Exponential, sigmoid and tanh, generic over lanes.
//!
//! Both activations come from one core: `y = n ln 2 + r` with integer `n` and `|r| <= ln 2 / 2`,
//! then `p = e^r - 1` by its series, so `e^y = 2^n + 2^n p` and `e^y - 1 = (2^n - 1) + 2^n p`; the
//! second loses nothing near zero. One true division each.
//!
//! Contract, for float32 and float64 on every instruction set, the same bits on all of them:
//! [`sigmoid`] and [`tanh`] are at most 4 ULP from the true value (measured: the `ulp` test says
//! by how much less), [`tanh`] is exactly odd, both saturate exactly to -1, 0 and 1, NaN gives NaN.
//! They are not strictly monotone: neighbours may be one ULP out of order.

use crate::simd::{Element, Lanes};

/// `2^n` and `e^r - 1` with `y = n ln 2 + r`; `lift` is added to `n` in the first.
#[inline(always)]
fn split_exp<T: Element, L: Lanes<T>>(l: L, y: L::V, lift: T) -> (L::V, L::V) {
    let n = l.round(l.mul(y, l.splat(T::LOG2_E)));
    let r = l.fma(n, l.splat(-T::LN_2[0]), y);
    let r = l.fma(n, l.splat(-T::LN_2[1]), r);
    let mut q = l.splat(T::EXP_SERIES[T::EXP_SERIES.len() - 1]);
    for &c in T::EXP_SERIES.iter().rev().skip(1) {
        q = l.fma(q, r, l.splat(c));
    }
    (l.pow2(l.add(n, l.splat(lift))), l.fma(l.mul(r, r), q, r))
}

/// `e^x` for `x <= 0`, down to the last subnormal number; at most 2 ULP from the true value.
#[inline(always)]
pub fn exp_negative<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let (s, p) = split_exp(l, l.max(l.splat(T::EXP_MIN), x), T::EXP_LIFT);
    l.mul(l.fma(s, p, s), l.splat(T::EXP_DROP))
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let (zero, one) = (l.splat(T::from_f64(0.0)), l.splat(T::from_f64(1.0)));
    let e = exp_negative(l, l.sub(zero, l.abs(x)));
    l.div(l.select_lt(x, zero, e, one), l.add(one, e))
}

/// `(e^2x - 1) / (e^2x + 1)`
#[inline(always)]
pub fn tanh<T: Element, L: Lanes<T>>(l: L, x: L::V) -> L::V {
    let (one, two) = (l.splat(T::from_f64(1.0)), l.splat(T::from_f64(2.0)));
    // From 20 on the result is 1 in either precision.
    let y = l.max(l.splat(T::from_f64(-40.0)), l.mul(l.abs(x), l.splat(T::from_f64(-2.0))));
    let (s, p) = split_exp(l, y, T::from_f64(0.0));
    let less_one = l.fma(s, p, l.sub(s, one));
    l.copysign(l.div(less_one, l.add(two, less_one)), x)
}
