//! Losses over all labellings of a sequence, and decoding: CTC and the linear-chain CRF.

use ndarray::{ArrayView1, Ix1, Ix2, Ix3};
use numpy::{PyArray, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{
    Name, Number, Precision, array, dimensioned, empty, integers, precision, required, threads,
    typed, view, view_mut,
};
use crate::crf::{self, Crf};
use crate::ctc::{self, Ctc, Hypothesis, Targets};

type Object<'py> = Bound<'py, PyAny>;
type Untyped<'py> = Bound<'py, PyUntypedArray>;
type Integers<'py> = Bound<'py, PyArray<i64, Ix1>>;
type Floats<'py, D> = Bound<'py, PyArray<f64, D>>;

/// Calls a generic function with the precision of `$array`, which is `$name`.
macro_rules! generic {
    ($array:expr, $name:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match precision($array, $name)? {
            Precision::Single => $f::<f32>($array, $($arg),*),
            Precision::Double => $f::<f64>($array, $($arg),*),
        }
    };
}

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

// ---- CTC

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

// ---- CRF

/// The arrays of a batch and of the model's scores.
struct Chain<'py, T: numpy::Element> {
    emissions: Bound<'py, PyArray<T, Ix3>>,
    transitions: Bound<'py, PyArray<T, Ix2>>,
    start: Bound<'py, PyArray<T, Ix1>>,
    end: Bound<'py, PyArray<T, Ix1>>,
    lengths: Option<Integers<'py>>,
}

/// Transitions, start and end.
type Scores<'a, 'py> = [&'a Object<'py>; 3];

impl<'py, T: Number> Chain<'py, T> {
    fn new(
        operation: &'static str, emissions: &Untyped<'py>, scores: Scores<'_, 'py>,
        lengths: Option<&Object<'py>>,
    ) -> PyResult<Self> {
        let (name, like) = (|argument| Name { operation, argument }, "emissions has");
        let [transitions, start, end] = scores;
        Ok(Self {
            emissions: typed(emissions, name("emissions"), "(B, T, K)", like)?,
            transitions: required(transitions, name("transitions"), "(K, K)", like)?,
            start: required(start, name("start_transitions"), "(K,)", like)?,
            end: required(end, name("end_transitions"), "(K,)", like)?,
            lengths: row_lengths(operation, "lengths", lengths)?,
        })
    }

    fn view(&self) -> Crf<'_, T> {
        Crf {
            emissions: view(&self.emissions),
            lengths: self.lengths.as_ref().map(view),
            transitions: view(&self.transitions),
            start: view(&self.start),
            end: view(&self.end),
        }
    }
}

/// Losses, their weighted sum, and the gradients of emissions, transitions, start and end.
type CrfLoss<'py> = (Object<'py>, f64, Option<[Object<'py>; 4]>);

#[pyfunction]
#[pyo3(signature = (
    emissions, tags, transitions, start_transitions, end_transitions, lengths, weights, gradient,
    n_threads=None
))]
#[allow(clippy::too_many_arguments)]
fn crf_loss<'py>(
    emissions: &Object<'py>, tags: &Object<'py>, transitions: &Object<'py>,
    start_transitions: &Object<'py>, end_transitions: &Object<'py>, lengths: Option<&Object<'py>>,
    weights: Option<&Object<'py>>, gradient: bool, n_threads: Option<&Object<'py>>,
) -> PyResult<CrfLoss<'py>> {
    let operation = "crf_loss";
    let name = |argument| Name { operation, argument };
    let tags = dimensioned::<i64, Ix2>(&array(tags, name("tags"))?, name("tags"), "(B, T)")?;
    let weights = row_weights(operation, weights)?;
    let emissions = array(emissions, name("emissions"))?;
    let (scores, threads) =
        ([transitions, start_transitions, end_transitions], asked(operation, n_threads)?);
    generic!(
        &emissions,
        name("emissions"),
        crf_value(&tags, scores, lengths, weights.as_ref(), gradient, threads)
    )
}

fn crf_value<'py, T: Number>(
    emissions: &Untyped<'py>, tags: &Bound<'py, PyArray<i64, Ix2>>, scores: Scores<'_, 'py>,
    lengths: Option<&Object<'py>>, weights: Option<&Floats<'py, Ix1>>, gradient: bool,
    threads: Option<usize>,
) -> PyResult<CrfLoss<'py>> {
    let chain = Chain::<T>::new("crf_loss", emissions, scores, lengths)?;
    let (py, s, k) = (emissions.py(), emissions.shape(), emissions.shape()[2]);
    let new = || {
        let emissions = empty::<T, _>(py, (s[0], s[1], k), "demissions")?;
        let transitions = empty::<T, _>(py, (k, k), "dtransitions")?;
        let ends = [empty::<T, _>(py, k, "dstart")?, empty::<T, _>(py, k, "dend")?];
        PyResult::Ok((emissions, transitions, ends))
    };
    let made = gradient.then(new).transpose()?;
    let gradients = made.as_ref().map(|(emissions, transitions, [start, end])| crf::Gradients {
        emissions: view_mut(emissions),
        transitions: view_mut(transitions),
        start: view_mut(start),
        end: view_mut(end),
    });
    let (crf, tags, weights) = (chain.view(), view(tags), weights.map(view));
    let losses = py.detach(|| crf::loss(&crf, tags, weights, gradients, threads))?;
    let (losses, total) = summed(py, &losses, weights)?;
    let made = made.map(|(emissions, transitions, [start, end])| {
        [emissions.into_any(), transitions.into_any(), start.into_any(), end.into_any()]
    });
    Ok((losses, total, made))
}

#[pyfunction]
#[pyo3(signature = (
    emissions, transitions, start_transitions, end_transitions, lengths, n_threads=None
))]
fn crf_marginals<'py>(
    emissions: &Object<'py>, transitions: &Object<'py>, start_transitions: &Object<'py>,
    end_transitions: &Object<'py>, lengths: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let name = Name { operation: "crf_marginals", argument: "emissions" };
    let (emissions, threads) = (array(emissions, name)?, asked(name.operation, n_threads)?);
    let scores = [transitions, start_transitions, end_transitions];
    generic!(&emissions, name, marginals(scores, lengths, threads))
}

fn marginals<'py, T: Number>(
    emissions: &Untyped<'py>, scores: Scores<'_, 'py>, lengths: Option<&Object<'py>>,
    threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let chain = Chain::<T>::new("crf_marginals", emissions, scores, lengths)?;
    let s = emissions.shape();
    let made = empty::<T, _>(emissions.py(), (s[0], s[1], s[2]), "marginals")?;
    let (crf, to) = (chain.view(), view_mut(&made));
    emissions.py().detach(|| crf::marginals(&crf, to, threads))?;
    Ok(made.into_any())
}

#[pyfunction]
#[pyo3(signature = (
    emissions, transitions, start_transitions, end_transitions, lengths, n_threads=None
))]
fn crf_decode<'py>(
    emissions: &Object<'py>, transitions: &Object<'py>, start_transitions: &Object<'py>,
    end_transitions: &Object<'py>, lengths: Option<&Object<'py>>, n_threads: Option<&Object<'py>>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let name = Name { operation: "crf_decode", argument: "emissions" };
    let (emissions, threads) = (array(emissions, name)?, asked(name.operation, n_threads)?);
    let scores = [transitions, start_transitions, end_transitions];
    generic!(&emissions, name, best_tags(scores, lengths, threads))
}

fn best_tags<'py, T: Number>(
    emissions: &Untyped<'py>, scores: Scores<'_, 'py>, lengths: Option<&Object<'py>>,
    threads: Option<usize>,
) -> PyResult<(Object<'py>, Object<'py>)> {
    let chain = Chain::<T>::new("crf_decode", emissions, scores, lengths)?;
    let (py, s) = (emissions.py(), emissions.shape());
    let tags = empty::<i64, _>(py, (s[0], s[1]), "tags")?;
    let (crf, to) = (chain.view(), view_mut(&tags));
    let scores = py.detach(|| crf::decode(&crf, to, threads))?;
    Ok((tags.into_any(), copied(py, &scores, "the scores")?))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ctc_loss, module)?)?;
    module.add_function(wrap_pyfunction!(ctc_greedy_decode, module)?)?;
    module.add_function(wrap_pyfunction!(ctc_beam_decode, module)?)?;
    module.add_function(wrap_pyfunction!(crf_loss, module)?)?;
    module.add_function(wrap_pyfunction!(crf_marginals, module)?)?;
    module.add_function(wrap_pyfunction!(crf_decode, module)?)
}
