//! Clipping of gradients, by their norm and each value.

use pyo3::prelude::*;

use super::inplace::{elements, elements_mut, readable, untyped, writable_in_any_order};
use super::{Object, Untyped, asked};
use crate::optim;
use crate::py::arrays::{Name, Number, Precision, array, precision};

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

#[pyfunction]
#[pyo3(signature = (array, limit, n_threads=None))]
fn clamp_<'py>(array: &Object<'py>, limit: f64, n_threads: Option<&Object<'py>>) -> PyResult<()> {
    let operation = "clamp_";
    let array = untyped(array, Name { operation, argument: "array" })?;
    let threads = asked(operation, n_threads)?;
    with_precision_of!(&array, operation, "array", clamped(&array, limit, threads))
}

fn clamped<T: Number>(array: &Untyped<'_>, limit: f64, threads: Option<usize>) -> PyResult<()> {
    let name = Name { operation: "clamp_", argument: "array" };
    let array = writable_in_any_order::<T>(array, name, "it has")?;
    // SAFETY: there is only this slice.
    let values = unsafe { elements_mut(&array)? };
    Ok(array.py().detach(|| optim::clamp(values, limit, threads))?)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(grad_norm, module)?)?;
    module.add_function(wrap_pyfunction!(scale_, module)?)?;
    module.add_function(wrap_pyfunction!(clamp_, module)?)
}
