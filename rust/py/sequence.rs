//! Recurrent layers: `Weights`, `Saved`, `forward`, `step`, `backward`.

use ndarray::{Axis, Ix1, Ix2, Ix3};
use numpy::{PyArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::arrays::{
    Name, Number, Precision, array, empty, integers, optional, precision, required, typed, view,
    view_mut,
};
use crate::sequence::{CellKind, Function};
use crate::shape;
use crate::{GradientOutputs, Outputs, Parameters, Sequence, StateGradients};

type Array<'py, T, D> = Bound<'py, PyArray<T, D>>;
type Object<'py> = Bound<'py, PyAny>;
/// `y, h_n, c_n, saved`
type ForwardTuple<'py> = (Object<'py>, Object<'py>, Option<Object<'py>>, Option<Saved>);

/// Steps with less work than this are not worth detaching from the interpreter for.
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

enum Either<S, D> {
    Single(S),
    Double(D),
}

/// Packed weights of one layer and direction; immutable.
#[pyclass(frozen, module = "recurra._core")]
pub(super) struct Weights(Either<crate::Weights<f32>, crate::Weights<f64>>);

/// What a forward call keeps for backward; immutable.
#[pyclass(frozen, module = "recurra._core")]
pub(super) struct Saved(Either<crate::Saved<f32>, crate::Saved<f64>>);

/// A number type and the variants that hold it.
trait Held: Number {
    fn weights(held: crate::Weights<Self>) -> Weights;
    fn saved(held: crate::Saved<Self>) -> Saved;
}

impl Held for f32 {
    fn weights(held: crate::Weights<Self>) -> Weights {
        Weights(Either::Single(held))
    }
    fn saved(held: crate::Saved<Self>) -> Saved {
        Saved(Either::Single(held))
    }
}

impl Held for f64 {
    fn weights(held: crate::Weights<Self>) -> Weights {
        Weights(Either::Double(held))
    }
    fn saved(held: crate::Saved<Self>) -> Saved {
        Saved(Either::Double(held))
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
    kind: CellKind, given: &Given<'_, '_>, training: bool, operation: &'static str,
) -> PyResult<crate::Weights<T>> {
    let name = |argument| Name { operation, argument };
    let letters = if kind.gates() == 1 { "(H,)" } else { "(G*H,)" };
    let w_ih = required::<T, Ix2>(given.w_ih, name("w_ih"), "(G*H, I)")?;
    let w_hh = required::<T, Ix2>(given.w_hh, name("w_hh"), "(G*H, H)")?;
    let b_ih = optional::<T, Ix1>(given.b_ih, name("b_ih"), letters)?;
    let b_hh = optional::<T, Ix1>(given.b_hh, name("b_hh"), letters)?;
    let w_hr = optional::<T, Ix2>(given.w_hr, name("w_hr"), "(P, H)")?;
    let parameters = Parameters {
        w_ih: view(&w_ih),
        w_hh: view(&w_hh),
        b_ih: b_ih.as_ref().map(view),
        b_hh: b_hh.as_ref().map(view),
        w_hr: w_hr.as_ref().map(view),
    };
    Ok(crate::Weights::pack_for(kind, &parameters, training, operation)?)
}

/// The sequence and its options as Python gave them.
struct Call<'a, 'py> {
    x: &'a Object<'py>,
    h0: Option<&'a Object<'py>>,
    c0: Option<&'a Object<'py>>,
    lengths: Option<&'a Object<'py>>,
    reverse: bool,
    save: bool,
    n_threads: Option<usize>,
}

fn run_forward<'py, T: Held>(
    py: Python<'py>, weights: &crate::Weights<T>, call: &Call<'_, 'py>,
) -> PyResult<ForwardTuple<'py>> {
    let operation = weights.kind().operation(Function::Forward);
    let name = |argument| Name { operation, argument };
    let x = required::<T, Ix3>(call.x, name("x"), "(B, T, I)")?;
    let h0 = optional::<T, Ix2>(call.h0, name("h0"), "(B, H)")?;
    let c0 = optional::<T, Ix2>(call.c0, name("c0"), "(B, H)")?;
    let lengths = call.lengths.map(|l| integers(l, name("lengths"), "(B,)")).transpose()?;
    let sequence = Sequence {
        x: view(&x),
        h0: h0.as_ref().map(view),
        c0: c0.as_ref().map(view),
        lengths: lengths.as_ref().map(view),
        reverse: call.reverse,
        save: call.save,
        threads: call.n_threads,
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
    let y = empty::<T, _>(py, (rows, steps, sizes.output), "y")?;
    let h_n = empty::<T, _>(py, (rows, sizes.output), "h_n")?;
    let c_n = cell_state::<T>(py, weights.kind(), rows, sizes.hidden)?;
    let outputs = Outputs { y: view_mut(&y), h_n: view_mut(&h_n), c_n: c_n.as_ref().map(view_mut) };
    let saved = py.detach(|| weights.forward_into(&sequence, outputs))?;
    Ok((y.into_any(), h_n.into_any(), c_n.map(Bound::into_any), saved.map(T::saved)))
}

fn cell_state<'py, T: Number>(
    py: Python<'py>, kind: CellKind, rows: usize, hidden: usize,
) -> PyResult<Option<Array<'py, T, Ix2>>> {
    match kind {
        CellKind::Lstm => Ok(Some(empty(py, (rows, hidden), "c_n")?)),
        _ => Ok(None),
    }
}

fn run_step<'py, T: Held>(
    py: Python<'py>, weights: &crate::Weights<T>, x: &Object<'py>, h0: Option<&Object<'py>>,
    c0: Option<&Object<'py>>,
) -> PyResult<(Object<'py>, Option<Object<'py>>)> {
    let (kind, sizes) = (weights.kind(), weights.sizes());
    let operation = kind.operation(Function::Step);
    let name = |argument| Name { operation, argument };
    let x = required::<T, Ix2>(x, name("x"), "(B, I)")?;
    let h0 = optional::<T, Ix2>(h0, name("h0"), "(B, H)")?;
    let c0 = optional::<T, Ix2>(c0, name("c0"), "(B, H)")?;
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
    let y = empty::<T, _>(py, (rows, sizes.output), "h")?;
    let c_n = cell_state::<T>(py, kind, rows, sizes.hidden)?;
    let outputs = Outputs {
        y: view_mut(&y).insert_axis(Axis(1)),
        h_n: view_mut(&h_n),
        c_n: c_n.as_ref().map(view_mut),
    };
    let work = rows.saturating_mul(kind.gates() * sizes.hidden * (sizes.input + sizes.output));
    if work < DETACH {
        weights.forward_as(&sequence, outputs, Function::Step)?;
    } else {
        py.detach(|| weights.forward_as(&sequence, outputs, Function::Step))?;
    }
    Ok((h_n.into_any(), c_n.map(Bound::into_any)))
}

#[pymethods]
impl Weights {
    #[new]
    #[pyo3(signature = (cell, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, training=false))]
    fn new(
        cell: &str, w_ih: &Object<'_>, w_hh: &Object<'_>, b_ih: Option<&Object<'_>>,
        b_hh: Option<&Object<'_>>, w_hr: Option<&Object<'_>>, training: bool,
    ) -> PyResult<Self> {
        let kind = kind(cell)?;
        let given = Given { w_ih, w_hh, b_ih, b_hh, w_hr };
        let name = Name { operation: "pack", argument: "w_ih" };
        fn make<T: Held>(
            kind: CellKind, given: &Given<'_, '_>, training: bool,
        ) -> PyResult<Weights> {
            Ok(T::weights(pack::<T>(kind, given, training, "pack")?))
        }
        with_precision!(precision(&array(w_ih, name)?, name)?, make(kind, &given, training))
    }

    #[pyo3(signature = (x, h0=None, c0=None, *, lengths=None, reverse=false, save=false, n_threads=None))]
    #[allow(clippy::too_many_arguments)]
    fn forward<'py>(
        &self, py: Python<'py>, x: &Object<'py>, h0: Option<&Object<'py>>,
        c0: Option<&Object<'py>>, lengths: Option<&Object<'py>>, reverse: bool, save: bool,
        n_threads: Option<usize>,
    ) -> PyResult<ForwardTuple<'py>> {
        let call = Call { x, h0, c0, lengths, reverse, save, n_threads };
        match &self.0 {
            Either::Single(weights) => run_forward(py, weights, &call),
            Either::Double(weights) => run_forward(py, weights, &call),
        }
    }

    #[pyo3(signature = (x, h0=None, c0=None))]
    fn step<'py>(
        &self, py: Python<'py>, x: &Object<'py>, h0: Option<&Object<'py>>, c0: Option<&Object<'py>>,
    ) -> PyResult<(Object<'py>, Option<Object<'py>>)> {
        match &self.0 {
            Either::Single(weights) => run_step(py, weights, x, h0, c0),
            Either::Double(weights) => run_step(py, weights, x, h0, c0),
        }
    }
}

#[pyfunction]
#[pyo3(signature = (cell, x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0, lengths, reverse, save, n_threads))]
#[allow(clippy::too_many_arguments)]
fn forward<'py>(
    py: Python<'py>, cell: &str, x: &Object<'py>, w_ih: &Object<'py>, w_hh: &Object<'py>,
    b_ih: Option<&Object<'py>>, b_hh: Option<&Object<'py>>, w_hr: Option<&Object<'py>>,
    h0: Option<&Object<'py>>, c0: Option<&Object<'py>>, lengths: Option<&Object<'py>>,
    reverse: bool, save: bool, n_threads: Option<usize>,
) -> PyResult<ForwardTuple<'py>> {
    let kind = kind(cell)?;
    let operation = kind.operation(Function::Forward);
    let name = Name { operation, argument: "x" };
    let x = array(x, name)?;
    let given = Given { w_ih, w_hh, b_ih, b_hh, w_hr };
    let call = Call { x: x.as_any(), h0, c0, lengths, reverse, save, n_threads };
    fn go<'py, T: Held>(
        py: Python<'py>, kind: CellKind, given: &Given<'_, 'py>, call: &Call<'_, 'py>,
        operation: &'static str,
    ) -> PyResult<ForwardTuple<'py>> {
        typed::<T, Ix3>(call.x.cast()?, Name { operation, argument: "x" }, "(B, T, I)")?;
        run_forward(py, &pack::<T>(kind, given, call.save, operation)?, call)
    }
    with_precision!(precision(&x, name)?, go(py, kind, &given, &call, operation))
}

#[pyfunction]
#[pyo3(signature = (cell, x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0))]
#[allow(clippy::too_many_arguments)]
fn step<'py>(
    py: Python<'py>, cell: &str, x: &Object<'py>, w_ih: &Object<'py>, w_hh: &Object<'py>,
    b_ih: Option<&Object<'py>>, b_hh: Option<&Object<'py>>, w_hr: Option<&Object<'py>>,
    h0: Option<&Object<'py>>, c0: Option<&Object<'py>>,
) -> PyResult<(Object<'py>, Option<Object<'py>>)> {
    let kind = kind(cell)?;
    let operation = kind.operation(Function::Step);
    let name = Name { operation, argument: "x" };
    let x = array(x, name)?;
    let given = Given { w_ih, w_hh, b_ih, b_hh, w_hr };
    fn go<'py, T: Held>(
        py: Python<'py>, kind: CellKind, given: &Given<'_, 'py>, x: &Object<'py>,
        h0: Option<&Object<'py>>, c0: Option<&Object<'py>>, operation: &'static str,
    ) -> PyResult<(Object<'py>, Option<Object<'py>>)> {
        run_step(py, &pack::<T>(kind, given, false, operation)?, x, h0, c0)
    }
    with_precision!(precision(&x, name)?, go(py, kind, &given, x.as_any(), h0, c0, operation))
}

/// `dx, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dh0, dc0`
type GradientTuple<'py> = (
    Option<Object<'py>>,
    Object<'py>,
    Object<'py>,
    Option<Object<'py>>,
    Option<Object<'py>>,
    Option<Object<'py>>,
    Object<'py>,
    Option<Object<'py>>,
);

fn run_backward<'py, T: Held>(
    py: Python<'py>, saved: &crate::Saved<T>, dy: Option<&Object<'py>>, dh_n: Option<&Object<'py>>,
    dc_n: Option<&Object<'py>>, need_dx: bool, n_threads: Option<usize>,
) -> PyResult<GradientTuple<'py>> {
    let kind = saved.kind();
    let operation = kind.operation(Function::Backward);
    let name = |argument| Name { operation, argument };
    let dy = optional::<T, Ix3>(dy, name("dy"), "(B, T, H)")?;
    let dh_n = optional::<T, Ix2>(dh_n, name("dh_n"), "(B, H)")?;
    let dc_n = optional::<T, Ix2>(dc_n, name("dc_n"), "(B, H)")?;
    let upstream = StateGradients {
        dy: dy.as_ref().map(view),
        dh_n: dh_n.as_ref().map(view),
        dc_n: dc_n.as_ref().map(view),
    };
    let (rows, steps, sizes) = saved.dims();
    let gates = kind.gates() * sizes.hidden;
    let dx = need_dx.then(|| empty::<T, _>(py, (rows, steps, sizes.input), "dx")).transpose()?;
    let dw_ih = empty::<T, _>(py, (gates, sizes.input), "dw_ih")?;
    let dw_hh = empty::<T, _>(py, (gates, sizes.output), "dw_hh")?;
    let [b_ih, b_hh] = saved.biases();
    let db_ih = b_ih.then(|| empty::<T, _>(py, gates, "db_ih")).transpose()?;
    let db_hh = b_hh.then(|| empty::<T, _>(py, gates, "db_hh")).transpose()?;
    let projection = (sizes.output, sizes.hidden);
    let dw_hr = sizes.projected.then(|| empty::<T, _>(py, projection, "dw_hr")).transpose()?;
    let dh0 = empty::<T, _>(py, (rows, sizes.output), "dh0")?;
    let dc0 = cell_state::<T>(py, kind, rows, sizes.hidden)?;
    let outputs = GradientOutputs {
        dx: dx.as_ref().map(view_mut),
        dw_ih: view_mut(&dw_ih),
        dw_hh: view_mut(&dw_hh),
        db_ih: db_ih.as_ref().map(view_mut),
        db_hh: db_hh.as_ref().map(view_mut),
        dw_hr: dw_hr.as_ref().map(view_mut),
        dh0: view_mut(&dh0),
        dc0: dc0.as_ref().map(view_mut),
    };
    py.detach(|| saved.backward_into(&upstream, outputs, n_threads))?;
    Ok((
        dx.map(Bound::into_any),
        dw_ih.into_any(),
        dw_hh.into_any(),
        db_ih.map(Bound::into_any),
        db_hh.map(Bound::into_any),
        dw_hr.map(Bound::into_any),
        dh0.into_any(),
        dc0.map(Bound::into_any),
    ))
}

#[pyfunction]
#[pyo3(signature = (operation, saved, dy, dh_n, dc_n, need_dx, n_threads))]
#[allow(clippy::too_many_arguments)]
fn backward<'py>(
    py: Python<'py>, operation: &str, saved: &Object<'py>, dy: Option<&Object<'py>>,
    dh_n: Option<&Object<'py>>, dc_n: Option<&Object<'py>>, need_dx: bool,
    n_threads: Option<usize>,
) -> PyResult<GradientTuple<'py>> {
    let given = saved.cast::<Saved>().map(|saved| saved.get()).ok();
    let made_by = given.map_or("nothing", |saved| match &saved.0 {
        Either::Single(saved) => saved.kind().operation(Function::Forward),
        Either::Double(saved) => saved.kind().operation(Function::Forward),
    });
    let expected = operation.replace("_backward", "_forward");
    match given {
        Some(saved) if made_by == expected => match &saved.0 {
            Either::Single(s) => run_backward(py, s, dy, dh_n, dc_n, need_dx, n_threads),
            Either::Double(s) => run_backward(py, s, dy, dh_n, dc_n, need_dx, n_threads),
        },
        Some(_) => Err(PyTypeError::new_err(format!(
            "{operation}: saved: expected what {expected} saved, got what {made_by} saved"
        ))),
        None => Err(PyTypeError::new_err(format!(
            "{operation}: saved: expected what {expected}(..., save=True) returned as saved, got {}",
            if saved.is_none() { "None".to_owned() } else { saved.get_type().name()?.to_string() }
        ))),
    }
}

#[pymethods]
impl Saved {
    /// Bytes held for backward, without the weights.
    #[getter]
    fn nbytes(&self) -> usize {
        match &self.0 {
            Either::Single(saved) => saved.bytes(),
            Either::Double(saved) => saved.bytes(),
        }
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Weights>()?;
    module.add_class::<Saved>()?;
    module.add_function(wrap_pyfunction!(forward, module)?)?;
    module.add_function(wrap_pyfunction!(step, module)?)?;
    module.add_function(wrap_pyfunction!(backward, module)?)
}
