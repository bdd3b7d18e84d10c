//! The time loop, written once for all cells: one task's rows through all steps.

use std::ops::Range;

use crate::buffer::Parts;
use crate::cells::{Cell, Factor};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::sequence::epilogue::{ForwardRows, Sums};
use crate::sequence::plan::Task;
use crate::sequence::saved::{Checkpoints, Places};
use crate::sequence::weights::{Packed, input_panels};
use crate::simd::{Element, Kernel, Lanes};
use crate::team::Member;
use crate::view::View;

/// Step rows whose input is projected at once: enough to use a panel of `w_ih` many times, few
/// enough that the result waits in the cache for the time loop.
pub(super) const CHUNK_ROWS: usize = 96;

/// Bytes of sums between a product and the cell's arithmetic on them.
const SUMS_BYTES: usize = 8 << 10;

/// The caller's arrays.
pub(super) struct Arrays<'a, T> {
    pub x: View<T>,
    pub h0: Option<View<T>>,
    pub c0: Option<View<T>>,
    pub y: Option<View<T>>,
    pub h_n: View<T>,
    pub c_n: Option<View<T>>,
    pub steps: usize,
    pub reverse: bool,
    pub checkpoints: Option<Checkpoints<'a, T>>,
}

/// A task's memory.
#[derive(Clone, Copy)]
pub(super) struct Layout<T> {
    places: Places<T>,
    /// A chunk of `x`, contiguous.
    x: *mut T,
    /// A chunk of projected input.
    input: *mut T,
    input_row: usize,
    sums: *mut T,
    /// One group's worth of zeros, to start sums from.
    zeros: *mut T,
    /// Groups of units between a product and the arithmetic on it.
    groups: usize,
    sums_row: usize,
}

// SAFETY: places only; `Run` says who touches what.
unsafe impl<T: Element> Sync for Layout<T> {}

impl<T: Element> Layout<T> {
    /// Takes one thread's workspace; `places` may be shared.
    pub fn new<C: Cell<T>>(
        parts: &mut Parts<T>, places: Places<T>, task: &Task, packed: &Packed<T>,
    ) -> Self {
        let (sizes, rows) = (packed.sizes, task.rows.len());
        let width = panel_width(packed.isa.lanes::<T>());
        let chunk = rows.max(CHUNK_ROWS.min(task.step_rows()));
        let input_row = sizes.hidden.div_ceil(width) * input_panels::<T, C>() * width;
        let gates = C::FORWARD.iter().map(|stage| stage.gates.len()).max().unwrap_or(1);
        let all = sizes.hidden.max(sizes.output).div_ceil(width);
        let groups = groups_at_once::<T>(rows, gates * width, all);
        let sums_row = groups * gates * width;
        Self {
            places,
            x: parts.take(chunk.saturating_mul(sizes.input)),
            input: parts.take(chunk.saturating_mul(input_row)),
            input_row,
            sums: parts.take(rows.saturating_mul(sums_row)),
            zeros: parts.take(sums_row),
            groups,
            sums_row,
        }
    }
}

/// Few rows leave room for the sums of many groups of units: one product for all of them.
pub(super) fn groups_at_once<T>(rows: usize, group_width: usize, all: usize) -> usize {
    (SUMS_BYTES / (rows.max(1) * group_width * size_of::<T>())).clamp(1, all.max(1))
}

/// One task: its rows through all steps, or again through some; or one thread's part of that.
///
/// The threads of a team share a task's places. Each computes its groups of units, of everything
/// that has units, and reads what others computed after they have met.
pub(super) struct Run<'a, T: Element, C> {
    pub cell: C,
    pub packed: &'a Packed<T>,
    pub task: &'a Task,
    /// Absent where steps run again: the inputs and the first states are in their places.
    pub arrays: Option<&'a Arrays<'a, T>>,
    pub places: Layout<T>,
    pub member: &'a Member<'a>,
    pub steps: Range<usize>,
}

impl<T: Element, C: Cell<T>> Kernel<T> for Run<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let task = self.task;
        // SAFETY: shapes were checked against the arrays, the layout was made for this task, rows
        // belong to one task each, and units to one thread.
        unsafe {
            self.begin(l);
            let mut s = self.steps.start;
            while s < self.steps.end {
                let end = task.chunk_end(s, CHUNK_ROWS).min(self.steps.end);
                self.project(l, s, end);
                for step in s..end {
                    self.step(l, step, task.offset(step) - task.offset(s));
                    if self.member.is_first() {
                        // Meanwhile the others may do the next step: it changes no state that is
                        // read here.
                        self.leave(step);
                    }
                }
                s = end;
            }
        }
    }
}

impl<T: Element, C: Cell<T>> Run<'_, T, C> {
    /// What must be there before the first step.
    #[inline(always)]
    unsafe fn begin<L: Lanes<T>>(&self, l: L) {
        // SAFETY: as `run` says.
        unsafe {
            for i in (0..self.places.sums_row).step_by(L::N) {
                l.store(self.places.zeros.add(i), l.splat(T::default()));
            }
            if let Some(arrays) = self.arrays.filter(|_| self.member.is_first()) {
                self.enter(arrays);
            }
        }
        self.member.meet();
    }

    /// Initial states, rows without a step, and the zeros behind every row.
    #[inline(always)]
    unsafe fn enter(&self, a: &Arrays<'_, T>) {
        let (w, sizes) = (&self.places, self.packed.sizes);
        let (h, c) = (w.places.h_before(self.task, 0), w.places.c_before(self.task, 0));
        // SAFETY: as `run` says.
        unsafe {
            for (r, &row) in self.task.rows.iter().enumerate() {
                View::read_or_zero(a.h0, row, 0, sizes.output, h.add(r * sizes.output));
                if C::CELL_STATE {
                    View::read_or_zero(a.c0, row, 0, sizes.hidden, c.add(r * sizes.hidden));
                }
                let length = self.task.lengths[r];
                if let Some(y) = &a.y {
                    (length..a.steps).for_each(|t| y.clear(row, t, sizes.output));
                }
                if length == 0 {
                    self.finish(a, r, h, c);
                }
            }
            self.checkpoint(a, 0);
        }
    }

    /// Keeps the states before step `s`, if it is one that backward starts from.
    #[inline(always)]
    unsafe fn checkpoint(&self, a: &Arrays<'_, T>, s: usize) {
        let Some(checkpoints) = &a.checkpoints else { return };
        if let Ok(span) = checkpoints.plan.spans.binary_search_by_key(&s, |span| span.start) {
            // SAFETY: as `run` says; checkpoints are this task's own.
            unsafe { checkpoints.write(self.task, span, &self.places.places) };
        }
    }

    /// The last state of row `r`, from row 0 of the states after its last step.
    #[inline(always)]
    unsafe fn finish(&self, a: &Arrays<'_, T>, r: usize, h: *const T, c: *const T) {
        let (sizes, row) = (self.packed.sizes, self.task.rows[r]);
        // SAFETY: as `run` says.
        unsafe {
            a.h_n.write(row, 0, sizes.output, h.add(r * sizes.output));
            if let Some(c_n) = &a.c_n {
                c_n.write(row, 0, sizes.hidden, c.add(r * sizes.hidden));
            }
        }
    }

    /// `bias + w_ih x` for the steps of a chunk and this thread's units.
    #[inline(always)]
    unsafe fn project<L: Lanes<T>>(&self, l: L, start: usize, end: usize) {
        let (w, task, sizes) = (&self.places, self.task, self.packed.sizes);
        let rows = task.offset(end) - task.offset(start);
        let kept = w.places.x(task, start).filter(|_| self.member.is_first());
        let x = kept.unwrap_or(w.x);
        let width = panel_width(L::N);
        let group = input_panels::<T, C>() * width;
        let own = self.member.share(sizes.hidden.div_ceil(width));
        let blocks = Blocks { count: C::INPUT.len(), stride: group };
        // SAFETY: as `run` says; a chunk has as many rows as the layout has room for.
        unsafe {
            if let Some(a) = self.arrays {
                let mut to = x;
                for s in start..end {
                    for r in 0..task.count(s) {
                        a.x.read(task.rows[r], task.time(r, s, a.reverse), sizes.input, to);
                        to = to.add(sizes.input);
                    }
                }
            }
            Product {
                m: rows,
                k: sizes.input,
                a: Rows { start: x, row: sizes.input, column: 1 },
                panels: self.packed.input.start(own.start * C::INPUT.len()),
                panel_stride: self.packed.input.stride,
                count: own.len() * C::INPUT.len(),
                init: Init { start: self.packed.bias.ptr().add(own.start * group), row: 0, blocks },
                out: w.input.add(own.start * group),
                out_row: w.input_row,
                out_blocks: blocks,
            }
            .run_on(l);
            if C::APART.is_some() {
                let first = C::INPUT.len() * width;
                self.copy_apart(l, rows, own.map(|i| i * group + first));
            }
        }
    }

    /// The bias that a gate's recurrent sum starts from, into these panels of every row of a chunk.
    #[inline(always)]
    unsafe fn copy_apart<L: Lanes<T>>(
        &self, l: L, rows: usize, panels: impl Iterator<Item = usize> + Clone,
    ) {
        for r in 0..rows {
            for i in panels.clone() {
                // SAFETY: the panel at `i` lies inside the rows of the bias and of the chunk.
                unsafe {
                    let (from, to) = (
                        self.packed.bias.ptr().add(i),
                        self.places.input.add(r * self.places.input_row + i),
                    );
                    l.store(to, l.load(from));
                    l.store(to.add(L::N), l.load(from.add(L::N)));
                }
            }
        }
    }

    /// One step: each stage's product and the cell's arithmetic on it.
    #[inline(always)]
    unsafe fn step<L: Lanes<T>>(&self, l: L, s: usize, chunk_row: usize) {
        let (w, task, sizes) = (&self.places, self.task, self.packed.sizes);
        let (width, panels) = (panel_width(L::N), input_panels::<T, C>());
        let input = w.input.wrapping_add(chunk_row * w.input_row);
        let mut rows = ForwardRows {
            input,
            input_row: w.input_row,
            input_group: panels * width,
            h_before: w.places.h_before(task, s),
            h_after: w.places.h_after(task, s),
            output: sizes.output,
            c_before: w.places.c_before(task, s),
            c_after: w.places.c_after(task, s),
            auxiliary: w.places.auxiliary(task, s),
            hidden: sizes.hidden,
            kept: w.places.kept(task, s),
            kept_row: C::KEPT * sizes.hidden,
            keeps_gates: w.places.keeps_gates(),
        };
        for (stage, spec) in C::FORWARD.iter().enumerate() {
            let packed = &self.packed.stages[stage];
            let gates = spec.gates.len();
            let units = if spec.start.is_some() { sizes.hidden } else { sizes.output };
            let a = match spec.factor {
                Factor::Recurrent => Rows { start: rows.h_before, row: sizes.output, column: 1 },
                Factor::Stage => Rows { start: rows.auxiliary, row: sizes.hidden, column: 1 },
            };
            let own = self.member.share(units.div_ceil(width));
            for group in own.clone().step_by(w.groups) {
                let groups = w.groups.min(own.end - group);
                let first = group * panels * width;
                let init = match spec.start {
                    Some(panel) => Init {
                        start: input.wrapping_add(first + panel * width),
                        row: w.input_row,
                        blocks: Blocks { count: gates, stride: panels * width },
                    },
                    None => Init { start: w.zeros, row: 0, blocks: Blocks::DENSE },
                };
                rows.input = input.wrapping_add(first);
                let sums = Sums {
                    start: w.sums,
                    row: w.sums_row,
                    rows: task.count(s),
                    gates,
                    first_unit: group * width,
                    end_unit: units.min((group + groups) * width),
                };
                // SAFETY: as `run` says.
                unsafe {
                    Product {
                        m: sums.rows,
                        k: packed.k,
                        a,
                        panels: packed.start(group * gates),
                        panel_stride: packed.stride,
                        count: groups * gates,
                        init,
                        out: w.sums,
                        out_row: w.sums_row,
                        out_blocks: Blocks::DENSE,
                    }
                    .run_on(l);
                    rows.run(l, self.cell, stage, spec, &sums);
                }
            }
            self.member.meet();
        }
    }

    /// Writes `y`, the last states of the rows that end with this step, and a checkpoint.
    #[inline(always)]
    unsafe fn leave(&self, s: usize) {
        let Some(a) = self.arrays else { return };
        let (task, output) = (self.task, self.packed.sizes.output);
        let (h, c) = (self.places.places.h_after(task, s), self.places.places.c_after(task, s));
        // SAFETY: as `run` says.
        unsafe {
            if let Some(y) = &a.y {
                for r in 0..task.count(s) {
                    let t = task.time(r, s, a.reverse);
                    y.write(task.rows[r], t, output, h.add(r * output));
                }
            }
            (task.count(s + 1)..task.count(s)).for_each(|r| self.finish(a, r, h, c));
            self.checkpoint(a, s + 1);
        }
    }
}
