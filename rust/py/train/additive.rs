//! The scores of additive attention.

use ndarray::{Ix1, Ix3};
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use super::{Object, Three, Untyped, asked};
use crate::additive::{Gradients, backward, forward};
use crate::py::arrays::{
    Name, Number, Precision, array, empty, precision, required, typed, view, view_mut,
};

#[pyfunction]
#[pyo3(signature = (query, key, weight, n_threads=None))]
fn additive_forward<'py>(
    query: &Object<'py>, key: &Object<'py>, weight: &Object<'py>, n_threads: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let operation = "additive_forward";
    let threads = asked(operation, n_threads)?;
    let query = array(query, Name { operation, argument: "query" })?;
    with_precision_of!(&query, operation, "query", scores(&query, key, weight, threads))
}

fn scores<'py, T: Number>(
    query: &Untyped<'py>, key: &Object<'py>, weight: &Object<'py>, threads: Option<usize>,
) -> PyResult<Object<'py>> {
    let name = |argument| Name { operation: "additive_forward", argument };
    let query = typed::<T, Ix3>(query, name("query"), "(B, Q, H)", "query has")?;
    let key = required::<T, Ix3>(key, name("key"), "(B, K, H)", "query has")?;
    let weight = required::<T, Ix1>(weight, name("weight"), "(H,)", "query has")?;
    let py = query.py();
    let scores = empty::<T, _>(py, (query.shape()[0], query.shape()[1], key.shape()[1]), "scores")?;
    let (q, k, w, out) = (view(&query), view(&key), view(&weight), view_mut(&scores));
    py.detach(|| forward(q, k, w, out, threads))?;
    Ok(scores.into_any())
}

#[pyfunction]
#[pyo3(signature = (query, key, weight, dscores, n_threads=None))]
fn additive_backward<'py>(
    query: &Object<'py>, key: &Object<'py>, weight: &Object<'py>, dscores: &Object<'py>,
    n_threads: Option<&Object<'py>>,
) -> PyResult<Three<'py>> {
    let operation = "additive_backward";
    let threads = asked(operation, n_threads)?;
    let query = array(query, Name { operation, argument: "query" })?;
    let others = [key, weight, dscores];
    with_precision_of!(&query, operation, "query", gradients(&query, others, threads))
}

fn gradients<'py, T: Number>(
    query: &Untyped<'py>, [key, weight, dscores]: [&Object<'py>; 3], threads: Option<usize>,
) -> PyResult<Three<'py>> {
    let name = |argument| Name { operation: "additive_backward", argument };
    let query = typed::<T, Ix3>(query, name("query"), "(B, Q, H)", "query has")?;
    let key = required::<T, Ix3>(key, name("key"), "(B, K, H)", "query has")?;
    let weight = required::<T, Ix1>(weight, name("weight"), "(H,)", "query has")?;
    let dscores = required::<T, Ix3>(dscores, name("dscores"), "(B, Q, K)", "query has")?;
    let (py, sizes) = (query.py(), |a: &[usize]| (a[0], a[1], a[2]));
    let dquery = empty::<T, _>(py, sizes(query.shape()), "dquery")?;
    let dkey = empty::<T, _>(py, sizes(key.shape()), "dkey")?;
    let dweight = empty::<T, _>(py, weight.shape()[0], "dweight")?;
    let (dq, dk, dw) = (view_mut(&dquery), view_mut(&dkey), view_mut(&dweight));
    let out = Gradients { dquery: dq, dkey: dk, dweight: dw };
    let (q, k, w, dy) = (view(&query), view(&key), view(&weight), view(&dscores));
    py.detach(|| backward(q, k, w, dy, out, threads))?;
    Ok((dquery.into_any(), dkey.into_any(), dweight.into_any()))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(additive_forward, module)?)?;
    module.add_function(wrap_pyfunction!(additive_backward, module)?)
}
