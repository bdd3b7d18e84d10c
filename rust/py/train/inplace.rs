//! Arrays that a call changes in place.

use ndarray::IxDyn;
use numpy::npyffi::{_PyArray_GET_ITEM_DATA, NPY_ARRAY_WRITEABLE};
use numpy::{PyArray, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::py::arrays::{Name, Number, array, class, typed};
use crate::shape::{equal, refuse};

/// An array of any number of dimensions.
pub(super) type Array<'py, T> = Bound<'py, PyArray<T, IxDyn>>;

/// `object` itself as a C-contiguous array of `T`, never a copy; `like` has the dtype `T`.
pub(super) fn writable<'py, T: Number>(
    object: &Bound<'py, PyAny>, name: Name, like: &str,
) -> PyResult<Array<'py, T>> {
    let made = writable_in_any_order(object, name, like)?;
    if made.is_c_contiguous() { Ok(made) } else { Err(unfit(name, "one in Fortran order")) }
}

/// As `writable`, for what does not care which element comes first.
pub(super) fn writable_in_any_order<'py, T: Number>(
    object: &Bound<'py, PyAny>, name: Name, like: &str,
) -> PyResult<Array<'py, T>> {
    let given = untyped(object, name)?;
    // SAFETY: the pointer is that of a live array.
    let flags = unsafe { (*_PyArray_GET_ITEM_DATA(given.as_array_ptr())).flags };
    if flags & NPY_ARRAY_WRITEABLE == 0 {
        return Err(unfit(name, "a read-only one"));
    }
    if !given.is_contiguous() {
        return Err(unfit(name, "one that is not contiguous"));
    }
    if !given.is_aligned() {
        return Err(unfit(name, "one that is not aligned"));
    }
    let native = array(object, name)?;
    if !native.is(&given) {
        return Err(unfit(name, "one in another byte order"));
    }
    typed(&given, name, "(...)", like)
}

fn unfit(name: Name, got: &str) -> PyErr {
    PyValueError::new_err(refusal(name, "a writable, contiguous, aligned array", got))
}

/// `object` as the array that it is.
pub(super) fn untyped<'py>(
    object: &Bound<'py, PyAny>, name: Name,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let refused = |_| PyTypeError::new_err(refusal(name, "an array", &class(object)));
    object.cast::<PyUntypedArray>().cloned().map_err(refused)
}

fn refusal(name: Name, expected: &str, got: &str) -> String {
    refuse(name.operation, name.argument, expected, got).to_string()
}

/// `object` as a C-contiguous array that is only read: itself, or a copy.
pub(super) fn readable<'py, T: Number>(
    object: &Bound<'py, PyAny>, name: Name, like: &str,
) -> PyResult<Array<'py, T>> {
    let given = array(object, name)?;
    let contiguous = match given.is_c_contiguous() {
        true => given,
        false => given.call_method0(intern!(object.py(), "copy"))?.cast_into()?,
    };
    typed(&contiguous, name, "(...)", like)
}

/// Refuses arrays that differ in shape from the first one, or share memory.
pub(super) fn alike<T: Number>(
    operation: &'static str, arrays: &[(&'static str, Array<'_, T>)],
) -> PyResult<()> {
    for (i, (argument, array)) in arrays.iter().enumerate() {
        let (first_name, first) = &arrays[0];
        if array.shape() != first.shape() {
            equal(operation, argument, &format!("of {first_name}"), first.shape(), array.shape())?;
        }
        let own = places(array);
        for (other, others) in &arrays[..i] {
            let theirs = places(others);
            if own.start < theirs.end && theirs.start < own.end {
                let got = format!("memory that {other} has, too");
                return Err(refuse(operation, argument, "memory of its own", got).into());
            }
        }
    }
    Ok(())
}

/// The addresses of a contiguous array's elements.
fn places<T: Number>(array: &Array<'_, T>) -> std::ops::Range<usize> {
    let start = array.data().addr();
    start..start + array.len() * size_of::<T>()
}

/// The elements of a C-contiguous array, to read.
pub(super) fn elements<'a, T: Number>(array: &'a Array<'_, T>) -> PyResult<&'a [T]> {
    // SAFETY: the array is alive until the call returns. Another Python thread may write it
    // meanwhile, as it may under any NumPy function that releases the lock: the numbers are then
    // unspecified.
    Ok(unsafe { array.as_slice()? })
}
