//! Recurrent layers forward: `Weights`, `forward`, `step`.

use ndarray::{Axis, Ix1, Ix2, Ix3};
use numpy::{PyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use super::arrays::{
    Name, Number, Precision, array, class, empty, flag, integers, optional, precision, required,
    threads, view, view_mut, writable_lines,
};
use super::backward::{EitherSaved, Saved};
use crate::sequence::{CellKind, Function};
use crate::shape;
use crate::{Memory, Outputs, Parameters, Sequence};

type Array<'py, T, D> = Bound<'py, PyArray<T, D>>;
pub(super) type Object<'py> = Bound<'py, PyAny>;
/// `y, h_n, c_n, saved`
type ForwardTuple<'py> = (Object<'py>, Object<'py>, Option<Object<'py>>, Option<Saved>);
/// `h, c`
type StepTuple<'py> = (Object<'py>, Option<Object<'py>>);

/// Steps and weights with less work than this are not worth detaching from the interpreter for.
///
/// Tried: always detaching. Where 8 threads step models of H = 64 (`benches/contention.py`), waking
/// the next thread costs about what its arithmetic gains: on 2 busy cores 0.88 times as many steps
/// in all (seven alternating pairs), the same 99th percentile, and a 99.9th of 16 to 34 ms instead
/// of 0.07 to 2 ms. Only the longest wait of all was about half as long.
const DETACH: usize = 1 << 19;

/// Calls a generic function with the precision of an array, or of an enum of both.
macro_rules! with_precision {
    ($precision:expr, $f:ident($($arg:expr),*)) => {
        match $precision {
            Precision::Single => $f::<f32>($($arg),*),
            Precision::Double => $f::<f64>($($arg),*),
        }
    };
}

/// Either precision.
pub(super) enum Either<S, D> {
    Single(S),
    Double(D),
}

/// Packed weights of one layer and direction; immutable.
#[pyclass(frozen, module = "recurra._core")]
pub(super) struct Weights(Either<crate::Weights<f32>, crate::Weights<f64>>);

/// A number type and the variants that hold it.
pub(super) trait Held: Number {
    fn weights(held: crate::Weights<Self>) -> Weights;
    fn saved(held: crate::Saved<Self>) -> EitherSaved;
}

impl Held for f32 {
    fn weights(held: crate::Weights<Self>) -> Weights {
        Weights(Either::Single(held))
    }
    fn saved(held: crate::Saved<Self>) -> EitherSaved {
        Either::Single(held)
    }
}

impl Held for f64 {
    fn weights(held: crate::Weights<Self>) -> Weights {
        Weights(Either::Double(held))
    }
    fn saved(held: crate::Saved<Self>) -> EitherSaved {
        Either::Double(held)
    }
}

fn kind(cell: &str) -> PyResult<CellKind> {
    Ok(match cell {
        "rnn_tanh" => CellKind::RnnTanh,
        "rnn_relu" => CellKind::RnnRelu,
        "lstm" => CellKind::Lstm,
        "gru" => CellKind::Gru,
        "gru_before" => CellKind::GruBefore,
        _ => {
            let names = "one of rnn_tanh, rnn_relu, lstm, gru, gru_before";
            return Err(shape::refuse("pack", "cell", names, format!("{cell:?}")).into());
        }
    })
}

/// The parameters as Python gave them.
struct Given<'a, 'py> {
    w_ih: &'a Object<'py>,
    w_hh: &'a Object<'py>,
    b_ih: Option<&'a Object<'py>>,
    b_hh: Option<&'a Object<'py>>,
    w_hr: Option<&'a Object<'py>>,
}

fn pack<T: Number>(
    kind: CellKind, given: &Given<'_, '_>, training: bool, operation: &'static str, like: &str,
) -> PyResult<crate::Weights<T>> {
    let name = |argument| Name { operation, argument };
    let rows = shape::gate_rows(kind);
    let (input, bias) = (format!("({rows}, I)"), format!("({rows},)"));
    let recurrent = format!("({rows}, {})", if given.w_hr.is_some() { "P" } else { "H" });
    let w_ih = required::<T, Ix2>(given.w_ih, name("w_ih"), &input, like)?;
    let w_hh = required::<T, Ix2>(given.w_hh, name("w_hh"), &recurrent, like)?;
    let b_ih = optional::<T, Ix1>(given.b_ih, name("b_ih"), &bias, like)?;
    let b_hh = optional::<T, Ix1>(given.b_hh, name("b_hh"), &bias, like)?;
    let w_hr = optional::<T, Ix2>(given.w_hr, name("w_hr"), "(P, H)", like)?;
    let parameters = Parameters {
        w_ih: view(&w_ih),
        w_hh: view(&w_hh),
        b_ih: b_ih.as_ref().map(view),
        b_hh: b_hh.as_ref().map(view),
        w_hr: w_hr.as_ref().map(view),
    };
    let pack = || crate::Weights::pack_for(kind, &parameters, training, operation);
    let size = parameters.w_ih.len().saturating_add(parameters.w_hh.len());
    Ok(if size < DETACH { pack()? } else { given.w_ih.py().detach(pack)? })
}

/// The sequence and its options as Python gave them.
struct Call<'a, 'py> {
    x: &'a Object<'py>,
    h0: Option<&'a Object<'py>>,
    c0: Option<&'a Object<'py>>,
    lengths: Option<&'a Object<'py>>,
    options: Options,
    /// Where `y` goes; absent for a new array.
    y: Option<&'a Object<'py>>,
    /// What has the dtype that the arrays must have.
    like: &'a str,
}

/// The letters of a state's or an output's shape.
pub(super) fn letters(projected: bool, before: &str) -> String {
    format!("({before}, {})", if projected { "P" } else { "H" })
}

fn run_forward<'py, T: Held>(
    py: Python<'py>, weights: &crate::Weights<T>, call: &Call<'_, 'py>,
) -> PyResult<ForwardTuple<'py>> {
    let operation = weights.kind().operation(Function::Forward);
    let name = |argument| Name { operation, argument };
    let state = letters(weights.sizes().projected, "B");
    let x = required::<T, Ix3>(call.x, name("x"), "(B, T, I)", call.like)?;
    let h0 = optional::<T, Ix2>(call.h0, name("h0"), &state, call.like)?;
    let c0 = optional::<T, Ix2>(call.c0, name("c0"), "(B, H)", call.like)?;
    let lengths = call.lengths.map(|l| integers(l, name("lengths"), "(B,)")).transpose()?;
    let sequence = Sequence {
        x: view(&x),
        h0: h0.as_ref().map(view),
        c0: c0.as_ref().map(view),
        lengths: lengths.as_ref().map(view),
        reverse: call.options.reverse,
        save: call.options.save,
        memory: call.options.memory,
        threads: call.options.n_threads,
    };
    let (rows, steps, sizes) = (x.shape()[0], x.shape()[1], weights.sizes());
    shape::sequence(
        operation,
        weights.kind(),
        sizes,
        &sequence.x,
        sequence.h0.as_ref(),
        sequence.c0.as_ref(),
    )?;
    let letters = letters(sizes.projected, "B, T");
    let y = match call.y {
        Some(y) => writable_lines::<T>(y, name("y"), &letters, call.like)?,
        None => empty::<T, _>(py, (rows, steps, sizes.output), "y")?,
    };
    let h_n = empty::<T, _>(py, (rows, sizes.output), "h_n")?;
    let c_n = cell_state::<T>(py, weights.kind(), rows, sizes.hidden)?;
    let outputs =
        Outputs { y: Some(view_mut(&y)), h_n: view_mut(&h_n), c_n: c_n.as_ref().map(view_mut) };
    let saved = py.detach(|| weights.forward_into(&sequence, outputs))?;
    let again = (call.options.memory == Memory::Low).then(|| x.into_any().unbind());
    let saved = saved.map(|held| Saved { held: T::saved(held), x: again });
    Ok((y.into_any(), h_n.into_any(), c_n.map(Bound::into_any), saved))
}

pub(super) fn cell_state<'py, T: Number>(
    py: Python<'py>, kind: CellKind, rows: usize, hidden: usize,
) -> PyResult<Option<Array<'py, T, Ix2>>> {
    match kind {
        CellKind::Lstm => Ok(Some(empty(py, (rows, hidden), "c_n")?)),
        _ => Ok(None),
    }
}

fn run_step<'py, T: Held>(
    py: Python<'py>, weights: &crate::Weights<T>, x: &Object<'py>, h0: Option<&Object<'py>>,
    c0: Option<&Object<'py>>, like: &str,
) -> PyResult<StepTuple<'py>> {
    let (kind, sizes) = (weights.kind(), weights.sizes());
    let operation = kind.operation(Function::Step);
    let name = |argument| Name { operation, argument };
    let state = if sizes.projected { "(B, P)" } else { "(B, H)" };
    let x = required::<T, Ix2>(x, name("x"), "(B, I)", like)?;
    let h0 = optional::<T, Ix2>(h0, name("h0"), state, like)?;
    let c0 = optional::<T, Ix2>(c0, name("c0"), "(B, H)", like)?;
    let rows = x.shape()[0];
    shape::equal(operation, "x", "(B, I)", &[rows, sizes.input], x.shape())?;
    let mut sequence = Sequence::new(view(&x).insert_axis(Axis(1)));
    (sequence.h0, sequence.c0) = (h0.as_ref().map(view), c0.as_ref().map(view));
    shape::sequence(
        operation,
        kind,
        sizes,
        &sequence.x,
        sequence.h0.as_ref(),
        sequence.c0.as_ref(),
    )?;
    let h_n = empty::<T, _>(py, (rows, sizes.output), "h")?;
    let c_n = cell_state::<T>(py, kind, rows, sizes.hidden)?;
    let outputs = Outputs { y: None, h_n: view_mut(&h_n), c_n: c_n.as_ref().map(view_mut) };
    let work = rows.saturating_mul(kind.gates() * sizes.hidden * (sizes.input + sizes.output));
    if work < DETACH {
        weights.forward_as(&sequence, outputs, Function::Step)?;
    } else {
        py.detach(|| weights.forward_as(&sequence, outputs, Function::Step))?;
    }
    Ok((h_n.into_any(), c_n.map(Bound::into_any)))
}

fn make<T: Held>(kind: CellKind, given: &Given<'_, '_>, training: bool) -> PyResult<Weights> {
    Ok(T::weights(pack::<T>(kind, given, training, "pack", "w_ih has")?))
}

/// The options of a forward call.
struct Options {
    reverse: bool,
    save: bool,
    memory: Memory,
    n_threads: Option<usize>,
}

impl Options {
    fn read(
        kind: CellKind, reverse: &Object<'_>, save: &Object<'_>, memory: Option<&Object<'_>>,
        n_threads: Option<&Object<'_>>,
    ) -> PyResult<Self> {
        let operation = kind.operation(Function::Forward);
        let name = |argument| Name { operation, argument };
        Ok(Self {
            reverse: flag(reverse, name("reverse"))?,
            save: flag(save, name("save"))?,
            memory: memory.map_or(Ok(Memory::Keep), |memory| kept(memory, name("memory")))?,
            n_threads: threads(n_threads, name("n_threads"))?,
        })
    }
}

fn kept(memory: &Object<'_>, name: Name) -> PyResult<Memory> {
    let names = "'keep' or 'low'";
    let Ok(text) = memory.cast::<PyString>() else {
        return Err(name.type_error(names, &class(memory)));
    };
    match &*text.to_cow()? {
        "keep" => Ok(Memory::Keep),
        "low" => Ok(Memory::Low),
        _ => {
            let got = memory.repr()?.to_string();
            Err(shape::refuse(name.operation, name.argument, names, got).into())
        }
    }
}

const LIKE_WEIGHTS: &str = "the weights have";

#[pymethods]
impl Weights {
    #[new]
    #[pyo3(signature = (cell, w_ih, w_hh, b_ih, b_hh, w_hr, training))]
    fn new(
        cell: &str, w_ih: &Object<'_>, w_hh: &Object<'_>, b_ih: Option<&Object<'_>>,
        b_hh: Option<&Object<'_>>, w_hr: Option<&Object<'_>>, training: &Object<'_>,
    ) -> PyResult<Self> {
        let kind = kind(cell)?;
        let given = Given { w_ih, w_hh, b_ih, b_hh, w_hr };
        let name = Name { operation: "pack", argument: "w_ih" };
        let training = flag(training, Name { argument: "training", ..name })?;
        with_precision!(precision(&array(w_ih, name)?, name)?, make(kind, &given, training))
    }

    #[pyo3(signature = (
        x, h0=None, c0=None, *, lengths=None, reverse=None, save=None, memory=None, n_threads=None,
        y=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn forward<'py>(
        &self, py: Python<'py>, x: &Object<'py>, h0: Option<&Object<'py>>,
        c0: Option<&Object<'py>>, lengths: Option<&Object<'py>>, reverse: Option<&Object<'py>>,
        save: Option<&Object<'py>>, memory: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
        y: Option<&Object<'py>>,
    ) -> PyResult<ForwardTuple<'py>> {
        let no = PyBool::new(py, false).to_owned().into_any();
        let (reverse, save) = (reverse.unwrap_or(&no), save.unwrap_or(&no));
        let options = Options::read(self.kind(), reverse, save, memory, n_threads)?;
        let call = Call { x, h0, c0, lengths, options, y, like: LIKE_WEIGHTS };
        match &self.0 {
            Either::Single(weights) => run_forward(py, weights, &call),
            Either::Double(weights) => run_forward(py, weights, &call),
        }
    }

    #[pyo3(signature = (x, h0=None, c0=None))]
    fn step<'py>(
        &self, py: Python<'py>, x: &Object<'py>, h0: Option<&Object<'py>>, c0: Option<&Object<'py>>,
    ) -> PyResult<StepTuple<'py>> {
        match &self.0 {
            Either::Single(weights) => run_step(py, weights, x, h0, c0, LIKE_WEIGHTS),
            Either::Double(weights) => run_step(py, weights, x, h0, c0, LIKE_WEIGHTS),
        }
    }
}

impl Weights {
    fn kind(&self) -> CellKind {
        match &self.0 {
            Either::Single(weights) => weights.kind(),
            Either::Double(weights) => weights.kind(),
        }
    }
}

fn pack_and_forward<'py, T: Held>(
    py: Python<'py>, kind: CellKind, given: &Given<'_, 'py>, call: &Call<'_, 'py>,
) -> PyResult<ForwardTuple<'py>> {
    let operation = kind.operation(Function::Forward);
    run_forward(py, &pack::<T>(kind, given, call.options.save, operation, call.like)?, call)
}

#[pyfunction]
#[pyo3(signature = (
    cell, x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0, lengths, reverse, save, memory, n_threads, y=None
))]
#[allow(clippy::too_many_arguments)]
fn forward<'py>(
    py: Python<'py>, cell: &str, x: &Object<'py>, w_ih: &Object<'py>, w_hh: &Object<'py>,
    b_ih: Option<&Object<'py>>, b_hh: Option<&Object<'py>>, w_hr: Option<&Object<'py>>,
    h0: Option<&Object<'py>>, c0: Option<&Object<'py>>, lengths: Option<&Object<'py>>,
    reverse: &Object<'py>, save: &Object<'py>, memory: &Object<'py>,
    n_threads: Option<&Object<'py>>, y: Option<&Object<'py>>,
) -> PyResult<ForwardTuple<'py>> {
    let kind = kind(cell)?;
    let name = Name { operation: kind.operation(Function::Forward), argument: "x" };
    let options = Options::read(kind, reverse, save, Some(memory), n_threads)?;
    let x = array(x, name)?;
    let given = Given { w_ih, w_hh, b_ih, b_hh, w_hr };
    let call = Call { x: x.as_any(), h0, c0, lengths, options, y, like: LIKE_X };
    with_precision!(precision(&x, name)?, pack_and_forward(py, kind, &given, &call))
}

const LIKE_X: &str = "x has";

fn pack_and_step<'py, T: Held>(
    py: Python<'py>, kind: CellKind, given: &Given<'_, 'py>, x: &Object<'py>,
    h0: Option<&Object<'py>>, c0: Option<&Object<'py>>,
) -> PyResult<StepTuple<'py>> {
    let weights = pack::<T>(kind, given, false, kind.operation(Function::Step), LIKE_X)?;
    run_step(py, &weights, x, h0, c0, LIKE_X)
}

#[pyfunction]
#[pyo3(signature = (cell, x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0))]
#[allow(clippy::too_many_arguments)]
fn step<'py>(
    py: Python<'py>, cell: &str, x: &Object<'py>, w_ih: &Object<'py>, w_hh: &Object<'py>,
    b_ih: Option<&Object<'py>>, b_hh: Option<&Object<'py>>, w_hr: Option<&Object<'py>>,
    h0: Option<&Object<'py>>, c0: Option<&Object<'py>>,
) -> PyResult<StepTuple<'py>> {
    let kind = kind(cell)?;
    let name = Name { operation: kind.operation(Function::Step), argument: "x" };
    let x = array(x, name)?;
    let given = Given { w_ih, w_hh, b_ih, b_hh, w_hr };
    with_precision!(precision(&x, name)?, pack_and_step(py, kind, &given, x.as_any(), h0, c0))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Weights>()?;
    module.add_function(wrap_pyfunction!(forward, module)?)?;
    module.add_function(wrap_pyfunction!(step, module)?)
}
