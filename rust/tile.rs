//! The register tile: the hot loop of the crate.

use std::ops::Range;

use crate::kernel::{Blocks, Product, panel_width};
use crate::simd::{Element, Kernel, LINE, Lanes, Pair};

/// Terms of a sum in a turn of its loop, which counts and jumps once for all of them.
const TERMS: usize = 8;

/// Lines of the left factor whose places are found from one moving pointer: at it, and once and twice
/// the lines' distance behind it, which x86 adds while it reads.
const LINES_A_PLACE: usize = 3;

/// Terms of a sum from which the tiles of a panel ask for the next one: weights of shorter ones stay
/// in the second-level cache.
const ASKED_FROM: usize = 256;

/// The sums of a tile of `R` rows by `P` panels of two registers.
type Sums<V, const R: usize, const P: usize> = [[[V; 2]; P]; R];

/// Register tiles of `R` rows by `P` panels, one below the other, terms `k0 .. k0 + k` of their sums;
/// the lines of the left factor are its columns, if `C`, or its rows.
pub struct Tiles<'a, T, const R: usize, const P: usize, const C: bool> {
    /// The product that they are tiles of.
    pub of: &'a Product<T>,
    /// A whole number of tiles.
    pub rows: Range<usize>,
    /// The first panel.
    pub panel: usize,
    /// The first term.
    pub k0: usize,
    /// How many terms.
    pub k: usize,
    /// The panel's block that comes next.
    pub next: *const T,
}

impl<T: Element, const R: usize, const P: usize, const C: bool> Kernel<T>
    for Tiles<'_, T, R, P, C>
{
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

impl<T: Element, const R: usize, const P: usize, const C: bool> Tiles<'_, T, R, P, C> {
    #[inline(always)]
    fn columns(&self, blocks: Blocks, width: usize) -> [usize; P] {
        std::array::from_fn(|j| blocks.column(self.panel + j, width))
    }

    #[inline(always)]
    unsafe fn load<L: Lanes<T>>(
        &self, l: L, start: *const T, stride: usize, columns: [usize; P],
    ) -> Sums<L::V, R, P> {
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

    /// All terms of the tile that starts with `row`.
    ///
    /// The tiles of a panel ask for the next one together, so that memory is asked all the time and
    /// not all at once: so many lines a turn that few tiles ask for all of it and many do not ask
    /// twice. Few rows read ahead by themselves, and where sums are short there is nothing to ask for.
    /// A factor whose lines are columns lies far apart: what is asked for is the next tile's part.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>>(&self, l: L, row: usize, acc: &mut Sums<L::V, R, P>) {
        // SAFETY: as the caller says.
        unsafe {
            if P > 1 || R <= 3 || self.of.k < ASKED_FROM {
                self.turns::<L, 0>(l, row, acc);
            } else if C || self.of.m <= 3 * L::ROWS {
                self.turns::<L, TERMS>(l, row, acc);
            } else {
                self.turns::<L, 2>(l, row, acc);
            }
        }
    }

    /// The loop of [`Self::sum`], `ASKED` lines of the next panel a turn.
    ///
    /// In a turn of six rows by two registers, 96 multiply-adds and 64 instructions that read stand
    /// beside six that move, count and jump. With eighteen, and a loop of its own for the terms that
    /// ask, layers took 2 to 8 % longer where another program was on the core.
    #[inline(always)]
    unsafe fn turns<L: Lanes<T>, const ASKED: usize>(
        &self, l: L, row: usize, acc: &mut Sums<L::V, R, P>,
    ) {
        let mut at = self.places(l, row);
        let width = panel_width(L::N) as isize;
        let next = (self.next as isize - at.panels[0] as isize) / size_of::<T>() as isize
            + (ASKED * (row / R) % TERMS) as isize * width;
        const { assert!(TERMS == 8, "a turn is two times four terms") };
        // Three rows by two panels fill all registers: their loop cannot read ahead at all.
        let turn = if R == 3 && P == 2 { 1 } else { TERMS };
        for _ in 0..self.k / turn {
            for term in 0..ASKED {
                if C {
                    let (last, line) = (2 * R - 1, LINE / size_of::<T>());
                    l.prefetch(at.left(last, term));
                    if R > line {
                        l.prefetch(at.left(last - line, term));
                    }
                } else {
                    let term = term as isize * width;
                    Pair(l).prefetch(at.panels[0].wrapping_offset(next + term));
                }
            }
            // SAFETY: the terms of R rows and P panels, inside the product.
            unsafe {
                if turn == 1 {
                    at.term(l, 0, acc);
                } else {
                    at.four(l, 0, acc);
                    at.four(l, 4, acc);
                }
            }
            at = at.moved(l, turn);
        }
        for _ in 0..self.k % turn {
            // SAFETY: as above.
            unsafe { at.term(l, 0, acc) };
            at = at.moved(l, 1);
        }
    }

    #[inline(always)]
    fn places<L: Lanes<T>>(&self, l: L, row: usize) -> Places<T, R, P, C> {
        let p = self.of;
        let (first, at) = if C { (self.k0, row) } else { (row, self.k0) };
        let line = |i| l.pin_place(p.a.start.wrapping_add((first + i) * p.a.row + at));
        let place = |i| if i < Places::<T, R, P, C>::LINES { line(i) } else { std::ptr::null() };
        let panel = |j| (self.panel + j) * p.panel_stride + self.k0 * panel_width(L::N);
        Places {
            lines: std::array::from_fn(|i| place(i * LINES_A_PLACE)),
            line: p.a.row,
            panels: std::array::from_fn(|j| p.panels.wrapping_add(panel(j))),
        }
    }
}

/// Where the next terms of a tile lie.
struct Places<T, const R: usize, const P: usize, const C: bool> {
    /// Every third line; four places are enough for the tallest tile, of twelve rows, and for the
    /// terms of a turn.
    lines: [*const T; 4],
    /// Elements from a line to the next.
    line: usize,
    panels: [*const T; P],
}

impl<T: Element, const R: usize, const P: usize, const C: bool> Places<T, R, P, C> {
    /// Lines that a turn reads.
    const LINES: usize = if C { TERMS } else { R };

    /// `k` terms further. The compiler, which would rather move a pointer for every line, does not
    /// see that these are a line's distance apart.
    #[inline(always)]
    fn moved<L: Lanes<T>>(mut self, l: L, k: usize) -> Self {
        let by = if C { k * self.line } else { k };
        for place in &mut self.lines[..Self::LINES.div_ceil(LINES_A_PLACE)] {
            *place = l.pin_place(place.wrapping_add(by));
        }
        for panel in &mut self.panels {
            *panel = panel.wrapping_add(k * panel_width(L::N));
        }
        self
    }

    /// Four terms from `k` on, each kept apart from the next. Written out: the compiler does not
    /// unroll a loop of tall tiles, nor one of eight terms.
    #[inline(always)]
    unsafe fn four<L: Lanes<T>>(&self, l: L, k: usize, acc: &mut Sums<L::V, R, P>) {
        // SAFETY: as the caller says.
        unsafe {
            self.apart(l, k, acc);
            self.apart(l, k + 1, acc);
            self.apart(l, k + 2, acc);
            self.apart(l, k + 3, acc);
        }
    }

    /// Term `k` of each sum, kept apart from the next.
    #[inline(always)]
    unsafe fn apart<L: Lanes<T>>(&self, l: L, k: usize, acc: &mut Sums<L::V, R, P>) {
        // SAFETY: as the caller says.
        unsafe { self.term(l, k, acc) };
        // With few rows there are registers enough to read ahead.
        if R > 3 {
            acc.as_flattened_mut().as_flattened_mut().iter_mut().for_each(|v| l.pin(v));
        }
    }

    /// Term `k` of each sum.
    #[inline(always)]
    unsafe fn term<L: Lanes<T>>(&self, l: L, k: usize, acc: &mut Sums<L::V, R, P>) {
        // SAFETY: the caller vouches for term k of the rows and panels.
        unsafe {
            if P == 1 {
                let panel = self.panels[0].add(k * panel_width(L::N));
                let weights = [l.load(panel), l.load(panel.add(L::N))];
                for (r, row) in acc.iter_mut().enumerate() {
                    let x = l.splat(*self.left(r, k));
                    row[0] = [l.fma(x, weights[0], row[0][0]), l.fma(x, weights[1], row[0][1])];
                }
            } else {
                let x: [L::V; R] = std::array::from_fn(|r| l.splat(*self.left(r, k)));
                #[expect(clippy::needless_range_loop, reason = "rows run inside panels here")]
                for j in 0..P {
                    let panel = self.panels[j].add(k * panel_width(L::N));
                    for half in 0..2 {
                        let weights = l.load(panel.add(half * L::N));
                        for r in 0..R {
                            acc[r][j][half] = l.fma(x[r], weights, acc[r][j][half]);
                        }
                    }
                }
            }
        }
    }

    /// Row `r`, term `k` of the left factor.
    #[inline(always)]
    fn left(&self, r: usize, k: usize) -> *const T {
        let (line, at) = if C { (k, r) } else { (r, k) };
        let place = self.lines[line / LINES_A_PLACE];
        place.wrapping_add(line % LINES_A_PLACE * self.line + at)
    }
}
