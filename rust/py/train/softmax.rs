//! Softmax and its logarithm.

use ndarray::Ix3;
use numpy::{PyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::{Object, Untyped, asked};
use crate::py::arrays::{
    Name, Number, Precision, array, booleans, empty, precision, required, typed, view, view_mut,
};
use crate::shape::refuse;
use crate::softmax::{self, Form};

fn formed(operation: &'static str, form: &str) -> PyResult<Form> {
    match form {
        "softmax" => Ok(Form::Softmax),
        "log_softmax" => Ok(Form::LogSoftmax),
        "attention" => Ok(Form::Attention),
        other => {
            let expected = "\"softmax\", \"log_softmax\" or \"attention\"";
            Err(refuse(operation, "form", expected, format!("{other:?}")).into())
        }
    }
}

#[pyfunction]
#[pyo3(signature = (form, x, mask=None, n_threads=None))]
fn softmax_forward<'py>(
    form: &str, x: &Object<'py>, mask: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "softmax_forward";
    let (form, threads) = (formed(operation, form)?, asked(operation, n_threads)?);
    let x = array(x, Name { operation, argument: "x" })?;
    let name = Name { operation, argument: "mask" };
    let mask = mask.map(|mask| booleans(mask, name, "(B, Q, K)")).transpose()?;
    with_precision_of!(&x, operation, "x", values(form, &x, mask.as_ref(), threads))
}

fn values<'py, T: Number>(
    form: Form, x: &Untyped<'py>, mask: Option<&Bound<'py, PyArray<bool, Ix3>>>,
    threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = Name { operation: "softmax_forward", argument: "x" };
    let x = typed::<T, Ix3>(x, name, "(B, Q, K)", "x has")?;
    let y = empty::<T, _>(x.py(), sizes(&x), "y")?;
    let (xs, seen, ys) = (view(&x), mask.map(view), view_mut(&y));
    x.py().detach(|| softmax::forward(form, xs, seen, ys, threads))?;
    Ok(y.into_any())
}

fn sizes<T: Number>(x: &Bound<'_, PyArray<T, Ix3>>) -> (usize, usize, usize) {
    (x.shape()[0], x.shape()[1], x.shape()[2])
}

#[pyfunction]
#[pyo3(signature = (form, y, dy, n_threads=None))]
fn softmax_backward<'py>(
    form: &str, y: &Object<'py>, dy: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "softmax_backward";
    let (form, threads) = (formed(operation, form)?, asked(operation, n_threads)?);
    let y = array(y, Name { operation, argument: "y" })?;
    with_precision_of!(&y, operation, "y", gradient(form, &y, dy, threads))
}

fn gradient<'py, T: Number>(
    form: Form, y: &Untyped<'py>, dy: &Object<'py>, threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = |argument| Name { operation: "softmax_backward", argument };
    let y = typed::<T, Ix3>(y, name("y"), "(B, Q, K)", "y has")?;
    let dy = required::<T, Ix3>(dy, name("dy"), "(B, Q, K)", "y has")?;
    let dx = empty::<T, _>(y.py(), sizes(&y), "dx")?;
    let (ys, dys, dxs) = (view(&y), view(&dy), view_mut(&dx));
    y.py().detach(|| softmax::backward(form, ys, dys, dxs, threads))?;
    Ok(dx.into_any())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(softmax_forward, module)?)?;
    module.add_function(wrap_pyfunction!(softmax_backward, module)?)
}
