//! What training needs besides recurrent layers: the linear map, the embedding; below, softmax,
//! normalization, cross entropy, optimizers and clipping.

/// Calls a generic function with the precision of `$array`, which is `$argument`.
macro_rules! with_precision_of {
    ($array:expr, $operation:expr, $argument:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match precision($array, Name { operation: $operation, argument: $argument })? {
            Precision::Single => $f::<f32>($($arg),*),
            Precision::Double => $f::<f64>($($arg),*),
        }
    };
}

mod additive;
mod batch_norm;
mod clipping;
mod cross_entropy;
mod inplace;
mod layer_norm;
mod lists;
mod optimizers;
mod products;
mod softmax;
mod squared_error;

use ndarray::{Dimension, Ix1, Ix2, IxDyn};
use numpy::npyffi::NPY_ORDER;
use numpy::{PyArray, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arrays::{
    Name, Number, Precision, array, empty, integers, optional, precision, required, threads, typed,
    view, view_mut,
};
use crate::{embedding, linear};

type Object<'py> = Bound<'py, PyAny>;
type Untyped<'py> = Bound<'py, PyUntypedArray>;
/// Three arrays.
type Three<'py> = (Object<'py>, Object<'py>, Object<'py>);

/// The number of threads that a call asks for.
fn asked(operation: &'static str, n: Option<&Object<'_>>) -> PyResult<Option<usize>> {
    threads(n, Name { operation, argument: "n_threads" })
}

#[pyfunction]
#[pyo3(signature = (x, w, b=None, n_threads=None))]
fn linear_forward<'py>(
    x: &Object<'py>, w: &Object<'py>, b: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "linear_forward";
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(&x, operation, "x", linear_y(&x, w, b, asked(operation, n_threads)?))
}

fn linear_y<'py, T: Number>(
    x: &Untyped<'py>, w: &Object<'py>, b: Option<&Object<'py>>, threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = |argument| Name { operation: "linear_forward", argument };
    let rows = rows::<T>(x, name("x"), "(..., I)")?;
    let w = required::<T, Ix2>(w, name("w"), "(O, I)", "x has")?;
    let b = optional::<T, Ix1>(b, name("b"), "(O,)", "x has")?;
    let y = empty::<T, _>(x.py(), with_last(x, w.shape()[0]), "y")?;
    let to = flat(&y, [rows.shape()[0], w.shape()[0]])?;
    let (xs, ws, bs, ys) = (view(&rows), view(&w), b.as_ref().map(view), view_mut(&to));
    x.py().detach(|| linear::forward(xs, ws, bs, ys, threads))?;
    Ok(y.into_any())
}

/// An array (..., K) as rows (N, K): where they lie, or copied if they do not lie so.
fn rows<'py, T: Number>(
    array: &Untyped<'py>, name: Name, letters: &str,
) -> PyResult<Bound<'py, PyArray<T, Ix2>>> {
    match array.shape() {
        [_, _] => typed(array, name, letters, "x has"),
        [leading @ .., width] => {
            let n = leading.iter().product();
            flat(&typed::<T, IxDyn>(array, name, letters, "x has")?, [n, *width])
        }
        [] => Err(PyValueError::new_err(name.error(&format!("shape {letters}"), "()"))),
    }
}

fn flat<'py, T: Number>(
    array: &Bound<'py, PyArray<T, IxDyn>>, shape: [usize; 2],
) -> PyResult<Bound<'py, PyArray<T, Ix2>>> {
    match array.cast::<PyArray<T, Ix2>>() {
        Ok(same) => Ok(same.clone()),
        // NumPy's default here is the order in which the array lies in memory.
        Err(_) => array.reshape_with_order(shape, NPY_ORDER::NPY_CORDER),
    }
}

/// The shape of an array that has at least one axis, with another last one.
fn with_last(array: &Untyped<'_>, last: usize) -> IxDyn {
    let mut shape = IxDyn(array.shape());
    if let Some(size) = shape.slice_mut().last_mut() {
        *size = last;
    }
    shape
}

/// `dx, dw, db`
type LinearGradients<'py> = (Option<Object<'py>>, Object<'py>, Object<'py>);

#[pyfunction]
#[pyo3(signature = (x, w, dy, input_gradient=true, n_threads=None))]
fn linear_backward<'py>(
    x: &Object<'py>, w: &Object<'py>, dy: &Object<'py>, input_gradient: bool,
    n_threads: Option<&Object<'py>>,
) -> PyResult<LinearGradients<'py>> {
    let operation = "linear_backward";
    let x = array(x, Name { operation, argument: "x" })?;
    let threads = asked(operation, n_threads)?;
    with_precision_of!(&x, operation, "x", linear_gradients(&x, w, dy, input_gradient, threads))
}

fn linear_gradients<'py, T: Number>(
    x: &Untyped<'py>, w: &Object<'py>, dy: &Object<'py>, need_dx: bool, threads: Option<usize>,
) -> PyResult<LinearGradients<'py>> {
    let name = |argument| Name { operation: "linear_backward", argument };
    let x_rows = rows::<T>(x, name("x"), "(..., I)")?;
    let w = required::<T, Ix2>(w, name("w"), "(O, I)", "x has")?;
    let dy_rows = rows::<T>(&array(dy, name("dy"))?, name("dy"), "(..., O)")?;
    let (py, shape) = (x.py(), w.shape());
    let dx = need_dx.then(|| empty::<T, _>(py, IxDyn(x.shape()), "dx")).transpose()?;
    let dx_rows =
        dx.as_ref().map(|dx| flat(dx, [x_rows.shape()[0], x_rows.shape()[1]])).transpose()?;
    let dw = empty::<T, _>(py, (shape[0], shape[1]), "dw")?;
    let db = empty::<T, _>(py, shape[0], "db")?;
    let to_dx = dx_rows.as_ref().map(view_mut);
    let out = linear::Gradients { dx: to_dx, dw: view_mut(&dw), db: Some(view_mut(&db)) };
    let (xs, ws, dys) = (view(&x_rows), view(&w), view(&dy_rows));
    py.detach(|| linear::backward(xs, ws, dys, out, threads))?;
    Ok((dx.map(Bound::into_any), dw.into_any(), db.into_any()))
}

#[pyfunction]
#[pyo3(signature = (weight, ids, n_threads=None))]
fn embedding_forward<'py>(
    weight: &Object<'py>, ids: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "embedding_forward";
    let weight = array(weight, Name { operation, argument: "weight" })?;
    let threads = asked(operation, n_threads)?;
    with_precision_of!(&weight, operation, "weight", embedding_y(&weight, ids, threads))
}

fn embedding_y<'py, T: Number>(
    weight: &Untyped<'py>, ids: &Object<'py>, threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = |argument| Name { operation: "embedding_forward", argument };
    let weight = typed::<T, Ix2>(weight, name("weight"), "(V, E)", "weight has")?;
    let ids = integers(ids, name("ids"), "(N,)")?;
    let y = empty::<T, _>(weight.py(), (ids.len(), weight.shape()[1]), "y")?;
    let (table, index, ys) = (view(&weight), view(&ids), view_mut(&y));
    weight.py().detach(|| embedding::forward(table, index, ys, threads))?;
    Ok(y.into_any())
}

#[pyfunction]
#[pyo3(signature = (dy, ids, num_embeddings, n_threads=None))]
fn embedding_backward<'py>(
    dy: &Object<'py>, ids: &Object<'py>, num_embeddings: usize, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "embedding_backward";
    let dy = array(dy, Name { operation, argument: "dy" })?;
    let threads = asked(operation, n_threads)?;
    with_precision_of!(&dy, operation, "dy", embedding_gradient(&dy, ids, num_embeddings, threads))
}

fn embedding_gradient<'py, T: Number>(
    dy: &Untyped<'py>, ids: &Object<'py>, rows: usize, threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = |argument| Name { operation: "embedding_backward", argument };
    let dy = typed::<T, Ix2>(dy, name("dy"), "(N, E)", "dy has")?;
    let ids = integers(ids, name("ids"), "(N,)")?;
    let gradient = empty::<T, _>(dy.py(), (rows, dy.shape()[1]), "dweight")?;
    let (dys, index, out) = (view(&dy), view(&ids), view_mut(&gradient));
    dy.py().detach(|| embedding::backward(dys, index, out, threads))?;
    Ok(gradient.into_any())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(linear_forward, module)?)?;
    module.add_function(wrap_pyfunction!(linear_backward, module)?)?;
    module.add_function(wrap_pyfunction!(embedding_forward, module)?)?;
    module.add_function(wrap_pyfunction!(embedding_backward, module)?)?;
    module.add_function(wrap_pyfunction!(cross_entropy::cross_entropy, module)?)?;
    products::register(module)?;
    softmax::register(module)?;
    layer_norm::register(module)?;
    additive::register(module)?;
    batch_norm::register(module)?;
    module.add_function(wrap_pyfunction!(squared_error::squared_error, module)?)?;
    module.add_function(wrap_pyfunction!(squared_error::squared_error_backward, module)?)?;
    clipping::register(module)?;
    optimizers::register(module)
}
