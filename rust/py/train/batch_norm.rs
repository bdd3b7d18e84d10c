//! Batch normalization.

use ndarray::{Ix1, Ix2};
use numpy::{PyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::{Object, Three, Untyped, asked};
use crate::batch_norm::{self, Columns, Gradients};
use crate::py::arrays::{
    Name, Number, Precision, array, booleans, empty, optional, precision, required, typed, view,
    view_mut,
};

type Vector<'py, T> = Bound<'py, PyArray<T, Ix1>>;

#[pyfunction]
#[pyo3(signature = (x, valid, n_threads=None))]
fn batch_norm_statistics<'py>(
    x: &Object<'py>, valid: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let operation = "batch_norm_statistics";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(&x, operation, "x", found(&x, valid, threads))
}

fn found<'py, T: Number>(
    x: &Untyped<'py>, valid: Option<&Object<'py>>, threads: Option<usize>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let name = |argument| Name { operation: "batch_norm_statistics", argument };
    let x = typed::<T, Ix2>(x, name("x"), "(N, F)", "x has")?;
    let valid = seen(valid, name("valid"))?;
    let (py, width) = (x.py(), x.shape()[1]);
    let (mean, variance) = (empty::<T, _>(py, width, "mean")?, empty::<T, _>(py, width, "mean")?);
    let (xs, v, m, var) =
        (view(&x), valid.as_ref().map(view), view_mut(&mean), view_mut(&variance));
    py.detach(|| batch_norm::statistics(xs, v, m, var, threads))?;
    Ok((mean.into_any(), variance.into_any()))
}

/// A mask of rows.
fn seen<'py>(
    valid: Option<&Object<'py>>, name: Name,
) -> PyResult<Option<Bound<'py, PyArray<bool, Ix1>>>> {
    valid.map(|valid| booleans(valid, name, "(N,)")).transpose()
}

/// What the features are normalized by, borrowed from Python.
struct Lines<'py, T: Number> {
    mean: Vector<'py, T>,
    scale: Vector<'py, T>,
    weight: Option<Vector<'py, T>>,
    bias: Option<Vector<'py, T>>,
}

impl<'py, T: Number> Lines<'py, T> {
    fn new(
        operation: &'static str, found: [&Object<'py>; 2], affine: [Option<&Object<'py>>; 2],
    ) -> PyResult<Self> {
        let line = |argument, line| {
            required::<T, Ix1>(line, Name { operation, argument }, "(F,)", "x has")
        };
        let part = |argument, line| {
            optional::<T, Ix1>(line, Name { operation, argument }, "(F,)", "x has")
        };
        Ok(Self {
            mean: line("mean", found[0])?,
            scale: line("scale", found[1])?,
            weight: part("weight", affine[0])?,
            bias: part("bias", affine[1])?,
        })
    }

    fn views(&self) -> Columns<'_, T> {
        Columns {
            mean: view(&self.mean),
            scale: view(&self.scale),
            weight: self.weight.as_ref().map(view),
            bias: self.bias.as_ref().map(view),
        }
    }
}

#[pyfunction]
#[pyo3(signature = (x, valid, mean, scale, weight, bias, n_threads=None))]
fn batch_norm_forward<'py>(
    x: &Object<'py>, valid: Option<&Object<'py>>, mean: &Object<'py>, scale: &Object<'py>,
    weight: Option<&Object<'py>>, bias: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "batch_norm_forward";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    let (found, affine) = ([mean, scale], [weight, bias]);
    with_precision_of!(&x, operation, "x", normalized(&x, valid, found, affine, threads))
}

fn normalized<'py, T: Number>(
    x: &Untyped<'py>, valid: Option<&Object<'py>>, found: [&Object<'py>; 2],
    affine: [Option<&Object<'py>>; 2], threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let operation = "batch_norm_forward";
    let name = |argument| Name { operation, argument };
    let x = typed::<T, Ix2>(x, name("x"), "(N, F)", "x has")?;
    let valid = seen(valid, name("valid"))?;
    let lines = Lines::<T>::new(operation, found, affine)?;
    let y = empty::<T, _>(x.py(), (x.shape()[0], x.shape()[1]), "y")?;
    let (xs, v, of, ys) = (view(&x), valid.as_ref().map(view), lines.views(), view_mut(&y));
    x.py().detach(|| batch_norm::forward(xs, v, of, ys, threads))?;
    Ok(y.into_any())
}

#[pyfunction]
#[pyo3(signature = (x, valid, mean, scale, weight, dy, of_batch, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn batch_norm_backward<'py>(
    x: &Object<'py>, valid: Option<&Object<'py>>, mean: &Object<'py>, scale: &Object<'py>,
    weight: Option<&Object<'py>>, dy: &Object<'py>, of_batch: bool,
    n_threads: Option<&Object<'py>>,
) -> PyResult<Three<'py>> {
    let operation = "batch_norm_backward";
    let threads = asked(operation, n_threads)?;
    let x = array(x, Name { operation, argument: "x" })?;
    let call = Call { valid, found: [mean, scale], weight, dy, of_batch, threads };
    with_precision_of!(&x, operation, "x", gradients(&x, &call))
}

/// What is given beside x.
struct Call<'a, 'py> {
    valid: Option<&'a Object<'py>>,
    found: [&'a Object<'py>; 2],
    weight: Option<&'a Object<'py>>,
    dy: &'a Object<'py>,
    of_batch: bool,
    threads: Option<usize>,
}

fn gradients<'py, T: Number>(x: &Untyped<'py>, call: &Call<'_, 'py>) -> PyResult<Three<'py>> {
    let operation = "batch_norm_backward";
    let name = |argument| Name { operation, argument };
    let x = typed::<T, Ix2>(x, name("x"), "(N, F)", "x has")?;
    let valid = seen(call.valid, name("valid"))?;
    let lines = Lines::<T>::new(operation, call.found, [call.weight, None])?;
    let dy = required::<T, Ix2>(call.dy, name("dy"), "(N, F)", "x has")?;
    let (py, rows, width) = (x.py(), x.shape()[0], x.shape()[1]);
    let dx = empty::<T, _>(py, (rows, width), "dx")?;
    let dweight = empty::<T, _>(py, width, "dweight")?;
    let dbias = empty::<T, _>(py, width, "dbias")?;
    let out = Gradients { dx: view_mut(&dx), dweight: view_mut(&dweight), dbias: view_mut(&dbias) };
    let (xs, v, of, dys) = (view(&x), valid.as_ref().map(view), lines.views(), view(&dy));
    let (of_batch, threads) = (call.of_batch, call.threads);
    py.detach(|| batch_norm::backward(xs, v, of, dys, of_batch, out, threads))?;
    Ok((dx.into_any(), dweight.into_any(), dbias.into_any()))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(batch_norm_statistics, module)?)?;
    module.add_function(wrap_pyfunction!(batch_norm_forward, module)?)?;
    module.add_function(wrap_pyfunction!(batch_norm_backward, module)?)
}
