//! The one door for matrix products outside the time loop.
//!
//! They are made of the same tile as the time loop's (`kernel`), so they keep the laws about bits:
//! crates that were looked at choose their blocks by the machine's caches, or round between
//! blocks, or have no AVX-512 kernel.

use crate::buffer::{Parts, with_workspace};
use crate::error::Result;
use crate::kernel::{Blocks, Init, Product, Rows, apart, panel_width};
use crate::parallel;
use crate::simd::{Element, Isa, Kernel, LINE, Lanes};
use crate::view::View;

/// Rows of a matrix in an order of one's own.
#[derive(Clone, Copy)]
pub(crate) struct Gathered<'a, T> {
    /// Row 0, column 0.
    pub start: *const T,
    /// Columns.
    pub width: usize,
    /// Elements from a row to the next.
    pub row: usize,
    /// Row numbers, in the order of the sum.
    pub index: &'a [usize],
}

impl<T: Element> Gathered<'_, T> {
    #[inline(always)]
    pub fn line(&self, k: usize) -> *const T {
        self.start.wrapping_add(self.index[k] * self.row)
    }
}

/// `out[out_row + i, :] = sum over k of left[k, first + i] * right[index[k], :]` for `i` in `0 .. rows`,
/// or that much more: a sum goes on from where it is, so it may be taken in parts.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a, T> {
    /// The factor whose columns become rows of the result.
    pub left: Rows<T>,
    /// Its first column.
    pub first: usize,
    /// Its columns.
    pub rows: usize,
    /// The other factor; its index has a number for each row of the left one.
    pub right: Gathered<'a, T>,
    /// The result.
    pub out: View<T>,
    /// The result's first row.
    pub out_row: usize,
    /// The sums start from what the result holds instead of from zero.
    pub accumulate: bool,
    /// Where the sum of each of these columns is added, in the order of the rows, if it is wanted.
    pub sums: Option<*mut T>,
}

// SAFETY: places only; the caller of `outer_products` vouches for what lies there, and each task
// has columns and rows of its own.
unsafe impl<T: Element> Sync for Outer<'_, T> {}

impl<T: Element> Outer<'_, T> {
    /// At most so many parts: of rows, or of columns where there are too few rows.
    fn parts(&self, count: usize) -> impl Iterator<Item = Self> {
        let columns = self.right.width;
        let by_columns = self.rows < LEAST * count && self.rows < columns;
        let all = if by_columns { columns } else { self.rows };
        let each = all.div_ceil(all.div_ceil(LEAST).clamp(1, count));
        let each = each.next_multiple_of(if by_columns { COLUMNS } else { 16 }).max(1);
        (0..all).step_by(each).map(move |first| {
            let n = each.min(all - first);
            if by_columns { self.columns(first, n) } else { self.rows(first, n) }
        })
    }

    fn rows(&self, first: usize, rows: usize) -> Self {
        let sums = self.sums.map(|sums| sums.wrapping_add(first));
        Self { first: self.first + first, rows, out_row: self.out_row + first, sums, ..*self }
    }

    /// The sums of the left factor go with the first columns.
    fn columns(&self, first: usize, width: usize) -> Self {
        let right = Gathered { start: self.right.start.wrapping_add(first), width, ..self.right };
        let sums = self.sums.filter(|_| first == 0);
        Self { right, out: self.out.columns_from(first), sums, ..*self }
    }
}

/// Terms of the sum that are packed at once.
const K_BLOCK: usize = 256;
/// Panels of the right factor that are packed at once: with `K_BLOCK` they fill half of a small
/// second-level cache.
const PANELS: usize = 16;
/// Columns of the left factor that are packed at once: its rows are far apart, and what comes with a
/// cache line should be used.
const LEFT: usize = 96;
/// Panels of the right factor up to which the left one is not packed: a tile reads more where it
/// lies, half a cache line or less of each row, and packing pays only where many panels share it.
const FEW_PANELS: usize = 2;
/// Rows or columns of a result below which a task is not split.
const LEAST: usize = 24;
/// Parts of the columns are multiples of this: whole panels of every instruction set.
const COLUMNS: usize = 32;

/// Sums of outer products, split over the rows or columns of the results; and before them so many
/// other tasks, each run by its number, so that nobody waits between the ones and the others.
///
/// # Errors
/// The first task's; [`crate::Error::Memory`].
///
/// # Safety
/// All rows that the indices name exist and were written; outputs and sums are valid for writing.
pub(crate) unsafe fn outer_products<T: Element>(
    isa: Isa, products: &[Outer<'_, T>], threads: usize,
    (others, other): (usize, impl Fn(usize) -> Result<()> + Sync),
) -> Result<()> {
    // Twice as many parts as threads, so that a late thread is made up for.
    let parts = if threads > 1 { 2 * threads } else { 1 };
    let tasks: Vec<_> = products.iter().flat_map(|product| product.parts(parts)).collect();
    parallel::run(others + tasks.len(), threads, |i| {
        let Some(i) = i.checked_sub(others) else { return other(i) };
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
    /// Columns of the left factor, each in a row that is `apart(k)` elements from the next.
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
        let k = K_BLOCK.min(product.right.index.len());
        let columns = if panels > FEW_PANELS { LEFT.min(product.rows) } else { 0 };
        let memory = Self {
            right: parts.take(panels * width * k),
            left: parts.take(columns * apart::<T>(k)),
            sums: parts.take(product.rows.saturating_mul(panels * width)),
            zeros: parts.take(panels * width),
        };
        (parts.used(), memory)
    }
}

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
            // Without any columns there are still the sums of the left factor's.
            for panel in (0..total.max(1)).step_by(PANELS) {
                let count = PANELS.min(total - panel);
                let columns = (count * width).min(p.right.width - panel * width);
                self.start(panel * width, columns, count * width);
                for k0 in (0..p.right.index.len()).step_by(K_BLOCK) {
                    let k = K_BLOCK.min(p.right.index.len() - k0);
                    self.pack_right(l, panel * width, columns, k0, k);
                    self.block(l, count, k0, k, p.sums.filter(|_| panel == 0));
                }
                let out = p.out.columns_from(panel * width);
                for i in 0..p.rows {
                    out.write(p.out_row + i, 0, columns, w.sums.add(i * count * width));
                }
            }
        }
    }
}

impl<T: Element> OuterRun<'_, T> {
    /// What the sums of these columns start from, where it is not the zeros of `block`.
    #[inline(always)]
    unsafe fn start(&self, first: usize, columns: usize, row: usize) {
        let (p, w) = (self.product, &self.memory);
        // SAFETY: as `run` says.
        unsafe {
            if p.right.index.is_empty() || p.accumulate {
                w.sums.write_bytes(0, p.rows * row);
            }
            let out = p.out.columns_from(first);
            for i in 0..if p.accumulate { p.rows } else { 0 } {
                out.read(p.out_row + i, 0, columns, w.sums.add(i * row));
            }
        }
    }

    #[inline(always)]
    unsafe fn pack_right<L: Lanes<T>>(
        &self, l: L, first: usize, columns: usize, k0: usize, k: usize,
    ) {
        let width = panel_width(L::N);
        for i in 0..k {
            let from = self.product.right.line(k0 + i).wrapping_add(first);
            for (panel, j) in (0..columns).step_by(width).enumerate() {
                let to = self.memory.right.wrapping_add((panel * k + i) * width);
                // SAFETY: the row has these columns; the block has room for k rows of each panel.
                unsafe { copy_columns(l, from.add(j), columns - j, to, width) };
            }
        }
    }

    /// Adds terms `k0 .. k0 + k` to all sums, and to those of the left factor's columns.
    #[inline(always)]
    unsafe fn block<L: Lanes<T>>(
        &self, l: L, count: usize, k0: usize, k: usize, sums: Option<*mut T>,
    ) {
        let (p, w, width) = (self.product, &self.memory, panel_width(L::N));
        let (is_first, is_packed) = (k0 == 0 && !p.accumulate, count > FEW_PANELS);
        for first in (0..p.rows).step_by(LEFT) {
            let rows = LEFT.min(p.rows - first);
            let out = w.sums.wrapping_add(first * count * width);
            let (start, row) = if is_first { (w.zeros, 0) } else { (out, count * width) };
            let place = p.left.start.wrapping_add(k0 * p.left.row + p.first + first);
            let left = Rows { start: place, row: p.left.row };
            let packed = Rows { start: w.left.cast_const(), row: apart::<T>(k) };
            // SAFETY: as `run` says.
            unsafe {
                self.read_left(l, left, k, rows, is_packed, sums.map(|sums| sums.add(first)));
                Product {
                    m: rows,
                    k,
                    a: if is_packed { packed } else { left },
                    transposed: !is_packed,
                    panels: w.right,
                    panel_stride: k * width,
                    count,
                    init: Init { start: start.cast_const(), row, blocks: Blocks::DENSE },
                    out,
                    out_row: count * width,
                    out_blocks: Blocks::DENSE,
                }
                .run_on(l);
            }
        }
    }

    /// Packs `n` columns of `k` terms of the left factor as rows, in blocks that are transposed in
    /// registers, and adds them to sums, if the one or the other is wanted.
    #[inline(always)]
    unsafe fn read_left<L: Lanes<T>>(
        &self, l: L, left: Rows<T>, k: usize, n: usize, is_packed: bool, sums: Option<*mut T>,
    ) {
        if !is_packed && sums.is_none() {
            return;
        }
        let (to, row) = (self.memory.left, apart::<T>(k));
        let packed = if is_packed { n } else { 0 };
        for i in (0..k).step_by(L::N) {
            let terms = L::N.min(k - i);
            for ahead in i + terms..k.min(i + 2 * terms) {
                let line = left.start.wrapping_add(ahead * left.row);
                (0..n)
                    .step_by(LINE / size_of::<T>())
                    .for_each(|j| l.prefetch(line.wrapping_add(j)));
            }
            let whole = if terms == L::N { packed / L::N * L::N } else { 0 };
            // SAFETY: the rows have these columns; there is room for k elements of each.
            unsafe {
                let from = left.start.add(i * left.row);
                for j in (0..whole).step_by(L::N) {
                    l.transpose(from.add(j), left.row as isize, to.add(j * row + i), row);
                }
                for (j, t) in (whole..packed).flat_map(|j| (0..terms).map(move |t| (j, t))) {
                    *to.add(j * row + i + t) = *from.add(t * left.row + j);
                }
                if let Some(sums) = sums {
                    add_rows(l, Rows { start: from, row: left.row }, terms, sums, n);
                }
            }
        }
    }
}

/// Adds `count` rows of `n` elements to sums, in their order.
#[inline(always)]
unsafe fn add_rows<T: Element, L: Lanes<T>>(
    l: L, rows: Rows<T>, count: usize, sums: *mut T, n: usize,
) {
    for j in (0..n).step_by(L::N) {
        // SAFETY: the caller vouches for n columns of the rows and for the sums.
        unsafe {
            let mut sum = l.load_up_to(sums.add(j), n - j);
            for i in 0..count {
                sum = l.add(sum, l.load_up_to(rows.start.add(i * rows.row + j), n - j));
            }
            l.store_up_to(sums.add(j), sum, n - j);
        }
    }
}

/// Copies `used` elements and fills up with zeros to `width`, a whole number of registers. A call
/// of memmove for each of these few elements took a sixth of the time of backward.
#[inline(always)]
unsafe fn copy_columns<T: Element, L: Lanes<T>>(
    l: L, from: *const T, used: usize, to: *mut T, width: usize,
) {
    for j in (0..width).step_by(L::N) {
        // SAFETY: the caller vouches for `used` elements to read and `width` to write.
        unsafe {
            let x = l.load_up_to(from.wrapping_add(j), used.saturating_sub(j));
            l.store(to.add(j), x);
        }
    }
}
