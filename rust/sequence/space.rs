//! One thread's memory in the time loop, and how much of a step it takes at once.

use crate::buffer::Parts;
use crate::cells::Cell;
use crate::kernel::{apart, panel_width};
use crate::sequence::weights::{Packed, input_panels};
use crate::simd::Element;

/// Step rows whose input is projected at once: enough to use a panel of `w_ih` many times, few
/// enough that the result waits in the cache for the time loop.
pub(super) const CHUNK_ROWS: usize = 96;

/// Bytes of sums between a product and the cell's arithmetic on them.
const SUMS_BYTES: usize = 8 << 10;

/// One thread's memory.
#[derive(Clone, Copy)]
pub(super) struct Layout<T> {
    /// A chunk of `x`.
    pub x: *mut T,
    pub x_row: usize,
    /// A chunk of projected input.
    pub input: *mut T,
    pub input_row: usize,
    pub sums: *mut T,
    /// One group's worth of zeros, to start sums from.
    pub zeros: *mut T,
    /// Groups of units between a product and the arithmetic on it.
    pub groups: usize,
    pub sums_row: usize,
}

// SAFETY: places only; `Run` says who touches what.
unsafe impl<T: Element> Sync for Layout<T> {}

impl<T: Element> Layout<T> {
    /// For parts of up to `rows` rows, of which there are `step_rows` in all; at `start`, or only
    /// measured.
    pub fn new<C: Cell<T>>(
        start: Option<*mut T>, rows: usize, step_rows: usize, packed: &Packed<T>,
    ) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let sizes = packed.sizes;
        let width = panel_width(packed.isa.lanes::<T>());
        let chunk = rows.max(CHUNK_ROWS.min(step_rows));
        let x_row = apart::<T>(sizes.input);
        let input_row = sizes.hidden.div_ceil(width) * input_panels::<T, C>() * width;
        let gates = C::FORWARD.iter().map(|stage| stage.gates.len()).max().unwrap_or(1);
        let all = sizes.hidden.max(sizes.output).div_ceil(width);
        let groups = groups_at_once::<T>(rows, gates, width, all);
        let sums_row = groups * gates * width;
        let layout = Self {
            x: parts.take(chunk.saturating_mul(x_row)),
            x_row,
            input: parts.take(chunk.saturating_mul(input_row)),
            input_row,
            sums: parts.take(rows.saturating_mul(sums_row)),
            zeros: parts.take(sums_row),
            groups,
            sums_row,
        };
        (parts.used(), layout)
    }
}

/// Panels between a product and the arithmetic on it, at most: enough for the product of one row,
/// which takes six at once; few enough that a step's weights are several products, see `there_and_back`.
const PANELS: usize = 24;

/// Few rows leave room for the sums of many groups of units: one product for all of them.
pub(super) fn groups_at_once<T>(rows: usize, gates: usize, width: usize, all: usize) -> usize {
    let fit = SUMS_BYTES / (rows.max(1) * gates * width * size_of::<T>());
    fit.min(PANELS / gates).clamp(1, all.max(1))
}

/// The blocks of `each` of all, by number, upwards in even steps and downwards in odd ones: what a step read last is
/// still in the nearest cache when the next step begins with it. With weights of twice the size of
/// a cache this is worth a tenth of a step of one row; many rows hide it.
pub(super) fn there_and_back(all: usize, each: usize, step: usize) -> impl Iterator<Item = usize> {
    let n = if all > each { all.div_ceil(each) } else { all.min(1) };
    (0..n).map(move |i| if step % 2 == 1 { n - 1 - i } else { i })
}
