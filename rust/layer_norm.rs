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

#[cfg(test)]
mod tests;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use crate::block_sums::{ROWS, blocks, totals};
use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::lane_sums::{Terms, lane_sums};
use crate::parallel::threads_for;
use crate::shape::{equal, refuse};
use crate::simd::{Element, Isa, Kernel, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// What [`forward`] finds out about the rows, for [`backward`].
pub struct Statistics<'a, T> {
    /// The means `(N,)`.
    pub mean: ArrayViewMut1<'a, T>,
    /// `1 / sqrt(variance + eps)` `(N,)`
    pub scale: ArrayViewMut1<'a, T>,
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
    let (step, eps) = (ROWS * width, T::from_f64(eps));
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
    let (step, mut sums) = (ROWS * width, blocks::<T>(rows, 2 * width)?);
    let (dx, shares) = (Shares::of(dx, step), Shares::of(&mut sums, 2 * width));
    let weight = weight.as_deref();
    run(dx.count(), threads, &|i| {
        let (x, dy) = (part(&x, step, i), part(&dy, step, i));
        let (mean, scale) = (part(&mean, ROWS, i), part(&scale, ROWS, i));
        // SAFETY: each task has its parts.
        let (dx, sums) = unsafe { (dx.part(i), shares.part(i).split_at_mut(width)) };
        T::dispatch(isa, Backward { width, weight, x, dy, mean, scale, dx, sums });
    })?;
    let totals = totals(&sums, 2 * width)?;
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

/// Some rows forward.
struct Forward<'a, T> {
    width: usize,
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    eps: T,
    x: &'a [T],
    y: &'a mut [T],
    mean: &'a mut [T],
    scale: &'a mut [T],
}

impl<T: Element> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (one, count) = (T::from_f64(1.0), T::from_f64(self.width as f64));
        let rows = self.x.chunks_exact(self.width).zip(self.y.chunks_exact_mut(self.width));
        let found = self.mean.iter_mut().zip(self.scale);
        for ((x, y), (mean, scale)) in rows.zip(found) {
            // SAFETY: a row of x and of y, and the parameters, have `width` elements.
            unsafe {
                let [sum] = lane_sums(l, self.width, &Values(x));
                *mean = sum / count;
                let [sum] = lane_sums(l, self.width, &Squares { x, mean: *mean });
                *scale = one / (sum / count + self.eps).sqrt();
                let row = Row { x, mean: *mean, scale: *scale, weight: self.weight };
                row.write(l, self.bias, y);
            }
        }
    }
}

struct Values<'a, T>(&'a [T]);

impl<T: Element> Terms<T, 1> for Values<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe { [elements(l, self.0, j, n)] }
    }
}

struct Squares<'a, T> {
    x: &'a [T],
    mean: T,
}

impl<T: Element> Terms<T, 1> for Squares<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        let d = l.sub(unsafe { elements(l, self.x, j, n) }, l.splat(self.mean));
        [l.mul(d, d)]
    }
}

/// A row and how it is normalized.
struct Row<'a, T> {
    x: &'a [T],
    mean: T,
    scale: T,
    weight: Option<&'a [T]>,
}

impl<T: Element> Row<'_, T> {
    /// The normalized elements from `j` on.
    #[inline(always)]
    unsafe fn normalized<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        let d = l.sub(unsafe { elements(l, self.x, j, n) }, l.splat(self.mean));
        l.mul(d, l.splat(self.scale))
    }

    /// `dy` times the weight.
    #[inline(always)]
    unsafe fn weighted<L: Lanes<T>>(&self, l: L, dy: L::V, j: usize, n: usize) -> L::V {
        match self.weight {
            // SAFETY: the caller vouches for the elements.
            Some(weight) => l.mul(dy, unsafe { elements(l, weight, j, n) }),
            None => dy,
        }
    }

    #[inline(always)]
    unsafe fn write<L: Lanes<T>>(&self, l: L, bias: Option<&[T]>, y: &mut [T]) {
        let n = self.x.len();
        for j in (0..n).step_by(L::N) {
            // SAFETY: the caller vouches for the elements.
            unsafe {
                let mut v = self.normalized(l, j, n);
                v = self.weighted(l, v, j, n);
                if let Some(bias) = bias {
                    v = l.add(v, elements(l, bias, j, n));
                }
                l.store_up_to(y.as_mut_ptr().add(j), v, n - j);
            }
        }
    }
}

/// Elements `j` to `j + L::N`, or to `n`.
#[inline(always)]
unsafe fn elements<T: Element, L: Lanes<T>>(l: L, a: &[T], j: usize, n: usize) -> L::V {
    // SAFETY: the caller vouches for the elements.
    unsafe { l.load_up_to(a.as_ptr().add(j), n - j) }
}

/// Some rows backward.
struct Backward<'a, T> {
    width: usize,
    weight: Option<&'a [T]>,
    x: &'a [T],
    dy: &'a [T],
    mean: &'a [T],
    scale: &'a [T],
    dx: &'a mut [T],
    /// To which the gradients of weight and bias are added.
    sums: (&'a mut [T], &'a mut [T]),
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (width, count) = (self.width, T::from_f64(self.width as f64));
        let (dweight, dbias) = self.sums;
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        let found = self.mean.iter().zip(self.scale);
        for (((x, dy), (&mean, &scale)), dx) in rows.zip(found).zip(self.dx.chunks_exact_mut(width))
        {
            let row = Row { x, mean, scale, weight: self.weight };
            let row = Gradient { row, dy };
            // SAFETY: all rows, parameters and sums have `width` elements.
            unsafe {
                let [sum, along] = lane_sums(l, width, &row);
                row.write(l, [sum / count, along / count], dx, dweight, dbias);
            }
        }
    }
}

/// One row backward: with `g = dy * weight` and `n` the normalized row,
/// `dx = (g - mean of g - n * mean of g n) * scale`.
struct Gradient<'a, T> {
    row: Row<'a, T>,
    dy: &'a [T],
}

/// `g` and `g n`
impl<T: Element> Terms<T, 2> for Gradient<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 2] {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let g = self.row.weighted(l, elements(l, self.dy, j, n), j, n);
            [g, l.mul(g, self.row.normalized(l, j, n))]
        }
    }
}

impl<T: Element> Gradient<'_, T> {
    #[inline(always)]
    unsafe fn write<L: Lanes<T>>(
        &self, l: L, means: [T; 2], dx: &mut [T], dweight: &mut [T], dbias: &mut [T],
    ) {
        let (n, mean, along) = (self.dy.len(), l.splat(means[0]), l.splat(means[1]));
        for j in (0..n).step_by(L::N) {
            // SAFETY: the caller vouches for the elements.
            unsafe {
                let (dy, x) = (elements(l, self.dy, j, n), self.row.normalized(l, j, n));
                let g = l.sub(self.row.weighted(l, dy, j, n), mean);
                let d = l.mul(l.fnma(x, along, g), l.splat(self.row.scale));
                l.store_up_to(dx.as_mut_ptr().add(j), d, n - j);
                let w = l.fma(dy, x, elements(l, dweight, j, n));
                l.store_up_to(dweight.as_mut_ptr().add(j), w, n - j);
                let b = l.add(dy, elements(l, dbias, j, n));
                l.store_up_to(dbias.as_mut_ptr().add(j), b, n - j);
            }
        }
    }
}
