//! Lists of arrays that a call changes in place, with a place for each parameter.

use numpy::{PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::inplace::{Array, alike, readable, untyped, writable};
use super::{Object, asked};
use crate::error::Result;
use crate::py::arrays::{Name, Number, Precision, precision};
use crate::py::forward::Either;
use crate::shape::refuse;

pub(super) type List<'py> = Bound<'py, PyList>;

/// The lists of one call; those of `optional` may be absent.
pub(super) struct Lists<'a, 'py, const M: usize, const K: usize> {
    operation: &'static str,
    pub params: (&'static str, &'a List<'py>),
    pub grads: (&'static str, &'a List<'py>),
    moments: [(&'static str, &'a List<'py>); M],
    optional: [(&'static str, Option<&'a List<'py>>); K],
    n_threads: Option<&'a Object<'py>>,
}

/// What `Lists` hold, when all of it was found to fit.
pub(super) struct Checked<'py, const M: usize, const K: usize> {
    /// Keeps alive what the places are of: another thread may change the lists.
    pub held: Vec<Object<'py>>,
    pub places: Vec<Either<Places<f32, M, K>, Places<f64, M, K>>>,
    pub threads: Option<usize>,
}

/// Checks all arrays of `$lists` and then, without the interpreter, runs for each parameter the
/// body with its number, the threads asked for, and its elements. The body is compiled for both
/// precisions.
macro_rules! in_place {
    ($lists:expr, |$i:pat_param, $threads:pat_param, $($elements:pat_param),+| $run:expr) => {{
        let lists = $lists;
        let py = lists.params.1.py();
        let $crate::py::train::lists::Checked { held, places, threads: $threads } =
            lists.checked()?;
        let result = py.detach(|| {
            places.into_iter().enumerate().try_for_each(|($i, place)| match place {
                // SAFETY: `held` keeps the arrays, and `checked` found them fit.
                $crate::py::forward::Either::Single(place) => unsafe { place.with(|$($elements),+| $run) },
                // SAFETY: as above.
                $crate::py::forward::Either::Double(place) => unsafe { place.with(|$($elements),+| $run) },
            })
        });
        drop(held);
        Ok::<(), PyErr>(result?)
    }};
}
pub(super) use in_place;

impl<'a, 'py, const M: usize, const K: usize> Lists<'a, 'py, M, K> {
    pub(super) fn new(
        operation: &'static str, params: &'a List<'py>, grads: &'a List<'py>,
        moments: [(&'static str, &'a List<'py>); M],
        optional: [(&'static str, Option<&'a List<'py>>); K], n_threads: Option<&'a Object<'py>>,
    ) -> Self {
        let (params, grads) = (("param", params), ("grad", grads));
        Self { operation, params, grads, moments, optional, n_threads }
    }

    /// The places of all elements. Nothing has changed yet.
    pub(super) fn checked(&self) -> PyResult<Checked<'py, M, K>> {
        let (argument, params) = self.params;
        let name = self.name(argument);
        let threads = asked(self.operation, self.n_threads)?;
        for (argument, list) in [self.grads].into_iter().chain(self.others()) {
            as_many(self.operation, argument, params, list.len())?;
        }
        let mut held = Vec::with_capacity(params.len() * (2 + M + K));
        let mut places = Vec::with_capacity(params.len());
        for i in 0..params.len() {
            places.push(match precision(&untyped(&params.get_item(i)?, name)?, name)? {
                Precision::Single => Either::Single(self.places(i, &mut held)?),
                Precision::Double => Either::Double(self.places(i, &mut held)?),
            });
        }
        Ok(Checked { held, places, threads })
    }

    fn places<T: Number>(
        &self, i: usize, held: &mut Vec<Object<'py>>,
    ) -> PyResult<Places<T, M, K>> {
        let like = if self.params.0 == "param" { "param has" } else { "average has" };
        let changed = |(argument, list): (&'static str, &List<'py>)| {
            let array = writable::<T>(&list.get_item(i)?, self.name(argument), like)?;
            PyResult::Ok((argument, array))
        };
        let (argument, grads) = self.grads;
        let grad = readable::<T>(&grads.get_item(i)?, self.name(argument), like)?;
        let mut arrays = Vec::with_capacity(2 + M + K);
        arrays.extend([changed(self.params)?, (argument, grad)]);
        for other in self.others() {
            arrays.push(changed(other)?);
        }
        alike(self.operation, &arrays)?;
        let mut found = arrays.iter().map(|(_, array)| Place::of(array));
        let mut next = || found.next().unwrap_or_default();
        let (param, grad) = (next(), next());
        let moments = std::array::from_fn(|_| next());
        let optional = self.optional.map(|(_, list)| list.map(|_| next()));
        held.extend(arrays.into_iter().map(|(_, array)| array.into_any()));
        Ok(Places { param, grad, moments, optional })
    }

    /// The moments that there are, in their order.
    fn others(&self) -> impl Iterator<Item = (&'static str, &'a List<'py>)> {
        let optional = self.optional.into_iter().filter_map(|(name, list)| Some((name, list?)));
        self.moments.into_iter().chain(optional)
    }

    fn name(&self, argument: &'static str) -> Name {
        Name { operation: self.operation, argument }
    }
}

/// Refuses a list that has not a place for each parameter.
pub(super) fn as_many(
    operation: &'static str, argument: &'static str, params: &List<'_>, got: usize,
) -> PyResult<()> {
    if got == params.len() {
        return Ok(());
    }
    let expected = format!("one for each of {} parameters", params.len());
    Err(refuse(operation, argument, expected, got.to_string()).into())
}

/// Where the elements of a contiguous array lie, for a call without the interpreter.
pub(super) struct Place<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: it is only a place; its unsafe method says who may touch what.
unsafe impl<T: Number> Send for Place<T> {}

/// Nowhere.
impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { start: std::ptr::NonNull::dangling().as_ptr(), len: 0 }
    }
}

impl<T: Number> Place<T> {
    pub(super) fn of(array: &Array<'_, T>) -> Self {
        Self { start: array.data(), len: array.len() }
    }

    /// The elements in the order of memory.
    ///
    /// # Safety
    /// The array is alive, contiguous and, where something is written, writable, and this call has
    /// no other slice of its memory meanwhile. Another Python thread may write it, as it may under
    /// any NumPy function that releases the lock: the numbers are then unspecified.
    pub(super) unsafe fn elements<'a>(self) -> &'a mut [T] {
        // SAFETY: the caller vouches for it; an array's data are never null.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

/// Where the elements of one parameter's arrays lie.
pub(super) struct Places<T, const M: usize, const K: usize> {
    param: Place<T>,
    grad: Place<T>,
    moments: [Place<T>; M],
    optional: [Option<Place<T>>; K],
}

impl<T: Number, const M: usize, const K: usize> Places<T, M, K> {
    /// Calls `step` with the elements. Parameters may share memory: each has its turn.
    ///
    /// # Safety
    /// The arrays are alive, and `alike` found those of this parameter apart.
    pub(super) unsafe fn with(
        self, step: impl FnOnce(&mut [T], &[T], [&mut [T]; M], [Option<&mut [T]>; K]) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: the caller vouches for it; `step` cannot keep the slices.
        unsafe {
            let moments = self.moments.map(|place| place.elements());
            let optional = self.optional.map(|place| place.map(|place| place.elements()));
            step(self.param.elements(), self.grad.elements(), moments, optional)
        }
    }
}
