//! The time loop, written once for all cells: a part of the rows through all steps.

use std::ops::Range;

use crate::board::{Board, Part};
use crate::cells::{Cell, Factor};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::parallel;
use crate::sequence::epilogue::{ForwardRows, Sums};
use crate::sequence::plan::Plan;
use crate::sequence::saved::{Checkpoints, Places};
use crate::sequence::space::{CHUNK_ROWS, Layout, there_and_back};
use crate::sequence::weights::{Packed, input_panels};
use crate::simd::{Element, Kernel, Lanes};
use crate::team::Member;
use crate::view::View;

/// The caller's inputs.
#[derive(Clone, Copy)]
pub(super) struct Inputs<T> {
    pub x: View<T>,
    pub reverse: bool,
}

/// The caller's other arrays.
pub(super) struct Arrays<'a, T> {
    pub h0: Option<View<T>>,
    pub c0: Option<View<T>>,
    pub y: Option<View<T>>,
    pub h_n: View<T>,
    pub c_n: Option<View<T>>,
    pub steps: usize,
    pub checkpoints: Option<Checkpoints<'a, T>>,
}

/// Some rows through all steps, or again through some; or one thread's part of that.
///
/// The threads of a team work on the same rows. Each computes its groups of units, of everything
/// that has units, and reads what others computed after they have met.
pub(super) struct Run<'a, T: Element, C> {
    pub cell: C,
    pub packed: &'a Packed<T>,
    pub plan: &'a Plan,
    pub part: Part,
    /// Where to stop.
    pub end: usize,
    pub inputs: Inputs<T>,
    /// Absent where steps run again: the first states are in their places.
    pub arrays: Option<&'a Arrays<'a, T>>,
    pub places: Places<T>,
    pub layout: Layout<T>,
    pub member: &'a Member<'a>,
    /// To hand rows over; absent for a team.
    pub board: Option<&'a Board>,
}

impl<T: Element, C: Cell<T>> Kernel<T> for Run<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (plan, mut rows) = (self.plan, self.part.rows.clone());
        // SAFETY: shapes were checked against the arrays, places and layout were made for these
        // rows, and a row belongs to one part and a unit to one thread at a time.
        unsafe {
            self.begin(l);
            let (mut s, end) = (self.part.step, self.end.min(plan.steps_in(&rows)));
            while s < end {
                let stop = plan.chunk_end(&rows, s, end, CHUNK_ROWS);
                self.project(l, &rows, s..stop);
                let mut chunk_row = 0;
                for step in s..stop {
                    self.step(l, &rows, step, chunk_row);
                    chunk_row += plan.count_in(&rows, step);
                    // Only one leaves something. Meanwhile the others may do the next step: it
                    // changes no state that is read here, but for those of a checkpoint.
                    let checkpoint = self.checkpoint_before(step + 1);
                    if self.member.is_first() {
                        self.leave(&rows, step, checkpoint);
                    }
                    if checkpoint.is_some() {
                        self.member.meet();
                    }
                }
                s = stop;
                rows = self.share(rows, s, end);
            }
        }
    }
}

impl<T: Element, C: Cell<T>> Run<'_, T, C> {
    /// The rows that this thread keeps before step `s`: half of them, if another one waits.
    #[inline]
    fn share(&self, rows: Range<usize>, s: usize, end: usize) -> Range<usize> {
        let Some(board) = self.board.filter(|_| s < end) else { return rows };
        let (sizes, active) = (self.packed.sizes, self.plan.count_in(&rows, s));
        let row = sizes.hidden * (sizes.input + sizes.output) * (end - s);
        if active.saturating_mul(row) < parallel::WORTH_SPLITTING {
            return rows;
        }
        let middle = rows.start + active / 2;
        board.give(rows, middle, s)
    }

    /// What must be there before the first step.
    #[inline(always)]
    unsafe fn begin<L: Lanes<T>>(&self, l: L) {
        // SAFETY: as `run` says.
        unsafe {
            for i in (0..self.layout.sums_row).step_by(L::N) {
                l.store(self.layout.zeros.add(i), l.splat(T::default()));
            }
            let is_first = self.member.is_first() && self.part.step == 0;
            if let Some(arrays) = self.arrays.filter(|_| is_first) {
                self.enter(arrays);
            }
        }
        self.member.meet();
    }

    /// Initial states, rows without a step, and the zeros behind every row.
    #[inline(always)]
    unsafe fn enter(&self, a: &Arrays<'_, T>) {
        let (plan, sizes) = (self.plan, self.packed.sizes);
        let (h, c) = (self.places.h_before(plan, 0), self.places.c_before(plan, 0));
        // SAFETY: as `run` says.
        unsafe {
            for r in self.part.rows.clone() {
                let row = plan.rows[r];
                View::read_or_zero(a.h0, row, 0, sizes.output, h.add(r * sizes.h_row::<T>()));
                if C::CELL_STATE {
                    View::read_or_zero(a.c0, row, 0, sizes.hidden, c.add(r * sizes.hidden));
                }
                if let Some(y) = &a.y {
                    (plan.lengths[r]..a.steps).for_each(|t| y.clear(row, t, sizes.output));
                }
                if plan.lengths[r] == 0 {
                    self.finish(a, r, h, c);
                }
            }
            self.keep(&self.part.rows, self.checkpoint_before(0));
        }
    }

    /// The checkpoint of the states before step `s`, if it is one that backward starts from.
    #[inline(always)]
    fn checkpoint_before(&self, s: usize) -> Option<(Checkpoints<'_, T>, usize)> {
        let checkpoints = self.arrays.and_then(|a| a.checkpoints)?;
        let found = self.plan.spans.binary_search_by_key(&s, |span| span.start);
        found.ok().map(|span| (checkpoints, span))
    }

    /// # Safety
    /// As `run` says; nobody else has the rows.
    #[inline(always)]
    unsafe fn keep(&self, rows: &Range<usize>, checkpoint: Option<(Checkpoints<'_, T>, usize)>) {
        if let Some((checkpoints, span)) = checkpoint {
            // SAFETY: as the caller says.
            unsafe { checkpoints.write(span, rows, &self.places) };
        }
    }

    /// The last state of row `r`, from row 0 of the states after its last step.
    #[inline(always)]
    unsafe fn finish(&self, a: &Arrays<'_, T>, r: usize, h: *const T, c: *const T) {
        let (sizes, row) = (self.packed.sizes, self.plan.rows[r]);
        // SAFETY: as `run` says.
        unsafe {
            a.h_n.write(row, 0, sizes.output, h.add(r * sizes.h_row::<T>()));
            if let Some(c_n) = &a.c_n {
                c_n.write(row, 0, sizes.hidden, c.add(r * sizes.hidden));
            }
        }
    }

    /// The inputs of a chunk, side by side, and where they are kept, if this thread keeps them.
    /// Returns how many rows they are.
    #[inline(always)]
    unsafe fn gather(&self, rows: &Range<usize>, steps: Range<usize>) -> usize {
        let (plan, i, x_row) = (self.plan, self.packed.sizes.input, self.layout.x_row);
        let Inputs { x, reverse } = self.inputs;
        let mut n = 0;
        for s in steps {
            let count = plan.count_in(rows, s);
            let kept = self.places.x(plan, s).filter(|_| self.member.is_first());
            // SAFETY: as `run` says; a chunk has as many rows as the layout has room for.
            unsafe {
                let to = self.layout.x.add(n * x_row);
                for k in 0..count {
                    let r = rows.start + k;
                    x.read(plan.rows[r], plan.time(r, s, reverse), i, to.add(k * x_row));
                }
                if let Some(kept) = kept {
                    copy_rows(count, i, (to, x_row), (kept.add(rows.start * i), i));
                }
            }
            n += count;
        }
        n
    }

    /// `bias + w_ih x` for the steps of a chunk and this thread's units.
    #[inline(always)]
    unsafe fn project<L: Lanes<T>>(&self, l: L, rows: &Range<usize>, steps: Range<usize>) {
        let (w, sizes) = (&self.layout, self.packed.sizes);
        let width = panel_width(L::N);
        let group = input_panels::<T, C>() * width;
        let own = self.member.share(sizes.hidden.div_ceil(width));
        let blocks = Blocks { count: C::INPUT.len(), stride: group };
        // SAFETY: as `run` says; a chunk has as many rows as the layout has room for.
        unsafe {
            let rows = self.gather(rows, steps);
            Product {
                m: rows,
                k: sizes.input,
                a: Rows { start: w.x, row: w.x_row },
                transposed: false,
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
                        self.layout.input.add(r * self.layout.input_row + i),
                    );
                    l.store(to, l.load(from));
                    l.store(to.add(L::N), l.load(from.add(L::N)));
                }
            }
        }
    }

    /// The rows of step `s` that the stages read and write; `input` is the step's in its chunk.
    #[inline(always)]
    fn rows(&self, first: usize, s: usize, input: *const T) -> ForwardRows<T> {
        let (w, p, plan, sizes) = (&self.layout, &self.places, self.plan, self.packed.sizes);
        let at = |start: *mut T, width: usize| start.wrapping_add(first * width);
        let (kept_row, h_row) = (C::KEPT * sizes.hidden, sizes.h_row::<T>());
        ForwardRows {
            input,
            input_row: w.input_row,
            input_group: input_panels::<T, C>() * panel_width(self.packed.isa.lanes::<T>()),
            h_before: at(p.h_before(plan, s), h_row),
            h_after: at(p.h_after(plan, s), h_row),
            h_row,
            c_before: at(p.c_before(plan, s), sizes.hidden),
            c_after: at(p.c_after(plan, s), sizes.hidden),
            auxiliary: at(p.auxiliary(plan, s), sizes.hidden),
            hidden: sizes.hidden,
            kept: at(p.kept(plan, s), kept_row),
            kept_row,
            keeps_gates: p.keeps_gates(),
        }
    }

    /// One step: each stage's product and the cell's arithmetic on it.
    #[inline(always)]
    unsafe fn step<L: Lanes<T>>(&self, l: L, part: &Range<usize>, s: usize, chunk_row: usize) {
        let (w, sizes) = (&self.layout, self.packed.sizes);
        let (width, panels) = (panel_width(L::N), input_panels::<T, C>());
        let input = w.input.wrapping_add(chunk_row * w.input_row);
        let mut rows = self.rows(part.start, s, input);
        let count = self.plan.count_in(part, s);
        for (stage, spec) in C::FORWARD.iter().enumerate() {
            let packed = &self.packed.stages[stage];
            let gates = spec.gates.len();
            let units = if spec.start.is_some() { sizes.hidden } else { sizes.output };
            let a = match spec.factor {
                Factor::Recurrent => Rows { start: rows.h_before, row: rows.h_row },
                Factor::Stage => Rows { start: rows.auxiliary, row: sizes.hidden },
            };
            let own = self.member.share(units.div_ceil(width));
            for block in there_and_back(own.len(), w.groups, s) {
                let group = own.start + block * w.groups;
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
                    rows: count,
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
                        transposed: false,
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
    unsafe fn leave(
        &self, part: &Range<usize>, s: usize, checkpoint: Option<(Checkpoints<'_, T>, usize)>,
    ) {
        let Some(a) = self.arrays else { return };
        let (plan, sizes) = (self.plan, self.packed.sizes);
        let (h, c) = (self.places.h_after(plan, s), self.places.c_after(plan, s));
        let rows = |s| part.start..part.start + plan.count_in(part, s);
        // SAFETY: as `run` says.
        unsafe {
            if let Some(y) = &a.y {
                for r in rows(s) {
                    y.write(
                        plan.rows[r],
                        plan.time(r, s, self.inputs.reverse),
                        sizes.output,
                        h.add(r * sizes.h_row::<T>()),
                    );
                }
            }
            (rows(s + 1).end..rows(s).end).for_each(|r| self.finish(a, r, h, c));
            self.keep(part, checkpoint);
        }
    }
}

/// Copies `count` rows of `n` elements, from each to the next as far as the numbers say.
unsafe fn copy_rows<T: Element>(
    count: usize, n: usize, (from, from_row): (*const T, usize), (to, to_row): (*mut T, usize),
) {
    let at_once = from_row == n && to_row == n;
    let (count, n) = if at_once { (1, count * n) } else { (count, n) };
    for k in 0..count {
        // SAFETY: the caller vouches for the rows.
        unsafe { std::ptr::copy_nonoverlapping(from.add(k * from_row), to.add(k * to_row), n) };
    }
}
