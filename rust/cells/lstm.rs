//! Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9(8), 1997) with the
//! forget gate of Gers, Schmidhuber and Cummins (Neural Computation 12(10), 2000) and, if asked
//! for, the recurrent projection of Sak, Senior and Beaufays (Interspeech 2014).
//!
//! ```text
//! i, f, o = sigmoid(W_i* x + b + W_h* h + b)       g = tanh(W_ig x + b + W_hg h + b)
//! c' = f c + i g                                   h' = o tanh(c')
//! projected: m = o tanh(c')                        h' = W_hr m
//!
//! do = dh tanh(c')                                 dc = dc' + dh o (1 - tanh(c')^2)
//! di = dc g      df = dc c      dg = dc i          dc_prev = dc f
//! ```

use super::{
    After, Backward, Before, Cell, Downstream, Factor, Forward, Upstream, through_sigmoid,
    through_tanh,
};
use crate::math;
use crate::simd::{Element, Lanes};

/// The LSTM; `PROJECTED` adds `w_hr`.
#[derive(Debug, Clone, Copy)]
pub struct Lstm<const PROJECTED: bool>;

const GATES: Forward = Forward {
    factor: Factor::Recurrent,
    gates: &[0, 1, 2, 3],
    start: Some(0),
    gives_h: true,
    gives_c: true,
    gives_auxiliary: false,
    gives_kept: &[0, 1, 2, 3],
    reads_kept: &[],
};

const PROJECTION: Forward = Forward {
    factor: Factor::Stage,
    gates: &[0],
    start: None,
    gives_h: true,
    gives_c: false,
    gives_auxiliary: false,
    gives_kept: &[],
    reads_kept: &[],
};

const GATE_GRADIENTS: Backward = Backward {
    factor: Factor::Recurrent,
    columns: (0, 4),
    gates: &[0, 1, 2, 3],
    gives: &[0, 1, 2, 3],
    cell_state: true,
};

impl<T: Element, const PROJECTED: bool> Cell<T> for Lstm<PROJECTED> {
    const GATES: usize = 4;
    const INPUT: &'static [usize] = &[0, 1, 2, 3];
    const APART: Option<usize> = None;
    const CELL_STATE: bool = true;
    const KEPT: usize = 4;
    const FORWARD: &'static [Forward] = if PROJECTED {
        &[Forward { gives_h: false, gives_auxiliary: true, ..GATES }, PROJECTION]
    } else {
        &[GATES]
    };
    const GRADIENTS: usize = 4;
    const INPUT_GRADIENTS: usize = 0;
    const RECURRENT_GRADIENTS: &'static [usize] = &[0, 1, 2, 3];
    const AUXILIARY_GATE: Option<usize> = None;
    const CARRY: bool = false;
    const BACKWARD: &'static [Backward] = if PROJECTED {
        &[
            Backward { gives: &[], cell_state: false, ..GATE_GRADIENTS },
            Backward { factor: Factor::Stage, columns: (0, 1), gates: &[], ..GATE_GRADIENTS },
        ]
    } else {
        &[GATE_GRADIENTS]
    };

    #[inline(always)]
    fn forward<L: Lanes<T>>(self, l: L, stage: usize, u: &Before<L::V>) -> After<L::V> {
        if stage == 1 {
            return After { h: u.sums[0], c: u.c, auxiliary: u.sums[0], kept: u.kept };
        }
        let (i, f) = (math::sigmoid(l, u.sums[0]), math::sigmoid(l, u.sums[1]));
        let (g, o) = (math::tanh(l, u.sums[2]), math::sigmoid(l, u.sums[3]));
        let c = l.fma(f, u.c, l.mul(i, g));
        let h = l.mul(o, math::tanh(l, c));
        After { h, c, auxiliary: h, kept: [i, f, g, o] }
    }

    #[inline(always)]
    fn backward<L: Lanes<T>>(self, l: L, stage: usize, u: &Upstream<L::V>) -> Downstream<L::V> {
        if PROJECTED && stage == 0 {
            return Downstream { gradients: [u.dh; 4], dc: u.dc, carry: u.carry };
        }
        let [i, f, g, o] = u.kept;
        let tanh_c = math::tanh(l, u.c);
        let dc = l.add(u.dc, through_tanh(l, l.mul(u.dh, o), tanh_c));
        let gradients = [
            through_sigmoid(l, l.mul(dc, g), i),
            through_sigmoid(l, l.mul(dc, u.c_prev), f),
            through_tanh(l, l.mul(dc, i), g),
            through_sigmoid(l, l.mul(u.dh, tanh_c), o),
        ];
        Downstream { gradients, dc: l.mul(dc, f), carry: u.carry }
    }
}
