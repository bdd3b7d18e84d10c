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

mod rows;
#[cfg(test)]
mod tests;

use ndarray::{ArrayView3, ArrayViewMut3};

use rows::{Backward, Forward};

use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::{Element, Isa};

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
