//! The packed weights of one layer and direction.

use std::fmt;
use std::sync::Arc;

use ndarray::{ArrayView1, ArrayView2};

use crate::buffer::{Buffer, size};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::kernel::panel_width;
use crate::panels::Panels;
use crate::shape::{self, Sizes};
use crate::simd::{Element, Isa};

/// Which recurrence a layer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// The simple cell with tanh.
    RnnTanh,
    /// The simple cell with relu.
    RnnRelu,
    /// The LSTM, with or without projection.
    Lstm,
    /// The GRU whose reset gate scales the recurrent product (PyTorch, cuDNN, Keras' default).
    Gru,
    /// The GRU whose reset gate scales the state (Cho et al. 2014, ONNX' default).
    GruBefore,
}

impl CellKind {
    /// G: the blocks of `H` rows in `w_ih` and `w_hh`.
    pub fn gates(self) -> usize {
        match self {
            Self::RnnTanh | Self::RnnRelu => 1,
            Self::Lstm => 4,
            Self::Gru | Self::GruBefore => 3,
        }
    }

    /// The name of a function on this cell, as in `recurra.functional`.
    pub(crate) fn operation(self, function: Function) -> &'static str {
        let names = match self {
            Self::RnnTanh | Self::RnnRelu => ["rnn_forward", "rnn_backward", "rnn_step"],
            Self::Lstm => ["lstm_forward", "lstm_backward", "lstm_step"],
            Self::Gru | Self::GruBefore => ["gru_forward", "gru_backward", "gru_step"],
        };
        names[function as usize]
    }
}

/// The functions on a cell, for error texts.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    Forward,
    Backward,
    Step,
}

/// The parameters of one layer and direction, with PyTorch's shapes and gate order.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a, T> {
    /// `(G*H, I)`
    pub w_ih: ArrayView2<'a, T>,
    /// `(G*H, H)`; `(4*H, P)` for the projected LSTM.
    pub w_hh: ArrayView2<'a, T>,
    /// `(G*H,)`
    pub b_ih: Option<ArrayView1<'a, T>>,
    /// `(G*H,)`
    pub b_hh: Option<ArrayView1<'a, T>>,
    /// `(P, H)`: makes it a projected LSTM.
    pub w_hr: Option<ArrayView2<'a, T>>,
}

/// A packed snapshot of a layer's parameters, shared by any number of calls and threads.
///
/// Packing costs about as much as one step of a small batch; a snapshot does not see later changes
/// of the arrays that it was made from.
#[derive(Clone)]
pub struct Weights<T> {
    pub(crate) packed: Arc<Packed<T>>,
}

impl<T> fmt::Debug for Weights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packed { kind, sizes, .. } = &*self.packed;
        f.debug_struct("Weights").field("kind", kind).field("sizes", sizes).finish_non_exhaustive()
    }
}

/// What backward multiplies with.
pub(crate) struct Transposed<T> {
    /// By backward stage.
    pub stages: Vec<Panels<T>>,
    /// `w_ih` transposed.
    pub input: Panels<T>,
}

/// Panels for all products of a layer.
pub(crate) struct Packed<T> {
    pub kind: CellKind,
    pub sizes: Sizes,
    pub isa: Isa,
    /// `w_ih`, gates in the cell's `INPUT` order within each group of units.
    pub input: Panels<T>,
    /// One row in the layout of the projected input: what its sums start from.
    pub bias: Buffer<T>,
    /// By forward stage.
    pub stages: Vec<Panels<T>>,
    pub transposed: Option<Transposed<T>>,
    /// Which of the biases were given.
    pub biases: [bool; 2],
}

impl<T: Element> Weights<T> {
    /// Packs the parameters for the current instruction set; `training` packs what backward needs
    /// as well.
    ///
    /// # Errors
    /// [`Error::Argument`] for shapes that do not fit each other, [`Error::Memory`],
    /// [`Error::InstructionSet`].
    pub fn pack(kind: CellKind, parameters: &Parameters<'_, T>, training: bool) -> Result<Self> {
        Self::pack_for(kind, parameters, training, "pack")
    }

    pub(crate) fn pack_for(
        kind: CellKind, parameters: &Parameters<'_, T>, training: bool, operation: &'static str,
    ) -> Result<Self> {
        let sizes = shape::parameters(operation, kind, parameters)?;
        let packed = crate::sequence::with_cell(
            kind,
            sizes.projected,
            Pack { kind, sizes, parameters, training },
        )?;
        Ok(Self { packed: Arc::new(packed) })
    }

    /// The cell that these are the weights of.
    pub fn kind(&self) -> CellKind {
        self.packed.kind
    }

    /// I, H and the width of `h`.
    pub fn sizes(&self) -> Sizes {
        self.packed.sizes
    }
}

struct Pack<'a, 'b, T> {
    kind: CellKind,
    sizes: Sizes,
    parameters: &'a Parameters<'b, T>,
    training: bool,
}

impl<T: Element> crate::sequence::WithCell<T> for Pack<'_, '_, T> {
    type Output = Result<Packed<T>>;

    fn run<C: Cell<T>>(self, _: C) -> Self::Output {
        let isa = Isa::current()?;
        let (p, sizes) = (self.parameters, self.sizes);
        let lanes = isa.lanes::<T>();
        let rows = |w: &ArrayView2<'_, T>, gates: &[usize], units| pack_rows(w, gates, units, isa);
        probe::<T, C>(sizes, lanes, self.training)?;
        let stages = C::FORWARD.iter().map(|stage| match stage.start {
            Some(_) => rows(&p.w_hh, stage.gates, sizes.hidden),
            None => rows(p.w_hr.as_ref().unwrap_or(&p.w_hh), &[0], sizes.output),
        });
        Ok(Packed {
            kind: self.kind,
            sizes,
            isa,
            input: rows(&p.w_ih, C::INPUT, sizes.hidden)?,
            bias: pack_bias::<T, C>(p, sizes.hidden, lanes)?,
            stages: stages.collect::<Result<_>>()?,
            transposed: self.training.then(|| transpose::<T, C>(p, sizes, lanes)).transpose()?,
            biases: [p.b_ih.is_some(), p.b_hh.is_some()],
        })
    }
}

/// Elements that are not worth asking for beforehand.
const SURELY_THERE: usize = 1 << 24;

/// Refuses weights for which there is no memory, before any is filled.
fn probe<T: Element, C: Cell<T>>(sizes: Sizes, lanes: usize, training: bool) -> Result<()> {
    let width = panel_width(lanes);
    let padded = |n: usize| n.checked_next_multiple_of(width);
    let panels = |rows: usize, columns: usize| size(&[C::GATES, padded(rows)?, columns]);
    let Sizes { input, hidden, output, .. } = sizes;
    let projection = |rows: usize, columns: usize| match sizes.projected {
        true => size(&[padded(rows)?, columns]),
        false => Some(0),
    };
    let forward = [panels(hidden, input), panels(hidden, output), projection(output, hidden)];
    let backward = [panels(input, hidden), panels(output, hidden), projection(hidden, output)];
    let sum = |terms: &[Option<usize>]| {
        terms.iter().try_fold(0usize, |sum, &term| sum.checked_add(term?))
    };
    let len = sum(&forward).and_then(|n| n.checked_add(if training { sum(&backward)? } else { 0 }));
    let purpose = "packed weights";
    let len = len.ok_or(Error::Memory { purpose, bytes: None })?;
    // Reserved and given back: a size that cannot be had is known before a smaller part is touched.
    if len < SURELY_THERE { Ok(()) } else { Buffer::<T>::new(len, purpose).map(drop) }
}

fn transpose<T: Element, C: Cell<T>>(
    p: &Parameters<'_, T>, sizes: Sizes, lanes: usize,
) -> Result<Transposed<T>> {
    let all: Vec<usize> = (0..C::GATES).collect();
    let stages = C::BACKWARD.iter().map(|stage| match stage.gates {
        [] => pack_columns(p.w_hr.as_ref().unwrap_or(&p.w_hh), &[0], sizes.output, lanes),
        gates => pack_columns(&p.w_hh, gates, sizes.hidden, lanes),
    });
    Ok(Transposed {
        stages: stages.collect::<Result<_>>()?,
        input: pack_columns(&p.w_ih, &all, sizes.hidden, lanes)?,
    })
}

/// Panels whose columns are rows of `w`: for each group of units, a panel for each of `gates`.
fn pack_rows<T: Element>(
    w: &ArrayView2<'_, T>, gates: &[usize], units: usize, isa: Isa,
) -> Result<Panels<T>> {
    let width = panel_width(isa.lanes::<T>());
    let source = |panel: usize| {
        let unit = panel / gates.len() * width;
        let row = w.row(gates[panel % gates.len()] * units + unit);
        (row.as_ptr(), width.min(units - unit))
    };
    let count = units.div_ceil(width) * gates.len();
    let (line, step) = (w.strides()[0], w.strides()[1]);
    // SAFETY: the lines are rows of the view, and `k` is their length.
    unsafe { Panels::pack_columns(isa, w.ncols(), count, line, step, source) }
}

/// Panels whose rows are the rows of `w` that belong to `gates`, in that order.
fn pack_columns<T: Element>(
    w: &ArrayView2<'_, T>, gates: &[usize], units: usize, lanes: usize,
) -> Result<Panels<T>> {
    let (columns, step) = (w.ncols(), w.strides()[1]);
    let k = gates.len() * units;
    let source = |i: usize| w.row(gates[i / units] * units + i % units).as_ptr();
    // SAFETY: each place is the first of `columns` elements of a row, at the view's stride.
    unsafe { Panels::pack_rows(lanes, k, columns, step, source) }
}

/// The biases in the layout of a row of projected input.
fn pack_bias<T: Element, C: Cell<T>>(
    p: &Parameters<'_, T>, units: usize, lanes: usize,
) -> Result<Buffer<T>> {
    let width = panel_width(lanes);
    let panels = input_panels::<T, C>();
    let groups = units.div_ceil(width);
    let bias = Buffer::<T>::new(groups * panels * width, "packed biases")?.zeroed();
    let value = |b: &Option<ArrayView1<'_, T>>, i: usize| b.map_or(T::default(), |b| b[i]);
    for unit in 0..units {
        let row = bias.ptr().wrapping_add(unit / width * panels * width + unit % width);
        for (panel, &gate) in C::INPUT.iter().chain(&C::APART).enumerate() {
            let i = gate * units + unit;
            let apart = C::APART == Some(gate);
            let b = match (apart, panel < C::INPUT.len()) {
                (false, _) => value(&p.b_ih, i) + value(&p.b_hh, i),
                (true, true) => value(&p.b_ih, i),
                (true, false) => value(&p.b_hh, i),
            };
            // SAFETY: the buffer holds `panels` panels of `width` for each group of units.
            unsafe { *row.add(panel * width) = b };
        }
    }
    Ok(bias)
}

/// Panels of projected input for a group of units.
pub(crate) fn input_panels<T: Element, C: Cell<T>>() -> usize {
    C::INPUT.len() + usize::from(C::APART.is_some())
}

/// The panels of a snapshot for backward.
pub(crate) fn transposed<'a, T>(
    packed: &'a Packed<T>, operation: &'static str,
) -> Result<&'a Transposed<T>> {
    packed.transposed.as_ref().ok_or_else(|| Error::Argument {
        operation,
        argument: "save",
        expected: "False for weights packed without training=True".to_owned(),
        got: "True".to_owned(),
    })
}
