//! Cross entropy.

use ndarray::{Ix1, Ix2};
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use super::{Object, Untyped, asked};
use crate::loss::{CrossEntropy, Reduction};
use crate::py::arrays::{
    Name, Number, Precision, array, empty, integers, optional, precision, typed, view, view_mut,
};
use crate::shape;

/// What is given beside logits and targets.
struct Options<'a, 'py> {
    weights: Option<&'a Object<'py>>,
    class_weights: Option<&'a Object<'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Reduction,
    threads: Option<usize>,
}

fn name(argument: &'static str) -> Name {
    Name { operation: "cross_entropy", argument }
}

#[pyfunction]
#[pyo3(signature = (
    logits, targets, weights=None, class_weights=None, ignore_index=None, label_smoothing=0.0,
    reduction="mean", n_threads=None
))]
#[allow(clippy::too_many_arguments)]
pub(super) fn cross_entropy<'py>(
    logits: &Object<'py>, targets: &Object<'py>, weights: Option<&Object<'py>>,
    class_weights: Option<&Object<'py>>, ignore_index: Option<i64>, label_smoothing: f64,
    reduction: &str, n_threads: Option<&Object<'py>>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let threads = asked("cross_entropy", n_threads)?;
    let reduction = reduced(reduction)?;
    let options =
        Options { weights, class_weights, ignore_index, label_smoothing, reduction, threads };
    let logits = array(logits, name("logits"))?;
    with_precision_of!(&logits, "cross_entropy", "logits", losses(&logits, targets, &options))
}

fn reduced(reduction: &str) -> PyResult<Reduction> {
    match reduction {
        "none" => Ok(Reduction::None),
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        other => {
            let expected = "\"none\", \"mean\" or \"sum\"";
            let got = format!("{other:?}");
            Err(shape::refuse("cross_entropy", "reduction", expected, got).into())
        }
    }
}

/// The losses and the gradient.
fn losses<'py, T: Number>(
    logits: &Untyped<'py>, targets: &Object<'py>, options: &Options<'_, 'py>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let (py, like) = (logits.py(), "logits has");
    let logits = typed::<T, Ix2>(logits, name("logits"), "(N, V)", like)?;
    let targets = integers(targets, name("targets"), "(N,)")?;
    let weights = optional::<T, Ix1>(options.weights, name("weights"), "(N,)", like)?;
    let of_classes =
        optional::<T, Ix1>(options.class_weights, name("class_weights"), "(V,)", like)?;
    let gradient = empty::<T, _>(py, (logits.shape()[0], logits.shape()[1]), "dlogits")?;
    let call = CrossEntropy {
        targets: view(&targets),
        weights: weights.as_ref().map(view),
        class_weights: of_classes.as_ref().map(view),
        ignore_index: options.ignore_index,
        label_smoothing: options.label_smoothing,
        reduction: options.reduction,
    };
    let (z, out, threads) = (view(&logits), view_mut(&gradient), options.threads);
    let values = py.detach(|| call.run(z, out, threads))?;
    let losses = empty::<T, _>(py, values.len(), "the losses")?;
    view_mut(&losses).iter_mut().zip(&values).for_each(|(to, &loss)| *to = T::from_f64(loss));
    Ok((losses.into_any(), gradient.into_any()))
}
