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

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use crate::block_sums::{ROWS, blocks, totals};
use crate::chunks::each;
use crate::dense::{Dense, dense_mut};
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
    let step = ROWS * width;
    let parts = x.chunks(step).zip(y.chunks_mut(step));
    let found = mean.chunks_mut(ROWS).zip(scale.chunks_mut(ROWS));
    let eps = T::from_f64(eps);
    each(parts.zip(found), threads, |_, ((x, y), (mean, scale))| {
        let (weight, bias) = (weight.as_deref(), bias.as_deref());
        T::dispatch(isa, Forward { width, weight, bias, eps, x, y, mean, scale });
        Ok(())
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
    let given = x.chunks(step).zip(dy.chunks(step));
    let found = mean.chunks(ROWS).zip(scale.chunks(ROWS));
    let results = dx.chunks_mut(step).zip(sums.chunks_mut(2 * width));
    each(given.zip(found).zip(results), threads, |_, (((x, dy), (mean, scale)), (dx, sums))| {
        let (weight, sums) = (weight.as_deref(), sums.split_at_mut(width));
        T::dispatch(isa, Backward { width, weight, x, dy, mean, scale, dx, sums });
        Ok(())
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
        unsafe { [part(l, self.0, j, n)] }
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
        let d = l.sub(unsafe { part(l, self.x, j, n) }, l.splat(self.mean));
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
        let d = l.sub(unsafe { part(l, self.x, j, n) }, l.splat(self.mean));
        l.mul(d, l.splat(self.scale))
    }

    /// `dy` times the weight.
    #[inline(always)]
    unsafe fn weighted<L: Lanes<T>>(&self, l: L, dy: L::V, j: usize, n: usize) -> L::V {
        match self.weight {
            // SAFETY: the caller vouches for the elements.
            Some(weight) => l.mul(dy, unsafe { part(l, weight, j, n) }),
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
                    v = l.add(v, part(l, bias, j, n));
                }
                l.store_up_to(y.as_mut_ptr().add(j), v, n - j);
            }
        }
    }
}

/// Elements `j` to `j + L::N`, or to `n`.
#[inline(always)]
unsafe fn part<T: Element, L: Lanes<T>>(l: L, a: &[T], j: usize, n: usize) -> L::V {
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
            let g = self.row.weighted(l, part(l, self.dy, j, n), j, n);
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
                let (dy, x) = (part(l, self.dy, j, n), self.row.normalized(l, j, n));
                let g = l.sub(self.row.weighted(l, dy, j, n), mean);
                let d = l.mul(l.fnma(x, along, g), l.splat(self.row.scale));
                l.store_up_to(dx.as_mut_ptr().add(j), d, n - j);
                let w = l.fma(dy, x, part(l, dweight, j, n));
                l.store_up_to(dweight.as_mut_ptr().add(j), w, n - j);
                let b = l.add(dy, part(l, dbias, j, n));
                l.store_up_to(dbias.as_mut_ptr().add(j), b, n - j);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, s};

    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::{numbers, on_every_isa};

    /// The inputs of a call: `x`, `dy`, and weight and bias, if there are any.
    struct Call<T> {
        x: Array2<T>,
        dy: Array2<T>,
        affine: Option<[Array1<T>; 2]>,
    }

    impl<T: Element> Call<T> {
        fn new(rows: usize, width: usize, is_affine: bool) -> Self {
            let line = |seed| numbers::<T>(1, width, seed).row(0).to_owned();
            let affine = is_affine.then(|| [line(3), line(4)]);
            Self { x: numbers(rows, width, 1), dy: numbers(rows, width, 2), affine }
        }

        /// `y, mean, scale, dx, dweight, dbias`
        fn run(&self, threads: usize) -> [Vec<T>; 6] {
            let (seven, threads) = (T::from_f64(7.0), Some(threads));
            let full = || Array2::from_elem(self.x.dim(), seven);
            let line = |n| Array1::from_elem(n, seven);
            let (mut y, mut dx) = (full(), full());
            let (mut mean, mut scale) = (line(self.x.nrows()), line(self.x.nrows()));
            let (mut dweight, mut dbias) = (line(self.x.ncols()), line(self.x.ncols()));
            let [weight, bias] = [0, 1].map(|i| self.affine.as_ref().map(|a| a[i].view()));
            let found = Statistics { mean: mean.view_mut(), scale: scale.view_mut() };
            forward(self.x.view(), weight, bias, 1e-5, y.view_mut(), found, threads).unwrap();
            let (dweight_to, dbias_to) = (dweight.view_mut(), dbias.view_mut());
            let out = Gradients { dx: dx.view_mut(), dweight: dweight_to, dbias: dbias_to };
            let (x, dy) = (self.x.view(), self.dy.view());
            backward(x, weight, mean.view(), scale.view(), dy, out, threads).unwrap();
            let flat = |a: Array2<T>| a.into_raw_vec_and_offset().0;
            let [mean, scale, dweight, dbias] = [mean, scale, dweight, dbias].map(|a| a.to_vec());
            [flat(y), mean, scale, flat(dx), dweight, dbias]
        }

        /// The same in float64 loops.
        fn plain(&self) -> [Vec<f64>; 6] {
            let mut out = [(); 6].map(|()| Vec::new());
            let width = self.x.ncols();
            let of = |i: usize, j: usize| self.affine.as_ref().map(|a| a[i][j].to_f64());
            let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
            for (x, dy) in self.x.rows().into_iter().zip(self.dy.rows()) {
                let mean_of =
                    |f: &dyn Fn(usize) -> f64| (0..width).map(f).sum::<f64>() / width as f64;
                let mean = mean_of(&|j| x[j].to_f64());
                let variance = mean_of(&|j| (x[j].to_f64() - mean).powi(2));
                let scale = 1.0 / (variance + 1e-5).sqrt();
                let n = |j: usize| (x[j].to_f64() - mean) * scale;
                let g = |j: usize| dy[j].to_f64() * of(0, j).unwrap_or(1.0);
                let (flat, along) = (mean_of(&g), mean_of(&|j| g(j) * n(j)));
                for j in 0..width {
                    out[0].push(n(j) * of(0, j).unwrap_or(1.0) + of(1, j).unwrap_or(0.0));
                    out[3].push((g(j) - flat - n(j) * along) * scale);
                    dweight[j] += dy[j].to_f64() * n(j);
                    dbias[j] += dy[j].to_f64();
                }
                out[1].push(mean);
                out[2].push(scale);
            }
            (out[4], out[5]) = (dweight, dbias);
            out
        }
    }

    fn agrees<T: Element>(bound: f64) {
        for (rows, width) in [(1, 2), (3, 5), (0, 3), (65, 16), (130, 33), (2, 1500)] {
            for is_affine in [false, true] {
                let call = Call::<T>::new(rows, width, is_affine);
                for (i, (got, expected)) in call.run(1).iter().zip(call.plain()).enumerate() {
                    assert_eq!(got.len(), expected.len());
                    let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
                    for (got, expected) in got.iter().zip(expected) {
                        let error = (got.to_f64() - expected).abs();
                        assert!(error <= bound * largest, "{i} of {rows} x {width}: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn results_are_those_of_plain_loops() {
        agrees::<f32>(1e-5);
        agrees::<f64>(2e-14);
    }

    #[test]
    fn sets_and_threads_change_no_bit() {
        const { assert!(3000 * 103 * COST >= WORTH_SPLITTING) };
        let call = Call::<f32>::new(3000, 103, true);
        let expected = call.run(1);
        let double = Call::<f64>::new(70, 21, true);
        let doubled = double.run(1);
        on_every_isa(|isa| {
            for threads in [1, 2, 3] {
                assert!(call.run(threads) == expected, "{isa}, {threads} threads");
            }
            assert!(double.run(1) == doubled, "{isa}");
        });
    }

    #[test]
    fn a_row_has_the_same_bits_alone() {
        let call = Call::<f32>::new(100, 37, true);
        let [y, _, _, dx, ..] = call.run(1);
        for i in [0, 63, 64, 99] {
            let row = |a: &Array2<f32>| a.slice(s![i..=i, ..]).to_owned();
            let one = Call { x: row(&call.x), dy: row(&call.dy), affine: call.affine.clone() };
            let [y_alone, _, _, dx_alone, ..] = one.run(1);
            assert_eq!(y_alone, y[i * 37..][..37]);
            assert_eq!(dx_alone, dx[i * 37..][..37]);
        }
    }

    #[test]
    fn bad_shapes_are_refused() {
        let x = Array2::<f64>::zeros((2, 0));
        let (mut y, mut one, mut two) = (x.clone(), Array1::zeros(2), Array1::zeros(2));
        let found = Statistics { mean: one.view_mut(), scale: two.view_mut() };
        let error =
            forward(x.view(), None, None, 1.0, y.view_mut(), found, None).unwrap_err().to_string();
        let text = "layer_norm_forward: x: expected shape (N, F) with F >= 1, got (2, 0)";
        assert_eq!(error, text);
        let (x, weight) = (Array2::<f64>::zeros((2, 3)), Array1::zeros(4));
        let mut y = x.clone();
        let found = Statistics { mean: one.view_mut(), scale: two.view_mut() };
        let weight = Some(weight.view());
        let error = forward(x.view(), weight, None, 1.0, y.view_mut(), found, None).unwrap_err();
        let text = "layer_norm_forward: weight: expected shape (F,) = (3,), got (4,)";
        assert_eq!(error.to_string(), text);
    }
}
