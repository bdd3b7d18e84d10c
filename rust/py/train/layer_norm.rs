//! Layer normalization.

use ndarray::{Ix1, Ix2};
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use super::{Object, Three, Untyped, asked};
use crate::layer_norm::{self, Gradients, Statistics};
use crate::py::arrays::{
    Name, Number, Precision, array, empty, optional, precision, required, typed, view, view_mut,
};

#[pyfunction]
#[pyo3(signature = (x, weight, bias, eps, n_threads=None))]
fn layer_norm_forward<'py>(
    x: &Object<'py>, weight: Option<&Object<'py>>, bias: Option<&Object<'py>>, eps: f64,
    n_threads: Option<&Object<'py>>,
) -> PyResult<Three<'py>> {
    let operation = "layer_norm_forward";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(&x, operation, "x", normalized(&x, weight, bias, eps, threads))
}

fn normalized<'py, T: Number>(
    x: &Untyped<'py>, weight: Option<&Object<'py>>, bias: Option<&Object<'py>>, eps: f64,
    threads: Option<usize>,
) -> PyResult<Three<'py>> {
    let name = |argument| Name { operation: "layer_norm_forward", argument };
    let x = typed::<T, Ix2>(x, name("x"), "(N, F)", "x has")?;
    let weight = optional::<T, Ix1>(weight, name("weight"), "(F,)", "x has")?;
    let bias = optional::<T, Ix1>(bias, name("bias"), "(F,)", "x has")?;
    let (py, rows) = (x.py(), x.shape()[0]);
    let y = empty::<T, _>(py, (rows, x.shape()[1]), "y")?;
    let (mean, scale) = (empty::<T, _>(py, rows, "mean")?, empty::<T, _>(py, rows, "scale")?);
    let found = Statistics { mean: view_mut(&mean), scale: view_mut(&scale) };
    let (xs, ys) = (view(&x), view_mut(&y));
    let (w, b) = (weight.as_ref().map(view), bias.as_ref().map(view));
    py.detach(|| layer_norm::forward(xs, w, b, eps, ys, found, threads))?;
    Ok((y.into_any(), mean.into_any(), scale.into_any()))
}

#[pyfunction]
#[pyo3(signature = (x, weight, mean, scale, dy, n_threads=None))]
fn layer_norm_backward<'py>(
    x: &Object<'py>, weight: Option<&Object<'py>>, mean: &Object<'py>, scale: &Object<'py>,
    dy: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<Three<'py>> {
    let operation = "layer_norm_backward";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(&x, operation, "x", gradients(&x, weight, [mean, scale], dy, threads))
}

fn gradients<'py, T: Number>(
    x: &Untyped<'py>, weight: Option<&Object<'py>>, found: [&Object<'py>; 2], dy: &Object<'py>,
    threads: Option<usize>,
) -> PyResult<Three<'py>> {
    let name = |argument| Name { operation: "layer_norm_backward", argument };
    let x = typed::<T, Ix2>(x, name("x"), "(N, F)", "x has")?;
    let weight = optional::<T, Ix1>(weight, name("weight"), "(F,)", "x has")?;
    let mean = required::<T, Ix1>(found[0], name("mean"), "(N,)", "x has")?;
    let scale = required::<T, Ix1>(found[1], name("scale"), "(N,)", "x has")?;
    let dy = required::<T, Ix2>(dy, name("dy"), "(N, F)", "x has")?;
    let (py, rows, width) = (x.py(), x.shape()[0], x.shape()[1]);
    let dx = empty::<T, _>(py, (rows, width), "dx")?;
    let dweight = empty::<T, _>(py, width, "dweight")?;
    let dbias = empty::<T, _>(py, width, "dbias")?;
    let out = Gradients { dx: view_mut(&dx), dweight: view_mut(&dweight), dbias: view_mut(&dbias) };
    let (xs, w, dys) = (view(&x), weight.as_ref().map(view), view(&dy));
    let (m, s) = (view(&mean), view(&scale));
    py.detach(|| layer_norm::backward(xs, w, m, s, dys, out, threads))?;
    Ok((dx.into_any(), dweight.into_any(), dbias.into_any()))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(layer_norm_forward, module)?)?;
    module.add_function(wrap_pyfunction!(layer_norm_backward, module)?)
}
