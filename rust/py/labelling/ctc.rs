//! Connectionist temporal classification.

use ndarray::{ArrayView1, Ix3};
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use super::{Object, Untyped, asked, generic, row_lengths, row_weights, summed};
use crate::ctc::{self, Ctc, Hypothesis, Targets};
use crate::py::arrays::{Name, Number, array, empty, integers, typed, view, view_mut};

#[pyfunction]
#[pyo3(signature = (
    logits, targets, input_lengths, target_lengths, blank, zero_infinity, weights, gradient,
    n_threads=None
))]
#[allow(clippy::too_many_arguments)]
fn ctc_loss<'py>(
    logits: &Object<'py>, targets: &Object<'py>, input_lengths: Option<&Object<'py>>,
    target_lengths: &Object<'py>, blank: usize, zero_infinity: bool, weights: Option<&Object<'py>>,
    gradient: bool, n_threads: Option<&Object<'py>>,
) -> PyResult<(Object<'py>, f64, Option<Object<'py>>)> {
    let operation = "ctc_loss";
    let name = |argument| Name { operation, argument };
    let labels = integers(targets, name("targets"), "(sum of target_lengths,)")?;
    let of_labels = integers(target_lengths, name("target_lengths"), "(B,)")?;
    let of_steps = row_lengths(operation, "input_lengths", input_lengths)?;
    let weights = row_weights(operation, weights)?;
    let targets = Targets { labels: view(&labels), lengths: view(&of_labels) };
    let options = Options { blank, zero_infinity, gradient, threads: asked(operation, n_threads)? };
    let logits = array(logits, name("logits"))?;
    let (steps, weights) = (of_steps.as_ref().map(view), weights.as_ref().map(view));
    generic!(&logits, name("logits"), ctc_value(targets, steps, weights, options))
}

struct Options {
    blank: usize,
    zero_infinity: bool,
    gradient: bool,
    threads: Option<usize>,
}

fn ctc_value<'py, T: Number>(
    logits: &Untyped<'py>, targets: Targets<'_>, lengths: Option<ArrayView1<'_, i64>>,
    weights: Option<ArrayView1<'_, f64>>, options: Options,
) -> PyResult<(Object<'py>, f64, Option<Object<'py>>)> {
    let name = Name { operation: "ctc_loss", argument: "logits" };
    let logits = typed::<T, Ix3>(logits, name, "(B, T, V)", "logits has")?;
    let (py, s) = (logits.py(), logits.shape());
    let new = || empty::<T, _>(py, (s[0], s[1], s[2]), "dlogits");
    let gradient = options.gradient.then(new).transpose()?;
    let ctc = Ctc { logits: view(&logits), lengths, blank: options.blank };
    let (zero, to) = (options.zero_infinity, gradient.as_ref().map(view_mut));
    let losses = py.detach(|| ctc::loss(&ctc, targets, zero, weights, to, options.threads))?;
    let (losses, total) = summed(py, &losses, weights)?;
    Ok((losses, total, gradient.map(Bound::into_any)))
}

/// Labels and log probability.
type Found<'py> = (Object<'py>, f64);

fn found<'py>(py: Python<'py>, hypothesis: &Hypothesis) -> PyResult<Found<'py>> {
    let labels = empty::<i64, _>(py, hypothesis.labels.len(), "the labels of a hypothesis")?;
    let pairs = hypothesis.labels.iter().zip(view_mut(&labels));
    pairs.for_each(|(&label, to)| *to = label as i64);
    Ok((labels.into_any(), hypothesis.log_probability))
}

#[pyfunction]
#[pyo3(signature = (logits, input_lengths, blank, n_threads=None))]
fn ctc_greedy_decode<'py>(
    logits: &Object<'py>, input_lengths: Option<&Object<'py>>, blank: usize,
    n_threads: Option<&Object<'py>>,
) -> PyResult<Vec<Found<'py>>> {
    let operation = "ctc_greedy_decode";
    let name = Name { operation, argument: "logits" };
    let lengths = row_lengths(operation, "input_lengths", input_lengths)?;
    let (logits, threads) = (array(logits, name)?, asked(operation, n_threads)?);
    let lengths = lengths.as_ref().map(view);
    generic!(&logits, name, greedy(lengths, blank, threads))
}

fn greedy<'py, T: Number>(
    logits: &Untyped<'py>, lengths: Option<ArrayView1<'_, i64>>, blank: usize,
    threads: Option<usize>,
) -> PyResult<Vec<Found<'py>>> {
    let name = Name { operation: "ctc_greedy_decode", argument: "logits" };
    let logits = typed::<T, Ix3>(logits, name, "(B, T, V)", "logits has")?;
    let ctc = Ctc { logits: view(&logits), lengths, blank };
    let hypotheses = logits.py().detach(|| ctc::greedy_decode(&ctc, threads))?;
    hypotheses.iter().map(|one| found(logits.py(), one)).collect()
}

#[pyfunction]
#[pyo3(signature = (logits, input_lengths, blank, beam_width, n_threads=None))]
fn ctc_beam_decode<'py>(
    logits: &Object<'py>, input_lengths: Option<&Object<'py>>, blank: usize, beam_width: usize,
    n_threads: Option<&Object<'py>>,
) -> PyResult<Vec<Vec<Found<'py>>>> {
    let operation = "ctc_beam_decode";
    let name = Name { operation, argument: "logits" };
    let lengths = row_lengths(operation, "input_lengths", input_lengths)?;
    let (logits, threads) = (array(logits, name)?, asked(operation, n_threads)?);
    let lengths = lengths.as_ref().map(view);
    generic!(&logits, name, beam(lengths, blank, beam_width, threads))
}

fn beam<'py, T: Number>(
    logits: &Untyped<'py>, lengths: Option<ArrayView1<'_, i64>>, blank: usize, width: usize,
    threads: Option<usize>,
) -> PyResult<Vec<Vec<Found<'py>>>> {
    let name = Name { operation: "ctc_beam_decode", argument: "logits" };
    let logits = typed::<T, Ix3>(logits, name, "(B, T, V)", "logits has")?;
    let ctc = Ctc { logits: view(&logits), lengths, blank };
    let py = logits.py();
    let rows = py.detach(|| ctc::beam_decode(&ctc, width, threads))?;
    rows.iter().map(|row| row.iter().map(|one| found(py, one)).collect()).collect()
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ctc_loss, module)?)?;
    module.add_function(wrap_pyfunction!(ctc_greedy_decode, module)?)?;
    module.add_function(wrap_pyfunction!(ctc_beam_decode, module)?)
}
