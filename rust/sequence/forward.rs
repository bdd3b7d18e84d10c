//! The time loop.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use crate::buffer::{Parts, with_workspace};
use crate::cells::{Cell, Factor};
use crate::error::{Error, Result};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::parallel;
use crate::sequence::epilogue::{ForwardRows, Sums};
use crate::sequence::plan::{Plan, Task};
use crate::sequence::saved::{Memory, Places, Saved};
use crate::sequence::weights::{Function, Packed, Weights, input_panels, transposed};
use crate::sequence::{WithCell, with_cell};
use crate::shape::{self, Sizes};
use crate::simd::{Element, Kernel, Lanes};
use crate::view::View;

/// Step rows whose input is projected at once: enough to use a panel of `w_ih` many times, few
/// enough that the result waits in the cache for the time loop.
pub(super) const CHUNK_ROWS: usize = 96;

/// Bytes of sums between a product and the cell's arithmetic on them.
const SUMS_BYTES: usize = 8 << 10;

/// A batch of sequences to run a layer over.
#[derive(Clone, Copy)]
pub struct Sequence<'a, T> {
    /// `(B, T, I)`
    pub x: ArrayView3<'a, T>,
    /// `(B, H)`, or `(B, P)` for the projected LSTM; zero where absent.
    pub h0: Option<ArrayView2<'a, T>>,
    /// `(B, H)`, LSTM only; zero where absent.
    pub c0: Option<ArrayView2<'a, T>>,
    /// `(B,)`, 0 to T, in any order; all T where absent.
    pub lengths: Option<ArrayView1<'a, i64>>,
    /// Runs each row from its last step to its first.
    pub reverse: bool,
    /// Keeps what backward needs; the weights were packed for training.
    pub save: bool,
    /// Threads for this call; the process's number where absent.
    pub threads: Option<usize>,
}

impl<'a, T> Sequence<'a, T> {
    /// A whole batch from zero states, nothing kept.
    pub fn new(x: ArrayView3<'a, T>) -> Self {
        Self { x, h0: None, c0: None, lengths: None, reverse: false, save: false, threads: None }
    }
}

/// Where a forward call writes; all of it is written.
pub struct Outputs<'a, T> {
    /// `(B, T, H)`, or `(B, T, P)`; zero past a row's length.
    pub y: ArrayViewMut3<'a, T>,
    /// `(B, H)`, or `(B, P)`
    pub h_n: ArrayViewMut2<'a, T>,
    /// `(B, H)`, LSTM only
    pub c_n: Option<ArrayViewMut2<'a, T>>,
}

/// What a forward call returns.
pub struct Output<T: Element> {
    /// `(B, T, H)`, or `(B, T, P)`; zero past a row's length.
    pub y: Array3<T>,
    /// The state at each row's length, `(B, H)` or `(B, P)`.
    pub h_n: Array2<T>,
    /// `(B, H)`, LSTM only.
    pub c_n: Option<Array2<T>>,
    /// For backward, if asked for.
    pub saved: Option<Saved<T>>,
}

impl<T: Element> Weights<T> {
    /// Runs the layer over a batch.
    ///
    /// # Errors
    /// [`Error::Argument`] for shapes or lengths that do not fit, [`Error::Memory`],
    /// [`Error::Threads`].
    pub fn forward(&self, sequence: &Sequence<'_, T>) -> Result<Output<T>> {
        let sizes = self.sizes();
        let (rows, steps, _) = sequence.x.dim();
        let state = |width| array((rows, width), &[rows, width]);
        let mut y = array((rows, steps, sizes.output), &[rows, steps, sizes.output])?;
        let mut h_n = state(sizes.output)?;
        let mut c_n = match self.kind() {
            crate::CellKind::Lstm => Some(state(sizes.hidden)?),
            _ => None,
        };
        let c_out = c_n.as_mut().map(|c| c.view_mut());
        let outputs = Outputs { y: y.view_mut(), h_n: h_n.view_mut(), c_n: c_out };
        let saved = self.forward_into(sequence, outputs)?;
        Ok(Output { y, h_n, c_n, saved })
    }

    /// Runs the layer over a batch, into memory of the caller's.
    ///
    /// # Errors
    /// As [`Weights::forward`]; nothing is written then unless memory or threads ran out.
    pub fn forward_into(
        &self, sequence: &Sequence<'_, T>, outputs: Outputs<'_, T>,
    ) -> Result<Option<Saved<T>>> {
        self.forward_as(sequence, outputs, Function::Forward)
    }

    pub(crate) fn forward_as(
        &self, sequence: &Sequence<'_, T>, outputs: Outputs<'_, T>, function: Function,
    ) -> Result<Option<Saved<T>>> {
        let packed = &*self.packed;
        let operation = packed.kind.operation(function);
        let (q, sizes) = (sequence, packed.sizes);
        shape::sequence(operation, packed.kind, sizes, &q.x, q.h0.as_ref(), q.c0.as_ref())?;
        let (rows, steps, _) = q.x.dim();
        outputs.check(operation, sizes, rows, steps)?;
        let lengths = shape::lengths(operation, q.lengths, rows, steps)?;
        if q.save {
            transposed(packed, operation)?;
        }
        let work = packed.kind.gates() * sizes.hidden * (sizes.input + sizes.output);
        let work = work.saturating_mul(rows.saturating_mul(steps));
        let threads = parallel::threads_for(operation, q.threads, work)?;
        let plan = Plan::new(&lengths, task_count(rows, threads))?;
        let run = Forward { weights: self, sequence, outputs, plan, threads };
        with_cell(packed.kind, sizes.projected, run)
    }
}

/// As many tasks as threads, or a multiple of it where a task would have very many rows.
fn task_count(rows: usize, threads: usize) -> usize {
    rows.div_ceil(CHUNK_ROWS * threads).max(1) * threads
}

fn array<T: Element, D: ndarray::Dimension>(
    shape: impl ndarray::ShapeBuilder<Dim = D>, sizes: &[usize],
) -> Result<ndarray::Array<T, D>> {
    let purpose = "an output";
    let len = crate::buffer::size(sizes).ok_or(Error::Memory { purpose, bytes: None })?;
    let mut items = Vec::new();
    let bytes = len.checked_mul(size_of::<T>());
    items.try_reserve_exact(len).map_err(|_| Error::Memory { purpose, bytes })?;
    items.resize(len, T::default());
    ndarray::Array::from_shape_vec(shape, items).map_err(|_| Error::Memory { purpose, bytes })
}

impl<T> Outputs<'_, T> {
    fn check(&self, operation: &'static str, sizes: Sizes, b: usize, t: usize) -> Result<()> {
        shape::equal(operation, "y", "(B, T, H)", &[b, t, sizes.output], self.y.shape())?;
        shape::equal(operation, "h_n", "(B, H)", &[b, sizes.output], self.h_n.shape())?;
        match &self.c_n {
            Some(c) => shape::equal(operation, "c_n", "(B, H)", &[b, sizes.hidden], c.shape()),
            None => Ok(()),
        }
    }
}

struct Forward<'a, 'b, 'c, T: Element> {
    weights: &'a Weights<T>,
    sequence: &'a Sequence<'b, T>,
    outputs: Outputs<'c, T>,
    plan: Plan,
    threads: usize,
}

impl<T: Element> WithCell<T> for Forward<'_, '_, '_, T> {
    type Output = Result<Option<Saved<T>>>;

    fn run<C: Cell<T>>(mut self, cell: C) -> Self::Output {
        let packed = &*self.weights.packed;
        let (q, sizes) = (self.sequence, packed.sizes);
        let memory = match q.save {
            true => Some(Memory::new::<C>(&self.plan, sizes)?),
            false => None,
        };
        let arrays = Arrays {
            x: View::of3(&q.x),
            h0: q.h0.as_ref().map(View::of2),
            c0: q.c0.as_ref().map(View::of2),
            y: View::of_mut3(&mut self.outputs.y),
            h_n: View::of_mut2(&mut self.outputs.h_n),
            c_n: self.outputs.c_n.as_mut().map(View::of_mut2),
            steps: q.x.dim().1,
            reverse: q.reverse,
        };
        parallel::run(self.plan.tasks.len(), self.threads, |i| {
            let task = &self.plan.tasks[i];
            let layout = |start| Layout::new::<C>(start, memory.as_ref(), task, packed);
            with_workspace(layout(None).0, |start| {
                let places = layout(Some(start)).1;
                T::dispatch(packed.isa, Run { cell, packed, task, arrays: &arrays, places });
            })
        })?;
        Ok(memory.map(|memory| Saved {
            weights: self.weights.clone(),
            plan: self.plan,
            steps: arrays.steps,
            reverse: q.reverse,
            memory,
        }))
    }
}

/// The caller's arrays.
struct Arrays<T> {
    x: View<T>,
    h0: Option<View<T>>,
    c0: Option<View<T>>,
    y: View<T>,
    h_n: View<T>,
    c_n: Option<View<T>>,
    steps: usize,
    reverse: bool,
}

/// A task's memory.
#[derive(Clone, Copy)]
struct Layout<T> {
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

impl<T: Element> Layout<T> {
    /// Elements of workspace, and where everything lies in it.
    fn new<C: Cell<T>>(
        start: Option<*mut T>, memory: Option<&Memory<T>>, task: &Task, packed: &Packed<T>,
    ) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let (sizes, rows) = (packed.sizes, task.rows.len());
        let width = panel_width(packed.isa.lanes::<T>());
        let places = match memory {
            Some(memory) => Places::saved::<C>(memory, task, sizes),
            None => Places::passing::<C>(&mut parts, rows, sizes),
        };
        let chunk = rows.max(CHUNK_ROWS.min(task.step_rows()));
        let input_row = sizes.hidden.div_ceil(width) * input_panels::<T, C>() * width;
        let gates = C::FORWARD.iter().map(|stage| stage.gates.len()).max().unwrap_or(1);
        let all = sizes.hidden.max(sizes.output).div_ceil(width);
        let groups = groups_at_once::<T>(rows, gates * width, all);
        let sums_row = groups * gates * width;
        let layout = Self {
            places,
            x: parts.take(chunk.saturating_mul(sizes.input)),
            input: parts.take(chunk.saturating_mul(input_row)),
            input_row,
            sums: parts.take(rows.saturating_mul(sums_row)),
            zeros: parts.take(sums_row),
            groups,
            sums_row,
        };
        (parts.used(), layout)
    }
}

/// Few rows leave room for the sums of many groups of units: one product for all of them.
pub(super) fn groups_at_once<T>(rows: usize, group_width: usize, all: usize) -> usize {
    (SUMS_BYTES / (rows.max(1) * group_width * size_of::<T>())).clamp(1, all.max(1))
}

/// One task: its rows through all steps.
struct Run<'a, T: Element, C> {
    cell: C,
    packed: &'a Packed<T>,
    task: &'a Task,
    arrays: &'a Arrays<T>,
    places: Layout<T>,
}

impl<T: Element, C: Cell<T>> Kernel<T> for Run<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let task = self.task;
        // SAFETY: shapes were checked against the arrays, the layout was made for this task, and
        // rows belong to one task each.
        unsafe {
            self.begin(l);
            let mut s = 0;
            while s < task.steps() {
                let end = task.chunk_end(s, CHUNK_ROWS);
                self.project(l, s, end);
                for step in s..end {
                    self.step(l, step, task.offset(step) - task.offset(s));
                    self.leave(step);
                }
                s = end;
            }
        }
    }
}

impl<T: Element, C: Cell<T>> Run<'_, T, C> {
    /// Initial states, rows without a step, and the zeros behind every row.
    #[inline(always)]
    unsafe fn begin<L: Lanes<T>>(&self, l: L) {
        let (w, sizes, a) = (&self.places, self.packed.sizes, self.arrays);
        let (h, c) = (w.places.h_before(self.task, 0), w.places.c_before(self.task, 0));
        // SAFETY: as `run` says.
        unsafe {
            for i in (0..w.sums_row).step_by(L::N) {
                l.store(w.zeros.add(i), l.splat(T::default()));
            }
            for (r, &row) in self.task.rows.iter().enumerate() {
                initial(a.h0.as_ref(), row, sizes.output, h.add(r * sizes.output));
                if C::CELL_STATE {
                    initial(a.c0.as_ref(), row, sizes.hidden, c.add(r * sizes.hidden));
                }
                let length = self.task.lengths[r];
                (length..a.steps).for_each(|t| a.y.clear(row, t, sizes.output));
                if length == 0 {
                    self.finish(r, h, c);
                }
            }
        }
    }

    /// The last state of row `r`, from row 0 of the states after its last step.
    #[inline(always)]
    unsafe fn finish(&self, r: usize, h: *const T, c: *const T) {
        let (sizes, row) = (self.packed.sizes, self.task.rows[r]);
        // SAFETY: as `run` says.
        unsafe {
            self.arrays.h_n.write(row, 0, sizes.output, h.add(r * sizes.output));
            if let Some(c_n) = &self.arrays.c_n {
                c_n.write(row, 0, sizes.hidden, c.add(r * sizes.hidden));
            }
        }
    }

    /// `bias + w_ih x` for the steps of a chunk.
    #[inline(always)]
    unsafe fn project<L: Lanes<T>>(&self, l: L, start: usize, end: usize) {
        let (w, task, sizes) = (&self.places, self.task, self.packed.sizes);
        let rows = task.offset(end) - task.offset(start);
        let x = w.places.x(task, start).unwrap_or(w.x);
        let width = panel_width(L::N);
        let group = input_panels::<T, C>() * width;
        let blocks = Blocks { count: C::INPUT.len(), stride: group };
        // SAFETY: as `run` says; a chunk has as many rows as the layout has room for.
        unsafe {
            let mut to = x;
            for s in start..end {
                for r in 0..task.count(s) {
                    let t = task.time(r, s, self.arrays.reverse);
                    self.arrays.x.read(task.rows[r], t, sizes.input, to);
                    to = to.add(sizes.input);
                }
            }
            Product {
                m: rows,
                k: sizes.input,
                a: Rows { start: x, row: sizes.input, column: 1 },
                panels: self.packed.input.start(0),
                panel_stride: self.packed.input.stride,
                count: self.packed.input.count,
                init: Init { start: self.packed.bias.ptr(), row: 0, blocks },
                out: w.input,
                out_row: w.input_row,
                out_blocks: blocks,
            }
            .run_on(l);
            if C::APART.is_some() {
                self.copy_apart(l, rows, group, C::INPUT.len() * width);
            }
        }
    }

    /// The bias that a gate's recurrent sum starts from, into every row of a chunk.
    #[inline(always)]
    unsafe fn copy_apart<L: Lanes<T>>(&self, l: L, rows: usize, group: usize, panel: usize) {
        for r in 0..rows {
            for i in (panel..self.places.input_row).step_by(group) {
                // SAFETY: the panel at `i` lies inside the rows of the bias and of the chunk.
                unsafe {
                    let (from, to) = (self.packed.bias.ptr().add(i), self.places.input.add(r * self.places.input_row + i));
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
            let total = units.div_ceil(width);
            for group in (0..total).step_by(w.groups) {
                let groups = w.groups.min(total - group);
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
        }
    }

    /// Writes `y`, and the last states of the rows that end with this step.
    #[inline(always)]
    unsafe fn leave(&self, s: usize) {
        let (task, output) = (self.task, self.packed.sizes.output);
        let (h, c) = (self.places.places.h_after(task, s), self.places.places.c_after(task, s));
        // SAFETY: as `run` says.
        unsafe {
            for r in 0..task.count(s) {
                let t = task.time(r, s, self.arrays.reverse);
                self.arrays.y.write(task.rows[r], t, output, h.add(r * output));
            }
            (task.count(s + 1)..task.count(s)).for_each(|r| self.finish(r, h, c));
        }
    }
}

/// A row of an initial state, or zeros.
#[inline(always)]
unsafe fn initial<T: Element>(from: Option<&View<T>>, row: usize, n: usize, to: *mut T) {
    // SAFETY: the caller vouches for the row and for n elements behind `to`.
    unsafe {
        match from {
            Some(view) => view.read(row, 0, n, to),
            None => to.write_bytes(0, n),
        }
    }
}
