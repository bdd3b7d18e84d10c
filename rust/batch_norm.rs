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

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use crate::block_sums::{ROWS, blocks, totals};
use crate::chunks::{each, reserved};
use crate::dense::{Dense, dense_mut};
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
    call.write(y, |first, y| Forward { call: &call, columns: &columns, first, y })
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
    call.write(dx, |first, dx| Backward { call: &call, columns, through, dy, first, dx })
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
        if width > 0 {
            each(
                index.chunks(ROWS).zip(sums.chunks_mut(width)),
                self.threads,
                |_, (rows, sums)| {
                    T::dispatch(self.isa, Sums { call: self, rows, what, sums });
                    Ok(())
                },
            )?;
        }
        totals(&sums, width)
    }

    /// Runs a kernel for some rows of a result at a time; it is given the number of the first.
    fn write<'b, K: Kernel<T>>(
        &self, to: &'b mut [T], kernel: impl Fn(usize, &'b mut [T]) -> K + Sync,
    ) -> Result<()> {
        let step = ROWS * self.width.max(1);
        each(to.chunks_mut(step), self.threads, |i, to| {
            T::dispatch(self.isa, kernel(i * ROWS, to));
            Ok(())
        })
    }

    /// Row `i`, from element `j` on.
    ///
    /// # Safety
    /// The row exists and `j` is before its end.
    #[inline(always)]
    unsafe fn part<L: Lanes<T>>(&self, l: L, a: &[T], i: usize, j: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { l.load_up_to(a.as_ptr().add(i * self.width + j), self.width - j) }
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

    /// `(x - mean) * scale` of elements `j` to the end of a row.
    #[inline(always)]
    unsafe fn normalized<L: Lanes<T>>(&self, l: L, x: L::V, j: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { l.mul(l.sub(x, part(l, &self.mean, j)), part(l, &self.scale, j)) }
    }

    #[inline(always)]
    unsafe fn weighted<L: Lanes<T>>(&self, l: L, v: L::V, j: usize) -> L::V {
        match &self.weight {
            // SAFETY: the caller vouches for the elements.
            Some(weight) => l.mul(v, unsafe { part(l, weight, j) }),
            None => v,
        }
    }
}

/// Elements `j` to `j + L::N`, or to the end.
#[inline(always)]
unsafe fn part<T: Element, L: Lanes<T>>(l: L, a: &[T], j: usize) -> L::V {
    // SAFETY: the caller vouches for the elements.
    unsafe { l.load_up_to(a.as_ptr().add(j), a.len() - j) }
}

/// Adds to `sums[j..]`, which are as many as `v` is to have.
#[inline(always)]
unsafe fn add<T: Element, L: Lanes<T>>(l: L, sums: &mut [T], j: usize, v: L::V) {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        let sum = l.add(part(l, sums, j), v);
        l.store_up_to(sums.as_mut_ptr().add(j), sum, sums.len() - j);
    }
}

/// What is summed over rows.
#[derive(Clone, Copy)]
enum Sum<'a, T> {
    Values,
    Squares {
        mean: &'a [T],
    },
    /// Of the weight, and behind them those of the bias.
    Gradients {
        columns: &'a Lines<'a, T>,
        dy: &'a [T],
    },
}

/// The sums of one block of rows.
struct Sums<'a, T> {
    call: &'a Call<'a, T>,
    rows: &'a [usize],
    what: Sum<'a, T>,
    sums: &'a mut [T],
}

impl<T: Element> Kernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (call, width) = (self.call, self.call.width);
        let (first, second) = self.sums.split_at_mut(width);
        for &i in self.rows {
            for j in (0..width).step_by(L::N) {
                // SAFETY: the index names rows that exist; columns and sums have their width.
                unsafe {
                    let x = call.part(l, &call.x, i, j);
                    match self.what {
                        Sum::Values => add(l, first, j, x),
                        Sum::Squares { mean } => {
                            let d = l.sub(x, part(l, mean, j));
                            add(l, first, j, l.mul(d, d));
                        }
                        Sum::Gradients { columns, dy } => {
                            let dy = call.part(l, dy, i, j);
                            add(l, first, j, l.mul(dy, columns.normalized(l, x, j)));
                            add(l, second, j, dy);
                        }
                    }
                }
            }
        }
    }
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
        let (call, columns, width) = (self.call, self.columns, self.call.width);
        for (i, y) in (self.first..).zip(self.y.chunks_exact_mut(width)) {
            if !call.is_valid(i) {
                y.fill(T::default());
                continue;
            }
            for j in (0..width).step_by(L::N) {
                // SAFETY: the row exists, and columns have its width.
                unsafe {
                    let v = columns.normalized(l, call.part(l, &call.x, i, j), j);
                    let mut v = columns.weighted(l, v, j);
                    if let Some(bias) = &columns.bias {
                        v = l.add(v, part(l, bias, j));
                    }
                    l.store_up_to(y.as_mut_ptr().add(j), v, width - j);
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
        let (call, columns, width) = (self.call, self.columns, self.call.width);
        for (i, dx) in (self.first..).zip(self.dx.chunks_exact_mut(width)) {
            if !call.is_valid(i) {
                dx.fill(T::default());
                continue;
            }
            for j in (0..width).step_by(L::N) {
                // SAFETY: the row exists, and columns and means have its width.
                unsafe {
                    let mut d = call.part(l, self.dy, i, j);
                    if let Some((along, flat)) = self.through {
                        let n = columns.normalized(l, call.part(l, &call.x, i, j), j);
                        d = l.fnma(n, part(l, along, j), l.sub(d, part(l, flat, j)));
                    }
                    let d = l.mul(columns.weighted(l, d, j), part(l, &columns.scale, j));
                    l.store_up_to(dx.as_mut_ptr().add(j), d, width - j);
                }
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

    fn line<T: Element>(width: usize, seed: u64) -> Array1<T> {
        numbers::<T>(1, width, seed).row(0).to_owned()
    }

    /// `mean, variance, y, dx, dweight, dbias`, of the batch; what is not valid holds NaN.
    fn run<T: Element>(rows: usize, width: usize, valid: &[bool], threads: usize) -> [Vec<T>; 6] {
        let mut x = numbers::<T>(rows, width, 1);
        let mut dy = numbers::<T>(rows, width, 2);
        for i in (0..rows).filter(|&i| !valid[i]) {
            x.row_mut(i).fill(T::from_f64(f64::NAN));
            dy.row_mut(i).fill(T::from_f64(f64::NAN));
        }
        all(&x, &dy, valid, threads)
    }

    fn all<T: Element>(
        x: &Array2<T>, dy: &Array2<T>, valid: &[bool], threads: usize,
    ) -> [Vec<T>; 6] {
        let (threads, valid) = (Some(threads), Some(ArrayView1::from(valid)));
        let (width, seven) = (x.ncols(), T::from_f64(7.0));
        let empty = || Array1::from_elem(width, seven);
        let (mut mean, mut variance) = (empty(), empty());
        statistics(x.view(), valid, mean.view_mut(), variance.view_mut(), threads).unwrap();
        let scale = variance.mapv(|v| T::from_f64(1.0) / (v + T::from_f64(1e-5)).sqrt());
        let (weight, bias) = (line(width, 3), line(width, 4));
        let columns = Columns {
            mean: mean.view(),
            scale: scale.view(),
            weight: Some(weight.view()),
            bias: Some(bias.view()),
        };
        let (mut y, mut dx) =
            (Array2::from_elem(x.dim(), seven), Array2::from_elem(x.dim(), seven));
        forward(x.view(), valid, columns, y.view_mut(), threads).unwrap();
        let (mut dweight, mut dbias) = (empty(), empty());
        let (dweight_to, dbias_to) = (dweight.view_mut(), dbias.view_mut());
        let out = Gradients { dx: dx.view_mut(), dweight: dweight_to, dbias: dbias_to };
        backward(x.view(), valid, columns, dy.view(), true, out, threads).unwrap();
        let flat = |a: Array2<T>| a.into_raw_vec_and_offset().0;
        let [mean, variance, dweight, dbias] = [mean, variance, dweight, dbias].map(|a| a.to_vec());
        [mean, variance, flat(y), flat(dx), dweight, dbias]
    }

    /// The same of one feature, in float64 loops, over valid rows.
    fn plain(x: &[f64], dy: &[f64], weight: f64, bias: f64) -> [Vec<f64>; 6] {
        let mean_of = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let mean = mean_of(x);
        let variance = mean_of(&x.iter().map(|x| (x - mean).powi(2)).collect::<Vec<_>>());
        let scale = 1.0 / (variance + 1e-5).sqrt();
        let n: Vec<f64> = x.iter().map(|x| (x - mean) * scale).collect();
        let product: Vec<f64> = n.iter().zip(dy).map(|(n, dy)| n * dy).collect();
        let (flat, along) = (mean_of(dy), mean_of(&product));
        let y = n.iter().map(|n| n * weight + bias).collect();
        let slope = |(n, dy): (&f64, &f64)| (dy - flat - n * along) * scale * weight;
        let dx = n.iter().zip(dy).map(slope).collect();
        let sum = |v: &[f64]| vec![v.iter().sum()];
        [vec![mean], vec![variance], y, dx, sum(&product), sum(dy)]
    }

    fn agrees<T: Element>(bound: f64) {
        for (rows, width) in [(2, 1), (9, 3), (70, 16), (300, 19)] {
            let valid: Vec<bool> = (0..rows).map(|i| i % 5 != 2).collect();
            let got = run::<T>(rows, width, &valid, 1);
            let (x, dy) = (numbers::<T>(rows, width, 1), numbers::<T>(rows, width, 2));
            let (weight, bias) = (line::<T>(width, 3), line::<T>(width, 4));
            for j in 0..width {
                let seen = |a: &Array2<T>| -> Vec<f64> {
                    (0..rows).filter(|&i| valid[i]).map(|i| a[(i, j)].to_f64()).collect()
                };
                let expected = plain(&seen(&x), &seen(&dy), weight[j].to_f64(), bias[j].to_f64());
                for (k, expected) in expected.iter().enumerate() {
                    let column = got[k][j..].iter().step_by(width);
                    let is_wide = k == 2 || k == 3;
                    let kept = column.enumerate().filter(|&(i, _)| !is_wide || valid[i]);
                    for ((_, got), expected) in kept.zip(expected) {
                        let error = (got.to_f64() - expected).abs();
                        assert!(error <= bound * expected.abs().max(1.0), "{k}, {j}: {error}");
                    }
                }
            }
            let hidden = |k: usize| {
                (0..rows).filter(|&i| !valid[i]).all(|i| got[k][i * width].to_f64() == 0.0)
            };
            assert!(hidden(2) && hidden(3));
        }
    }

    #[test]
    fn results_are_those_of_plain_loops() {
        agrees::<f32>(1e-5);
        agrees::<f64>(2e-14);
    }

    #[test]
    fn sets_and_threads_change_no_bit() {
        const { assert!(6000 * 103 * COST >= WORTH_SPLITTING) };
        let valid: Vec<bool> = (0..6000).map(|i| i % 7 != 3).collect();
        let expected = run::<f32>(6000, 103, &valid, 1);
        let doubled = run::<f64>(80, 21, &valid[..80], 1);
        on_every_isa(|isa| {
            for threads in [1, 2, 3] {
                let got = run::<f32>(6000, 103, &valid, threads);
                assert!(got == expected, "{isa}, {threads} threads");
            }
            assert!(run::<f64>(80, 21, &valid[..80], 1) == doubled, "{isa}");
        });
    }

    #[test]
    fn rows_that_are_not_valid_change_no_bit() {
        let (x, dy) = (numbers::<f32>(150, 5, 1), numbers::<f32>(150, 5, 2));
        let [mean, variance, y, dx, dweight, dbias] = all(&x, &dy, &[true; 150], 1);
        let spread = |a: &Array2<f32>| {
            let mut wide = Array2::from_elem((300, 5), f32::NAN);
            wide.slice_mut(s![1..;2, ..]).assign(a);
            wide
        };
        let valid: Vec<bool> = (0..300).map(|i| i % 2 == 1).collect();
        let wide = all(&spread(&x), &spread(&dy), &valid, 1);
        assert_eq!([&mean, &variance, &dweight, &dbias], [0, 1, 4, 5].map(|k| &wide[k]));
        for (narrow, k) in [(y, 2), (dx, 3)] {
            let odd = wide[k].chunks(5).skip(1).step_by(2).flatten();
            assert!(narrow.iter().eq(odd));
        }
    }

    #[test]
    fn no_rows_no_features_and_bad_shapes() {
        for (rows, width) in [(0, 3), (3, 0), (0, 0)] {
            assert_eq!(run::<f32>(rows, width, &vec![true; rows], 2)[3].len(), 0);
        }
        let (x, mut mean, mut variance) =
            (Array2::<f64>::zeros((2, 3)), Array1::zeros(3), Array1::zeros(4));
        let (to, wide) = (mean.view_mut(), variance.view_mut());
        let error = statistics(x.view(), None, to, wide, None).unwrap_err();
        let text = "batch_norm_statistics: variance: expected shape (F,) = (3,), got (4,)";
        assert_eq!(error.to_string(), text);
    }
}
