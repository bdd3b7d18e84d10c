//! Sums of columns, for the gradients of biases.

use crate::chunks;
use crate::error::Result;
use crate::gemm::LINE;
use crate::kernel::Rows;
use crate::simd::{Element, Isa, Kernel, Lanes};

/// Additions of `column_sums` that are worth a second thread.
const WORTH_SPLITTING: usize = 1 << 18;

/// The sum of `count` rows, in their order, added to `sums`; split over columns.
///
/// # Safety
/// The rows have as many elements as `sums` and were written.
pub(crate) unsafe fn column_sums<T: Element>(
    isa: Isa, rows: Rows<T>, count: usize, sums: &mut [T], threads: usize,
) -> Result<()> {
    let threads = if count * sums.len() < WORTH_SPLITTING { 1 } else { threads };
    let columns = sums.len().div_ceil(threads).next_multiple_of(LINE);
    chunks::each(sums.chunks_mut(columns.max(1)), threads, |i, sums| {
        T::dispatch(isa, ColumnSums { rows, count, first: i * columns, sums });
        Ok(())
    })
}

struct ColumnSums<'a, T> {
    rows: Rows<T>,
    count: usize,
    first: usize,
    sums: &'a mut [T],
}

impl<T: Element> Kernel<T> for ColumnSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let n = self.sums.len();
        for k in 0..self.count {
            let row = self.rows.start.wrapping_add(k * self.rows.row + self.first);
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
