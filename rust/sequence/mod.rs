//! The time loop and backpropagation through time, written once for all cells.

mod backward;
mod between;
mod bptt;
mod checksums;
mod epilogue;
mod forward;
mod gradients;
#[cfg(test)]
mod handover_tests;
mod input_gradients;
mod plan;
mod saved;
mod sharing;
mod space;
mod time_loop;
mod weights;

#[cfg(feature = "python")]
pub(crate) use weights::Function;

pub use backward::{GradientOutputs, Gradients, StateGradients};
pub use forward::{Output, Outputs, Sequence};
pub use saved::{Memory, Saved};
pub use weights::{CellKind, Parameters, Weights};

use crate::cells::{Cell, GruAfter, GruBefore, Lstm, Rnn};
use crate::simd::Element;

/// Something to do with a cell whose type is known.
pub(crate) trait WithCell<T: Element> {
    type Output;
    fn run<C: Cell<T>>(self, cell: C) -> Self::Output;
}

/// The one place that turns a [`CellKind`] into a type.
pub(crate) fn with_cell<T: Element, W: WithCell<T>>(
    kind: CellKind, projected: bool, work: W,
) -> W::Output {
    match (kind, projected) {
        (CellKind::RnnTanh, _) => work.run(Rnn { relu: false }),
        (CellKind::RnnRelu, _) => work.run(Rnn { relu: true }),
        (CellKind::Lstm, false) => work.run(Lstm::<false>),
        (CellKind::Lstm, true) => work.run(Lstm::<true>),
        (CellKind::Gru, _) => work.run(GruAfter),
        (CellKind::GruBefore, _) => work.run(GruBefore),
    }
}
