//! The gated recurrent unit (Cho et al., "Learning phrase representations using RNN
//! encoder-decoder", EMNLP 2014), with the reset gate before or after the recurrent product.
//!
//! ```text
//! r, z = sigmoid(W_i* x + b + W_h* h + b)
//! after:   n = tanh(W_in x + b_in + r (W_hn h + b_hn))     PyTorch, cuDNN, Keras' default
//! before:  n = tanh(W_in x + b_in + W_hn (r h) + b_hn)     the paper, ONNX' default
//! h' = (1 - z) n + z h
//!
//! dn = dh (1 - z)      dz = dh (h - n)      dh_prev = dh z + (through the products)
//! after:   dr = dn_pre (W_hn h + b_hn)      dhn = dn_pre r
//! before:  d(r h) = W_hn^T dn_pre           dr = d(r h) h        dh_prev += d(r h) r
//! ```

use super::{
    After, Backward, Before, Cell, Downstream, Factor, Forward, Upstream, through_sigmoid,
    through_tanh,
};
use crate::math;
use crate::simd::{Element, Lanes};

const R: usize = 0;
const Z: usize = 1;
const N: usize = 2;

/// The reset gate scales the recurrent product.
#[derive(Debug, Clone, Copy)]
pub struct GruAfter;

/// The reset gate scales the state before the recurrent product.
#[derive(Debug, Clone, Copy)]
pub struct GruBefore;

/// `(1 - z) n + z h`
#[inline(always)]
fn blend<T: Element, L: Lanes<T>>(l: L, z: L::V, n: L::V, h: L::V) -> L::V {
    l.fma(z, l.sub(h, n), n)
}

/// The gradients of the sums of `z` and `n`, and of `h` through the blend.
#[inline(always)]
fn through_blend<T: Element, L: Lanes<T>>(
    l: L, dh: L::V, z: L::V, n: L::V, h: L::V,
) -> (L::V, L::V, L::V) {
    let one = l.splat(T::from_f64(1.0));
    let dz = through_sigmoid(l, l.mul(dh, l.sub(h, n)), z);
    let dn = through_tanh(l, l.mul(dh, l.sub(one, z)), n);
    (dz, dn, l.mul(dh, z))
}

impl<T: Element> Cell<T> for GruAfter {
    const GATES: usize = 3;
    // n's input part comes first and its recurrent sum last, so both runs of three are contiguous.
    const INPUT: &'static [usize] = &[N, R, Z];
    const APART: Option<usize> = Some(N);
    const CELL_STATE: bool = false;
    const KEPT: usize = 4;
    const FORWARD: &'static [Forward] = &[Forward {
        factor: Factor::Recurrent,
        gates: &[R, Z, N],
        start: Some(1),
        gives_h: true,
        gives_c: false,
        gives_auxiliary: false,
        gives_kept: &[0, 1, 2, 3],
        reads_kept: &[],
    }];
    // Columns: dhn, dr, dz, dn. The first three belong to w_hh, the last three to w_ih.
    const GRADIENTS: usize = 4;
    const INPUT_GRADIENTS: usize = 1;
    const RECURRENT_GRADIENTS: &'static [usize] = &[1, 2, 0];
    const AUXILIARY_GATE: Option<usize> = None;
    const CARRY: bool = true;
    const BACKWARD: &'static [Backward] = &[Backward {
        factor: Factor::Recurrent,
        columns: (0, 3),
        gates: &[N, R, Z],
        gives: &[0, 1, 2, 3],
        cell_state: false,
    }];

    #[inline(always)]
    fn forward<L: Lanes<T>>(self, l: L, _: usize, u: &Before<L::V>) -> After<L::V> {
        let (r, z) = (math::sigmoid(l, u.sums[0]), math::sigmoid(l, u.sums[1]));
        let hn = u.sums[2];
        let n = math::tanh(l, l.fma(r, hn, u.input));
        let h = blend(l, z, n, u.h);
        After { h, c: u.c, auxiliary: h, kept: [r, z, n, hn] }
    }

    #[inline(always)]
    fn backward<L: Lanes<T>>(self, l: L, _: usize, u: &Upstream<L::V>) -> Downstream<L::V> {
        let [r, z, n, hn] = u.kept;
        let (dz, dn, carry) = through_blend(l, u.dh, z, n, u.h_prev);
        let dr = through_sigmoid(l, l.mul(dn, hn), r);
        Downstream { gradients: [l.mul(dn, r), dr, dz, dn], dc: u.dc, carry }
    }
}

impl<T: Element> Cell<T> for GruBefore {
    const GATES: usize = 3;
    const INPUT: &'static [usize] = &[R, Z, N];
    const APART: Option<usize> = None;
    const CELL_STATE: bool = false;
    const KEPT: usize = 3;
    const FORWARD: &'static [Forward] = &[
        Forward {
            factor: Factor::Recurrent,
            gates: &[R, Z],
            start: Some(0),
            gives_h: false,
            gives_c: false,
            gives_auxiliary: true,
            gives_kept: &[R, Z],
            reads_kept: &[],
        },
        Forward {
            factor: Factor::Stage,
            gates: &[N],
            start: Some(2),
            gives_h: true,
            gives_c: false,
            gives_auxiliary: false,
            gives_kept: &[N],
            reads_kept: &[Z],
        },
    ];
    // Columns: dr, dz, dn.
    const GRADIENTS: usize = 3;
    const INPUT_GRADIENTS: usize = 0;
    const RECURRENT_GRADIENTS: &'static [usize] = &[0, 1, 2];
    const AUXILIARY_GATE: Option<usize> = Some(N);
    const CARRY: bool = true;
    const BACKWARD: &'static [Backward] = &[
        Backward {
            factor: Factor::Recurrent,
            columns: (0, 2),
            gates: &[R, Z],
            gives: &[1, 2],
            cell_state: false,
        },
        Backward {
            factor: Factor::Stage,
            columns: (2, 1),
            gates: &[N],
            gives: &[0],
            cell_state: false,
        },
    ];

    #[inline(always)]
    fn forward<L: Lanes<T>>(self, l: L, stage: usize, u: &Before<L::V>) -> After<L::V> {
        if stage == 0 {
            let (r, z) = (math::sigmoid(l, u.sums[0]), math::sigmoid(l, u.sums[1]));
            return After { h: u.h, c: u.c, auxiliary: l.mul(r, u.h), kept: [r, z, z, z] };
        }
        let n = math::tanh(l, u.sums[0]);
        let h = blend(l, u.kept[Z], n, u.h);
        After { h, c: u.c, auxiliary: h, kept: [n; 4] }
    }

    #[inline(always)]
    fn backward<L: Lanes<T>>(self, l: L, stage: usize, u: &Upstream<L::V>) -> Downstream<L::V> {
        let [r, z, n, _] = u.kept;
        if stage == 0 {
            let (dz, dn, carry) = through_blend(l, u.dh, z, n, u.h_prev);
            return Downstream { gradients: [dz, dz, dn, dn], dc: u.dc, carry };
        }
        let dr = through_sigmoid(l, l.mul(u.dh, u.h_prev), r);
        Downstream { gradients: [dr; 4], dc: u.dc, carry: l.fma(u.dh, r, u.carry) }
    }
}
