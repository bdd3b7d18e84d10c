//! Softmax and its logarithm, over rows, and their gradients.
//!
//! Letters: `B` batch rows, `Q` queries (rows of the array), `K` keys (its columns).
//!
//! ```
//! use ndarray::{Array3, array};
//! use recurra::softmax::{self, Form};
//!
//! let (x, mut y) = (array![[[1000.0, 1000.0, -1000.0]]], Array3::zeros((1, 1, 3)));
//! softmax::forward(Form::Softmax, x.view(), None, y.view_mut(), None)?;
//! assert_eq!(y, array![[[0.5, 0.5, 0.0]]]);
//!
//! let (dy, mut dx) = (array![[[1.0, 0.0, 0.0]]], Array3::zeros((1, 1, 3)));
//! softmax::backward(Form::Softmax, y.view(), dy.view(), dx.view_mut(), None)?;
//! assert_eq!(dx, array![[[0.25, -0.25, 0.0]]]);
//! # Ok::<(), recurra::Error>(())
//! ```

#[cfg(test)]
mod tests;

use ndarray::{ArrayView1, ArrayView3, ArrayViewMut3, s};

use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::lane_sums::{Terms, lane_sums};
use crate::math::exp_negative;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::{Element, Isa, Kernel, Lanes};

/// What an element costs in fused multiply-adds.
const COST: usize = 8;
/// Elements that one task works on, in whole rows.
const TASK: usize = 1 << 13;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `e^x / sum of e^x`; a row of minus infinity alone gives NaN.
    Softmax,
    /// Its logarithm, exact where it would itself round to 0.
    LogSoftmax,
    /// As `Softmax`, but a row of minus infinity alone, which attends to nothing, gives zeros.
    Attention,
}

/// Writes the function of each row of `x (B, Q, K)` to `y (B, Q, K)`; where `mask (B, Q, K)` is
/// false, `x` counts as minus infinity, whatever it is.
///
/// A row's largest number is subtracted first, so nothing overflows. NaN, or infinity as the largest
/// number, makes a row NaN.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit and a `y` not in row-major
/// order, [`Error::Memory`](crate::Error::Memory).
pub fn forward<T: Element>(
    form: Form, x: ArrayView3<'_, T>, mask: Option<ArrayView3<'_, bool>>, y: ArrayViewMut3<'_, T>,
    threads: Option<usize>,
) -> Result<()> {
    let operation = "softmax_forward";
    if let Some(mask) = &mask {
        equal(operation, "mask", "(B, Q, K)", x.shape(), mask.shape())?;
    }
    equal(operation, "y", "(B, Q, K)", x.shape(), y.shape())?;
    let all = Call::new(operation, form, x.dim(), threads)?;
    let (x, y) = (Dense::of(x)?, dense_mut(operation, "y", y)?);
    let y = Shares::of(y, all.step);
    run(y.count(), all.threads, &|task| {
        let (first, x) = (task * all.step / all.width, part(&x, all.step, task));
        // SAFETY: each task has its part.
        let y = unsafe { y.part(task) };
        T::dispatch(all.isa, Forward { all, first, mask, x, y });
    })
}

/// Writes to `dx (B, Q, K)` the gradient of [`forward`] for the gradient `dy (B, Q, K)` of its
/// result `y (B, Q, K)`.
///
/// # Errors
/// As [`forward`].
pub fn backward<T: Element>(
    form: Form, y: ArrayView3<'_, T>, dy: ArrayView3<'_, T>, dx: ArrayViewMut3<'_, T>,
    threads: Option<usize>,
) -> Result<()> {
    let operation = "softmax_backward";
    equal(operation, "dy", "(B, Q, K)", y.shape(), dy.shape())?;
    equal(operation, "dx", "(B, Q, K)", y.shape(), dx.shape())?;
    let all = Call::new(operation, form, y.dim(), threads)?;
    let (y, dy, dx) = (Dense::of(y)?, Dense::of(dy)?, dense_mut(operation, "dx", dx)?);
    let dx = Shares::of(dx, all.step);
    run(dx.count(), all.threads, &|task| {
        let (y, dy) = (part(&y, all.step, task), part(&dy, all.step, task));
        // SAFETY: each task has its part.
        let dx = unsafe { dx.part(task) };
        T::dispatch(all.isa, Backward { all, y, dy, dx });
    })
}

/// What all tasks of a call know.
#[derive(Clone, Copy)]
struct Call {
    form: Form,
    queries: usize,
    /// Elements of a row, 1 if there are none.
    width: usize,
    /// Elements of a task's rows.
    step: usize,
    threads: usize,
    isa: Isa,
}

impl Call {
    fn new(
        operation: &'static str, form: Form, (batch, queries, keys): (usize, usize, usize),
        threads: Option<usize>,
    ) -> Result<Self> {
        let work = (batch * queries * keys).saturating_mul(COST);
        let (threads, isa) = (threads_for(operation, threads, work)?, Isa::current()?);
        let width = keys.max(1);
        Ok(Self { form, queries, width, step: (TASK / width).max(1) * width, threads, isa })
    }
}

/// Some whole rows forward.
struct Forward<'a, T> {
    all: Call,
    /// The number of the first row, over the whole batch.
    first: usize,
    mask: Option<ArrayView3<'a, bool>>,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let width = self.all.width;
        let rows = self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width));
        for (i, (x, y)) in rows.enumerate() {
            let mut from = x.as_ptr();
            let to = y.as_mut_ptr();
            if let Some(mask) = self.mask {
                let (b, q) =
                    ((self.first + i) / self.all.queries, (self.first + i) % self.all.queries);
                hide(x, mask.slice(s![b, q, ..]), y);
                from = to;
            }
            // SAFETY: both places have `width` elements, the same ones or apart.
            unsafe { row(l, self.all.form, Places { from, to, width }) };
        }
    }
}

/// `x` with minus infinity where the mask is false.
#[inline(always)]
fn hide<T: Element>(x: &[T], mask: ArrayView1<'_, bool>, to: &mut [T]) {
    let hidden = T::from_f64(f64::NEG_INFINITY);
    let pick = |x: T, seen: bool| if seen { x } else { hidden };
    match mask.to_slice() {
        Some(mask) => {
            to.iter_mut().zip(x.iter().zip(mask)).for_each(|(to, (&x, &m))| *to = pick(x, m))
        }
        None => to.iter_mut().zip(x.iter().zip(mask)).for_each(|(to, (&x, &m))| *to = pick(x, m)),
    }
}

/// A row and its result; they may be the same.
#[derive(Clone, Copy)]
struct Places<T> {
    from: *const T,
    to: *mut T,
    width: usize,
}

/// One row forward.
#[inline(always)]
unsafe fn row<T: Element, L: Lanes<T>>(l: L, form: Form, places: Places<T>) {
    // SAFETY: the caller vouches for the places.
    unsafe {
        let largest = largest(l, places);
        let nothing = form == Form::Attention && largest == T::from_f64(f64::NEG_INFINITY);
        let largest = if nothing { T::default() } else { largest };
        let keep = form != Form::LogSoftmax;
        let [sum] = lane_sums(l, places.width, &Exponentials { places, largest, keep });
        let one = T::from_f64(1.0);
        match form {
            Form::LogSoftmax => shift(l, places, largest, sum.ln()),
            _ => scale(l, places, if nothing { one } else { one / sum }),
        }
    }
}

/// The largest number of a row; NaN is passed over, for it comes back in the sum.
#[inline(always)]
unsafe fn largest<T: Element, L: Lanes<T>>(l: L, row: Places<T>) -> T {
    const { assert!(L::N <= 16) };
    let mut lanes = [T::from_f64(f64::NEG_INFINITY); 16];
    let mut largest = l.splat(lanes[0]);
    let whole = row.width / L::N * L::N;
    // SAFETY: the caller vouches for the row; the array holds a register.
    unsafe {
        for j in (0..whole).step_by(L::N) {
            let z = l.load(row.from.add(j));
            largest = l.select_lt(largest, z, z, largest);
        }
        l.store(lanes.as_mut_ptr(), largest);
        let mut all = lanes[0];
        for &z in &lanes {
            all = if all < z { z } else { all };
        }
        for j in whole..row.width {
            let z = *row.from.add(j);
            all = if all < z { z } else { all };
        }
        all
    }
}

/// `e^(x - largest)`, which are also written where `keep` says so.
struct Exponentials<T> {
    places: Places<T>,
    largest: T,
    keep: bool,
}

impl<T: Element> Terms<T, 1> for Exponentials<T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let z = l.load_up_to(self.places.from.add(j), n - j);
            let e = exp_negative(l, l.sub(z, l.splat(self.largest)));
            if self.keep {
                l.store_up_to(self.places.to.add(j), e, n - j);
            }
            [e]
        }
    }
}

/// Multiplies a result that stands in its place.
#[inline(always)]
unsafe fn scale<T: Element, L: Lanes<T>>(l: L, row: Places<T>, factor: T) {
    for j in (0..row.width).step_by(L::N) {
        // SAFETY: the caller vouches for the row.
        unsafe {
            let y = l.load_up_to(row.to.add(j), row.width - j);
            l.store_up_to(row.to.add(j), l.mul(y, l.splat(factor)), row.width - j);
        }
    }
}

/// `x - largest - ln_sum`
#[inline(always)]
unsafe fn shift<T: Element, L: Lanes<T>>(l: L, row: Places<T>, largest: T, ln_sum: T) {
    for j in (0..row.width).step_by(L::N) {
        // SAFETY: the caller vouches for the row.
        unsafe {
            let z = l.sub(l.load_up_to(row.from.add(j), row.width - j), l.splat(largest));
            l.store_up_to(row.to.add(j), l.sub(z, l.splat(ln_sum)), row.width - j);
        }
    }
}

/// Some whole rows backward.
struct Backward<'a, T> {
    all: Call,
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let width = self.all.width;
        let rows = self.y.chunks_exact(width).zip(self.dy.chunks_exact(width));
        for ((y, dy), dx) in rows.zip(self.dx.chunks_exact_mut(width)) {
            let row = Gradient { y, dy, is_log: self.all.form == Form::LogSoftmax };
            // SAFETY: the three have `width` elements.
            unsafe {
                let [sum] = lane_sums(l, width, &row);
                row.write(l, sum, dx);
            }
        }
    }
}

/// One row backward: `y (dy - sum of y dy)`, and of the logarithm `dy - e^y sum of dy`.
struct Gradient<'a, T> {
    y: &'a [T],
    dy: &'a [T],
    is_log: bool,
}

impl<T: Element> Terms<T, 1> for Gradient<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let dy = l.load_up_to(self.dy.as_ptr().add(j), n - j);
            if self.is_log {
                return [dy];
            }
            [l.mul(l.load_up_to(self.y.as_ptr().add(j), n - j), dy)]
        }
    }
}

impl<T: Element> Gradient<'_, T> {
    /// # Safety
    /// `dx` is as long as the row.
    #[inline(always)]
    unsafe fn write<L: Lanes<T>>(&self, l: L, sum: T, dx: &mut [T]) {
        let (n, sum) = (self.y.len(), l.splat(sum));
        for j in (0..n).step_by(L::N) {
            // SAFETY: elements j .. n exist in all three.
            unsafe {
                let y = l.load_up_to(self.y.as_ptr().add(j), n - j);
                let dy = l.load_up_to(self.dy.as_ptr().add(j), n - j);
                let dz = match self.is_log {
                    true => l.fnma(exp_negative(l, y), sum, dy),
                    false => l.mul(y, l.sub(dy, sum)),
                };
                l.store_up_to(dx.as_mut_ptr().add(j), dz, n - j);
            }
        }
    }
}
