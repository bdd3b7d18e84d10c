//! Backpropagation through time (Werbos, Proceedings of the IEEE 78(10), 1990): the time loop
//! backwards for the gradients of gates and states, then products for everything else.

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3};

use crate::buffer::{Buffer, Parts, size, with_workspace};
use crate::cells::{Cell, Factor};
use crate::error::{Error, Result};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::parallel;
use crate::sequence::epilogue::{BackwardRows, Sums};
use crate::sequence::forward::{CHUNK_ROWS, groups_at_once};
use crate::sequence::plan::Task;
use crate::sequence::saved::{Places, Saved};
use crate::sequence::weights::{Function, transposed};
use crate::sequence::{WithCell, gradients, with_cell};
use crate::shape;
use crate::simd::{Element, Kernel, Lanes};
use crate::view::View;

/// The gradients that come in; absent ones are zero.
#[derive(Clone, Copy, Default)]
pub struct StateGradients<'a, T> {
    /// `(B, T, H)`, or `(B, T, P)`; not read past a row's length.
    pub dy: Option<ArrayView3<'a, T>>,
    /// `(B, H)`, or `(B, P)`
    pub dh_n: Option<ArrayView2<'a, T>>,
    /// `(B, H)`, LSTM only
    pub dc_n: Option<ArrayView2<'a, T>>,
}

/// Where a backward call writes; all of it is written.
pub struct GradientOutputs<'a, T> {
    /// `(B, T, I)`; zero past a row's length. Absent: not computed.
    pub dx: Option<ArrayViewMut3<'a, T>>,
    /// `(G*H, I)`
    pub dw_ih: ArrayViewMut2<'a, T>,
    /// `(G*H, H)`, or `(4*H, P)`
    pub dw_hh: ArrayViewMut2<'a, T>,
    /// `(G*H,)`
    pub db_ih: Option<ArrayViewMut1<'a, T>>,
    /// `(G*H,)`
    pub db_hh: Option<ArrayViewMut1<'a, T>>,
    /// `(P, H)`, projected LSTM only
    pub dw_hr: Option<ArrayViewMut2<'a, T>>,
    /// `(B, H)`, or `(B, P)`
    pub dh0: ArrayViewMut2<'a, T>,
    /// `(B, H)`, LSTM only
    pub dc0: Option<ArrayViewMut2<'a, T>>,
}

/// What a backward call returns.
#[derive(Debug, Clone)]
pub struct Gradients<T> {
    /// `(B, T, I)`
    pub dx: Array3<T>,
    /// `(G*H, I)`
    pub dw_ih: Array2<T>,
    /// `(G*H, H)`, or `(4*H, P)`
    pub dw_hh: Array2<T>,
    /// `(G*H,)`, where there was a `b_ih`
    pub db_ih: Option<Array1<T>>,
    /// `(G*H,)`, where there was a `b_hh`
    pub db_hh: Option<Array1<T>>,
    /// `(P, H)`, projected LSTM only
    pub dw_hr: Option<Array2<T>>,
    /// `(B, H)`, or `(B, P)`
    pub dh0: Array2<T>,
    /// `(B, H)`, LSTM only
    pub dc0: Option<Array2<T>>,
}

impl<T: Element> Saved<T> {
    /// The gradients of `sum(dy * y) + sum(dh_n * h_n) + sum(dc_n * c_n)`.
    ///
    /// # Errors
    /// [`Error::Argument`] for shapes that do not fit, [`Error::Memory`], [`Error::Threads`].
    pub fn backward(
        &self, upstream: &StateGradients<'_, T>, threads: Option<usize>,
    ) -> Result<Gradients<T>> {
        let (rows, steps, sizes) = self.dims();
        let gates = self.kind().gates() * sizes.hidden;
        let lstm = self.kind() == crate::CellKind::Lstm;
        let zero = T::default();
        let bias = |given: bool| given.then(|| Array1::from_elem(gates, zero));
        let [b_ih, b_hh] = self.biases();
        let mut g = Gradients {
            dx: Array3::from_elem((rows, steps, sizes.input), zero),
            dw_ih: Array2::from_elem((gates, sizes.input), zero),
            dw_hh: Array2::from_elem((gates, sizes.output), zero),
            db_ih: bias(b_ih),
            db_hh: bias(b_hh),
            dw_hr: sizes.projected.then(|| Array2::from_elem((sizes.output, sizes.hidden), zero)),
            dh0: Array2::from_elem((rows, sizes.output), zero),
            dc0: lstm.then(|| Array2::from_elem((rows, sizes.hidden), zero)),
        };
        let outputs = GradientOutputs {
            dx: Some(g.dx.view_mut()),
            dw_ih: g.dw_ih.view_mut(),
            dw_hh: g.dw_hh.view_mut(),
            db_ih: g.db_ih.as_mut().map(|b| b.view_mut()),
            db_hh: g.db_hh.as_mut().map(|b| b.view_mut()),
            dw_hr: g.dw_hr.as_mut().map(|w| w.view_mut()),
            dh0: g.dh0.view_mut(),
            dc0: g.dc0.as_mut().map(|c| c.view_mut()),
        };
        self.backward_into(upstream, outputs, threads)?;
        Ok(g)
    }

    /// As [`Saved::backward`], into memory of the caller's.
    ///
    /// # Errors
    /// As [`Saved::backward`]; nothing is written then unless memory or threads ran out.
    pub fn backward_into(
        &self, upstream: &StateGradients<'_, T>, outputs: GradientOutputs<'_, T>,
        threads: Option<usize>,
    ) -> Result<()> {
        let kind = self.kind();
        let operation = kind.operation(Function::Backward);
        let (rows, steps, sizes) = self.dims();
        let (h, c) = (upstream.dh_n.as_ref(), upstream.dc_n.as_ref());
        shape::states(operation, kind, sizes, rows, ["dh_n", "dc_n"], h, c)?;
        if let Some(dy) = &upstream.dy {
            let letters = if sizes.projected { "(B, T, P)" } else { "(B, T, H)" };
            shape::equal(operation, "dy", letters, &[rows, steps, sizes.output], dy.shape())?;
        }
        outputs.check(operation, self)?;
        let step = kind.gates() * sizes.hidden * (sizes.input + sizes.output);
        let work = step.saturating_mul(self.plan.step_rows).saturating_mul(2);
        let threads = parallel::threads_for(operation, threads, work)?;
        let run = Backward { saved: self, upstream, outputs, threads, operation };
        with_cell(kind, sizes.projected, run)
    }
}

impl<T: Element> GradientOutputs<'_, T> {
    fn check(&self, operation: &'static str, saved: &Saved<T>) -> Result<()> {
        let (rows, steps, sizes) = saved.dims();
        let gates = saved.kind().gates() * sizes.hidden;
        let same = |name, letters, expected: &[usize], got: &[usize]| {
            shape::equal(operation, name, letters, expected, got)
        };
        if let Some(dx) = &self.dx {
            same("dx", "(B, T, I)", &[rows, steps, sizes.input], dx.shape())?;
        }
        same("dw_ih", "(G*H, I)", &[gates, sizes.input], self.dw_ih.shape())?;
        same("dw_hh", "(G*H, H)", &[gates, sizes.output], self.dw_hh.shape())?;
        for (name, b) in [("db_ih", &self.db_ih), ("db_hh", &self.db_hh)] {
            if let Some(b) = b {
                same(name, "(G*H,)", &[gates], b.shape())?;
            }
        }
        if let Some(w) = &self.dw_hr {
            same("dw_hr", "(P, H)", &[sizes.output, sizes.hidden], w.shape())?;
        }
        same("dh0", "(B, H)", &[rows, sizes.output], self.dh0.shape())?;
        match &self.dc0 {
            Some(c) => same("dc0", "(B, H)", &[rows, sizes.hidden], c.shape()),
            None => Ok(()),
        }
    }
}

struct Backward<'a, 'b, 'c, T: Element> {
    saved: &'a Saved<T>,
    upstream: &'a StateGradients<'b, T>,
    outputs: GradientOutputs<'c, T>,
    threads: usize,
    operation: &'static str,
}

impl<T: Element> WithCell<T> for Backward<'_, '_, '_, T> {
    type Output = Result<()>;

    fn run<C: Cell<T>>(mut self, cell: C) -> Result<()> {
        let (saved, packed) = (self.saved, &*self.saved.weights.packed);
        let transposed = transposed(packed, self.operation)?;
        let sizes = packed.sizes;
        let purpose = "gradients of the gates";
        let reserve = |width: Option<usize>| {
            let len = width.and_then(|width| size(&[saved.plan.step_rows, width]));
            Buffer::new(len.ok_or(Error::Memory { purpose, bytes: None })?, purpose)
        };
        let gates = reserve(size(&[C::GRADIENTS, sizes.hidden]))?;
        let projected = reserve(Some(if sizes.projected { sizes.output } else { 0 }))?;
        let arrays = Arrays {
            dy: self.upstream.dy.as_ref().map(View::of3),
            dh_n: self.upstream.dh_n.as_ref().map(View::of2),
            dc_n: self.upstream.dc_n.as_ref().map(View::of2),
            dx: self.outputs.dx.as_mut().map(View::of_mut3),
            dh0: View::of_mut2(&mut self.outputs.dh0),
            dc0: self.outputs.dc0.as_mut().map(View::of_mut2),
            gates: &gates,
            projected: &projected,
        };
        parallel::run(saved.plan.tasks.len(), self.threads, |i| {
            let task = &saved.plan.tasks[i];
            let layout = |start| Layout::new::<C>(start, saved, task, &arrays);
            with_workspace(layout(None).0, |start| {
                let places = layout(Some(start)).1;
                let run = Run { cell, saved, transposed, task, arrays: &arrays, places };
                T::dispatch(packed.isa, run);
            })
        })?;
        gradients::weights::<T, C>(saved, &gates, &projected, &mut self.outputs, self.threads)
    }
}

/// The caller's arrays, and what the tasks leave for the gradients of the weights.
struct Arrays<'a, T> {
    dy: Option<View<T>>,
    dh_n: Option<View<T>>,
    dc_n: Option<View<T>>,
    dx: Option<View<T>>,
    dh0: View<T>,
    dc0: Option<View<T>>,
    /// `(step rows, GRADIENTS * H)`
    gates: &'a Buffer<T>,
    /// `(step rows, P)`, projected LSTM only
    projected: &'a Buffer<T>,
}

/// A task's memory.
#[derive(Clone, Copy)]
struct Layout<T> {
    places: Places<T>,
    /// This task's part of the gate gradients.
    gates: *mut T,
    projected: *mut T,
    dc: *mut T,
    carry: *mut T,
    sums: *mut T,
    zeros: *mut T,
    groups: usize,
    sums_row: usize,
    /// A chunk of `dx`, rows of whole panels.
    dx: *mut T,
    dx_row: usize,
}

impl<T: Element> Layout<T> {
    fn new<C: Cell<T>>(
        start: Option<*mut T>, saved: &Saved<T>, task: &Task, arrays: &Arrays<'_, T>,
    ) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let (sizes, rows) = (saved.weights.sizes(), task.rows.len());
        let width = panel_width(saved.weights.packed.isa.lanes::<T>());
        let panels = |n: usize| n.div_ceil(width);
        let all = panels(sizes.hidden.max(sizes.output));
        let groups = groups_at_once::<T>(rows, width, all);
        let dx_row = panels(sizes.input) * width;
        let chunk = if arrays.dx.is_some() { rows.max(CHUNK_ROWS.min(task.step_rows())) } else { 0 };
        let first = task.first_step_row;
        let state = |needed| if needed { rows.saturating_mul(sizes.hidden) } else { 0 };
        let layout = Self {
            places: Places::saved::<C>(&saved.memory, task, sizes),
            gates: arrays.gates.ptr().wrapping_add(first * C::GRADIENTS * sizes.hidden),
            projected: match sizes.projected {
                true => arrays.projected.ptr().wrapping_add(first * sizes.output),
                false => arrays.projected.ptr(),
            },
            dc: parts.take(state(C::CELL_STATE)),
            carry: parts.take(state(C::CARRY)),
            sums: parts.take(rows.saturating_mul(groups * width)),
            zeros: parts.take(dx_row.max(groups * width)),
            groups,
            sums_row: groups * width,
            dx: parts.take(chunk.saturating_mul(dx_row)),
            dx_row,
        };
        (parts.used(), layout)
    }
}

/// One task: its rows through all steps, backwards.
struct Run<'a, T: Element, C> {
    cell: C,
    saved: &'a Saved<T>,
    transposed: &'a super::weights::Transposed<T>,
    task: &'a Task,
    arrays: &'a Arrays<'a, T>,
    places: Layout<T>,
}

impl<T: Element, C: Cell<T>> Kernel<T> for Run<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let task = self.task;
        // SAFETY: shapes were checked against the arrays, the layout was made for this task, rows
        // belong to one task each, and forward wrote all that it kept.
        unsafe {
            self.begin(l);
            let mut end = task.steps();
            while end > 0 {
                let mut start = end - 1;
                while start > 0 && task.offset(end) - task.offset(start - 1) <= CHUNK_ROWS {
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
            self.finish(l);
        }
    }
}

impl<T: Element, C: Cell<T>> Run<'_, T, C> {
    fn gradient_row(&self) -> usize {
        C::GRADIENTS * self.saved.weights.sizes().hidden
    }

    fn gates(&self, s: usize) -> *mut T {
        self.places.gates.wrapping_add(self.task.offset(s) * self.gradient_row())
    }

    fn projected(&self, s: usize) -> *mut T {
        self.places.projected.wrapping_add(self.task.offset(s) * self.saved.weights.sizes().output)
    }

    /// What flows in at the end of every row, and zeros behind the rows of `dx`.
    #[inline(always)]
    unsafe fn begin<L: Lanes<T>>(&self, l: L) {
        let (w, a, sizes) = (&self.places, self.arrays, self.saved.weights.sizes());
        // SAFETY: as `run` says.
        unsafe {
            for i in (0..w.dx_row.max(w.sums_row)).step_by(L::N) {
                l.store(w.zeros.add(i), l.splat(T::default()));
            }
            for (r, &row) in self.task.rows.iter().enumerate() {
                let state = r * sizes.hidden;
                if C::CELL_STATE {
                    line(a.dc_n.as_ref(), row, 0, sizes.hidden, w.dc.add(state));
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
        let (w, task, spec) = (&self.places, self.task, &C::BACKWARD[stage]);
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
            for r in known..sums.rows {
                let to = w.sums.add(r * w.sums_row);
                line(self.arrays.dh_n.as_ref(), task.rows[r], sums.first_unit, n, to);
            }
        }
    }

    #[inline(always)]
    fn sums<L: Lanes<T>>(&self, _: L, rows: usize, group: usize, units: usize) -> Sums<T> {
        let (w, width) = (&self.places, panel_width(L::N));
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
        let (w, task, sizes) = (&self.places, self.task, self.saved.weights.sizes());
        let spec = &C::BACKWARD[stage];
        let (from, known) = match spec.factor {
            Factor::Recurrent if s + 1 < task.steps() => (s + 1, task.count(s + 1)),
            Factor::Recurrent => (s, 0),
            Factor::Stage => (s, task.count(s)),
        };
        let rows = BackwardRows {
            h_before: w.places.h_before(task, s),
            h_after: w.places.h_after(task, s),
            output: sizes.output,
            c_before: w.places.c_before(task, s),
            c_after: w.places.c_after(task, s),
            hidden: sizes.hidden,
            kept: w.places.kept(task, s),
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
        let (w, task, sizes) = (&self.places, self.task, self.saved.weights.sizes());
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
        let (w, task, a, sizes) = (&self.places, self.task, self.arrays, self.saved.weights.sizes());
        let known = task.count(0);
        // SAFETY: as `run` says.
        unsafe {
            for group in (0..sizes.output.div_ceil(panel_width(L::N))).step_by(w.groups) {
                let sums = self.sums(l, task.rows.len(), group, sizes.output);
                self.product(l, 0, 0, known, &sums);
                sums.each(l, |r, unit, place| {
                    let n = sums.end_unit - unit;
                    if C::CARRY {
                        let carry = l.load_up_to(w.carry.add(r * sizes.hidden + unit), n);
                        l.store(place, l.add(l.load(place), carry));
                    }
                });
                let n = sums.end_unit - sums.first_unit;
                for (r, &row) in task.rows.iter().enumerate() {
                    let (to, step) = a.dh0.line(row, 0);
                    let to = to.wrapping_offset(sums.first_unit as isize * step);
                    for i in 0..n {
                        *to.offset(i as isize * step) = *w.sums.add(r * w.sums_row + i);
                    }
                }
            }
            if let Some(dc0) = &a.dc0 {
                for (r, &row) in task.rows.iter().enumerate() {
                    dc0.write(row, 0, sizes.hidden, w.dc.add(r * sizes.hidden));
                }
            }
        }
    }
}

/// `n` elements of a row of a state's gradient from `first` on, or zeros.
#[inline(always)]
unsafe fn line<T: Element>(from: Option<&View<T>>, row: usize, first: usize, n: usize, to: *mut T) {
    // SAFETY: the caller vouches for the row and for n elements behind `to`.
    unsafe {
        match from {
            Some(view) => {
                let (start, step) = view.line(row, 0);
                crate::panels::pack_line(start.wrapping_offset(first as isize * step).cast_const(), step, to, n, n);
            }
            None => to.write_bytes(0, n),
        }
    }
}
