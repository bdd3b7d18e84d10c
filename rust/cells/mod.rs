//! The recurrent cells: what happens in registers once a matrix product is done.
//!
//! A cell owns no loop, memory, thread or instruction set. It says, as constants, which products a
//! step needs and which values it reads and leaves, and supplies the arithmetic between them, for
//! one row and one register of units at a time, forward next to backward.
//!
//! A step has one or two *stages*, each a product followed by the cell's arithmetic. The second
//! stage multiplies what the first one left in the auxiliary row (`r * h` in the GRU of 2014, the
//! unprojected output of the projected LSTM).

mod gru;
mod lstm;
mod rnn;

pub use gru::{GruAfter, GruBefore};
pub use lstm::Lstm;
pub use rnn::Rnn;

use crate::simd::{Element, Lanes};

/// The most gates that a cell has.
pub const MAX_GATES: usize = 4;

/// The left factor of a stage's product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// Forward: the previous state `h`. Backward: the next step's gate gradients.
    Recurrent,
    /// Forward: the auxiliary row. Backward: this step's own gradients, from the stage before.
    Stage,
}

/// A forward stage.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    /// What the packed weights are multiplied with.
    pub factor: Factor,
    /// The gates (blocks of rows of `w_hh`, PyTorch's order) that its panels hold, side by side.
    pub gates: &'static [usize],
    /// The panel of the projected input where its sums start; `None`: at zero, by `w_hr`.
    pub start: Option<usize>,
    /// It leaves the new `h`.
    pub gives_h: bool,
    /// It leaves the new `c`.
    pub gives_c: bool,
    /// It leaves an auxiliary row for the next stage.
    pub gives_auxiliary: bool,
    /// The kept values that it leaves, by number.
    pub gives_kept: &'static [usize],
    /// The kept values that it reads; an earlier stage left them.
    pub reads_kept: &'static [usize],
}

/// A backward stage. Gradients are columns of `H`, numbered as in [`Cell::GRADIENTS`].
#[derive(Debug, Clone, Copy)]
pub struct Backward {
    /// What the packed transposed weights are multiplied with.
    pub factor: Factor,
    /// The gradient columns that are multiplied: the first and their number.
    pub columns: (usize, usize),
    /// The gates of `w_hh` that these columns belong to, in the same order; empty: `w_hr`.
    pub gates: &'static [usize],
    /// The gradient columns that it leaves; empty: the projected `dh`.
    pub gives: &'static [usize],
    /// It reads and leaves the gradient of `c`.
    pub cell_state: bool,
}

/// What a forward stage sees of one row and one register of units.
#[derive(Clone, Copy)]
pub struct Before<V> {
    /// The sums, one a gate of the stage.
    pub sums: [V; MAX_GATES],
    /// The projected input's first panel (for a gate whose input part stays apart).
    pub input: V,
    /// The previous `h`.
    pub h: V,
    /// The previous `c`.
    pub c: V,
    /// Kept values of an earlier stage.
    pub kept: [V; MAX_GATES],
}

/// What a forward stage leaves.
#[derive(Clone, Copy)]
pub struct After<V> {
    /// The new `h`.
    pub h: V,
    /// The new `c`.
    pub c: V,
    /// The auxiliary row.
    pub auxiliary: V,
    /// What backward, or a later stage, needs.
    pub kept: [V; MAX_GATES],
}

/// What a backward stage sees of one row and one register of units.
#[derive(Clone, Copy)]
pub struct Upstream<V> {
    /// The gradient of this step's `h`, complete (first stage), or the stage's product.
    pub dh: V,
    /// The gradient of this step's `c`, from the next step.
    pub dc: V,
    /// The gradient that flows to the previous `h` without a product, so far.
    pub carry: V,
    /// This step's `h`.
    pub h: V,
    /// The previous `h`.
    pub h_prev: V,
    /// This step's `c`.
    pub c: V,
    /// The previous `c`.
    pub c_prev: V,
    /// What forward kept.
    pub kept: [V; MAX_GATES],
}

/// What a backward stage leaves.
#[derive(Clone, Copy)]
pub struct Downstream<V> {
    /// Gradients by column number; those that the stage gives are stored.
    pub gradients: [V; MAX_GATES],
    /// The gradient of the previous `c`.
    pub dc: V,
    /// The gradient that flows to the previous `h` without a product.
    pub carry: V,
}

/// A recurrent cell.
pub trait Cell<T: Element>: Copy + Send + Sync + 'static {
    /// G, the blocks of `H` rows in `w_ih` and `w_hh`.
    const GATES: usize;
    /// The gates in the order of the projected input's panels.
    const INPUT: &'static [usize];
    /// A gate whose recurrent sum starts from its own bias in one more panel, behind `INPUT`'s.
    const APART: Option<usize>;
    /// It has a state `c`.
    const CELL_STATE: bool;
    /// Values per unit that forward keeps for backward.
    const KEPT: usize;
    /// The products of a step.
    const FORWARD: &'static [Forward];
    /// Gradient columns per unit: one a gate, and one more for a gate that is `APART`.
    const GRADIENTS: usize;
    /// The first of `GATES` consecutive gradient columns that belong to `w_ih`, in its order.
    const INPUT_GRADIENTS: usize;
    /// For each gate, the gradient column that belongs to its rows of `w_hh`.
    const RECURRENT_GRADIENTS: &'static [usize];
    /// The gate whose rows of `w_hh` were multiplied with the auxiliary row.
    const AUXILIARY_GATE: Option<usize>;
    /// Part of the gradient flows to the previous `h` without a product.
    const CARRY: bool;
    /// The products of a backward step.
    const BACKWARD: &'static [Backward];

    /// The arithmetic after product `stage`.
    fn forward<L: Lanes<T>>(self, l: L, stage: usize, u: &Before<L::V>) -> After<L::V>;
    /// The arithmetic after backward product `stage`.
    fn backward<L: Lanes<T>>(self, l: L, stage: usize, u: &Upstream<L::V>) -> Downstream<L::V>;
}

/// `y * (1 - y)`, the derivative of the sigmoid where it is `y`, times `d`.
#[inline(always)]
fn through_sigmoid<T: Element, L: Lanes<T>>(l: L, d: L::V, y: L::V) -> L::V {
    l.mul(d, l.mul(y, l.sub(l.splat(T::from_f64(1.0)), y)))
}

/// `1 - y * y`, the derivative of tanh where it is `y`, times `d`.
#[inline(always)]
fn through_tanh<T: Element, L: Lanes<T>>(l: L, d: L::V, y: L::V) -> L::V {
    let zero = l.splat(T::default());
    l.mul(d, l.fma(l.sub(zero, y), y, l.splat(T::from_f64(1.0))))
}
