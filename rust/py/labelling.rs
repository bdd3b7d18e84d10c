//! Losses over all labellings of a sequence, and decoding.

mod crf;
mod ctc;

use ndarray::{ArrayView1, Ix1};
use numpy::{PyArray, PyUntypedArray};
use pyo3::prelude::*;

use super::arrays::{Name, empty, integers, required, threads, view_mut};

type Object<'py> = Bound<'py, PyAny>;
type Untyped<'py> = Bound<'py, PyUntypedArray>;
/// Integers, one for each row.
type Integers<'py> = Bound<'py, PyArray<i64, Ix1>>;
type Floats<'py, D> = Bound<'py, PyArray<f64, D>>;

/// Calls a generic function with the precision of `$array`, which is `$name`.
macro_rules! generic {
    ($array:expr, $name:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $crate::py::arrays::precision($array, $name)? {
            $crate::py::arrays::Precision::Single => $f::<f32>($array, $($arg),*),
            $crate::py::arrays::Precision::Double => $f::<f64>($array, $($arg),*),
        }
    };
}
use generic;

/// The number of threads that a call asks for.
fn asked(operation: &'static str, n: Option<&Object<'_>>) -> PyResult<Option<usize>> {
    threads(n, Name { operation, argument: "n_threads" })
}

/// The steps of the rows.
fn row_lengths<'py>(
    operation: &'static str, argument: &'static str, lengths: Option<&Object<'py>>,
) -> PyResult<Option<Integers<'py>>> {
    lengths.map(|lengths| integers(lengths, Name { operation, argument }, "(B,)")).transpose()
}

/// What the rows' losses count.
fn row_weights<'py>(
    operation: &'static str, weights: Option<&Object<'py>>,
) -> PyResult<Option<Floats<'py, Ix1>>> {
    let name = Name { operation, argument: "weights" };
    weights.map(|weights| required::<f64, Ix1>(weights, name, "(B,)", "losses have")).transpose()
}

/// The losses as an array, and their weighted sum, from the first row to the last.
fn summed<'py>(
    py: Python<'py>, losses: &[f64], weights: Option<ArrayView1<'_, f64>>,
) -> PyResult<(Object<'py>, f64)> {
    let weight = |b: usize| weights.map_or(1.0, |weights| weights[b]);
    let total = losses.iter().enumerate().fold(0.0, |sum, (b, loss)| sum + weight(b) * loss);
    Ok((copied(py, losses, "the losses")?, total))
}

/// A new array with these numbers.
fn copied<'py, T: numpy::Element + Copy>(
    py: Python<'py>, numbers: &[T], purpose: &'static str,
) -> PyResult<Object<'py>> {
    let made = empty::<T, _>(py, numbers.len(), purpose)?;
    view_mut(&made).iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
    Ok(made.into_any())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    ctc::register(module)?;
    crf::register(module)
}
