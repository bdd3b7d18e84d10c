//! Sums of columns over rows that are split over threads, in blocks of 64 rows.
//!
//! Rows of a block are added in their order, and then the blocks' sums in theirs, in float64: the
//! order depends on the number of rows alone, and thousands of rows stay exact.

use crate::chunks::{reserved, zeros};
use crate::error::Result;
use crate::simd::Element;

/// Rows of a block.
pub(crate) const ROWS: usize = 64;

/// `width` sums for each block of `rows` rows, zeros at first; at least one block.
pub(crate) fn blocks<T: Element>(rows: usize, width: usize) -> Result<Vec<T>> {
    zeros(rows.div_ceil(ROWS).max(1).saturating_mul(width), "sums of columns")
}

/// The sums over all blocks.
pub(crate) fn totals<T: Element>(blocks: &[T], width: usize) -> Result<Vec<f64>> {
    let mut totals = reserved(width, "sums of columns")?;
    totals.resize(width, 0.0);
    for block in blocks.chunks_exact(width.max(1)) {
        totals.iter_mut().zip(block).for_each(|(total, &sum)| *total += sum.to_f64());
    }
    Ok(totals)
}
