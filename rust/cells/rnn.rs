//! The simple recurrent network (Elman, "Finding structure in time", Cognitive Science 14, 1990).
//!
//! ```text
//! h' = act(W_ih x + b_ih + W_hh h + b_hh)          act = tanh or relu
//! da = dh' * act'(a)        tanh' = 1 - h'^2       relu' = 1 where h' > 0, else 0
//! ```

use super::{After, Backward, Before, Cell, Downstream, Factor, Forward, Upstream, through_tanh};
use crate::math;
use crate::simd::{Element, Lanes};

/// The simple cell, with tanh or relu.
#[derive(Debug, Clone, Copy)]
pub struct Rnn {
    /// relu instead of tanh.
    pub relu: bool,
}

impl<T: Element> Cell<T> for Rnn {
    const GATES: usize = 1;
    const INPUT: &'static [usize] = &[0];
    const APART: Option<usize> = None;
    const CELL_STATE: bool = false;
    const KEPT: usize = 0;
    const FORWARD: &'static [Forward] = &[Forward {
        factor: Factor::Recurrent,
        gates: &[0],
        start: Some(0),
        gives_h: true,
        gives_c: false,
        gives_auxiliary: false,
        gives_kept: &[],
        reads_kept: &[],
    }];
    const GRADIENTS: usize = 1;
    const INPUT_GRADIENTS: usize = 0;
    const RECURRENT_GRADIENTS: &'static [usize] = &[0];
    const AUXILIARY_GATE: Option<usize> = None;
    const CARRY: bool = false;
    const BACKWARD: &'static [Backward] = &[Backward {
        factor: Factor::Recurrent,
        columns: (0, 1),
        gates: &[0],
        gives: &[0],
        cell_state: false,
    }];

    #[inline(always)]
    fn forward<L: Lanes<T>>(self, l: L, _: usize, u: &Before<L::V>) -> After<L::V> {
        let a = u.sums[0];
        let zero = l.splat(T::default());
        // Compared this way round, relu lets NaN through.
        let h = if self.relu { l.select_lt(a, zero, zero, a) } else { math::tanh(l, a) };
        After { h, c: u.c, auxiliary: h, kept: u.kept }
    }

    #[inline(always)]
    fn backward<L: Lanes<T>>(self, l: L, _: usize, u: &Upstream<L::V>) -> Downstream<L::V> {
        let zero = l.splat(T::default());
        let da =
            if self.relu { l.select_lt(zero, u.h, u.dh, zero) } else { through_tanh(l, u.dh, u.h) };
        Downstream { gradients: [da, zero, zero, zero], dc: u.dc, carry: u.carry }
    }
}
