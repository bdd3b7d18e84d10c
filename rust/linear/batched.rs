//! A product for each row of a batch, such as the scores of attention.

use ndarray::{ArrayView3, ArrayViewMut3, Axis};

use super::{Gradients, backward, forward};
use crate::chunks::each;
use crate::error::Result;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::Element;

/// Where [`backward_each`] writes; all of it is written.
#[derive(Debug)]
pub struct GradientsOfEach<'a, T> {
    /// `(B, N, I)`
    pub dx: ArrayViewMut3<'a, T>,
    /// `(B, O, I)`
    pub dw: ArrayViewMut3<'a, T>,
}

/// Writes `x w^T` to `y (B, N, O)`, for `x (B, N, I)` and `w (B, O, I)`, each of the `B` products
/// with the bits of [`forward`].
///
/// ```
/// use ndarray::{Array3, array};
///
/// let (x, w) = (array![[[1.0, 2.0]], [[3.0, 4.0]]], array![[[1.0, 1.0]], [[1.0, -1.0]]]);
/// let mut y = Array3::zeros((2, 1, 1));
/// recurra::linear::forward_each(x.view(), w.view(), y.view_mut(), None)?;
/// assert_eq!(y, array![[[3.0]], [[-1.0]]]);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// As [`forward`].
pub fn forward_each<T: Element>(
    x: ArrayView3<'_, T>, w: ArrayView3<'_, T>, mut y: ArrayViewMut3<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "linear_forward_each";
    let ((batch, rows, inputs), outputs) = (x.dim(), w.dim().1);
    equal(operation, "w", "(B, O, I)", &[batch, outputs, inputs], w.shape())?;
    equal(operation, "y", "(B, N, O)", &[batch, rows, outputs], y.shape())?;
    let threads = threads_for(operation, threads, x.len().saturating_mul(outputs))?;
    let (outside, inside) = shared(batch, threads);
    each(y.axis_iter_mut(Axis(0)), outside, |b, y| {
        forward(x.index_axis(Axis(0), b), w.index_axis(Axis(0), b), None, y, inside)
    })
}

/// The gradients of [`forward_each`] for the gradient `dy (B, N, O)` of its result.
///
/// # Errors
/// As [`forward`].
pub fn backward_each<T: Element>(
    x: ArrayView3<'_, T>, w: ArrayView3<'_, T>, dy: ArrayView3<'_, T>, out: GradientsOfEach<'_, T>,
    threads: Option<usize>,
) -> Result<()> {
    let operation = "linear_backward_each";
    let ((batch, rows, inputs), outputs) = (x.dim(), w.dim().1);
    equal(operation, "w", "(B, O, I)", &[batch, outputs, inputs], w.shape())?;
    equal(operation, "dy", "(B, N, O)", &[batch, rows, outputs], dy.shape())?;
    let GradientsOfEach { mut dx, mut dw } = out;
    equal(operation, "dx", "(B, N, I)", &[batch, rows, inputs], dx.shape())?;
    equal(operation, "dw", "(B, O, I)", &[batch, outputs, inputs], dw.shape())?;
    let work = x.len().saturating_mul(outputs).saturating_mul(2);
    let (outside, inside) = shared(batch, threads_for(operation, threads, work)?);
    let parts = dx.axis_iter_mut(Axis(0)).zip(dw.axis_iter_mut(Axis(0)));
    each(parts, outside, |b, (dx, dw)| {
        let out = Gradients { dx: Some(dx), dw, db: None };
        let [x, w, dy] = [&x, &w, &dy].map(|a| a.index_axis(Axis(0), b));
        backward(x, w, dy, out, inside)
    })
}

/// Threads over the batch, and in each product: one alone is shared out itself.
fn shared(batch: usize, threads: usize) -> (usize, Option<usize>) {
    if batch == 1 { (1, Some(threads)) } else { (threads, Some(1)) }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3};

    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::numbers;

    fn cube(sizes: [usize; 3], seed: u64) -> Array3<f32> {
        let flat = numbers(sizes[0] * sizes[1], sizes[2], seed);
        flat.into_shape_with_order(sizes).unwrap()
    }

    #[test]
    fn each_product_has_the_bits_of_one_alone() {
        const { assert!(7 * 50 * 70 * 90 >= WORTH_SPLITTING) };
        for (batch, n, o, i) in [(7, 50, 70, 90), (1, 150, 150, 120), (0, 2, 3, 4), (2, 3, 0, 2)] {
            let (x, w, dy) =
                (cube([batch, n, i], 1), cube([batch, o, i], 2), cube([batch, n, o], 3));
            for threads in [1, 2, 3] {
                let (mut y, mut dx) = (Array3::zeros((batch, n, o)), Array3::zeros(x.dim()));
                let mut dw = Array3::zeros(w.dim());
                forward_each(x.view(), w.view(), y.view_mut(), Some(threads)).unwrap();
                let out = GradientsOfEach { dx: dx.view_mut(), dw: dw.view_mut() };
                backward_each(x.view(), w.view(), dy.view(), out, Some(threads)).unwrap();
                for b in 0..batch {
                    let of = |a: &Array3<f32>| a.index_axis(Axis(0), b).to_owned();
                    let (mut y1, mut dx1) = (Array2::zeros((n, o)), Array2::zeros((n, i)));
                    let (mut dw1, mut db1) = (Array2::zeros((o, i)), Array1::zeros(o));
                    let one = Some(1);
                    forward(of(&x).view(), of(&w).view(), None, y1.view_mut(), one).unwrap();
                    let (dw_to, db) = (dw1.view_mut(), Some(db1.view_mut()));
                    let out = Gradients { dx: Some(dx1.view_mut()), dw: dw_to, db };
                    backward(of(&x).view(), of(&w).view(), of(&dy).view(), out, one).unwrap();
                    assert_eq!((of(&y), of(&dx), of(&dw)), (y1, dx1, dw1));
                }
            }
        }
    }

    #[test]
    fn bad_shapes_are_refused() {
        let (x, w) = (cube([2, 3, 4], 1), cube([2, 3, 5], 2));
        let mut y = Array3::zeros((2, 3, 3));
        let error = forward_each(x.view(), w.view(), y.view_mut(), None).unwrap_err();
        let text = "linear_forward_each: w: expected shape (B, O, I) = (2, 3, 4), got (2, 3, 5)";
        assert_eq!(error.to_string(), text);
    }
}
