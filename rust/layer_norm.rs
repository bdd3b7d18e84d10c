//! Layer normalization (Ba et al. 2016): `y = (x - mean) / sqrt(variance + eps) * weight + bias` of
//! each row, and the gradients.
//!
//! Letters: `N` rows, `F` features.
//!
//! ```
//! use ndarray::{Array1, Array2, array};
//! use recurra::layer_norm::{self, Statistics};
//!
//! let (x, weight) = (array![[1.0, 3.0]], array![1.0, 2.0]);
//! let (mut y, mut mean, mut scale) = (Array2::zeros((1, 2)), Array1::zeros(1), Array1::zeros(1));
//! let statistics = Statistics { mean: mean.view_mut(), scale: scale.view_mut() };
//! layer_norm::forward(
//!     x.view(), Some(weight.view()), None, 0.0, y.view_mut(), statistics, None,
//! )?;
//! assert_eq!((y, mean, scale), (array![[-1.0, 2.0]], array![2.0], array![1.0]));
//! # Ok::<(), recurra::Error>(())
//! ```

mod rows;
#[cfg(test)]
mod tests;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use rows::{Backward, Forward};

use crate::block_sums::{ROWS, blocks, totals};
use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::parallel::threads_for;
use crate::shape::{equal, refuse};
use crate::simd::{Element, Isa};

/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// What [`forward`] finds out about the rows, for [`backward`].
#[derive(Debug)]
pub struct Statistics<'a, T> {
    /// The means `(N,)`.
    pub mean: ArrayViewMut1<'a, T>,
    /// `1 / sqrt(variance + eps)` `(N,)`
    pub scale: ArrayViewMut1<'a, T>,
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

/// Writes to `y (N, F)` the rows of `x (N, F)` with zero mean and unit variance, times
/// `weight (F,)` and plus `bias (F,)` where they are given, and what [`backward`] needs.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit, no features, and results
/// that are not in row-major order, [`Error::Memory`](crate::Error::Memory).
pub fn forward<T: Element>(
    x: ArrayView2<'_, T>, weight: Option<ArrayView1<'_, T>>, bias: Option<ArrayView1<'_, T>>,
    eps: f64, y: ArrayViewMut2<'_, T>, statistics: Statistics<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "layer_norm_forward";
    let (rows, width) = features(operation, &x)?;
    equal(operation, "y", "(N, F)", &[rows, width], y.shape())?;
    equal(operation, "mean", "(N,)", &[rows], statistics.mean.shape())?;
    equal(operation, "scale", "(N,)", &[rows], statistics.scale.shape())?;
    let weight = of_features(operation, "weight", width, weight)?;
    let bias = of_features(operation, "bias", width, bias)?;
    let threads = threads_for(operation, threads, x.len().saturating_mul(COST))?;
    let (isa, x, y) = (Isa::current()?, Dense::of(x)?, dense_mut(operation, "y", y)?);
    let mean = dense_mut(operation, "mean", statistics.mean)?;
    let scale = dense_mut(operation, "scale", statistics.scale)?;
    let (step, eps) = (ROWS.saturating_mul(width), T::from_f64(eps));
    let (weight, bias) = (weight.as_deref(), bias.as_deref());
    let (mean, scale) = (Shares::of(mean, ROWS), Shares::of(scale, ROWS));
    let y = Shares::of(y, step);
    run(y.count(), threads, &|i| {
        let x = part(&x, step, i);
        // SAFETY: each task has its parts.
        let (y, mean, scale) = unsafe { (y.part(i), mean.part(i), scale.part(i)) };
        T::dispatch(isa, Forward { width, weight, bias, eps, x, y, mean, scale });
    })
}

/// The gradients of [`forward`] for the gradient `dy (N, F)` of its result, from its `x (N, F)`,
/// `mean (N,)` and `scale (N,)`, and the `weight (F,)` if there was one.
///
/// # Errors
/// As [`forward`].
pub fn backward<T: Element>(
    x: ArrayView2<'_, T>, weight: Option<ArrayView1<'_, T>>, mean: ArrayView1<'_, T>,
    scale: ArrayView1<'_, T>, dy: ArrayView2<'_, T>, out: Gradients<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "layer_norm_backward";
    let (rows, width) = features(operation, &x)?;
    equal(operation, "dy", "(N, F)", &[rows, width], dy.shape())?;
    equal(operation, "dx", "(N, F)", &[rows, width], out.dx.shape())?;
    equal(operation, "mean", "(N,)", &[rows], mean.shape())?;
    equal(operation, "scale", "(N,)", &[rows], scale.shape())?;
    equal(operation, "dweight", "(F,)", &[width], out.dweight.shape())?;
    equal(operation, "dbias", "(F,)", &[width], out.dbias.shape())?;
    let weight = of_features(operation, "weight", width, weight)?;
    let threads = threads_for(operation, threads, x.len().saturating_mul(COST))?;
    let (isa, x, dy) = (Isa::current()?, Dense::of(x)?, Dense::of(dy)?);
    let (mean, scale) = (Dense::of(mean)?, Dense::of(scale)?);
    let dx = dense_mut(operation, "dx", out.dx)?;
    let (step, both) = (ROWS.saturating_mul(width), width.saturating_mul(2));
    let mut sums = blocks::<T>(rows, both)?;
    let (dx, shares) = (Shares::of(dx, step), Shares::of(&mut sums, both));
    let weight = weight.as_deref();
    run(dx.count(), threads, &|i| {
        let (x, dy) = (part(&x, step, i), part(&dy, step, i));
        let (mean, scale) = (part(&mean, ROWS, i), part(&scale, ROWS, i));
        // SAFETY: each task has its parts.
        let (dx, sums) = unsafe { (dx.part(i), shares.part(i).split_at_mut(width)) };
        T::dispatch(isa, Backward { width, weight, x, dy, mean, scale, dx, sums });
    })?;
    let totals = totals(&sums, both)?;
    let parameters = out.dweight.into_iter().chain(out.dbias);
    parameters.zip(totals).for_each(|(to, total)| *to = T::from_f64(total));
    Ok(())
}

/// N and F.
fn features<T>(operation: &'static str, x: &ArrayView2<'_, T>) -> Result<(usize, usize)> {
    match x.dim() {
        (_, 0) => {
            let got = crate::shape::show(x.shape());
            Err(refuse(operation, "x", "shape (N, F) with F >= 1", got))
        }
        sizes => Ok(sizes),
    }
}

fn of_features<'a, T: Element>(
    operation: &'static str, argument: &'static str, width: usize, given: Option<ArrayView1<'a, T>>,
) -> Result<Option<Dense<'a, T>>> {
    let Some(given) = given else { return Ok(None) };
    equal(operation, argument, "(F,)", &[width], given.shape())?;
    Dense::of(given).map(Some)
}
