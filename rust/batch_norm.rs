//! Batch normalization (Ioffe and Szegedy 2015): `y = (x - mean) * scale * weight + bias` of each
//! feature over the rows that are valid, and the gradients. Other rows are not looked at, and get
//! zeros.
//!
//! Letters: `N` rows, `F` features.
//!
//! ```
//! use ndarray::{Array1, Array2, array};
//! use recurra::batch_norm::{self, Columns};
//!
//! let (x, valid) = (array![[1.0], [3.0], [99.0]], array![true, true, false]);
//! let (mut mean, mut variance) = (Array1::zeros(1), Array1::zeros(1));
//! let seen = Some(valid.view());
//! batch_norm::statistics(x.view(), seen, mean.view_mut(), variance.view_mut(), None)?;
//! assert_eq!((&mean, &variance), (&array![2.0], &array![1.0]));
//!
//! let (scale, mut y) = (array![1.0], Array2::zeros((3, 1)));
//! let columns = Columns { mean: mean.view(), scale: scale.view(), weight: None, bias: None };
//! batch_norm::forward(x.view(), seen, columns, y.view_mut(), None)?;
//! assert_eq!(y, array![[-1.0], [1.0], [0.0]]);
//! # Ok::<(), recurra::Error>(())
//! ```

mod sums;
#[cfg(test)]
mod tests;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use sums::{Sum, Sums};

use crate::block_sums::{ROWS, blocks, totals};
use crate::chunks::reserved;
use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::{Element, Isa, Kernel, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 4;

/// What each feature is normalized by, each `(F,)`.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a, T> {
    /// Of a batch, or of many.
    pub mean: ArrayView1<'a, T>,
    /// `1 / sqrt(variance + eps)`
    pub scale: ArrayView1<'a, T>,
    /// By which the normalized number is multiplied.
    pub weight: Option<ArrayView1<'a, T>>,
    /// What is added then.
    pub bias: Option<ArrayView1<'a, T>>,
}

/// Where [`backward`] writes; all of it is written.
pub struct Gradients<'a, T> {
    /// `(N, F)`
    pub dx: ArrayViewMut2<'a, T>,
    /// `(F,)`
    pub dweight: ArrayViewMut1<'a, T>,
    /// `(F,)`
    pub dbias: ArrayViewMut1<'a, T>,
}

/// Writes the mean `(F,)` and the variance `(F,)`, divided by the count, of the rows of `x (N, F)`
/// that are `valid (N,)`; all without. Of no row they are NaN.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit,
/// [`Error::Memory`](crate::Error::Memory).
pub fn statistics<T: Element>(
    x: ArrayView2<'_, T>, valid: Option<ArrayView1<'_, bool>>, mut mean: ArrayViewMut1<'_, T>,
    mut variance: ArrayViewMut1<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "batch_norm_statistics";
    let call = Call::new(operation, x, valid, threads)?;
    equal(operation, "mean", "(F,)", &[call.width], mean.shape())?;
    equal(operation, "variance", "(F,)", &[call.width], variance.shape())?;
    let index = call.index()?;
    let count = index.len() as f64;
    for (to, sum) in mean.iter_mut().zip(call.sums(&index, call.width, Sum::Values)?) {
        *to = T::from_f64(sum / count);
    }
    let mean = Dense::of(mean.view())?;
    let squares = call.sums(&index, call.width, Sum::Squares { mean: &mean })?;
    for (to, sum) in variance.iter_mut().zip(squares) {
        *to = T::from_f64(sum / count);
    }
    Ok(())
}

/// Writes the valid rows of `x (N, F)`, normalized, to `y (N, F)`.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit and a `y` not in row-major
/// order, [`Error::Memory`](crate::Error::Memory).
pub fn forward<T: Element>(
    x: ArrayView2<'_, T>, valid: Option<ArrayView1<'_, bool>>, columns: Columns<'_, T>,
    y: ArrayViewMut2<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "batch_norm_forward";
    let (rows, width) = x.dim();
    let call = Call::new(operation, x, valid, threads)?;
    equal(operation, "y", "(N, F)", &[rows, width], y.shape())?;
    let columns = Lines::new(operation, width, columns)?;
    let y = dense_mut(operation, "y", y)?;
    call.write(y, |first, y| {
        T::dispatch(call.isa, Forward { call: &call, columns: &columns, first, y });
    })
}

/// The gradients of [`forward`] for the gradient `dy (N, F)` of its result; with `of_batch`, those
/// through mean and variance as well, which were those of this batch.
///
/// # Errors
/// As [`forward`].
pub fn backward<T: Element>(
    x: ArrayView2<'_, T>, valid: Option<ArrayView1<'_, bool>>, columns: Columns<'_, T>,
    dy: ArrayView2<'_, T>, of_batch: bool, out: Gradients<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "batch_norm_backward";
    let (rows, width) = x.dim();
    let call = Call::new(operation, x, valid, threads)?;
    equal(operation, "dy", "(N, F)", &[rows, width], dy.shape())?;
    equal(operation, "dx", "(N, F)", &[rows, width], out.dx.shape())?;
    equal(operation, "dweight", "(F,)", &[width], out.dweight.shape())?;
    equal(operation, "dbias", "(F,)", &[width], out.dbias.shape())?;
    let columns = Lines::new(operation, width, columns)?;
    let (dy, dx) = (Dense::of(dy)?, dense_mut(operation, "dx", out.dx)?);
    let index = call.index()?;
    let sums = call.sums(&index, 2 * width, Sum::Gradients { columns: &columns, dy: &dy })?;
    let parameters = out.dweight.into_iter().chain(out.dbias);
    parameters.zip(&sums).for_each(|(to, &sum)| *to = T::from_f64(sum));
    let mut means = reserved(sums.len(), "means of gradients")?;
    means.extend(sums.iter().map(|sum| T::from_f64(sum / index.len() as f64)));
    let through = of_batch.then(|| means.split_at(width));
    let (columns, dy) = (&columns, &dy);
    call.write(dx, |first, dx| {
        T::dispatch(call.isa, Backward { call: &call, columns, through, dy, first, dx });
    })
}

/// The rows, and which of them are valid.
struct Call<'a, T> {
    width: usize,
    x: Dense<'a, T>,
    valid: Option<Dense<'a, bool>>,
    threads: usize,
    isa: Isa,
}

impl<'a, T: Element> Call<'a, T> {
    fn new(
        operation: &'static str, x: ArrayView2<'a, T>, valid: Option<ArrayView1<'a, bool>>,
        threads: Option<usize>,
    ) -> Result<Self> {
        if let Some(valid) = &valid {
            equal(operation, "valid", "(N,)", &[x.nrows()], valid.shape())?;
        }
        let threads = threads_for(operation, threads, x.len().saturating_mul(COST))?;
        let (width, isa, valid) = (x.ncols(), Isa::current()?, valid.map(Dense::of).transpose()?);
        Ok(Self { width, x: Dense::of(x)?, valid, threads, isa })
    }

    fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[row])
    }

    /// The numbers of the valid rows.
    fn index(&self) -> Result<Vec<usize>> {
        let rows = self.x.len() / self.width.max(1);
        let mut index = reserved(rows, "the numbers of rows")?;
        index.extend((0..rows).filter(|&row| self.is_valid(row)));
        Ok(index)
    }

    /// `width` sums over the rows of the index: their blocks are of valid rows alone, so that
    /// padding changes none.
    fn sums(&self, index: &[usize], width: usize, what: Sum<'_, T>) -> Result<Vec<f64>> {
        let mut sums = blocks::<T>(index.len(), width)?;
        let shares = Shares::of(&mut sums, width);
        run(shares.count(), self.threads, &|i| {
            let rows = part(index, ROWS, i);
            // SAFETY: each task has its part.
            let sums = unsafe { shares.part(i) };
            T::dispatch(self.isa, Sums { call: self, rows, what, sums });
        })?;
        totals(&sums, width)
    }

    /// Runs `kernel` for some rows of a result at a time; it is given the number of the first.
    fn write(&self, to: &mut [T], kernel: impl Fn(usize, &mut [T]) + Sync) -> Result<()> {
        let to = Shares::of(to, ROWS * self.width.max(1));
        run(to.count(), self.threads, &|i| {
            // SAFETY: each task has its part.
            kernel(i * ROWS, unsafe { to.part(i) });
        })
    }
}

/// [`Columns`], checked.
struct Lines<'a, T> {
    mean: Dense<'a, T>,
    scale: Dense<'a, T>,
    weight: Option<Dense<'a, T>>,
    bias: Option<Dense<'a, T>>,
}

impl<'a, T: Element> Lines<'a, T> {
    fn new(operation: &'static str, width: usize, of: Columns<'a, T>) -> Result<Self> {
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
    fn of<'b>(&'b self, x: &'b [T]) -> Normal<'b, T> {
        let (weight, bias) = (self.weight.as_deref(), self.bias.as_deref());
        Normal { x, mean: &self.mean, scale: &self.scale, weight, bias }
    }
}

/// Rows, and what they are normalized by.
#[derive(Clone, Copy)]
struct Normal<'a, T> {
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
    unsafe fn at<L: Lanes<T>>(&self, l: L, at: usize, j: usize, n: usize) -> L::V {
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
unsafe fn elements<T: Element, L: Lanes<T>>(l: L, a: &[T], j: usize, n: usize) -> L::V {
    // SAFETY: the caller vouches for the elements.
    unsafe { l.load_up_to(a.as_ptr().add(j), n) }
}

/// Some rows forward.
struct Forward<'a, T> {
    call: &'a Call<'a, T>,
    columns: &'a Lines<'a, T>,
    first: usize,
    y: &'a mut [T],
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
struct Backward<'a, T> {
    call: &'a Call<'a, T>,
    columns: &'a Lines<'a, T>,
    /// The means of `dy n` and of `dy`, if anything goes through the statistics.
    through: Option<(&'a [T], &'a [T])>,
    dy: &'a [T],
    first: usize,
    dx: &'a mut [T],
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
