//! safetensors, from and to bytes.

use std::collections::{BTreeMap, HashMap};

use numpy::{PyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::arrays::{Name, Precision, array, empty, precision};

fn refused(text: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("not a valid safetensors file: {text}"))
}

/// One array's bytes, in C order and little endian.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn store(object: &Bound<'_, PyAny>) -> PyResult<Stored> {
    let name = Name { operation: "serialize_safetensors", argument: "tensors" };
    let array = array(object, name)?;
    let shape = array.shape().to_vec();
    let stored = |dtype, bytes| Ok(Stored { dtype, shape, bytes });
    if let Ok(array) = array.cast::<PyArrayDyn<i64>>() {
        return stored(Dtype::I64, bytes(array, i64::to_le_bytes));
    }
    match precision(&array, name)? {
        Precision::Single => stored(Dtype::F32, bytes(array.cast()?, f32::to_le_bytes)),
        Precision::Double => stored(Dtype::F64, bytes(array.cast()?, f64::to_le_bytes)),
    }
}

fn bytes<T: Copy + numpy::Element, const BYTES: usize>(
    array: &Bound<'_, PyArrayDyn<T>>, number: fn(T) -> [u8; BYTES],
) -> Vec<u8> {
    super::arrays::view(array).iter().flat_map(|&x| number(x)).collect()
}

#[pyfunction]
fn serialize_safetensors<'py>(
    py: Python<'py>, tensors: &Bound<'py, PyDict>, metadata: HashMap<String, String>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut stored = BTreeMap::new();
    for (name, object) in tensors.iter() {
        stored.insert(name.extract::<String>()?, store(&object)?);
    }
    let mut views = Vec::with_capacity(stored.len());
    for (name, s) in &stored {
        views.push((
            name.as_str(),
            TensorView::new(s.dtype, s.shape.clone(), &s.bytes).map_err(refused)?,
        ));
    }
    let bytes =
        safetensors::serialize(views, Some(metadata).filter(|metadata| !metadata.is_empty()))
            .map_err(refused)?;
    Ok(PyBytes::new(py, &bytes))
}

#[pyfunction]
fn deserialize_safetensors<'py>(
    py: Python<'py>, data: &[u8],
) -> PyResult<(Bound<'py, PyDict>, HashMap<String, String>)> {
    let (_, header) = SafeTensors::read_metadata(data).map_err(refused)?;
    let file = SafeTensors::deserialize(data).map_err(refused)?;
    let tensors = PyDict::new(py);
    for (name, view) in file.iter() {
        let made = match view.dtype() {
            Dtype::F32 => load(py, &view, f32::from_le_bytes)?,
            Dtype::F64 => load(py, &view, f64::from_le_bytes)?,
            Dtype::I64 => load(py, &view, i64::from_le_bytes)?,
            other => {
                let text = format!("tensor {name:?}: expected F32, F64 or I64, got {other:?}");
                return Err(PyTypeError::new_err(text));
            }
        };
        tensors.set_item(name, made)?;
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

fn load<'py, T: numpy::Element, const BYTES: usize>(
    py: Python<'py>, view: &TensorView<'_>, number: fn([u8; BYTES]) -> T,
) -> PyResult<Bound<'py, PyAny>> {
    let made = empty::<T, _>(py, ndarray::IxDyn(view.shape()), "a tensor")?;
    let mut to = super::arrays::view_mut(&made);
    let (chunks, _) = view.data().as_chunks::<BYTES>();
    for (to, from) in to.iter_mut().zip(chunks) {
        *to = number(*from);
    }
    Ok(made.into_any())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(serialize_safetensors, module)?)?;
    module.add_function(wrap_pyfunction!(deserialize_safetensors, module)?)
}
