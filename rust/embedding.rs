//! The embedding: rows of a table, looked up by integers.
//!
//! Letters: `V` rows of the table, `E` their width, `N` indices.
//!
//! ```
//! use ndarray::{Array2, array};
//! use recurra::embedding;
//!
//! let table = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
//! let mut y = Array2::zeros((2, 2));
//! embedding::forward(table.view(), array![2, 0].view(), y.view_mut(), None)?;
//! assert_eq!(y, array![[5.0, 6.0], [1.0, 2.0]]);
//!
//! let mut dtable = Array2::zeros((3, 2));
//! embedding::backward(y.view(), array![1, 1].view(), dtable.view_mut(), None)?;
//! assert_eq!(dtable, array![[0.0, 0.0], [6.0, 8.0], [0.0, 0.0]]);
//! # Ok::<(), recurra::Error>(())
//! ```

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis};

use crate::chunks::each;
use crate::error::Result;
use crate::indices::checked;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::Element;

/// Rows that one task looks up.
const ROWS: usize = 256;
/// Columns in which one task adds gradients up: a few cache lines of each row.
const COLUMNS: usize = 64;

/// Writes the rows of `weight (V, E)` at `ids (N,)` to `y (N, E)`.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit and for indices that are
/// not from 0 to V-1, [`Error::Memory`](crate::Error::Memory).
pub fn forward<T: Element>(
    weight: ArrayView2<'_, T>, ids: ArrayView1<'_, i64>, mut y: ArrayViewMut2<'_, T>,
    threads: Option<usize>,
) -> Result<()> {
    let operation = "embedding_forward";
    let (rows, width) = weight.dim();
    let ids = checked(operation, "ids", ids, ids.len(), 'V', rows)?;
    equal(operation, "y", "(N, E)", &[ids.len(), width], y.shape())?;
    let threads = threads_for(operation, threads, y.len())?;
    each(y.axis_chunks_iter_mut(Axis(0), ROWS), threads, |i, mut part| {
        for (mut to, &id) in part.rows_mut().into_iter().zip(&ids[i * ROWS..]) {
            to.assign(&weight.row(id));
        }
        Ok(())
    })
}

/// Writes to `dweight (V, E)` the gradient of [`forward`] for the gradient `dy (N, E)` of its
/// result: for each row of the table the sum of the rows of `dy` that came from it, in ascending
/// order, and zeros where there are none.
///
/// # Errors
/// As [`forward`].
pub fn backward<T: Element>(
    dy: ArrayView2<'_, T>, ids: ArrayView1<'_, i64>, mut dweight: ArrayViewMut2<'_, T>,
    threads: Option<usize>,
) -> Result<()> {
    let operation = "embedding_backward";
    let (rows, width) = dweight.dim();
    equal(operation, "dy", "(N, E)", &[dy.nrows(), width], dy.shape())?;
    let ids = checked(operation, "ids", ids, dy.nrows(), 'V', rows)?;
    let threads = threads_for(operation, threads, dy.len().saturating_add(dweight.len()))?;
    // Split over columns: every task has the same work, however often one index appears.
    let parts = dweight.axis_chunks_iter_mut(Axis(1), COLUMNS);
    each(parts.zip(dy.axis_chunks_iter(Axis(1), COLUMNS)), threads, |_, (mut sums, dy)| {
        sums.fill(T::default());
        for (from, &id) in dy.rows().into_iter().zip(&ids) {
            sums.row_mut(id).zip_mut_with(&from, |sum, &d| *sum = *sum + d);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::numbers;

    fn ids(n: usize, rows: usize) -> ndarray::Array1<i64> {
        (0..n).map(|i| ((i * i + 3 * i) % rows) as i64).collect()
    }

    #[test]
    fn rows_are_looked_up_on_any_number_of_threads() {
        const { assert!(40_000 * 70 >= WORTH_SPLITTING) };
        let (table, ids) = (numbers::<f32>(50, 70, 1), ids(40_000, 50));
        for threads in [1, 2, 3] {
            let mut y = Array2::zeros((ids.len(), 70));
            forward(table.view(), ids.view(), y.view_mut(), Some(threads)).unwrap();
            for (row, &id) in y.rows().into_iter().zip(&ids) {
                assert_eq!(row, table.row(id as usize));
            }
        }
    }

    #[test]
    fn gradients_are_added_in_order_on_any_number_of_threads() {
        const { assert!(20_000 * 130 >= WORTH_SPLITTING) };
        let (dy, ids) = (numbers::<f32>(20_000, 130, 2), ids(20_000, 9));
        let mut expected = Array2::<f32>::zeros((11, 130));
        for (row, &id) in dy.rows().into_iter().zip(&ids) {
            let mut to = expected.row_mut(id as usize);
            to += &row;
        }
        for threads in [1, 2, 3] {
            let mut got = Array2::from_elem((11, 130), f32::NAN);
            backward(dy.view(), ids.view(), got.view_mut(), Some(threads)).unwrap();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn views_of_any_strides_are_taken() {
        let table = numbers::<f64>(6, 5, 3);
        let mut y = Array2::zeros((5, 2));
        forward(table.t(), array![4, 0].view(), y.t().to_owned().view_mut(), None).unwrap_err();
        forward(
            table.t().slice(ndarray::s![.., ..;3]),
            array![1, 0, 1, 2, 4].view(),
            y.view_mut(),
            None,
        )
        .unwrap();
        assert_eq!(y[(4, 1)], table[(3, 4)]);
    }

    #[test]
    fn bad_arguments_change_nothing() {
        let (table, mut y) = (numbers::<f64>(3, 2, 4), Array2::from_elem((2, 2), 7.0));
        let error = forward(table.view(), array![0, 3].view(), y.view_mut(), None).unwrap_err();
        let text =
            "embedding_forward: ids: expected integers from 0 to V-1 = 2, got 3 at position 1";
        assert_eq!(error.to_string(), text);
        let error = backward(y.clone().view(), array![0].view(), y.view_mut(), None).unwrap_err();
        let text = "embedding_backward: ids: expected shape (N,) = (2,), got (1,)";
        assert_eq!(error.to_string(), text);
        assert!(y.iter().all(|&y| y == 7.0));
    }

    #[test]
    fn nothing_looked_up_is_fine() {
        let mut y = Array2::<f32>::zeros((0, 3));
        forward(numbers(4, 3, 5).view(), array![].view(), y.view_mut(), Some(2)).unwrap();
        let mut dtable = Array2::from_elem((4, 3), 1.0_f32);
        backward(y.view(), array![].view(), dtable.view_mut(), Some(2)).unwrap();
        assert_eq!(dtable, Array2::<f32>::zeros((4, 3)));
    }
}
