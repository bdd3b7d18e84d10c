//! The kernels: some rows, forward and backward, and what they are normalized by.

use ndarray::ArrayView1;

use super::{Call, Columns};
use crate::dense::Dense;
use crate::error::Result;
use crate::shape::equal;
use crate::simd::{Element, Kernel, Lanes};

/// [`Columns`], checked.
pub(super) struct Lines<'a, T> {
    mean: Dense<'a, T>,
    scale: Dense<'a, T>,
    weight: Option<Dense<'a, T>>,
    bias: Option<Dense<'a, T>>,
}

impl<'a, T: Element> Lines<'a, T> {
    pub fn new(operation: &'static str, width: usize, of: Columns<'a, T>) -> Result<Self> {
        let line = |argument, given: ArrayView1<'a, T>| {
            equal(operation, argument, "(F,)", &[width], given.shape())?;
            Dense::of(given)
        };
        Ok(Self {
            mean: line("mean", of.mean)?,
            scale: line("scale", of.scale)?,
            weight: of.weight.map(|weight| line("weight", weight)).transpose()?,
            bias: of.bias.map(|bias| line("bias", bias)).transpose()?,
        })
    }

    /// As the kernels read them: slices, found out once and not for every register.
    pub fn of<'b>(&'b self, x: &'b [T]) -> Normal<'b, T> {
        let (weight, bias) = (self.weight.as_deref(), self.bias.as_deref());
        Normal { x, mean: &self.mean, scale: &self.scale, weight, bias }
    }
}

/// Rows, and what they are normalized by.
#[derive(Clone, Copy)]
pub(super) struct Normal<'a, T> {
    x: &'a [T],
    mean: &'a [T],
    scale: &'a [T],
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
}

impl<T: Element> Normal<'_, T> {
    /// `(x - mean) * scale` of column `j` and up to `n` others; `at` is their place in `x`.
    ///
    /// # Safety
    /// The row exists and has these columns.
    #[inline(always)]
    pub unsafe fn at<L: Lanes<T>>(&self, l: L, at: usize, j: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let d = l.sub(elements(l, self.x, at, n), elements(l, self.mean, j, n));
            l.mul(d, elements(l, self.scale, j, n))
        }
    }

    #[inline(always)]
    unsafe fn weighted<L: Lanes<T>>(&self, l: L, v: L::V, j: usize, n: usize) -> L::V {
        match self.weight {
            // SAFETY: the caller vouches for the elements.
            Some(weight) => l.mul(v, unsafe { elements(l, weight, j, n) }),
            None => v,
        }
    }
}

/// Up to `n` elements from `j` on.
#[inline(always)]
pub(super) unsafe fn elements<T: Element, L: Lanes<T>>(l: L, a: &[T], j: usize, n: usize) -> L::V {
    // SAFETY: the caller vouches for the elements.
    unsafe { l.load_up_to(a.as_ptr().add(j), n) }
}

/// Some rows forward.
pub(super) struct Forward<'a, T> {
    pub call: &'a Call<'a, T>,
    pub columns: &'a Lines<'a, T>,
    pub first: usize,
    pub y: &'a mut [T],
}

impl<T: Element> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (call, width) = (self.call, self.call.width);
        let normal = self.columns.of(&call.x);
        for (i, y) in (self.first..).zip(self.y.chunks_exact_mut(width)) {
            if !call.is_valid(i) {
                y.fill(T::default());
                continue;
            }
            for j in (0..width).step_by(L::N) {
                let n = width - j;
                // SAFETY: the row exists, and columns have its width.
                unsafe {
                    let mut v = normal.weighted(l, normal.at(l, i * width + j, j, n), j, n);
                    if let Some(bias) = normal.bias {
                        v = l.add(v, elements(l, bias, j, n));
                    }
                    l.store_up_to(y.as_mut_ptr().add(j), v, n);
                }
            }
        }
    }
}

/// Some rows backward: with the normalized row `n`, `dx = (dy - mean of dy - n * mean of dy n) *
/// scale * weight`, the means over the rows.
pub(super) struct Backward<'a, T> {
    pub call: &'a Call<'a, T>,
    pub columns: &'a Lines<'a, T>,
    /// The means of `dy n` and of `dy`, if anything goes through the statistics.
    pub through: Option<(&'a [T], &'a [T])>,
    pub dy: &'a [T],
    pub first: usize,
    pub dx: &'a mut [T],
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (call, width) = (self.call, self.call.width);
        let normal = self.columns.of(&call.x);
        for (i, dx) in (self.first..).zip(self.dx.chunks_exact_mut(width)) {
            if !call.is_valid(i) {
                dx.fill(T::default());
                continue;
            }
            for j in (0..width).step_by(L::N) {
                let (n, at) = (width - j, i * width + j);
                // SAFETY: the row exists, and columns and means have its width.
                unsafe {
                    let mut d = elements(l, self.dy, at, n);
                    if let Some((along, flat)) = self.through {
                        d = l.sub(d, elements(l, flat, j, n));
                        d = l.fnma(normal.at(l, at, j, n), elements(l, along, j, n), d);
                    }
                    d = l.mul(normal.weighted(l, d, j, n), elements(l, normal.scale, j, n));
                    l.store_up_to(dx.as_mut_ptr().add(j), d, n);
                }
            }
        }
    }
}
