//! What training needs besides recurrent layers: the linear map, the embedding, cross entropy,
//! optimizers and clipping.

mod inplace;

use ndarray::{Ix1, Ix2};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{
    Name, Number, Precision, array, empty, integers, optional, precision, required, threads, typed,
    view, view_mut,
};
use crate::optim::{Adam, Sgd};
use crate::{embedding, linear, optim};
use inplace::{alike, elements, elements_mut, readable, untyped, writable, writable_in_any_order};

type Object<'py> = Bound<'py, PyAny>;
type Untyped<'py> = Bound<'py, PyUntypedArray>;

/// Calls a generic function with the precision of `$array`, which is `$argument`.
macro_rules! with_precision_of {
    ($array:expr, $operation:expr, $argument:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match precision($array, Name { operation: $operation, argument: $argument })? {
            Precision::Single => $f::<f32>($($arg),*),
            Precision::Double => $f::<f64>($($arg),*),
        }
    };
}

// After the macro, which it uses.
mod cross_entropy;

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
    let x = typed::<T, Ix2>(x, name("x"), "(N, I)", "x has")?;
    let w = required::<T, Ix2>(w, name("w"), "(O, I)", "x has")?;
    let b = optional::<T, Ix1>(b, name("b"), "(O,)", "x has")?;
    let y = empty::<T, _>(x.py(), (x.shape()[0], w.shape()[0]), "y")?;
    let (xs, ws, bs, ys) = (view(&x), view(&w), b.as_ref().map(view), view_mut(&y));
    x.py().detach(|| linear::forward(xs, ws, bs, ys, threads))?;
    Ok(y.into_any())
}

/// `dx, dw, db`
type LinearGradients<'py> = (Object<'py>, Object<'py>, Object<'py>);

#[pyfunction]
#[pyo3(signature = (x, w, dy, n_threads=None))]
fn linear_backward<'py>(
    x: &Object<'py>, w: &Object<'py>, dy: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<LinearGradients<'py>> {
    let operation = "linear_backward";
    let x = array(x, Name { operation, argument: "x" })?;
    with_precision_of!(
        &x,
        operation,
        "x",
        linear_gradients(&x, w, dy, asked(operation, n_threads)?)
    )
}

fn linear_gradients<'py, T: Number>(
    x: &Untyped<'py>, w: &Object<'py>, dy: &Object<'py>, threads: Option<usize>,
) -> PyResult<LinearGradients<'py>> {
    let name = |argument| Name { operation: "linear_backward", argument };
    let x = typed::<T, Ix2>(x, name("x"), "(N, I)", "x has")?;
    let w = required::<T, Ix2>(w, name("w"), "(O, I)", "x has")?;
    let dy = required::<T, Ix2>(dy, name("dy"), "(N, O)", "x has")?;
    let (py, shape) = (x.py(), w.shape());
    let dx = empty::<T, _>(py, (x.shape()[0], shape[1]), "dx")?;
    let dw = empty::<T, _>(py, (shape[0], shape[1]), "dw")?;
    let db = empty::<T, _>(py, shape[0], "db")?;
    let out = linear::Gradients { dx: view_mut(&dx), dw: view_mut(&dw), db: view_mut(&db) };
    let (xs, ws, dys) = (view(&x), view(&w), view(&dy));
    py.detach(|| linear::backward(xs, ws, dys, out, threads))?;
    Ok((dx.into_any(), dw.into_any(), db.into_any()))
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

#[pyfunction]
#[pyo3(signature = (
    param, grad, momentum_buffer, lr, momentum, weight_decay, nesterov, first, n_threads=None
))]
#[allow(clippy::too_many_arguments)]
fn sgd_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, momentum_buffer: Option<&Object<'py>>, lr: f64,
    momentum: f64, weight_decay: f64, nesterov: bool, first: bool, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let operation = "sgd_step";
    let param = untyped(param, Name { operation, argument: "param" })?;
    let sgd = Sgd { lr, momentum, weight_decay, nesterov };
    let threads = asked(operation, n_threads)?;
    let buffer = momentum_buffer;
    with_precision_of!(
        &param,
        operation,
        "param",
        run_sgd(&param, grad, buffer, sgd, first, threads)
    )
}

fn run_sgd<'py, T: Number>(
    param: &Untyped<'py>, grad: &Object<'py>, buffer: Option<&Object<'py>>, sgd: Sgd, first: bool,
    threads: Option<usize>,
) -> PyResult<()> {
    let name = |argument| Name { operation: "sgd_step", argument };
    let param = writable::<T>(param, name("param"), "param has")?;
    let grad = readable::<T>(grad, name("grad"), "param has")?;
    let buffer =
        buffer.map(|b| writable::<T>(b, name("momentum_buffer"), "param has")).transpose()?;
    let mut arrays = vec![("param", &param), ("grad", &grad)];
    arrays.extend(buffer.as_ref().map(|b| ("momentum_buffer", b)));
    alike("sgd_step", &arrays)?;
    // SAFETY: `alike` found the arrays apart.
    let (p, b) =
        unsafe { (elements_mut(&param)?, buffer.as_ref().map(|b| elements_mut(b)).transpose()?) };
    let g = elements(&grad)?;
    Ok(param.py().detach(|| sgd.step(p, g, b, first, threads))?)
}

#[pyfunction]
#[pyo3(signature = (
    param, grad, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, n_threads=None
))]
#[allow(clippy::too_many_arguments)]
fn adam_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, m: &Object<'py>, v: &Object<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, decoupled: bool, step: u64,
    n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let operation = "adam_step";
    let param = untyped(param, Name { operation, argument: "param" })?;
    let adam = Adam { lr, beta1, beta2, eps, weight_decay, decoupled };
    let threads = asked(operation, n_threads)?;
    with_precision_of!(
        &param,
        operation,
        "param",
        run_adam(&param, grad, [m, v], adam, step, threads)
    )
}

fn run_adam<'py, T: Number>(
    param: &Untyped<'py>, grad: &Object<'py>, moments: [&Object<'py>; 2], adam: Adam, step: u64,
    threads: Option<usize>,
) -> PyResult<()> {
    let name = |argument| Name { operation: "adam_step", argument };
    let param = writable::<T>(param, name("param"), "param has")?;
    let grad = readable::<T>(grad, name("grad"), "param has")?;
    let m = writable::<T>(moments[0], name("m"), "param has")?;
    let v = writable::<T>(moments[1], name("v"), "param has")?;
    alike("adam_step", &[("param", &param), ("grad", &grad), ("m", &m), ("v", &v)])?;
    // SAFETY: `alike` found the arrays apart.
    let [p, ms, vs] = unsafe { [elements_mut(&param)?, elements_mut(&m)?, elements_mut(&v)?] };
    let g = elements(&grad)?;
    Ok(param.py().detach(|| adam.step(p, g, ms, vs, step, threads))?)
}

#[pyfunction]
#[pyo3(signature = (grads, n_threads=None))]
fn grad_norm<'py>(grads: Vec<Object<'py>>, n_threads: Option<&Object<'py>>) -> PyResult<f64> {
    let operation = "grad_norm";
    let threads = asked(operation, n_threads)?;
    let mut sum = 0.0;
    for grad in &grads {
        let grad = array(grad, Name { operation, argument: "grads" })?;
        sum += with_precision_of!(&grad, operation, "grads", squares(&grad, threads))?;
    }
    Ok(f64::sqrt(sum))
}

fn squares<T: Number>(grad: &Untyped<'_>, threads: Option<usize>) -> PyResult<f64> {
    let name = Name { operation: "grad_norm", argument: "grads" };
    let grad = readable::<T>(grad, name, "it has")?;
    let values = elements(&grad)?;
    Ok(grad.py().detach(|| optim::sum_of_squares(values, threads))?)
}

#[pyfunction]
#[pyo3(signature = (array, factor, n_threads=None))]
fn scale_<'py>(array: &Object<'py>, factor: f64, n_threads: Option<&Object<'py>>) -> PyResult<()> {
    let operation = "scale_";
    let array = untyped(array, Name { operation, argument: "array" })?;
    with_precision_of!(
        &array,
        operation,
        "array",
        scaled(&array, factor, asked(operation, n_threads)?)
    )
}

fn scaled<T: Number>(array: &Untyped<'_>, factor: f64, threads: Option<usize>) -> PyResult<()> {
    let name = Name { operation: "scale_", argument: "array" };
    let array = writable_in_any_order::<T>(array, name, "it has")?;
    // SAFETY: there is only this slice.
    let values = unsafe { elements_mut(&array)? };
    Ok(array.py().detach(|| optim::scale(values, factor, threads))?)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(linear_forward, module)?)?;
    module.add_function(wrap_pyfunction!(linear_backward, module)?)?;
    module.add_function(wrap_pyfunction!(embedding_forward, module)?)?;
    module.add_function(wrap_pyfunction!(embedding_backward, module)?)?;
    module.add_function(wrap_pyfunction!(cross_entropy::cross_entropy, module)?)?;
    module.add_function(wrap_pyfunction!(sgd_step, module)?)?;
    module.add_function(wrap_pyfunction!(adam_step, module)?)?;
    module.add_function(wrap_pyfunction!(grad_norm, module)?)?;
    module.add_function(wrap_pyfunction!(scale_, module)?)
}
