//! Arrays in row-major order, where they lie or as a copy.

use std::ops::Deref;

use ndarray::{ArrayView, ArrayViewMut, Dimension};

use crate::chunks::reserved;
use crate::error::Result;
use crate::shape::refuse;

/// The elements of an array, row by row.
pub(crate) enum Dense<'a, T> {
    /// Where they lie.
    Borrowed(&'a [T]),
    /// Of an array with other strides.
    Copied(Vec<T>),
}

impl<'a, T: Copy> Dense<'a, T> {
    pub fn of<D: Dimension>(array: ArrayView<'a, T, D>) -> Result<Self> {
        if let Some(elements) = array.to_slice() {
            return Ok(Self::Borrowed(elements));
        }
        let mut copy = reserved(array.len(), "a contiguous copy")?;
        copy.extend(array.iter());
        Ok(Self::Copied(copy))
    }
}

impl<T> Deref for Dense<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Borrowed(elements) => elements,
            Self::Copied(elements) => elements,
        }
    }
}

/// The elements of a result, which has to lie row by row.
pub(crate) fn dense_mut<'a, T, D: Dimension>(
    operation: &'static str, argument: &'static str, array: ArrayViewMut<'a, T, D>,
) -> Result<&'a mut [T]> {
    let refused = || refuse(operation, argument, "an array in row-major order", "other strides");
    array.into_slice().ok_or_else(refused)
}
