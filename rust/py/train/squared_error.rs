//! The squared difference.

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use super::inplace::{Array, elements, readable};
use super::lists::Place;
use super::{Object, Untyped};
use crate::loss::SquaredError;
use crate::py::arrays::{Name, Number, Precision, array, empty, precision};

fn name(argument: &'static str) -> Name {
    Name { operation: "squared_error", argument }
}

#[pyfunction]
#[pyo3(signature = (prediction, target, weights, divisor))]
pub(super) fn squared_error<'py>(
    prediction: &Object<'py>, target: &Object<'py>, weights: Option<&Object<'py>>,
    divisor: Option<f64>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let prediction = array(prediction, name("prediction"))?;
    let run = (target, weights, divisor);
    with_precision_of!(&prediction, "squared_error", "prediction", losses(&prediction, run))
}

/// The losses, or their sum divided, and the differences.
fn losses<'py, T: Number>(
    prediction: &Untyped<'py>,
    (target, weights, divisor): (&Object<'py>, Option<&Object<'py>>, Option<f64>),
) -> PyResult<(Object<'py>, Object<'py>)> {
    let (py, like) = (prediction.py(), "prediction has");
    let prediction = readable::<T>(prediction, name("prediction"), like)?;
    let target = readable::<T>(target, name("target"), like)?;
    let weights = of_weights::<T>(weights, like)?;
    let differences = empty::<T, _>(py, prediction.shape(), "differences")?;
    let shape = if divisor.is_none() { prediction.shape() } else { &[] };
    let found = empty::<T, _>(py, shape, "the losses")?;
    let loss = SquaredError { weights: weights.as_ref().map(elements).transpose()? };
    let (p, t) = (elements(&prediction)?, elements(&target)?);
    // SAFETY: the arrays are new, contiguous and known to this call alone.
    let (e, each) = unsafe { (Place::of(&differences).elements(), Place::of(&found).elements()) };
    py.detach(|| -> crate::error::Result<()> {
        match divisor {
            None => drop(loss.run(p, t, e, Some(each))?),
            Some(divisor) => each[0] = T::from_f64(loss.run(p, t, e, None)? / divisor),
        }
        Ok(())
    })?;
    Ok((found.into_any(), differences.into_any()))
}

#[pyfunction]
#[pyo3(signature = (differences, weights, dlosses, divisor))]
pub(super) fn squared_error_backward<'py>(
    differences: &Object<'py>, weights: Option<&Object<'py>>, dlosses: &Object<'py>, divisor: f64,
) -> PyResult<Object<'py>> {
    let differences = array(differences, name("differences"))?;
    let run = (weights, dlosses, divisor);
    with_precision_of!(&differences, "squared_error", "differences", gradient(&differences, run))
}

fn gradient<'py, T: Number>(
    differences: &Untyped<'py>,
    (weights, dlosses, divisor): (Option<&Object<'py>>, &Object<'py>, f64),
) -> PyResult<Object<'py>> {
    let (py, like) = (differences.py(), "differences has");
    let differences = readable::<T>(differences, name("differences"), like)?;
    let dlosses = readable::<T>(dlosses, name("dlosses"), like)?;
    let weights = of_weights::<T>(weights, like)?;
    let gradient = empty::<T, _>(py, differences.shape(), "dprediction")?;
    let loss = SquaredError { weights: weights.as_ref().map(elements).transpose()? };
    let (e, g) = (elements(&differences)?, elements(&dlosses)?);
    // SAFETY: the array is new, contiguous and known to this call alone.
    let to = unsafe { Place::of(&gradient).elements() };
    py.detach(|| loss.backward(e, g, divisor, to))?;
    Ok(gradient.into_any())
}

fn of_weights<'py, T: Number>(
    weights: Option<&Object<'py>>, like: &str,
) -> PyResult<Option<Array<'py, T>>> {
    weights.map(|weights| readable::<T>(weights, name("weights"), like)).transpose()
}
