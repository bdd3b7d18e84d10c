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

mod rows;
mod sums;
#[cfg(test)]
mod tests;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use rows::{Backward, Forward, Lines};
use sums::{Sum, Sums};

use crate::block_sums::{ROWS, blocks, totals};
use crate::chunks::reserved;
use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::{Element, Isa};

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
#[derive(Debug)]
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
    let sums =
        call.sums(&index, width.saturating_mul(2), Sum::Gradients { columns: &columns, dy: &dy })?;
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
        let to = Shares::of(to, ROWS.saturating_mul(self.width));
        run(to.count(), self.threads, &|i| {
            // SAFETY: each task has its part.
            kernel(i * ROWS, unsafe { to.part(i) });
        })
    }
}
