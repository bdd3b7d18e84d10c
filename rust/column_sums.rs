//! Sums of columns, for the gradients of biases.

use crate::chunks;
use crate::error::Result;
use crate::gemm::{Gathered, LINE};
use crate::simd::{Element, Isa, Kernel, Lanes};

/// Additions of `column_sums` that are worth a second thread.
const WORTH_SPLITTING: usize = 1 << 18;

/// The sum of all rows, in their order, added to `sums`; split over columns.
///
/// # Safety
/// All rows exist and were written; `sums` has a row's width.
pub(crate) unsafe fn column_sums<T: Element>(
    isa: Isa, rows: &Gathered<'_, T>, sums: &mut [T], threads: usize,
) -> Result<()> {
    let threads = if rows.index.len() * sums.len() < WORTH_SPLITTING { 1 } else { threads };
    let columns = sums.len().div_ceil(threads).next_multiple_of(LINE);
    chunks::each(sums.chunks_mut(columns.max(1)), threads, |i, sums| {
        T::dispatch(isa, ColumnSums { rows, first: i * columns, sums });
        Ok(())
    })
}

struct ColumnSums<'a, T> {
    rows: &'a Gathered<'a, T>,
    first: usize,
    sums: &'a mut [T],
}

impl<T: Element> Kernel<T> for ColumnSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let n = self.sums.len().min(self.rows.width - self.first);
        for k in 0..self.rows.index.len() {
            let row = self.rows.row(k).wrapping_add(self.first);
            for j in (0..n).step_by(L::N) {
                // SAFETY: columns j .. n exist in the row and in the sums.
                unsafe {
                    let sum = self.sums.as_mut_ptr().add(j);
                    let new = l.add(l.load_up_to(sum, n - j), l.load_up_to(row.add(j), n - j));
                    l.store_up_to(sum, new, n - j);
                }
            }
        }
    }
}
