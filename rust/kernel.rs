//! The register tile, and the product that is made of it.
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

use crate::simd::{Element, Kernel, Lanes};

/// Steps of `k` per block: a panel's block stays in the first-level cache.
const K_BLOCK: usize = 256;

/// Terms of a sum in a turn of its loop, which counts and jumps once for all of them.
const TERMS: usize = 4;

/// Columns of a panel for lanes of `n` elements.
pub const fn panel_width(n: usize) -> usize {
    2 * n
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

    #[inline(always)]
    fn column(self, panel: usize, width: usize) -> usize {
        match panel.checked_div(self.count) {
            Some(block) if block > 0 => block * self.stride + (panel % self.count) * width,
            _ => panel * width,
        }
    }
}

/// Rows of contiguous elements, evenly spaced.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    /// Row 0, column 0.
    pub start: *const T,
    /// Elements from a row to the next.
    pub row: usize,
}

// SAFETY: a place only; `Product::run_on` says what must lie there, and nobody writes it meanwhile.
unsafe impl<T: Element> Sync for Rows<T> {}

/// What the sums start from: rows like the result's; a row stride of zero repeats one row.
#[derive(Clone, Copy)]
pub struct Init<T> {
    /// Row 0, column 0.
    pub start: *const T,
    /// Elements from a row to the next.
    pub row: usize,
    /// Where the panels' columns lie.
    pub blocks: Blocks,
}

/// `out = init + a * panels`, as a kernel of its own.
pub struct Product<T> {
    /// Rows.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// The left factor, `m` x `k`.
    pub a: Rows<T>,
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
        // Few rows ask for nothing, and a division would be a part of their time.
        let lines = if at_once == 1 { k.div_ceil(self.m.max(1)) } else { 0 };
        // Even tiles: a remainder of one row would cost as much as a full one. The first `taller`
        // ones have a row more than the others.
        let (height, taller) = (self.m / tiles.max(1), self.m % tiles.max(1));
        let first = taller * (height + 1);
        let mut panel = 0;
        while panel < self.count {
            let n = at_once.min(self.count - panel);
            let next = (self.after(panel, k0, panel_width(L::N)), lines);
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
        k: usize, (next, lines): (*const T, usize),
    ) {
        macro_rules! tile {
            ($rows:literal, $panels:literal) => {
                l.enter(Tiles::<T, $rows, $panels> { of: self, rows, panel, k0, k, next, lines })
            };
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

/// Register tiles of `R` rows by `P` panels, one below the other, terms `k0 .. k0 + k` of their sums.
struct Tiles<'a, T, const R: usize, const P: usize> {
    of: &'a Product<T>,
    /// A whole number of tiles.
    rows: Range<usize>,
    panel: usize,
    k0: usize,
    k: usize,
    /// The next panel, and the lines of it that are asked for a row: each tile asks for its part, so
    /// that memory is asked all the time and not all at once.
    next: *const T,
    lines: usize,
}

impl<T: Element, const R: usize, const P: usize> Kernel<T> for Tiles<'_, T, R, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (p, width) = (self.of, panel_width(L::N));
        let (in_columns, out_columns) =
            (self.columns(p.init.blocks, width), self.columns(p.out_blocks, width));
        for row in self.rows.clone().step_by(R) {
            // SAFETY: `Product::tiles` is given rows and panels inside the product, whose places
            // the caller of `run_on` vouched for; after the first block of k, `out` holds the sums
            // so far.
            unsafe {
                let out = p.out.add(row * p.out_row);
                let mut acc = if self.k0 == 0 {
                    self.load(l, p.init.start.add(row * p.init.row), p.init.row, in_columns)
                } else {
                    self.load(l, out, p.out_row, out_columns)
                };
                self.sum(l, row, &mut acc);
                for (r, line) in acc.iter().enumerate() {
                    for (j, panel) in line.iter().enumerate() {
                        let place = out.add(r * p.out_row + out_columns[j]);
                        l.store(place, panel[0]);
                        l.store(place.add(L::N), panel[1]);
                    }
                }
            }
        }
    }
}

impl<T: Element, const R: usize, const P: usize> Tiles<'_, T, R, P> {
    #[inline(always)]
    fn columns(&self, blocks: Blocks, width: usize) -> [usize; P] {
        std::array::from_fn(|j| blocks.column(self.panel + j, width))
    }

    #[inline(always)]
    unsafe fn load<L: Lanes<T>>(
        &self, l: L, start: *const T, stride: usize, columns: [usize; P],
    ) -> [[[L::V; 2]; P]; R] {
        let mut acc = [[[l.splat(T::default()); 2]; P]; R];
        for (r, row) in acc.iter_mut().enumerate() {
            for (j, panel) in row.iter_mut().enumerate() {
                // SAFETY: the caller vouches for R rows of P panels.
                unsafe {
                    let place = start.add(r * stride + columns[j]);
                    *panel = [l.load(place), l.load(place.add(L::N))];
                }
            }
        }
        acc
    }

    /// The hot loop of the crate.
    ///
    /// Beside twelve multiply-adds, a term of six rows by two registers has eight instructions that
    /// read, and a quarter of nine that count. A processor alone has room for twice as many; one
    /// that shares its core with another program has not, and took 15 to 23 % longer with them.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>>(&self, l: L, row: usize, acc: &mut [[[L::V; 2]; P]; R]) {
        let (p, width) = (self.of, panel_width(L::N));
        let (next, lines) = (self.next.wrapping_add(row * self.lines * width), R * self.lines);
        let a = std::array::from_fn(|r| p.a.start.wrapping_add((row + r) * p.a.row + self.k0));
        let b = std::array::from_fn(|j| {
            p.panels.wrapping_add((self.panel + j) * p.panel_stride + self.k0 * width)
        });
        let asked = if P == 1 && R > 3 { lines.min(self.k) } else { 0 };
        for k in 0..asked {
            l.prefetch(next.wrapping_add(k * width));
            // SAFETY: term k < self.k of R rows and P panels, inside the product.
            unsafe { Self::term(l, &a, &b, k, acc) };
        }
        // Three rows by two panels fill all registers: their loop cannot read ahead at all.
        let turn = if R == 3 && P == 2 { 1 } else { TERMS };
        let whole = asked + (self.k - asked) / turn * turn;
        for k in (asked..whole).step_by(turn) {
            for i in 0..turn {
                // SAFETY: as above.
                unsafe { Self::term(l, &a, &b, k + i, acc) };
                // With few rows there are registers enough to read ahead.
                if R > 3 {
                    acc.as_flattened_mut().as_flattened_mut().iter_mut().for_each(|v| l.pin(v));
                }
            }
        }
        for k in whole..self.k {
            // SAFETY: as above.
            unsafe { Self::term(l, &a, &b, k, acc) };
        }
    }

    /// One more term of each sum.
    #[inline(always)]
    unsafe fn term<L: Lanes<T>>(
        l: L, a: &[*const T; R], b: &[*const T; P], k: usize, acc: &mut [[[L::V; 2]; P]; R],
    ) {
        // SAFETY: the caller vouches for term k of the rows and panels that start here.
        unsafe {
            if P == 1 {
                let b = b[0].add(k * panel_width(L::N));
                let weights = [l.load(b), l.load(b.add(L::N))];
                for (r, row) in acc.iter_mut().enumerate() {
                    let x = l.splat(*a[r].add(k));
                    row[0] = [l.fma(x, weights[0], row[0][0]), l.fma(x, weights[1], row[0][1])];
                }
            } else {
                let x: [L::V; R] = std::array::from_fn(|r| l.splat(*a[r].add(k)));
                #[expect(clippy::needless_range_loop, reason = "rows run inside panels here")]
                for j in 0..P {
                    let b = b[j].add(k * panel_width(L::N));
                    for half in 0..2 {
                        let weights = l.load(b.add(half * L::N));
                        for r in 0..R {
                            acc[r][j][half] = l.fma(x[r], weights, acc[r][j][half]);
                        }
                    }
                }
            }
        }
    }
}
