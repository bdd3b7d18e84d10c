//! Clipping of gradients, by their norm and each value.

use pyo3::prelude::*;

use super::inplace::{readable, untyped, writable_in_any_order};
use super::lists::Place;
use super::{Object, Untyped, asked};
use crate::error::Result;
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
fn grad_norm<'py>(
    py: Python<'py>, grads: Vec<Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<f64> {
    let operation = "grad_norm";
    let threads = asked(operation, n_threads)?;
    let mut held = Vec::with_capacity(grads.len());
    let mut places = Vec::with_capacity(grads.len());
    for grad in &grads {
        let grad = array(grad, Name { operation, argument: "grads" })?;
        places.push(match precision(&grad, Name { operation, argument: "grads" })? {
            Precision::Single => Either::Single(place::<f32>(&grad, &mut held)?),
            Precision::Double => Either::Double(place::<f64>(&grad, &mut held)?),
        });
    }
    let squares = |place| match place {
        Either::Single(place) => {
            // SAFETY: `held` keeps the arrays, which are contiguous, and one at a time is read.
            optim::sum_of_squares(unsafe { Place::elements(place) }, threads)
        }
        Either::Double(place) => {
            // SAFETY: as above.
            optim::sum_of_squares(unsafe { Place::elements(place) }, threads)
        }
    };
    let mut places = places.into_iter();
    let sum = py.detach(|| places.try_fold(0.0, |sum, place| Result::Ok(sum + squares(place)?)))?;
    drop(held);
    Ok(f64::sqrt(sum))
}

/// Where a gradient's elements lie, or those of a contiguous copy, which `held` keeps alive.
fn place<'py, T: Number>(grad: &Untyped<'py>, held: &mut Vec<Object<'py>>) -> PyResult<Place<T>> {
    let name = Name { operation: "grad_norm", argument: "grads" };
    let grad = readable::<T>(grad, name, "it has")?;
    let place = Place::of(&grad);
    held.push(grad.into_any());
    Ok(place)
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
