//! The linear map `y = x W^T + b` and its gradients.
//!
//! Letters: `N` rows, `I` inputs, `O` outputs. Each sum starts from the bias and takes its terms in
//! ascending order; work is split over rows of the results.
//!
//! ```
//! use ndarray::{Array1, Array2, array};
//! use recurra::linear;
//!
//! let (x, w) = (array![[1.0, 2.0]], array![[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
//! let mut y = Array2::zeros((1, 3));
//! linear::forward(x.view(), w.view(), Some(array![0.0, 0.0, 0.5].view()), y.view_mut(), None)?;
//! assert_eq!(y, array![[1.0, 2.0, 3.5]]);
//!
//! let (mut dx, mut dw, mut db) = (Array2::zeros((1, 2)), Array2::zeros((3, 2)), Array1::zeros(3));
//! let (to_x, to_b) = (Some(dx.view_mut()), Some(db.view_mut()));
//! let gradients = linear::Gradients { dx: to_x, dw: dw.view_mut(), db: to_b };
//! linear::backward(x.view(), w.view(), array![[1.0, 0.0, 2.0]].view(), gradients, None)?;
//! assert_eq!(dx, array![[3.0, 2.0]]);
//! assert_eq!(dw, array![[1.0, 2.0], [0.0, 0.0], [2.0, 4.0]]);
//! assert_eq!(db, array![1.0, 0.0, 2.0]);
//! # Ok::<(), recurra::Error>(())
//! ```

mod batched;
mod product;

pub use batched::{GradientsOfEach, backward_each, forward_each};

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, s};

use crate::chunks::{each, reserved, zeros};
use crate::dense::Dense;
use crate::error::Result;
use crate::gemm::{self, Gathered, Outer};
use crate::kernel::{Rows, panel_width};
use crate::linear::product::{FEW_ROWS, multiply};
use crate::panels::Panels;
use crate::parallel;
use crate::shape::equal;
use crate::simd::{Element, Isa};
use crate::view::View;

/// Where [`backward`] writes; all of it is written.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// `(N, I)`; without it, its product is left out.
    pub dx: Option<ArrayViewMut2<'a, T>>,
    /// `(O, I)`
    pub dw: ArrayViewMut2<'a, T>,
    /// `(O,)`; without it, the sums are left out.
    pub db: Option<ArrayViewMut1<'a, T>>,
}

/// Writes `x W^T + b` to `y (N, O)`, for `x (N, I)`, `w (O, I)` and `b (O,)`.
///
/// # Errors
/// [`Error::Argument`] for shapes that do not fit, [`Error::Memory`].
pub fn forward<T: Element>(
    x: ArrayView2<'_, T>, w: ArrayView2<'_, T>, b: Option<ArrayView1<'_, T>>,
    mut y: ArrayViewMut2<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "linear_forward";
    let (outputs, inputs) = w.dim();
    equal(operation, "x", "(N, I)", &[x.nrows(), inputs], x.shape())?;
    if let Some(b) = &b {
        equal(operation, "b", "(O,)", &[outputs], b.shape())?;
    }
    equal(operation, "y", "(N, O)", &[x.nrows(), outputs], y.shape())?;
    let threads = parallel::threads_for(operation, threads, work(&x, outputs))?;
    let isa = Isa::current()?;
    if x.nrows() > FEW_ROWS {
        return multiply(isa, &x, &pack_transposed(isa, &w)?, b, y, threads);
    }
    // Too few rows to share out: some outputs at a time, whose weights stay in the cache between
    // being packed and being used.
    let parts = w.axis_chunks_iter(Axis(0), OUTPUTS).zip(y.axis_chunks_iter_mut(Axis(1), OUTPUTS));
    each(parts, threads, |i, (w, y)| {
        let first = i * OUTPUTS;
        let b = b.as_ref().map(|b| b.slice(s![first..first + w.nrows()]));
        multiply(isa, &x, &pack_transposed(isa, &w)?, b, y, 1)
    })
}

/// The gradients of [`forward`] for the gradient `dy (N, O)` of its result: `dx = dy W`,
/// `dW = dy^T x`, `db = sum over rows of dy`, with ascending sums.
///
/// # Errors
/// As [`forward`].
pub fn backward<T: Element>(
    x: ArrayView2<'_, T>, w: ArrayView2<'_, T>, dy: ArrayView2<'_, T>, out: Gradients<'_, T>,
    threads: Option<usize>,
) -> Result<()> {
    let operation = "linear_backward";
    let (outputs, inputs) = w.dim();
    let same = |argument, letters, expected: &[usize], got: &[usize]| {
        equal(operation, argument, letters, expected, got)
    };
    same("x", "(N, I)", &[x.nrows(), inputs], x.shape())?;
    same("dy", "(N, O)", &[x.nrows(), outputs], dy.shape())?;
    if let Some(dx) = &out.dx {
        same("dx", "(N, I)", &[x.nrows(), inputs], dx.shape())?;
    }
    same("dw", "(O, I)", &[outputs, inputs], out.dw.shape())?;
    if let Some(db) = &out.db {
        same("db", "(O,)", &[outputs], db.shape())?;
    }
    let products = if out.dx.is_some() { 2 } else { 1 };
    let work = work(&x, outputs).saturating_mul(products);
    let threads = parallel::threads_for(operation, threads, work)?;
    let isa = Isa::current()?;
    if let Some(dx) = out.dx {
        multiply(isa, &dy, &pack(isa, &w)?, None, dx, threads)?;
    }
    parameters(isa, &x, &dy, out.dw, out.db, threads)
}

/// Outputs that one task computes of few rows: a multiple of every panel's width.
const OUTPUTS: usize = 64;

/// Fused multiply-adds of one product.
fn work<T>(x: &ArrayView2<'_, T>, outputs: usize) -> usize {
    x.len().saturating_mul(outputs)
}

/// Panels whose columns are the rows of `w`.
fn pack_transposed<T: Element>(isa: Isa, w: &ArrayView2<'_, T>) -> Result<Panels<T>> {
    let width = panel_width(isa.lanes::<T>());
    let source = |panel: usize| {
        let first = panel * width;
        (w.row(first).as_ptr(), width.min(w.nrows() - first))
    };
    let (count, strides) = (w.nrows().div_ceil(width), w.strides());
    // SAFETY: the lines are rows of the view, and `k` is their length.
    unsafe { Panels::pack_columns(isa, w.ncols(), count, strides[0], strides[1], source) }
}

/// Panels whose rows are the rows of `w`.
fn pack<T: Element>(isa: Isa, w: &ArrayView2<'_, T>) -> Result<Panels<T>> {
    let (rows, columns) = w.dim();
    let source = |i: usize| w.row(i).as_ptr();
    // SAFETY: each place is the first of `columns` elements of a row, at the view's stride.
    unsafe { Panels::pack_rows(isa.lanes::<T>(), rows, columns, w.strides()[1], source) }
}

/// `dW = dy^T x` and `db`.
fn parameters<T: Element>(
    isa: Isa, x: &ArrayView2<'_, T>, dy: &ArrayView2<'_, T>, mut dw: ArrayViewMut2<'_, T>,
    db: Option<ArrayViewMut1<'_, T>>, threads: usize,
) -> Result<()> {
    if dy.ncols() == 0 {
        return Ok(());
    }
    let (rows, width) = (dy.ncols(), x.ncols());
    let mut index = reserved(x.nrows(), "row numbers")?;
    index.extend(0..x.nrows());
    let (x, dy) = (Dense::of(x.view())?, Dense::of(dy.view())?);
    let left = Rows { start: dy.as_ptr(), row: rows };
    let right = Gathered { start: x.as_ptr(), width, row: width, index: &index };
    let out = View::of_mut2(&mut dw);
    let mut sums = zeros(if db.is_some() { rows } else { 0 }, "column sums")?;
    let product = Outer {
        left,
        first: 0,
        rows,
        right,
        out,
        out_row: 0,
        accumulate: false,
        sums: db.is_some().then_some(sums.as_mut_ptr()),
    };
    // SAFETY: the index names all rows; shapes were checked; nobody else writes the results.
    unsafe { gemm::outer_products(isa, &[product], threads, (0, |_| Ok(())))? };
    db.into_iter().flatten().zip(sums).for_each(|(db, sum)| *db = sum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, s};

    use super::*;
    use crate::testing::{numbers, on_every_isa};

    /// `start[j] + sum over k of a[i, k] * b[k, j]`, as the laws have it.
    fn naive<T: Element>(
        a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>, start: &[T], fma: fn(T, T, T) -> T,
    ) -> Array2<T> {
        Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
            (0..a.ncols()).fold(start[j], |sum, k| fma(a[(i, k)], b[(k, j)], sum))
        })
    }

    fn run_forward<T: Element>(
        x: ArrayView2<'_, T>, w: ArrayView2<'_, T>, b: Option<ArrayView1<'_, T>>, threads: usize,
    ) -> Array2<T> {
        let mut y = Array2::from_elem((x.nrows(), w.nrows()), T::from_f64(f64::NAN));
        forward(x, w, b, y.view_mut(), Some(threads)).unwrap();
        y
    }

    fn run_backward<T: Element>(
        x: ArrayView2<'_, T>, w: ArrayView2<'_, T>, dy: ArrayView2<'_, T>, threads: usize,
    ) -> (Array2<T>, Array2<T>, Array1<T>) {
        let nan = T::from_f64(f64::NAN);
        let (mut dx, mut dw) = (Array2::from_elem(x.dim(), nan), Array2::from_elem(w.dim(), nan));
        let mut db = Array1::from_elem(w.nrows(), nan);
        let out = Gradients { dx: Some(dx.view_mut()), dw: dw.view_mut(), db: Some(db.view_mut()) };
        backward(x, w, dy, out, Some(threads)).unwrap();
        let mut alone = Array2::from_elem(w.dim(), nan);
        let out = Gradients { dx: None, dw: alone.view_mut(), db: None };
        backward(x, w, dy, out, Some(threads)).unwrap();
        assert_eq!(dw, alone, "without dx and db");
        (dx, dw, db)
    }

    /// Sizes around tiles and panels, and two whose work is split.
    const SIZES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [2, 3, 33],
        [13, 40, 17],
        [5, 0, 4],
        [0, 4, 5],
        [3, 300, 0],
        [421, 90, 70],
        [4, 1060, 540],
    ];

    fn agree<T: Element>(fma: fn(T, T, T) -> T) {
        let split = |[n, i, o]: &[usize; 3]| n * i * o >= parallel::WORTH_SPLITTING;
        assert_eq!(SIZES.iter().filter(|sizes| split(sizes)).count(), 2);
        for [n, i, o] in SIZES {
            let (x, w, dy) = (numbers::<T>(n, i, 1), numbers::<T>(o, i, 2), numbers::<T>(n, o, 3));
            let b = numbers::<T>(1, o, 4).row(0).to_owned();
            let zeros = vec![T::default(); i.max(o)];
            let y = naive(&x.view(), &w.t(), b.as_slice().unwrap(), fma);
            let dx = naive(&dy.view(), &w.view(), &zeros, fma);
            let dw = naive(&dy.t(), &x.view(), &zeros, fma);
            let db = dy.rows().into_iter().fold(Array1::default(o), |sum, row| &sum + &row);
            on_every_isa(|isa| {
                for threads in [1, 2, 3] {
                    let case = format!("{n} x {i} to {o} on {isa}, {threads} threads");
                    assert_eq!(
                        run_forward(x.view(), w.view(), Some(b.view()), threads),
                        y,
                        "{case}"
                    );
                    let expected = (dx.clone(), dw.clone(), db.clone());
                    assert_eq!(
                        run_backward(x.view(), w.view(), dy.view(), threads),
                        expected,
                        "{case}"
                    );
                }
            });
        }
    }

    #[test]
    fn single_precision_has_the_bits_of_plain_loops() {
        agree::<f32>(f32::mul_add);
    }

    #[test]
    fn double_precision_has_the_bits_of_plain_loops() {
        agree::<f64>(f64::mul_add);
    }

    #[test]
    fn without_a_bias_sums_start_from_zero() {
        let (x, w) = (numbers::<f64>(4, 3, 1), numbers::<f64>(2, 3, 2));
        let zero = Array1::zeros(2);
        let y = run_forward(x.view(), w.view(), None, 1);
        assert_eq!(y, run_forward(x.view(), w.view(), Some(zero.view()), 1));
    }

    #[test]
    fn views_of_any_strides_give_the_same_bits() {
        let (x, w, dy) =
            (numbers::<f32>(9, 8, 1), numbers::<f32>(5, 8, 2), numbers::<f32>(9, 5, 3));
        let b = numbers::<f32>(1, 5, 4);
        let mut wide = Array2::zeros((18, 17));
        wide.slice_mut(s![..;-2, ..16;2]).assign(&x);
        let strided = wide.slice(s![..;-2, ..16;2]);
        let (w_f, dy_f) = (w.t().to_owned(), dy.t().to_owned());
        let y = run_forward(x.view(), w.view(), Some(b.row(0)), 1);
        assert_eq!(run_forward(strided, w_f.t(), Some(b.row(0)), 1), y);
        let expected = run_backward(x.view(), w.view(), dy.view(), 1);
        assert_eq!(run_backward(strided, w_f.t(), dy_f.t(), 1), expected);
    }

    #[test]
    fn bad_shapes_are_refused() {
        let (x, w, mut y) =
            (Array2::<f32>::zeros((2, 3)), Array2::zeros((4, 5)), Array2::zeros((2, 4)));
        let error = forward(x.view(), w.view(), None, y.view_mut(), None).unwrap_err();
        let text = "linear_forward: x: expected shape (N, I) = (2, 5), got (2, 3)";
        assert_eq!(error.to_string(), text);
        let b = Array1::zeros(3);
        let w = Array2::zeros((4, 3));
        let error = forward(x.view(), w.view(), Some(b.view()), y.view_mut(), None).unwrap_err();
        assert_eq!(error.to_string(), "linear_forward: b: expected shape (O,) = (4,), got (3,)");
    }
}
