//! The product that is made of register tiles.
//!
//! Every matrix product in the crate, inside the time loop and outside, is
//! `C[m, j] = init[m, j] + sum over k of A[m, k] * B[k, j]`
//! with `B` packed in *panels* two registers wide: panel `p` holds, for `k` = 0, 1, ..., the
//! `2 * N` columns that it covers, so the k loop reads it front to back. A tile is up to
//! `Lanes::ROWS` rows by one panel; with few rows several panels at once keep enough sums going.
//! Tall and narrow reads the fewest weights per multiply-add: 12 x 2 registers beat 6 x 4 by 10 to
//! 20 % where it was measured.
//!
//! A sum starts from `init` and takes its terms in ascending `k`, one fused multiply-add each,
//! whatever the tile: a block of `k` ends in memory and the next goes on from there, which rounds
//! nothing. So tile shapes, blocks and instruction sets never change a bit.

use std::ops::Range;

use crate::simd::{Element, Kernel, LINE, Lanes};
use crate::tile::Tiles;

/// Steps of `k` per block: a panel's block stays in the nearest caches while all rows pass over it.
/// From 256 on there is little between the sizes; see docs/performance.md, "What was tried".
pub const K_BLOCK: usize = 512;

/// Sets of a first-level cache, of as many lines each as it has ways: 8 or 12 of 64 bytes.
const SETS: usize = 64;

/// Columns of a panel for lanes of `n` elements.
pub const fn panel_width(n: usize) -> usize {
    2 * n
}

/// Whether so many columns would leave half of a panel empty: then the same sums are made with the
/// factors exchanged, as rows.
pub fn is_narrow(columns: usize, lanes: usize) -> bool {
    2 * columns <= panel_width(lanes)
}

/// From a row of `width` elements of a left factor to the next: a line more where all rows would
/// meet in one set of the first-level cache, which holds fewer than a tile has.
pub fn apart<T>(width: usize) -> usize {
    let meet = width != 0 && width.wrapping_mul(size_of::<T>()).is_multiple_of(SETS * LINE);
    if meet { width.saturating_add(LINE / size_of::<T>()) } else { width }
}

/// Where the columns of consecutive panels lie in a row of `init` or of the result.
///
/// Panels come in blocks of `count`, side by side; blocks are `stride` columns apart.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    /// Panels in a block.
    pub count: usize,
    /// Columns from one block to the next.
    pub stride: usize,
}

impl Blocks {
    /// All panels side by side.
    pub const DENSE: Self = Self { count: usize::MAX, stride: 0 };

    /// The column where `panel` of `width` columns starts.
    #[inline(always)]
    pub fn column(self, panel: usize, width: usize) -> usize {
        match panel.checked_div(self.count) {
            Some(block) if block > 0 => block * self.stride + (panel % self.count) * width,
            _ => panel * width,
        }
    }
}

/// Rows of contiguous elements, evenly spaced.
#[derive(Debug, Clone, Copy)]
pub struct Rows<T> {
    /// Row 0, column 0.
    pub start: *const T,
    /// Elements from a row to the next.
    pub row: usize,
}

// SAFETY: a place only; `Product::run_on` says what must lie there, and nobody writes it meanwhile.
unsafe impl<T: Element> Sync for Rows<T> {}

/// What the sums start from: rows like the result's; a row stride of zero repeats one row.
#[derive(Debug, Clone, Copy)]
pub struct Init<T> {
    /// Row 0, column 0.
    pub start: *const T,
    /// Elements from a row to the next.
    pub row: usize,
    /// Where the panels' columns lie.
    pub blocks: Blocks,
}

/// `out = init + a * panels`, as a kernel of its own.
#[derive(Debug)]
pub struct Product<T> {
    /// Rows.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// The left factor, `m` x `k`; or `k` x `m`, if it is `transposed`.
    pub a: Rows<T>,
    /// Whether the rows of `a` are the columns of the left factor.
    pub transposed: bool,
    /// The packed right factor; panel `p` starts at `p * panel_stride`.
    pub panels: *const T,
    /// Elements from a panel to the next.
    pub panel_stride: usize,
    /// Panels to compute.
    pub count: usize,
    /// What the sums start from.
    pub init: Init<T>,
    /// Row 0, column 0 of the result.
    pub out: *mut T,
    /// Elements from a row of the result to the next.
    pub out_row: usize,
    /// Where the panels' columns lie in the result.
    pub out_blocks: Blocks,
}

impl<T: Element> Product<T> {
    /// Runs the product on `l`.
    ///
    /// # Safety
    /// `a`, `panels` and `init` are valid for reading, and `out` for writing, at every place that
    /// the sizes and strides name, and only `init` may overlap `out`, element on element.
    #[inline(always)]
    pub unsafe fn run_on<L: Lanes<T>>(self, l: L) {
        l.enter(Trusted(self));
    }
}

/// A product whose pointers the caller of `run_on` has vouched for.
struct Trusted<T>(Product<T>);

impl<T: Element> Kernel<T> for Trusted<T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let p = self.0;
        if p.k == 0 {
            // SAFETY: the caller of `run_on` vouched for every place.
            return unsafe { p.block(l, 0, 0) };
        }
        for k0 in (0..p.k).step_by(K_BLOCK) {
            // SAFETY: as above.
            unsafe { p.block(l, k0, K_BLOCK.min(p.k - k0)) };
        }
    }
}

impl<T: Element> Product<T> {
    /// Terms `k0 .. k0 + k` of all sums.
    #[inline(always)]
    unsafe fn block<L: Lanes<T>>(&self, l: L, k0: usize, k: usize) {
        let at_once = panels_at_once(self.m);
        let tiles = self.m.div_ceil(L::ROWS);
        // Even tiles: a remainder of one row would cost as much as a full one. The first `taller`
        // ones have a row more than the others.
        let (height, taller) = (self.m / tiles.max(1), self.m % tiles.max(1));
        let first = taller * (height + 1);
        let mut panel = 0;
        while panel < self.count {
            let n = at_once.min(self.count - panel);
            let next = self.after(panel, k0, panel_width(L::N));
            // SAFETY: rows and panels lie inside the product.
            unsafe {
                if taller > 0 {
                    self.tiles(l, 0..first, height + 1, (panel, n), k0, k, next);
                }
                if taller < tiles {
                    self.tiles(l, first..self.m, height, (panel, n), k0, k, next);
                }
            }
            panel += n;
        }
    }

    /// Where the block starts that comes after this one of a panel; after the last one of all, that
    /// of the panel behind them, with which the next product of a step begins.
    fn after(&self, panel: usize, k0: usize, width: usize) -> *const T {
        let (panel, k0) = match (panel + 1 < self.count, k0 + K_BLOCK < self.k) {
            (true, _) => (panel + 1, k0),
            (false, true) => (0, k0 + K_BLOCK),
            (false, false) => (panel + 1, 0),
        };
        self.panels.wrapping_add(panel * self.panel_stride + k0 * width)
    }

    /// Tiles of `height <= ROWS` rows by `n` panels.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn tiles<L: Lanes<T>>(
        &self, l: L, rows: Range<usize>, height: usize, (panel, n): (usize, usize), k0: usize,
        k: usize, next: *const T,
    ) {
        macro_rules! tile {
            ($rows:literal, $panels:literal) => {
                if self.transposed {
                    tile!($rows, $panels, true)
                } else {
                    tile!($rows, $panels, false)
                }
            };
            ($rows:literal, $panels:literal, $transposed:literal) => {{
                let of = self;
                l.enter(Tiles::<T, $rows, $panels, $transposed> { of, rows, panel, k0, k, next })
            }};
        }
        match (height, n) {
            (1, 6) => tile!(1, 6),
            (1, 5) => tile!(1, 5),
            (1, 4) => tile!(1, 4),
            (1, 3) => tile!(1, 3),
            (1, 2) => tile!(1, 2),
            (1, _) => tile!(1, 1),
            (2, 3) => tile!(2, 3),
            (2, 2) => tile!(2, 2),
            (2, _) => tile!(2, 1),
            (3, 2) => tile!(3, 2),
            (3, _) => tile!(3, 1),
            (4, _) => tile!(4, 1),
            (5, _) if const { L::ROWS >= 5 } => tile!(5, 1),
            (6, _) if const { L::ROWS >= 6 } => tile!(6, 1),
            (7, _) if const { L::ROWS >= 7 } => tile!(7, 1),
            (8, _) if const { L::ROWS >= 8 } => tile!(8, 1),
            (9, _) if const { L::ROWS >= 9 } => tile!(9, 1),
            (10, _) if const { L::ROWS >= 10 } => tile!(10, 1),
            (11, _) if const { L::ROWS >= 11 } => tile!(11, 1),
            (12, _) if const { L::ROWS >= 12 } => tile!(12, 1),
            _ => unreachable!("a tile of {height} rows"),
        }
    }
}

/// With few rows, panels side by side fill the pipeline: a fused multiply-add takes 4 cycles and
/// two start in each, so about ten sums must be under way. Three rows by two panels fill AVX2's 16
/// registers: 12 sums, 3 inputs and one register of weights at a time.
#[inline(always)]
fn panels_at_once(rows: usize) -> usize {
    match rows {
        1 => 6,
        2 => 3,
        3 => 2,
        _ => 1,
    }
}
