//! Backpropagation through time (Werbos, Proceedings of the IEEE 78(10), 1990), written once for
//! all cells: one task's rows through the steps of a span, backwards.

use std::ops::Range;

use crate::cells::{Cell, Factor};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::sequence::between::{Arrays, Layout};
use crate::sequence::epilogue::{BackwardRows, Sums};
use crate::sequence::plan::Task;
use crate::sequence::saved::{Places, Saved};
use crate::sequence::time_loop::CHUNK_ROWS;
use crate::sequence::weights::Transposed;
use crate::simd::{Element, Kernel, Lanes, Pair};
use crate::view::View;

/// One task: its rows through the steps of a span, backwards.
pub(super) struct Run<'a, T: Element, C> {
    pub cell: C,
    pub saved: &'a Saved<T>,
    pub transposed: &'a Transposed<T>,
    pub task: &'a Task,
    pub arrays: &'a Arrays<'a, T>,
    /// What forward left.
    pub places: Places<T>,
    pub layout: Layout<T>,
    /// The task's part of the span.
    pub span: Range<usize>,
    /// It is the last span of all tasks, where gradients flow in.
    pub is_last: bool,
}

impl<T: Element, C: Cell<T>> Kernel<T> for Run<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let task = self.task;
        // SAFETY: shapes were checked against the arrays, the layout was made for this task, rows
        // belong to one task each, forward wrote all that it kept, and the later span ran before.
        unsafe {
            self.zeros(l);
            if self.is_last {
                self.begin();
            }
            let mut end = self.span.end;
            self.take_over(end);
            while end > self.span.start {
                let mut start = end - 1;
                while start > self.span.start
                    && task.offset(end) - task.offset(start - 1) <= CHUNK_ROWS
                {
                    start -= 1;
                }
                for s in (start..end).rev() {
                    for stage in 0..C::BACKWARD.len() {
                        self.stage(l, stage, s);
                    }
                }
                self.input(l, start, end);
                end = start;
            }
            if self.span.start == 0 {
                self.finish(l);
            }
        }
    }
}

impl<T: Element, C: Cell<T>> Run<'_, T, C> {
    fn gradient_row(&self) -> usize {
        C::GRADIENTS * self.saved.weights.sizes().hidden
    }

    fn gates(&self, s: usize) -> *mut T {
        let row = self.task.offset(s) - self.task.offset(self.span.start);
        self.layout.window.wrapping_add(row * self.gradient_row())
    }

    fn projected(&self, s: usize) -> *mut T {
        let row = self.task.offset(s) - self.task.offset(self.span.start);
        self.layout.projected.wrapping_add(row * self.saved.weights.sizes().output)
    }

    /// The first stage of a span's last step multiplies what the later span left for its first.
    #[inline(always)]
    unsafe fn take_over(&self, end: usize) {
        let n = self.task.count(end) * self.gradient_row();
        // SAFETY: as `run` says; the window has room for one step behind the span, and the span
        // has no fewer rows than that.
        unsafe { std::ptr::copy(self.gates(self.span.start), self.gates(end), n) };
    }

    /// What sums start from.
    #[inline(always)]
    unsafe fn zeros<L: Lanes<T>>(&self, l: L) {
        let w = &self.layout;
        for i in (0..w.dx_row.max(w.sums_row)).step_by(L::N) {
            // SAFETY: the layout has room for rows of whole panels.
            unsafe { l.store(w.zeros.add(i), l.splat(T::default())) };
        }
    }

    /// What flows in at the end of every row, and zeros behind the rows of `dx`.
    #[inline(always)]
    unsafe fn begin(&self) {
        let (w, a, sizes) = (&self.layout, self.arrays, self.saved.weights.sizes());
        // SAFETY: as `run` says.
        unsafe {
            for (r, &row) in self.task.rows.iter().enumerate() {
                let state = r * sizes.hidden;
                if C::CELL_STATE {
                    View::read_or_zero(a.dc_n, row, 0, sizes.hidden, w.dc.add(state));
                }
                if C::CARRY {
                    // x + -0 is x for every x, also for -0.
                    (0..sizes.hidden).for_each(|i| *w.carry.add(state + i) = -T::default());
                }
                if let Some(dx) = &a.dx {
                    let padding = self.task.lengths[r]..self.saved.steps;
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
        &self, l: L, stage: usize, from: usize, known: usize, sums: &Sums<T>,
    ) {
        let (w, task, spec) = (&self.layout, self.task, &C::BACKWARD[stage]);
        let (sizes, panels) = (self.saved.weights.sizes(), &self.transposed.stages[stage]);
        let (group, width) = (sums.first_unit / panel_width(L::N), panel_width(L::N));
        let a = match spec.gates {
            [] => Rows { start: self.projected(from).cast_const(), row: sizes.output, column: 1 },
            _ => Rows {
                start: self.gates(from).wrapping_add(spec.columns.0 * sizes.hidden).cast_const(),
                row: self.gradient_row(),
                column: 1,
            },
        };
        // SAFETY: as `run` says.
        unsafe {
            Product {
                m: known,
                k: panels.k,
                a,
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
                View::read_or_zero(dh_n, task.rows[r], 0, n, w.sums.add(r * w.sums_row));
            }
        }
    }

    #[inline(always)]
    fn sums<L: Lanes<T>>(&self, _: L, rows: usize, group: usize, units: usize) -> Sums<T> {
        let (w, width) = (&self.layout, panel_width(L::N));
        Sums {
            start: w.sums,
            row: w.sums_row,
            rows,
            gates: 1,
            first_unit: group * width,
            end_unit: units.min((group + w.groups) * width),
        }
    }

    /// One stage of one step.
    #[inline(always)]
    unsafe fn stage<L: Lanes<T>>(&self, l: L, stage: usize, s: usize) {
        let (w, task, sizes) = (&self.layout, self.task, self.saved.weights.sizes());
        let spec = &C::BACKWARD[stage];
        let (from, known) = match spec.factor {
            Factor::Recurrent if s + 1 < task.steps() => (s + 1, task.count(s + 1)),
            Factor::Recurrent => (s, 0),
            Factor::Stage => (s, task.count(s)),
        };
        let rows = BackwardRows {
            h_before: self.places.h_before(task, s),
            h_after: self.places.h_after(task, s),
            output: sizes.output,
            c_before: self.places.c_before(task, s),
            c_after: self.places.c_after(task, s),
            hidden: sizes.hidden,
            kept: self.places.kept(task, s),
            gradients: self.gates(s),
            gradient_row: self.gradient_row(),
            projected: self.projected(s),
            dc: w.dc,
            carry: w.carry,
        };
        let dy = |r: usize, unit: usize| {
            self.arrays.dy.as_ref().map(|dy| {
                let t = task.time(r, s, self.saved.reverse);
                let (start, step) = dy.line(task.rows[r], t);
                (start.wrapping_offset(unit as isize * step).cast_const(), step)
            })
        };
        let units = if stage == 0 { sizes.output } else { sizes.hidden };
        for group in (0..units.div_ceil(panel_width(L::N))).step_by(w.groups) {
            let sums = self.sums(l, task.count(s), group, units);
            // SAFETY: as `run` says.
            unsafe {
                self.product(l, stage, from, known, &sums);
                rows.run(l, self.cell, stage, spec, &sums, dy);
            }
        }
    }

    /// `dx` of the steps of a chunk, while their gate gradients are in the cache.
    #[inline(always)]
    unsafe fn input<L: Lanes<T>>(&self, l: L, start: usize, end: usize) {
        let Some(dx) = &self.arrays.dx else { return };
        let (w, task, sizes) = (&self.layout, self.task, self.saved.weights.sizes());
        let panels = &self.transposed.input;
        let gates = self.gates(start).wrapping_add(C::INPUT_GRADIENTS * sizes.hidden);
        // SAFETY: as `run` says; a chunk has as many rows as the layout has room for.
        unsafe {
            Product {
                m: task.offset(end) - task.offset(start),
                k: panels.k,
                a: Rows { start: gates.cast_const(), row: self.gradient_row(), column: 1 },
                panels: panels.start(0),
                panel_stride: panels.stride,
                count: panels.count,
                init: Init { start: w.zeros, row: 0, blocks: Blocks::DENSE },
                out: w.dx,
                out_row: w.dx_row,
                out_blocks: Blocks::DENSE,
            }
            .run_on(l);
            for s in start..end {
                for r in 0..task.count(s) {
                    let t = task.time(r, s, self.saved.reverse);
                    let row = task.offset(s) - task.offset(start) + r;
                    dx.write(task.rows[r], t, sizes.input, w.dx.add(row * w.dx_row));
                }
            }
        }
    }

    /// The gradients of the initial states.
    #[inline(always)]
    unsafe fn finish<L: Lanes<T>>(&self, l: L) {
        let (w, task, a, sizes) =
            (&self.layout, self.task, self.arrays, self.saved.weights.sizes());
        let known = task.count(0);
        // SAFETY: as `run` says.
        unsafe {
            for group in (0..sizes.output.div_ceil(panel_width(L::N))).step_by(w.groups) {
                let sums = self.sums(l, task.rows.len(), group, sizes.output);
                self.product(l, 0, 0, known, &sums);
                if C::CARRY {
                    self.add_carry(l, &sums);
                }
                let n = sums.end_unit - sums.first_unit;
                let dh0 = a.dh0.columns_from(sums.first_unit);
                for (r, &row) in task.rows.iter().enumerate() {
                    dh0.write(row, 0, n, w.sums.add(r * w.sums_row));
                }
            }
            if let Some(dc0) = &a.dc0 {
                for (r, &row) in task.rows.iter().enumerate() {
                    dc0.write(row, 0, sizes.hidden, w.dc.add(r * sizes.hidden));
                }
            }
        }
    }

    /// What flowed past the product, onto what flowed through it.
    #[inline(always)]
    unsafe fn add_carry<L: Lanes<T>>(&self, l: L, sums: &Sums<T>) {
        let (pair, hidden) = (Pair(l), self.saved.weights.sizes().hidden);
        for r in 0..sums.rows {
            for unit in sums.units(l) {
                // SAFETY: as `run` says.
                unsafe {
                    let (to, n) = (sums.place(r, unit), sums.end_unit - unit);
                    let carry = pair.load_up_to(self.layout.carry.add(r * hidden + unit), n);
                    pair.store(to, pair.add(pair.load(to), carry));
                }
            }
        }
    }
}
