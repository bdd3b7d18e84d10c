//! Recurrent layers backward: `Saved`, `backward`.

use ndarray::{Ix2, Ix3};
use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::arrays::{Name, class, empty, flag, optional, threads, view, view_mut};
use super::forward::{Either, Held, Object, cell_state, letters};
use crate::sequence::{CellKind, Function};
use crate::{GradientOutputs, StateGradients};

/// What a forward call keeps for backward; immutable.
#[pyclass(frozen, module = "recurra._core")]
pub(super) struct Saved {
    pub(super) held: EitherSaved,
    /// The caller's array of inputs, where forward kept little.
    pub(super) x: Option<Py<PyAny>>,
}

pub(super) type EitherSaved = Either<crate::Saved<f32>, crate::Saved<f64>>;

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

/// The arrays that come in.
struct Given<'a, 'py> {
    x: Option<&'a Object<'py>>,
    dy: Option<&'a Object<'py>>,
    dh_n: Option<&'a Object<'py>>,
    dc_n: Option<&'a Object<'py>>,
}

fn run_backward<'py, T: Held>(
    py: Python<'py>, saved: &crate::Saved<T>, given: Given<'_, 'py>, need_dx: bool,
    n_threads: Option<usize>,
) -> PyResult<GradientTuple<'py>> {
    let kind = saved.kind();
    let operation = kind.operation(Function::Backward);
    let name = |argument| Name { operation, argument };
    let (projected, like) = (saved.dims().2.projected, "saved has");
    let x = optional::<T, Ix3>(given.x, name("x"), "(B, T, I)", like)?;
    let dy = optional::<T, Ix3>(given.dy, name("dy"), &letters(projected, "B, T"), like)?;
    let dh_n = optional::<T, Ix2>(given.dh_n, name("dh_n"), &letters(projected, "B"), like)?;
    let dc_n = optional::<T, Ix2>(given.dc_n, name("dc_n"), "(B, H)", like)?;
    let upstream = StateGradients {
        dy: dy.as_ref().map(view),
        dh_n: dh_n.as_ref().map(view),
        dc_n: dc_n.as_ref().map(view),
        x: x.as_ref().map(view),
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
#[pyo3(signature = (operation, saved, dy, dh_n, dc_n, input_gradient, n_threads))]
#[allow(clippy::too_many_arguments)]
fn backward<'py>(
    py: Python<'py>, operation: &str, saved: &Object<'py>, dy: Option<&Object<'py>>,
    dh_n: Option<&Object<'py>>, dc_n: Option<&Object<'py>>, input_gradient: &Object<'py>,
    n_threads: Option<&Object<'py>>,
) -> PyResult<GradientTuple<'py>> {
    let expected = operation.replace("_backward", "_forward");
    let Ok(held) = saved.cast::<Saved>() else {
        let got = if saved.is_none() { "None".to_owned() } else { class(saved) };
        let wanted = format!("what {expected}(..., save=True) returned as saved");
        let text = format!("{operation}: saved: expected {wanted}, got {got}");
        return Err(PyTypeError::new_err(text));
    };
    let kind = held.get().kind();
    let made_by = kind.operation(Function::Forward);
    if made_by != expected {
        let text = format!("expected what {expected} saved, got what {made_by} saved");
        return Err(PyTypeError::new_err(format!("{operation}: saved: {text}")));
    }
    let name = |argument| Name { operation: kind.operation(Function::Backward), argument };
    let need_dx = flag(input_gradient, name("input_gradient"))?;
    let n_threads = threads(n_threads, name("n_threads"))?;
    let given = Given { x: held.get().x.as_ref().map(|x| x.bind(py)), dy, dh_n, dc_n };
    match &held.get().held {
        Either::Single(s) => run_backward(py, s, given, need_dx, n_threads),
        Either::Double(s) => run_backward(py, s, given, need_dx, n_threads),
    }
}

impl Saved {
    fn kind(&self) -> CellKind {
        match &self.held {
            Either::Single(saved) => saved.kind(),
            Either::Double(saved) => saved.kind(),
        }
    }
}

#[pymethods]
impl Saved {
    /// Lets Python see the array that is held on to.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.x)
    }

    /// Bytes held for backward, without the weights and the caller's inputs.
    #[getter]
    fn nbytes(&self) -> usize {
        match &self.held {
            Either::Single(saved) => saved.bytes(),
            Either::Double(saved) => saved.bytes(),
        }
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Saved>()?;
    module.add_function(wrap_pyfunction!(backward, module)?)
}
