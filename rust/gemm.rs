//! The one door for matrix products outside the time loop.
//!
//! They are made of the same tile as the time loop's (`kernel`), so they keep the laws about bits:
//! crates that were looked at choose their blocks by the machine's caches, or round between
//! blocks, or have no AVX-512 kernel.

use crate::buffer::{Parts, with_workspace};
use crate::error::Result;
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::panels::pack_line;
use crate::parallel;
use crate::simd::{Element, Isa, Kernel, Lanes};
use crate::view::View;

/// Rows of a matrix in an order of one's own.
#[derive(Clone, Copy)]
pub(crate) struct Gathered<'a, T> {
    /// Row 0, column 0.
    pub start: *const T,
    /// Columns, and elements from a row to the next.
    pub width: usize,
    /// Row numbers, in the order of the sum.
    pub index: &'a [usize],
}

// SAFETY: a place only; its users vouch for what lies there, and nobody writes it.
unsafe impl<T: Element> Sync for Gathered<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Element> Send for Gathered<'_, T> {}

impl<T: Element> Gathered<'_, T> {
    #[inline(always)]
    fn row(&self, k: usize) -> *const T {
        self.start.wrapping_add(self.index[k] * self.width)
    }
}

/// `out[out_row + i, :] = sum over k of left[k, first + i] * right[k, :]` for `i` in `0 .. rows`.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a, T> {
    /// The factor whose columns become rows of the result.
    pub left: Gathered<'a, T>,
    /// Its first column.
    pub first: usize,
    /// Its columns.
    pub rows: usize,
    /// The other factor; its index is as long as the left one's.
    pub right: Gathered<'a, T>,
    /// The result.
    pub out: View<T>,
    /// The result's first row.
    pub out_row: usize,
}

/// Terms of the sum that are packed at once.
const K_BLOCK: usize = 256;
/// Panels of the right factor that are packed at once: with `K_BLOCK` they fill half of a small
/// second-level cache.
const PANELS: usize = 16;
/// Rows of a result below which a task is not split.
const ROWS: usize = 24;

/// Sums of outer products, split over the rows of the results.
///
/// # Safety
/// All rows that the indices name exist and were written; outputs are valid for writing.
pub(crate) unsafe fn outer_products<T: Element>(
    isa: Isa, products: &[Outer<'_, T>], threads: usize,
) -> Result<()> {
    let mut tasks = Vec::new();
    for product in products {
        // Twice as many parts as threads, so that a late thread is made up for.
        let parts = product.rows.div_ceil(ROWS).min(if threads > 1 { 2 * threads } else { 1 });
        let each = product.rows.div_ceil(parts.max(1)).next_multiple_of(12);
        for first in (0..product.rows).step_by(each.max(1)) {
            let rows = each.min(product.rows - first);
            tasks.push(Outer {
                first: product.first + first,
                rows,
                out_row: product.out_row + first,
                ..*product
            });
        }
    }
    parallel::run(tasks.len(), threads, |i| {
        let task = &tasks[i];
        let layout = |start: Option<*mut T>| Blocked::new(start, task, isa.lanes::<T>());
        with_workspace(layout(None).0, |start| {
            T::dispatch(isa, OuterRun { product: task, memory: layout(Some(start)).1 });
        })
    })
}

/// A task's memory.
struct Blocked<T> {
    /// A block of the right factor, packed.
    right: *mut T,
    /// A tile of the left factor, packed by columns.
    left: *mut T,
    /// The result, in rows of whole panels.
    sums: *mut T,
    zeros: *mut T,
}

impl<T: Element> Blocked<T> {
    fn new(start: Option<*mut T>, product: &Outer<'_, T>, lanes: usize) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let width = panel_width(lanes);
        let panels = product.right.width.div_ceil(width).min(PANELS);
        let k = K_BLOCK.min(product.left.index.len());
        let memory = Self {
            right: parts.take(panels * width * k),
            left: parts.take(MAX_ROWS * k),
            sums: parts.take(product.rows.saturating_mul(panels * width)),
            zeros: parts.take(panels * width),
        };
        (parts.used(), memory)
    }
}

/// The tallest tile of any instruction set.
const MAX_ROWS: usize = 12;

struct OuterRun<'a, T> {
    product: &'a Outer<'a, T>,
    memory: Blocked<T>,
}

impl<T: Element> Kernel<T> for OuterRun<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (p, w, width) = (self.product, &self.memory, panel_width(L::N));
        let total = p.right.width.div_ceil(width);
        // SAFETY: `outer_products` says that all rows exist; the layout was made for this product.
        unsafe {
            for i in (0..total.min(PANELS) * width).step_by(L::N) {
                l.store(w.zeros.add(i), l.splat(T::default()));
            }
            for panel in (0..total).step_by(PANELS) {
                let count = PANELS.min(total - panel);
                let columns = (count * width).min(p.right.width - panel * width);
                if p.left.index.is_empty() {
                    w.sums.write_bytes(0, p.rows * count * width);
                }
                for k0 in (0..p.left.index.len()).step_by(K_BLOCK) {
                    let k = K_BLOCK.min(p.left.index.len() - k0);
                    self.pack_right(l, panel * width, columns, k0, k);
                    self.block(l, count, k0, k);
                }
                for i in 0..p.rows {
                    let (to, step) = p.out.line(p.out_row + i, 0);
                    let to = to.wrapping_offset((panel * width) as isize * step);
                    let from = w.sums.add(i * count * width);
                    if step == 1 {
                        std::ptr::copy_nonoverlapping(from, to, columns);
                    } else {
                        (0..columns).for_each(|j| *to.offset(j as isize * step) = *from.add(j));
                    }
                }
            }
        }
    }
}

impl<T: Element> OuterRun<'_, T> {
    #[inline(always)]
    unsafe fn pack_right<L: Lanes<T>>(
        &self, _: L, first: usize, columns: usize, k0: usize, k: usize,
    ) {
        let width = panel_width(L::N);
        for i in 0..k {
            let from = self.product.right.row(k0 + i).wrapping_add(first);
            for (panel, j) in (0..columns).step_by(width).enumerate() {
                let used = width.min(columns - j);
                let to = self.memory.right.wrapping_add(panel * k * width + i * width);
                // SAFETY: the row has these columns; the block has room for k rows of each panel.
                unsafe { pack_line(from.add(j), 1, to, used, width) };
            }
        }
    }

    /// Adds terms `k0 .. k0 + k` to all sums.
    #[inline(always)]
    unsafe fn block<L: Lanes<T>>(&self, l: L, count: usize, k0: usize, k: usize) {
        let (p, w, width) = (self.product, &self.memory, panel_width(L::N));
        let tiles = p.rows.div_ceil(L::ROWS);
        let mut row = 0;
        for tile in 0..tiles {
            let rows = (p.rows - row).div_ceil(tiles - tile);
            let out = w.sums.wrapping_add(row * count * width);
            let init = match k0 {
                0 => Init { start: w.zeros.cast_const(), row: 0, blocks: Blocks::DENSE },
                _ => Init { start: out.cast_const(), row: count * width, blocks: Blocks::DENSE },
            };
            // SAFETY: as `run` says.
            unsafe {
                for i in 0..k {
                    let from = p.left.row(k0 + i).add(p.first + row);
                    std::ptr::copy_nonoverlapping(from, w.left.add(i * rows), rows);
                }
                Product {
                    m: rows,
                    k,
                    a: Rows { start: w.left.cast_const(), row: 1, column: rows },
                    panels: w.right,
                    panel_stride: k * width,
                    count,
                    init,
                    out,
                    out_row: count * width,
                    out_blocks: Blocks::DENSE,
                }
                .run_on(l);
            }
            row += rows;
        }
    }
}

/// The sum of all rows, in their order, added to `sums`.
///
/// # Safety
/// All rows exist and were written; `sums` has a row's width.
pub(crate) unsafe fn column_sums<T: Element>(isa: Isa, rows: &Gathered<'_, T>, sums: &mut [T]) {
    T::dispatch(isa, ColumnSums { rows, sums });
}

struct ColumnSums<'a, T> {
    rows: &'a Gathered<'a, T>,
    sums: &'a mut [T],
}

impl<T: Element> Kernel<T> for ColumnSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let n = self.sums.len().min(self.rows.width);
        for k in 0..self.rows.index.len() {
            let row = self.rows.row(k);
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
