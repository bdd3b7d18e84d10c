//! Arrays in row-major order, where they lie or as a copy, and results that tasks share out.

use std::marker::PhantomData;
use std::ops::Deref;

use ndarray::{ArrayView, ArrayViewMut, Dimension};

use crate::chunks::reserved;
use crate::error::Result;
use crate::parallel;
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

/// Parts of `step` elements, the last may be shorter: each for one task.
pub(crate) struct Shares<'a, T> {
    start: *mut T,
    len: usize,
    step: usize,
    elements: PhantomData<&'a mut [T]>,
}

// SAFETY: tasks on other threads get parts that do not overlap; see `part`.
unsafe impl<T: Send> Sync for Shares<'_, T> {}

impl<'a, T> Shares<'a, T> {
    pub fn of(elements: &'a mut [T], step: usize) -> Self {
        let (start, len) = (elements.as_mut_ptr(), elements.len());
        Self { start, len, step: step.max(1), elements: PhantomData }
    }

    pub fn count(&self) -> usize {
        self.len.div_ceil(self.step)
    }

    /// Part `i`; empty behind the last one.
    ///
    /// # Safety
    /// Nobody else has part `i`.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, i: usize) -> &mut [T] {
        let first = i.saturating_mul(self.step).min(self.len);
        let n = self.step.min(self.len - first);
        // SAFETY: the elements are borrowed for as long as `self`, and this part by the caller alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), n) }
    }
}

/// Part `i` of what is read, as of `Shares`.
pub(crate) fn part<T>(elements: &[T], step: usize, i: usize) -> &[T] {
    let first = i.saturating_mul(step).min(elements.len());
    &elements[first..elements.len().min(first.saturating_add(step))]
}

/// Runs `task(0)` to `task(n - 1)`, as `parallel::run` does. It is compiled once: with a closure of
/// its own for each kind of task, the sharing out would be as large as the arithmetic.
pub(crate) fn run(n: usize, threads: usize, task: &(dyn Fn(usize) + Sync)) -> Result<()> {
    parallel::run(n, threads, |i| {
        task(i);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn other_strides_are_copied() {
        let a = array![[1, 2], [3, 4]];
        assert!(matches!(Dense::of(a.view()), Ok(Dense::Borrowed(_))));
        assert_eq!(*Dense::of(a.t()).unwrap(), [1, 3, 2, 4]);
        let mut turned = Array2::<u8>::zeros((2, 3)).reversed_axes();
        assert!(dense_mut("f", "y", turned.view_mut()).is_err());
    }

    #[test]
    fn every_element_is_in_one_part_whatever_the_threads() {
        for (len, threads) in [(0, 1), (1, 2), (40, 1), (41, 3)] {
            let mut numbers = vec![0; len];
            let shares = Shares::of(&mut numbers, 8);
            // SAFETY: each number comes once.
            let add = |i: usize| unsafe { shares.part(i) }.iter_mut().for_each(|n| *n += i + 1);
            run(shares.count(), threads, &add).unwrap();
            let expected: Vec<usize> = (0..len).map(|n| n / 8 + 1).collect();
            assert_eq!(numbers, expected);
            let read: Vec<usize> = (0..9).flat_map(|i| part(&expected, 8, i)).copied().collect();
            assert_eq!(read, expected);
        }
    }
}
