//! Strided views that several tasks share, each on its own rows.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use crate::simd::Element;

/// A `(B, T, n)` array, or a `(B, n)` one, whose lines are read or written whole.
#[derive(Clone, Copy)]
pub(crate) struct View<T> {
    start: *mut T,
    strides: [isize; 3],
}

// SAFETY: a view is only a place; each of its unsafe methods says who may touch what.
unsafe impl<T: Element> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T: Element> Sync for View<T> {}

impl<T: Element> View<T> {
    /// For reading only.
    pub fn of3(a: &ArrayView3<'_, T>) -> Self {
        let s = a.strides();
        Self { start: a.as_ptr().cast_mut(), strides: [s[0], s[1], s[2]] }
    }

    /// For reading only.
    pub fn of2(a: &ArrayView2<'_, T>) -> Self {
        let s = a.strides();
        Self { start: a.as_ptr().cast_mut(), strides: [s[0], 0, s[1]] }
    }

    /// For reading and writing, as long as the array stays borrowed.
    pub fn of_mut3(a: &mut ArrayViewMut3<'_, T>) -> Self {
        let s = [a.strides()[0], a.strides()[1], a.strides()[2]];
        Self { start: a.as_mut_ptr(), strides: s }
    }

    /// For reading and writing, as long as the array stays borrowed.
    pub fn of_mut2(a: &mut ArrayViewMut2<'_, T>) -> Self {
        let s = [a.strides()[0], 0, a.strides()[1]];
        Self { start: a.as_mut_ptr(), strides: s }
    }

    /// The first element of a line, and the step to the next.
    #[inline(always)]
    pub fn line(&self, b: usize, t: usize) -> (*mut T, isize) {
        let [rows, steps, step] = self.strides;
        (self.start.wrapping_offset(b as isize * rows + t as isize * steps), step)
    }

    /// The same lines from column `first` on.
    #[inline(always)]
    pub fn columns_from(self, first: usize) -> Self {
        let start = self.start.wrapping_offset(first as isize * self.strides[2]);
        Self { start, ..self }
    }

    /// A `(B, n)` array with its lines as columns.
    pub fn transposed(self) -> Self {
        let [row, step, column] = self.strides;
        Self { strides: [column, step, row], ..self }
    }

    /// Copies `n` elements of a line of `view` to contiguous memory, or writes zeros without one.
    ///
    /// # Safety
    /// As for `read`.
    #[inline(always)]
    pub unsafe fn read_or_zero(view: Option<Self>, b: usize, t: usize, n: usize, to: *mut T) {
        // SAFETY: the caller vouches for both.
        unsafe {
            match view {
                Some(view) => view.read(b, t, n, to),
                None => to.write_bytes(0, n),
            }
        }
    }

    /// Copies `n` elements of a line to contiguous memory.
    ///
    /// # Safety
    /// The line exists and has `n` elements, which nobody writes; `to` is valid for writing `n`.
    #[inline(always)]
    pub unsafe fn read(&self, b: usize, t: usize, n: usize, to: *mut T) {
        let (from, step) = self.line(b, t);
        // SAFETY: the caller vouches for both.
        unsafe { crate::panels::pack_line(from, step, to, n, n) };
    }

    /// Copies `n` contiguous elements to a line.
    ///
    /// # Safety
    /// The view is of a mutable array in which this line belongs to the caller and has `n`
    /// elements; `from` is valid for reading `n`.
    #[inline(always)]
    pub unsafe fn write(&self, b: usize, t: usize, n: usize, from: *const T) {
        let (to, step) = self.line(b, t);
        // SAFETY: the caller vouches for both.
        unsafe {
            if step == 1 {
                std::ptr::copy_nonoverlapping(from, to, n);
            } else {
                (0..n).for_each(|j| *to.offset(j as isize * step) = *from.add(j));
            }
        }
    }

    /// Writes zeros to a line.
    ///
    /// # Safety
    /// As for `write`.
    pub unsafe fn clear(&self, b: usize, t: usize, n: usize) {
        let (to, step) = self.line(b, t);
        // SAFETY: the caller vouches for the line.
        unsafe { (0..n).for_each(|j| *to.offset(j as isize * step) = T::default()) };
    }
}
