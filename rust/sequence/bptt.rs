//! Backpropagation through time (Werbos, Proceedings of the IEEE 78(10), 1990), written once for
//! all cells: a part of the rows through the steps of a span, backwards.

use std::ops::Range;

use crate::board::{Board, Part};
use crate::cells::{Cell, Factor};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::parallel;
use crate::sequence::between::{Arrays, Layout};
use crate::sequence::epilogue::{Ahead, BackwardRows, Sums};
use crate::sequence::saved::{Places, Saved};
use crate::sequence::space::there_and_back;
use crate::sequence::weights::Transposed;
use crate::simd::{Element, Kernel, Lanes, Pair};
use crate::team::Member;
use crate::view::View;

/// Some rows through the steps of a span, backwards; or one thread's part of that.
///
/// The threads of a team work on the same rows, each on its groups of units, and meet after every
/// product.
pub(super) struct Run<'a, T: Element, C> {
    pub cell: C,
    pub saved: &'a Saved<T>,
    pub transposed: &'a Transposed<T>,
    /// Its step is the one after those that are left to do.
    pub part: Part,
    /// The last of them.
    pub end: usize,
    pub arrays: &'a Arrays<'a, T>,
    /// What forward left.
    pub places: Places<T>,
    pub layout: Layout<T>,
    pub span: Range<usize>,
    pub member: &'a Member<'a>,
    /// To hand rows over; absent for a team.
    pub board: Option<&'a Board>,
}

impl<T: Element, C: Cell<T>> Kernel<T> for Run<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (plan, mut rows) = (&self.saved.plan, self.part.rows.clone());
        // SAFETY: shapes were checked against the arrays, the layout was made for these rows, a row
        // belongs to one part and a unit to one thread at a time, forward wrote all that it kept,
        // and the later span ran before.
        unsafe {
            self.zeros(l);
            if self.part.step == plan.steps() && self.member.is_first() {
                self.begin(&rows);
            }
            self.member.meet();
            let mut s = self.part.step.min(plan.steps_in(&rows)).max(self.end);
            while s > self.end {
                s -= 1;
                for stage in 0..C::BACKWARD.len() {
                    self.stage(l, &rows, stage, s);
                    self.member.meet();
                }
                rows = self.share(rows, s);
            }
            if self.end == 0 {
                self.finish(l, &rows);
            }
        }
    }
}

impl<T: Element, C: Cell<T>> Run<'_, T, C> {
    fn gradient_row(&self) -> usize {
        self.arrays.between.gates_row
    }

    /// The gradients of the gates of step `s`, of row 0.
    fn gates(&self, s: usize) -> *mut T {
        let row = self.saved.plan.rows_of(&(self.span.start..s));
        self.arrays.between.gates.ptr().wrapping_add(row * self.gradient_row())
    }

    fn projected(&self, s: usize) -> *mut T {
        let (row, sizes) =
            (self.saved.plan.rows_of(&(self.span.start..s)), self.saved.weights.sizes());
        let width = if sizes.projected { sizes.h_row::<T>() } else { 0 };
        self.arrays.between.projected.ptr().wrapping_add(row * width)
    }

    /// The rows that this thread keeps before step `s`: half of them, if another one waits.
    #[inline]
    fn share(&self, rows: Range<usize>, s: usize) -> Range<usize> {
        let Some(board) = self.board.filter(|_| s > self.end) else { return rows };
        let (plan, sizes, left) = (&self.saved.plan, self.saved.weights.sizes(), s - self.end);
        let work = rows.len().saturating_mul(left).saturating_mul(sizes.hidden * sizes.output);
        if work < parallel::WORTH_SPLITTING || plan.count_in(&rows, s) == 0 {
            return rows;
        }
        let middle = rows.start + rows.len() / 2;
        board.give(rows, middle, s)
    }

    /// What sums start from.
    #[inline(always)]
    unsafe fn zeros<L: Lanes<T>>(&self, l: L) {
        let w = &self.layout;
        for i in (0..w.sums_row).step_by(L::N) {
            // SAFETY: the layout has room for rows of whole panels.
            unsafe { l.store(w.zeros.add(i), l.splat(T::default())) };
        }
    }

    /// What flows in at the end of every row, and zeros behind the rows of `dx`.
    #[inline(always)]
    unsafe fn begin(&self, rows: &Range<usize>) {
        let (a, plan, sizes) = (self.arrays, &self.saved.plan, self.saved.weights.sizes());
        let (dc, carry) = (a.between.dc.ptr(), a.between.carry.ptr());
        // SAFETY: as `run` says.
        unsafe {
            for r in rows.clone() {
                let (row, state) = (plan.rows[r], r * sizes.hidden);
                if C::CELL_STATE {
                    View::read_or_zero(a.dc_n, row, 0, sizes.hidden, dc.add(state));
                }
                if C::CARRY {
                    // x + -0 is x for every x, also for -0.
                    (0..sizes.hidden).for_each(|i| *carry.add(state + i) = -T::default());
                }
                if let Some(dx) = &a.dx {
                    let padding = plan.lengths[r]..self.saved.steps;
                    padding.for_each(|t| dx.clear(row, t, sizes.input));
                }
            }
        }
    }

    /// Into the sums: what the product of `stage` gives for the rows of step `s`.
    ///
    /// The first stage multiplies the next step's gradients; rows that end with step `s` have no
    /// next step, and start from `dh_n`.
    #[inline(always)]
    unsafe fn product<L: Lanes<T>>(
        &self, l: L, stage: usize, from: usize, known: usize, first: usize, sums: &Sums<T>,
    ) {
        let (w, sizes) = (&self.layout, self.saved.weights.sizes());
        let (spec, panels) = (&C::BACKWARD[stage], &self.transposed.stages[stage]);
        let (group, width) = (sums.first_unit / panel_width(L::N), panel_width(L::N));
        let (start, row) = match spec.gates {
            [] => (self.projected(from), sizes.h_row::<T>()),
            _ => {
                let column = spec.columns.0 * sizes.hidden;
                (self.gates(from).wrapping_add(column), self.gradient_row())
            }
        };
        let start = start.wrapping_add(first * row).cast_const();
        // SAFETY: as `run` says.
        unsafe {
            Product {
                m: known,
                k: panels.k,
                a: Rows { start, row },
                transposed: false,
                panels: panels.start(group),
                panel_stride: panels.stride,
                count: (sums.end_unit - sums.first_unit).div_ceil(width),
                init: Init { start: w.zeros, row: 0, blocks: Blocks::DENSE },
                out: w.sums,
                out_row: w.sums_row,
                out_blocks: Blocks::DENSE,
            }
            .run_on(l);
            let n = sums.end_unit - sums.first_unit;
            let dh_n = self.arrays.dh_n.map(|view| view.columns_from(sums.first_unit));
            for r in known..sums.rows {
                let row = self.saved.plan.rows[first + r];
                View::read_or_zero(dh_n, row, 0, n, w.sums.add(r * w.sums_row));
            }
        }
    }

    /// The sums of `rows` rows for this thread's part of `units` units, some groups at a time.
    #[inline(always)]
    fn sums<L: Lanes<T>>(
        &self, _: L, rows: usize, units: usize, step: usize,
    ) -> impl Iterator<Item = Sums<T>> + use<'_, T, C, L> {
        let (w, width) = (&self.layout, panel_width(L::N));
        let own = self.member.share(units.div_ceil(width));
        let end = units.min(own.end * width);
        there_and_back(own.len(), w.groups, step).map(move |block| {
            let first_unit = (own.start + block * w.groups) * width;
            let end_unit = end.min(first_unit + w.groups * width);
            Sums { start: w.sums, row: w.sums_row, rows, gates: 1, first_unit, end_unit }
        })
    }

    /// The rows of step `s`, from sorted row `first` on, that the stages read and write.
    #[inline(always)]
    fn rows(&self, first: usize, s: usize) -> BackwardRows<T> {
        let (p, plan, sizes) = (&self.places, &self.saved.plan, self.saved.weights.sizes());
        let at = |start: *mut T, width: usize| start.wrapping_add(first * width);
        let (between, h_row) = (self.arrays.between, sizes.h_row::<T>());
        BackwardRows {
            h_before: at(p.h_before(plan, s), h_row),
            h_after: at(p.h_after(plan, s), h_row),
            h_row,
            c_before: at(p.c_before(plan, s), sizes.hidden),
            c_after: at(p.c_after(plan, s), sizes.hidden),
            hidden: sizes.hidden,
            kept: at(p.kept(plan, s), C::KEPT * sizes.hidden),
            gradients: at(self.gates(s), self.gradient_row()),
            gradient_row: self.gradient_row(),
            projected: at(self.projected(s), h_row),
            dc: at(between.dc.ptr(), sizes.hidden),
            carry: at(between.carry.ptr(), sizes.hidden),
            ahead: Ahead::units(0, 0),
        }
    }

    /// One stage of one step.
    #[inline(always)]
    unsafe fn stage<L: Lanes<T>>(&self, l: L, part: &Range<usize>, stage: usize, s: usize) {
        let (plan, sizes) = (&self.saved.plan, self.saved.weights.sizes());
        let (spec, count) = (&C::BACKWARD[stage], plan.count_in(part, s));
        let (from, known) = match spec.factor {
            Factor::Recurrent if s + 1 < plan.steps() => (s + 1, plan.count_in(part, s + 1)),
            Factor::Recurrent => (s, 0),
            Factor::Stage => (s, count),
        };
        let rows = self.rows(part.start, s);
        let dy = |r: usize| {
            let r = part.start + r;
            let line = |dy: &View<T>| dy.line(plan.rows[r], plan.time(r, s, self.saved.reverse));
            self.arrays.dy.as_ref().map(line).map(|(row, step)| (row.cast_const(), step))
        };
        let units = if stage == 0 { sizes.output } else { sizes.hidden };
        let mut blocks = self.sums(l, count, units, s).peekable();
        while let Some(sums) = blocks.next() {
            // The last block of a step is the first one of the step before: see `there_and_back`.
            let ahead = match blocks.peek() {
                Some(next) => Ahead::units(sums.first_unit, next.first_unit),
                None => self.step_before(s),
            };
            // SAFETY: as `run` says.
            unsafe {
                self.product(l, stage, from, known, part.start, &sums);
                BackwardRows { ahead, ..rows }.run(l, self.cell, stage, spec, &sums, dy);
            }
        }
    }

    /// From the places of step `s` to those of the step before.
    fn step_before(&self, s: usize) -> Ahead {
        let (p, plan, reverse) = (&self.places, &self.saved.plan, self.saved.reverse);
        let before = s.saturating_sub(1);
        let apart =
            |to: *mut T, from: *mut T| (to as isize - from as isize) / size_of::<T>() as isize;
        let dy = |dy: &View<T>| {
            let place = |s| dy.line(0, plan.time(0, s, reverse)).0;
            apart(place(before), place(s))
        };
        // A cell reads one of its states: `c`, or `h` if that is all it has.
        let state = |s| if C::CELL_STATE { p.c_before(plan, s) } else { p.h_before(plan, s) };
        Ahead {
            kept: apart(p.kept(plan, before), p.kept(plan, s)),
            state: apart(state(before), state(s)),
            dy: self.arrays.dy.as_ref().map_or(0, dy),
        }
    }

    /// The gradients of the initial states.
    #[inline(always)]
    unsafe fn finish<L: Lanes<T>>(&self, l: L, part: &Range<usize>) {
        let (w, a, plan, sizes) =
            (&self.layout, self.arrays, &self.saved.plan, self.saved.weights.sizes());
        let known = plan.count_in(part, 0);
        // SAFETY: as `run` says.
        unsafe {
            for sums in self.sums(l, part.len(), sizes.output, 0) {
                self.product(l, 0, 0, known, part.start, &sums);
                if C::CARRY {
                    self.add_carry(l, part.start, &sums);
                }
                let n = sums.end_unit - sums.first_unit;
                let dh0 = a.dh0.columns_from(sums.first_unit);
                for r in 0..part.len() {
                    dh0.write(plan.rows[part.start + r], 0, n, w.sums.add(r * w.sums_row));
                }
            }
            if let Some(dc0) = a.dc0.as_ref().filter(|_| self.member.is_first()) {
                for r in part.clone() {
                    let dc = a.between.dc.ptr().add(r * sizes.hidden);
                    dc0.write(plan.rows[r], 0, sizes.hidden, dc);
                }
            }
        }
    }

    /// What flowed past the product, onto what flowed through it.
    #[inline(always)]
    unsafe fn add_carry<L: Lanes<T>>(&self, l: L, first: usize, sums: &Sums<T>) {
        let (pair, hidden) = (Pair(l), self.saved.weights.sizes().hidden);
        let carry = self.arrays.between.carry.ptr().wrapping_add(first * hidden);
        for r in 0..sums.rows {
            for unit in sums.units(l) {
                // SAFETY: as `run` says.
                unsafe {
                    let (to, n) = (sums.place(r, unit), sums.end_unit - unit);
                    let carry = pair.load_up_to(carry.add(r * hidden + unit), n);
                    pair.store_up_to(to, pair.add(pair.load_up_to(to, n), carry), n);
                }
            }
        }
    }
}
