//! A product for each row of a batch.

use ndarray::Ix3;
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use super::{Object, Untyped, asked};
use crate::linear::{GradientsOfEach, backward_each, forward_each};
use crate::py::arrays::{
    Name, Number, Precision, array, empty, precision, required, typed, view, view_mut,
};

#[pyfunction]
#[pyo3(signature = (x, w, n_threads=None))]
fn linear_forward_each<'py>(
    x: &Object<'py>, w: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "linear_forward_each";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(&x, operation, "x", products(&x, w, threads))
}

fn products<'py, T: Number>(
    x: &Untyped<'py>, w: &Object<'py>, threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = |argument| Name { operation: "linear_forward_each", argument };
    let x = typed::<T, Ix3>(x, name("x"), "(B, N, I)", "x has")?;
    let w = required::<T, Ix3>(w, name("w"), "(B, O, I)", "x has")?;
    let y = empty::<T, _>(x.py(), (x.shape()[0], x.shape()[1], w.shape()[1]), "y")?;
    let (xs, ws, ys) = (view(&x), view(&w), view_mut(&y));
    x.py().detach(|| forward_each(xs, ws, ys, threads))?;
    Ok(y.into_any())
}

/// `dx, dw`
type Two<'py> = (Object<'py>, Object<'py>);

#[pyfunction]
#[pyo3(signature = (x, w, dy, n_threads=None))]
fn linear_backward_each<'py>(
    x: &Object<'py>, w: &Object<'py>, dy: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<Two<'py>> {
    let operation = "linear_backward_each";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(&x, operation, "x", gradients(&x, w, dy, threads))
}

fn gradients<'py, T: Number>(
    x: &Untyped<'py>, w: &Object<'py>, dy: &Object<'py>, threads: Option<usize>,
) -> PyResult<Two<'py>> {
    let name = |argument| Name { operation: "linear_backward_each", argument };
    let x = typed::<T, Ix3>(x, name("x"), "(B, N, I)", "x has")?;
    let w = required::<T, Ix3>(w, name("w"), "(B, O, I)", "x has")?;
    let dy = required::<T, Ix3>(dy, name("dy"), "(B, N, O)", "x has")?;
    let (py, of_x, of_w) = (x.py(), x.shape(), w.shape());
    let dx = empty::<T, _>(py, (of_x[0], of_x[1], of_x[2]), "dx")?;
    let dw = empty::<T, _>(py, (of_w[0], of_w[1], of_w[2]), "dw")?;
    let out = GradientsOfEach { dx: view_mut(&dx), dw: view_mut(&dw) };
    let (xs, ws, dys) = (view(&x), view(&w), view(&dy));
    py.detach(|| backward_each(xs, ws, dys, out, threads))?;
    Ok((dx.into_any(), dw.into_any()))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(linear_forward_each, module)?)?;
    module.add_function(wrap_pyfunction!(linear_backward_each, module)?)
}
