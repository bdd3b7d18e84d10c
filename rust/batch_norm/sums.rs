//! What the features' statistics and gradients are made of: sums over the rows of a block.

use super::Call;
use super::rows::{Lines, Normal, elements};
use crate::simd::{Element, Kernel, Lanes};

/// What is summed over rows.
#[derive(Clone, Copy)]
pub(super) enum Sum<'a, T> {
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
pub(super) struct Sums<'a, T> {
    pub call: &'a Call<'a, T>,
    /// Their numbers.
    pub rows: &'a [usize],
    pub what: Sum<'a, T>,
    pub sums: &'a mut [T],
}

/// Rows that are added at once, one after the other: each sum is then read and written less often.
const AT_ONCE: usize = 8;

impl<T: Element> Kernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (x, width) = (&*self.call.x, self.call.width);
        let (first, second) = self.sums.split_at_mut(width);
        for rows in self.rows.chunks(AT_ONCE) {
            // SAFETY: the index names rows that exist; columns and sums have their width.
            unsafe {
                match self.what {
                    Sum::Values => add(l, rows, first, Values(x)),
                    Sum::Squares { mean } => add(l, rows, first, Squares { x, mean }),
                    Sum::Gradients { columns, dy } => {
                        add(l, rows, first, Products { dy, normal: columns.of(x) });
                        add(l, rows, second, Values(dy));
                    }
                }
            }
        }
    }
}

/// What a row adds to the sums of columns.
trait Addend<T: Element> {
    /// From column `j` on; `at` is the place of that element in the whole array, `n` is how many are
    /// left in the row.
    ///
    /// # Safety
    /// The row and the column exist.
    unsafe fn at<L: Lanes<T>>(&self, l: L, at: usize, j: usize, n: usize) -> L::V;
}

/// Adds the `rows` to `sums`, in their order.
#[inline(always)]
unsafe fn add<T: Element, L: Lanes<T>>(
    l: L, rows: &[usize], sums: &mut [T], addend: impl Addend<T>,
) {
    let width = sums.len();
    for j in (0..width).step_by(L::N) {
        // SAFETY: the caller vouches for rows of this width.
        unsafe {
            let (to, n) = (sums.as_mut_ptr().add(j), width - j);
            let mut sum = l.load_up_to(to, n);
            for &i in rows {
                sum = l.add(sum, addend.at(l, i * width + j, j, n));
            }
            l.store_up_to(to, sum, n);
        }
    }
}

struct Values<'a, T>(&'a [T]);

impl<T: Element> Addend<T> for Values<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, at: usize, _: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { elements(l, self.0, at, n) }
    }
}

struct Squares<'a, T> {
    x: &'a [T],
    mean: &'a [T],
}

impl<T: Element> Addend<T> for Squares<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, at: usize, j: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let d = l.sub(elements(l, self.x, at, n), elements(l, self.mean, j, n));
            l.mul(d, d)
        }
    }
}

/// `dy` times the normalized `x`.
struct Products<'a, T> {
    dy: &'a [T],
    normal: Normal<'a, T>,
}

impl<T: Element> Addend<T> for Products<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, at: usize, j: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { l.mul(elements(l, self.dy, at, n), self.normal.at(l, at, j, n)) }
    }
}
