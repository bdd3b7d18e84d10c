//! From Python objects to array views and back.

use ndarray::{ArrayView, ArrayViewD, ArrayViewMut, Axis, Dimension, IntoDimension, Ix3};
use numpy::npyffi::{
    _PyArray_GET_ITEM_DATA, _PyDataType_GET_ITEM_DATA, NPY_ARRAY_ALIGNED, NPY_ARRAY_C_CONTIGUOUS,
    NPY_ARRAY_WRITEABLE, NPY_TYPES, PY_ARRAY_API,
};
use numpy::{
    Element as NumpyElement, PyArray, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods,
    PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::error::Error;
use crate::simd::Element;

/// An element that NumPy knows as well.
pub(super) trait Number: Element + NumpyElement {
    const TYPE: NPY_TYPES;
}
impl Number for f32 {
    const TYPE: NPY_TYPES = NPY_TYPES::NPY_FLOAT;
}
impl Number for f64 {
    const TYPE: NPY_TYPES = NPY_TYPES::NPY_DOUBLE;
}

/// The two precisions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Single,
    Double,
}

/// A function's name and an argument's, for error texts.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub operation: &'static str,
    pub argument: &'static str,
}

impl Name {
    pub(super) fn error(self, expected: &str, got: &str) -> String {
        let Self { operation, argument } = self;
        format!("{operation}: {argument}: expected {expected}, got {got}")
    }

    pub(super) fn type_error(self, expected: &str, got: &str) -> PyErr {
        PyTypeError::new_err(self.error(expected, got))
    }
}

/// The name of an object's class.
pub(super) fn class(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// What an array says of its memory. Small models spend their time in reading arguments: this takes
/// no reference to the dtype and asks NumPy nothing.
#[derive(Clone, Copy)]
struct Form {
    flags: i32,
    number: i32,
    /// Whether the byte order is surely the machine's.
    is_native: bool,
}

/// An array with these flags can be viewed as it is. (Where an axis has one element its stride may
/// be anything, and is not used.)
const USUAL: i32 = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;

impl Form {
    fn of(array: &Bound<'_, PyUntypedArray>) -> Self {
        // SAFETY: the interpreter is attached, and a live array has a live dtype.
        unsafe {
            let fields = _PyArray_GET_ITEM_DATA(array.as_array_ptr());
            let dtype = _PyDataType_GET_ITEM_DATA((*fields).descr);
            let is_native = matches!((*dtype).byteorder as u8, b'=' | b'|');
            Self { flags: (*fields).flags, number: (*dtype).type_num, is_native }
        }
    }

    /// Whether the elements are surely `T`.
    fn holds<T: Number>(self) -> bool {
        self.is_native && self.number == T::TYPE as i32
    }
}

/// `object` as an array: itself, or what NumPy makes of it; aligned and in native byte order.
pub(super) fn array<'py>(
    object: &Bound<'py, PyAny>, name: Name,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = object.py();
    if object.is_exact_instance_of::<PyUntypedArray>() {
        // SAFETY: it is one.
        let array = unsafe { object.cast_unchecked::<PyUntypedArray>() };
        let form = Form::of(array);
        if form.is_native && form.flags & USUAL == USUAL {
            return Ok(array.clone());
        }
    }
    let array = match object.cast::<PyUntypedArray>() {
        Ok(array) => array.clone(),
        Err(_) => made(object, name)?,
    };
    if !array.is_exact_instance_of::<PyUntypedArray>() && array.hasattr(intern!(py, "mask"))? {
        return Err(name.type_error("an array without a mask", &class(object)));
    }
    let size = array.dtype().itemsize().max(1) as isize;
    let whole = array.strides().iter().all(|stride| stride % size == 0);
    if array.is_aligned() && whole && array.dtype().is_native_byteorder() != Some(false) {
        return Ok(array);
    }
    let native = array.dtype().call_method1(intern!(py, "newbyteorder"), ("=",))?;
    Ok(array.call_method1(intern!(py, "astype"), (native,))?.cast_into::<PyUntypedArray>()?)
}

/// What NumPy makes of an object that is not an array.
fn made<'py>(object: &Bound<'py, PyAny>, name: Name) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = object.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let made = numpy.call_method1(intern!(py, "asarray"), (object,)).map_err(|error| {
        // Other exceptions, a lack of memory or an interrupt, are not about the argument.
        let unfit =
            error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py);
        if unfit { name.type_error("an array", &class(object)) } else { error }
    })?;
    Ok(made.cast_into::<PyUntypedArray>()?)
}

/// The precision of an array, refused if it is neither.
pub(super) fn precision(array: &Bound<'_, PyUntypedArray>, name: Name) -> PyResult<Precision> {
    let (py, form) = (array.py(), Form::of(array));
    if form.holds::<f32>() {
        return Ok(Precision::Single);
    }
    if form.holds::<f64>() {
        return Ok(Precision::Double);
    }
    if array.dtype().is_equiv_to(&dtype::<f32>(py)) {
        Ok(Precision::Single)
    } else if array.dtype().is_equiv_to(&dtype::<f64>(py)) {
        Ok(Precision::Double)
    } else {
        let got = array.dtype().to_string();
        Err(name.type_error("dtype float32 or float64", &got))
    }
}

/// An array of `T` in `D` dimensions. `letters` name them; `like` has the dtype `T`, as in
/// "as x has".
pub(super) fn typed<'py, T: Number, D: Dimension>(
    array: &Bound<'py, PyUntypedArray>, name: Name, letters: &str, like: &str,
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    if Form::of(array).holds::<T>() && D::NDIM.is_none_or(|axes| axes == array.ndim()) {
        // SAFETY: it holds `T` and has as many axes as `D`.
        return Ok(unsafe { array.clone().cast_into_unchecked() });
    }
    if !array.dtype().is_equiv_to(&dtype::<T>(array.py())) {
        precision(array, name)?;
        let expected = format!("dtype {} as {like}", <T as Element>::NAME);
        return Err(name.type_error(&expected, &array.dtype().to_string()));
    }
    dimensioned(array, name, letters)
}

/// An array whose element type is known, in `D` dimensions.
pub(super) fn dimensioned<'py, T: NumpyElement, D: Dimension>(
    array: &Bound<'py, PyUntypedArray>, name: Name, letters: &str,
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    array.cast::<PyArray<T, D>>().cloned().map_err(|_| {
        let got = crate::shape::show(array.shape());
        PyValueError::new_err(name.error(&format!("shape {letters}"), &got))
    })
}

/// An argument that may be `None`.
pub(super) fn optional<'py, T: Number, D: Dimension>(
    object: Option<&Bound<'py, PyAny>>, name: Name, letters: &str, like: &str,
) -> PyResult<Option<Bound<'py, PyArray<T, D>>>> {
    object.map(|object| required(object, name, letters, like)).transpose()
}

/// An array argument.
pub(super) fn required<'py, T: Number, D: Dimension>(
    object: &Bound<'py, PyAny>, name: Name, letters: &str, like: &str,
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    typed(&array(object, name)?, name, letters, like)
}

/// Integers, as 64 bits; booleans and floating-point numbers are refused.
pub(super) fn integers<'py>(
    object: &Bound<'py, PyAny>, name: Name, letters: &str,
) -> PyResult<Bound<'py, PyArray<i64, ndarray::Ix1>>> {
    let py = object.py();
    let array = array(object, name)?;
    let kind = array.dtype().kind();
    let empty = array.len() == 0 && !object.is_instance_of::<PyUntypedArray>();
    if !(matches!(kind, b'i' | b'u') || empty) {
        return Err(name.type_error("integers", &format!("dtype {}", array.dtype())));
    }
    if let Ok(unsigned) = array.cast::<PyArray<u64, ndarray::Ix1>>()
        && let Some(large) = view(unsigned).iter().find(|&&n| i64::try_from(n).is_err())
    {
        let text = name.error("integers of 63 bits", &large.to_string());
        return Err(PyValueError::new_err(text));
    }
    let array = if array.dtype().is_equiv_to(&dtype::<i64>(py)) {
        array
    } else {
        array.call_method1(intern!(py, "astype"), (dtype::<i64>(py),))?.cast_into()?
    };
    dimensioned(&array, name, letters)
}

/// Booleans, not merely something true.
pub(super) fn booleans<'py, D: Dimension>(
    object: &Bound<'py, PyAny>, name: Name, letters: &str,
) -> PyResult<Bound<'py, PyArray<bool, D>>> {
    let array = array(object, name)?;
    if !array.dtype().is_equiv_to(&dtype::<bool>(object.py())) {
        return Err(name.type_error("booleans", &format!("dtype {}", array.dtype())));
    }
    let bytes = array.call_method1(intern!(object.py(), "view"), (dtype::<u8>(object.py()),))?;
    match largest(view(bytes.cast::<PyArrayDyn<u8>>()?)) {
        0 | 1 => dimensioned(&array, name, letters),
        byte => Err(PyValueError::new_err(name.error("booleans", &format!("a byte {byte}")))),
    }
}

/// The largest byte, of which each is read once however often it is repeated along an axis. NumPy
/// lets other bytes pass for booleans; Rust must not see them.
fn largest(mut bytes: ArrayViewD<'_, u8>) -> u8 {
    for axis in 0..bytes.ndim() {
        if bytes.strides()[axis] == 0 && bytes.len_of(Axis(axis)) > 0 {
            bytes.collapse_axis(Axis(axis), 0);
        }
    }
    bytes.iter().fold(0, |a, &b| a.max(b))
}

/// `True` or `False`, not merely something true.
pub(super) fn flag(object: &Bound<'_, PyAny>, name: Name) -> PyResult<bool> {
    match object.cast_exact::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(name.type_error("True or False", &class(object))),
    }
}

/// A number of threads, or `None`.
pub(super) fn threads(object: Option<&Bound<'_, PyAny>>, name: Name) -> PyResult<Option<usize>> {
    let Some(object) = object else { return Ok(None) };
    let refused = |got| crate::parallel::refused(name.operation, name.argument, got);
    if object.hasattr(intern!(object.py(), "__index__"))? {
        let number = object.extract::<usize>();
        return number.map(Some).or_else(|_| Err(refused(object.str()?.to_string()).into()));
    }
    Err(PyTypeError::new_err(refused(class(object)).to_string()))
}

/// What a view of an array borrows: the pointer outlives the interpreter lock's release, since the
/// caller holds a reference to the array until the call returns.
pub(super) fn view<'a, T: NumpyElement, D: Dimension>(
    array: &'a Bound<'_, PyArray<T, D>>,
) -> ArrayView<'a, T, D> {
    // SAFETY: `array` is aligned, in native order and alive; the core only reads through the view.
    // Another Python thread may write the same array meanwhile, as it may under any NumPy function
    // that releases the lock: it then gets unspecified numbers, never memory out of bounds.
    unsafe { array.as_array() }
}

/// A view of an array that this call made, and nobody else has seen; or that `writable_lines` gave.
pub(super) fn view_mut<'a, T: NumpyElement, D: Dimension>(
    array: &'a Bound<'_, PyArray<T, D>>,
) -> ArrayViewMut<'a, T, D> {
    // SAFETY: the array is new, contiguous and known to this call alone; or its elements lie apart,
    // aligned and in native order, and another thread may read or write them meanwhile as in `view`.
    unsafe { array.as_array_mut() }
}

/// `object` itself, to write into: lines of contiguous elements, none of which lie upon others, as in
/// a range of columns of a C-contiguous array; `like` has the dtype `T`.
pub(super) fn writable_lines<'py, T: Number>(
    object: &Bound<'py, PyAny>, name: Name, letters: &str, like: &str,
) -> PyResult<Bound<'py, PyArray<T, Ix3>>> {
    let y = required::<T, Ix3>(object, name, letters, like)?;
    // SAFETY: the pointer is that of a live array.
    let flags = unsafe { (*_PyArray_GET_ITEM_DATA(y.as_array_ptr())).flags };
    let (shape, strides) = (y.shape(), y.strides());
    let mut least = size_of::<T>() as isize;
    // From the last axis on, each one steps over all of those behind it.
    let apart = (0..3).rev().all(|axis| {
        let fits = strides[axis] >= least || shape[axis] <= 1;
        least = least.max(strides[axis].saturating_mul(shape[axis] as isize));
        fits
    });
    let contiguous = strides[2] == size_of::<T>() as isize || shape[2] <= 1;
    if !y.is(object) || flags & NPY_ARRAY_WRITEABLE == 0 || !apart || !contiguous {
        let expected = "a writable, aligned array with its lines apart and contiguous";
        return Err(PyValueError::new_err(name.error(expected, "one that is not")));
    }
    Ok(y)
}

/// A new, uninitialised array.
///
/// # Errors
/// `MemoryError` where there is no memory, also for sizes that do not fit.
pub(super) fn empty<'py, T: NumpyElement, I: IntoDimension>(
    py: Python<'py>, shape: I, purpose: &'static str,
) -> PyResult<Bound<'py, PyArray<T, I::Dim>>> {
    let shape = shape.into_dimension();
    // A dimension of zero does not make the others fit: NumPy strides over them all the same.
    let sides = shape.slice().iter().map(|&n| n.max(1)).chain([size_of::<T>()]);
    let bytes = sides.into_iter().try_fold(1usize, |bytes, n| bytes.checked_mul(n));
    if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Error::Memory { purpose, bytes: None }.into());
    }
    let mut dims: Vec<isize> = shape.slice().iter().map(|&n| n as isize).collect();
    // SAFETY: the interpreter is attached; the dimensions are as many as are announced, and the
    // call takes over the reference to the descriptor. Null is turned into the pending exception.
    unsafe {
        let made = PY_ARRAY_API.PyArray_Empty(
            py,
            dims.len() as i32,
            dims.as_mut_ptr(),
            dtype::<T>(py).into_dtype_ptr(),
            0,
        );
        Ok(Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked())
    }
}
