//! Clipping of gradients, by their norm and each value.

use pyo3::prelude::*;

use super::inplace::{elements, readable, untyped, writable_in_any_order};
use super::lists::Place;
use super::{Object, Untyped, asked};
use crate::optim;
use crate::py::arrays::{Name, Number, Precision, array, precision};
use crate::py::forward::Either;

/// Checks all arrays and then, without the interpreter, changes one after the other. The body is
/// compiled for both precisions.
macro_rules! changed {
    ($py:expr, $operation:expr, $arrays:expr, |$values:ident| $change:expr) => {{
        let places = places($operation, $arrays)?;
        $py.detach(|| {
            places.into_iter().try_for_each(|place| match place {
                Either::Single(place) => {
                    // SAFETY: `places` found the array fit, `arrays` keeps it alive, and there is
                    // only this slice.
                    let $values = unsafe { place.elements() };
                    $change
                }
                Either::Double(place) => {
                    // SAFETY: as above.
                    let $values = unsafe { place.elements() };
                    $change
                }
            })
        })?;
        Ok(())
    }};
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
#[pyo3(signature = (arrays, factor, n_threads=None))]
fn scale_<'py>(
    py: Python<'py>, arrays: Vec<Object<'py>>, factor: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let threads = asked("scale_", n_threads)?;
    changed!(py, "scale_", &arrays, |values| optim::scale(values, factor, threads))
}

#[pyfunction]
#[pyo3(signature = (arrays, limit, n_threads=None))]
fn clamp_<'py>(
    py: Python<'py>, arrays: Vec<Object<'py>>, limit: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let threads = asked("clamp_", n_threads)?;
    changed!(py, "clamp_", &arrays, |values| optim::clamp(values, limit, threads))
}

/// The places of all arrays, which are changed whatever the order of their elements.
fn places(operation: &'static str, arrays: &[Object<'_>]) -> PyResult<Vec<AnyPlace>> {
    let name = Name { operation, argument: "arrays" };
    let like = "it has";
    let place = |object| -> PyResult<AnyPlace> {
        Ok(match precision(&untyped(object, name)?, name)? {
            Precision::Single => {
                Either::Single(Place::of(&writable_in_any_order(object, name, like)?))
            }
            Precision::Double => {
                Either::Double(Place::of(&writable_in_any_order(object, name, like)?))
            }
        })
    };
    arrays.iter().map(place).collect()
}

type AnyPlace = Either<Place<f32>, Place<f64>>;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(grad_norm, module)?)?;
    module.add_function(wrap_pyfunction!(scale_, module)?)?;
    module.add_function(wrap_pyfunction!(clamp_, module)?)
}
