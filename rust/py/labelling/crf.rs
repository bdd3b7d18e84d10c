//! The linear-chain conditional random field.

use ndarray::{Ix1, Ix2, Ix3};
use numpy::{PyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::{
    Floats, Integers, Object, Untyped, asked, copied, generic, row_lengths, row_weights, summed,
};
use crate::crf::{self, Crf};
use crate::py::arrays::{Name, Number, array, dimensioned, empty, required, typed, view, view_mut};

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
    module.add_function(wrap_pyfunction!(crf_loss, module)?)?;
    module.add_function(wrap_pyfunction!(crf_marginals, module)?)?;
    module.add_function(wrap_pyfunction!(crf_decode, module)?)
}
