//! Running a layer over a batch.

use std::ops::Range;

use ndarray::Dimension as _;
use ndarray::{
    Array2, Array3, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis,
};

use crate::board::{self, Board, Part};
use crate::buffer::{Parts, with_workspace};
use crate::cells::Cell;
use crate::chunks::zeros;
use crate::error::{Error, Result};
use crate::parallel;
use crate::sequence::checksums::Checksums;
use crate::sequence::plan::Plan;
use crate::sequence::saved::{Checkpoints, Histories, Memory, Places, Saved};
use crate::sequence::sharing::{Rounds, part_count, rows_together, team_size};
use crate::sequence::space::Layout;
use crate::sequence::time_loop::{Arrays, Inputs, Run};
use crate::sequence::weights::{Function, Packed, Weights, transposed};
use crate::sequence::{WithCell, with_cell};
use crate::shape::{self, Sizes};
use crate::simd::Element;
use crate::team::{self, Member};
use crate::view::View;

/// A batch of sequences to run a layer over.
#[derive(Debug, Clone, Copy)]
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
    /// How much is kept; [`Memory::Low`] is refused where nothing is.
    pub memory: Memory,
    /// Threads for this call; the process's number where absent.
    pub threads: Option<usize>,
}

impl<'a, T> Sequence<'a, T> {
    /// A whole batch from zero states, nothing kept.
    pub fn new(x: ArrayView3<'a, T>) -> Self {
        Self {
            x,
            h0: None,
            c0: None,
            lengths: None,
            reverse: false,
            save: false,
            memory: Memory::Keep,
            threads: None,
        }
    }
}

/// Where a forward call writes; all of it is written.
#[derive(Debug)]
pub struct Outputs<'a, T> {
    /// `(B, T, H)`, or `(B, T, P)`; zero past a row's length. Absent: not written.
    pub y: Option<ArrayViewMut3<'a, T>>,
    /// `(B, H)`, or `(B, P)`
    pub h_n: ArrayViewMut2<'a, T>,
    /// `(B, H)`, LSTM only
    pub c_n: Option<ArrayViewMut2<'a, T>>,
}

/// What a forward call returns.
#[derive(Debug)]
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
    /// [`Error::Argument`] for shapes or lengths that do not fit, [`Error::Memory`].
    pub fn forward(&self, sequence: &Sequence<'_, T>) -> Result<Output<T>> {
        let sizes = self.sizes();
        let (rows, steps, _) = sequence.x.dim();
        let mut y = array((rows, steps, sizes.output))?;
        let (mut h_n, mut c_n) = self.states(rows)?;
        let c_out = c_n.as_mut().map(|c| c.view_mut());
        let outputs = Outputs { y: Some(y.view_mut()), h_n: h_n.view_mut(), c_n: c_out };
        let saved = self.forward_into(sequence, outputs)?;
        Ok(Output { y, h_n, c_n, saved })
    }

    /// Room for last states: `h_n`, and `c_n` of the LSTM.
    fn states(&self, rows: usize) -> Result<(Array2<T>, Option<Array2<T>>)> {
        let sizes = self.sizes();
        let c_n = match self.kind() {
            crate::CellKind::Lstm => Some(array((rows, sizes.hidden))?),
            _ => None,
        };
        Ok((array((rows, sizes.output))?, c_n))
    }

    /// One time step: `x (B, I)`, `h (B, H)` and, for the LSTM, `c (B, H)` to the new `(h, c)`.
    ///
    /// # Errors
    /// As [`Weights::forward`].
    pub fn step(
        &self, x: ArrayView2<'_, T>, h: Option<ArrayView2<'_, T>>, c: Option<ArrayView2<'_, T>>,
    ) -> Result<(Array2<T>, Option<Array2<T>>)> {
        let (operation, rows) = (self.kind().operation(Function::Step), x.nrows());
        shape::equal(operation, "x", "(B, I)", &[rows, self.sizes().input], x.shape())?;
        let sequence = Sequence { h0: h, c0: c, ..Sequence::new(x.insert_axis(Axis(1))) };
        let (mut h_n, mut c_n) = self.states(rows)?;
        let c_out = c_n.as_mut().map(|c| c.view_mut());
        let outputs = Outputs { y: None, h_n: h_n.view_mut(), c_n: c_out };
        self.forward_as(&sequence, outputs, Function::Step)?;
        Ok((h_n, c_n))
    }

    /// Runs the layer over a batch, into memory of the caller's.
    ///
    /// # Errors
    /// As [`Weights::forward`]; nothing is written then unless memory ran out.
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
        q.memory.check(operation, q.save)?;
        shape::sequence(operation, packed.kind, sizes, &q.x, q.h0.as_ref(), q.c0.as_ref())?;
        let (rows, steps, _) = q.x.dim();
        outputs.check(operation, packed.kind, sizes, rows, steps)?;
        let lengths = shape::lengths(operation, q.lengths, rows, steps)?;
        if q.save {
            transposed(packed, operation)?;
        }
        let work = packed.kind.gates() * sizes.hidden * (sizes.input + sizes.output);
        let work = work.saturating_mul(rows.saturating_mul(steps));
        let threads = parallel::threads_for(operation, q.threads, work)?;
        let mut plan = Plan::new(lengths)?;
        if q.save {
            plan.cut()?;
        }
        let run = Forward { weights: self, sequence, outputs, plan, threads };
        with_cell(packed.kind, sizes.projected, run)
    }
}

/// An array of zeros.
pub(super) fn array<T: Element, S: ndarray::IntoDimension>(
    shape: S,
) -> Result<ndarray::Array<T, S::Dim>> {
    let (shape, purpose) = (shape.into_dimension(), "an output");
    let refused = || Error::Memory { purpose, bytes: None };
    let len = crate::buffer::size(shape.slice()).ok_or_else(refused)?;
    ndarray::Array::from_shape_vec(shape, zeros(len, purpose)?).map_err(|_| refused())
}

impl<T> Outputs<'_, T> {
    fn check(
        &self, operation: &'static str, kind: crate::CellKind, sizes: Sizes, b: usize, t: usize,
    ) -> Result<()> {
        shape::absent(operation, "c_n", self.c_n.is_some() && kind != crate::CellKind::Lstm)?;
        if let Some(y) = &self.y {
            shape::equal(operation, "y", "(B, T, H)", &[b, t, sizes.output], y.shape())?;
        }
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
        let history = match q.save {
            true => Some(Histories::whole::<C>(&self.plan, sizes, q.memory)?),
            false => None,
        };
        let low = history.as_ref().filter(|_| q.memory == Memory::Low);
        let checksums = low.map(|_| Checksums::of(&q.x, &self.plan)).transpose()?;
        let inputs = Inputs { x: View::of3(&q.x), reverse: q.reverse };
        let arrays = Arrays {
            h0: q.h0.as_ref().map(View::of2),
            c0: q.c0.as_ref().map(View::of2),
            y: self.outputs.y.as_mut().map(View::of_mut3),
            h_n: View::of_mut2(&mut self.outputs.h_n),
            c_n: self.outputs.c_n.as_mut().map(View::of_mut2),
            steps: q.x.dim().1,
            checkpoints: low.map(|history| Checkpoints { history, plan: &self.plan }),
        };
        let (plan, rows) = (&self.plan, self.plan.rows.len());
        let places = |start: Option<*mut T>| {
            let mut parts = start.map_or_else(Parts::measure, Parts::of);
            let places = match (&history, q.memory) {
                (Some(history), Memory::Keep) => Places::saved::<C>(history, 0, rows, sizes),
                _ => Places::passing::<C>(&mut parts, rows, sizes),
            };
            (parts.used(), places)
        };
        with_workspace(places(None).0, |start| {
            let (arrays, places, end) = (Some(&arrays), places(Some(start)).1, plan.steps());
            let all = Steps { cell, packed, plan, inputs, arrays, places, steps: 0..end };
            all.run(self.threads)
        })??;
        let steps = arrays.steps;
        Ok(history.map(|history| Saved {
            weights: self.weights.clone(),
            plan: self.plan,
            steps,
            reverse: q.reverse,
            checksums,
            history,
        }))
    }
}

/// All rows through some steps.
pub(super) struct Steps<'a, T: Element, C> {
    pub cell: C,
    pub packed: &'a Packed<T>,
    pub plan: &'a Plan,
    pub inputs: Inputs<T>,
    pub arrays: Option<&'a Arrays<'a, T>>,
    pub places: Places<T>,
    pub steps: Range<usize>,
}

impl<T: Element, C: Cell<T>> Steps<'_, T, C> {
    pub fn run(&self, threads: usize) -> Result<()> {
        let together = rows_together(self.packed);
        match team_size(self.plan.rows.len(), self.packed, threads, together) {
            Some(team) => self.together(team),
            None => self.apart(threads),
        }
    }

    /// Each thread takes rows of its own through time.
    fn apart(&self, threads: usize) -> Result<()> {
        let n = part_count(self.plan.rows.len(), threads);
        let parts = self.plan.parts(&self.steps, n)?;
        let rows = parts.iter().map(Range::len).max().unwrap_or(0);
        let run = |start: *mut T, part: Part, board: &_| {
            let layout = self.layout(Some(start), rows).1;
            self.part(part, self.steps.end, layout, &Member::alone(), Some(board));
        };
        board::run(parts, self.steps.start, threads, self.layout(None, rows).0, run)
    }

    /// The threads, or the only one, take every step together.
    fn together(&self, threads: usize) -> Result<()> {
        let all = self.plan.rows.len();
        let layout = |start| self.layout(start, all);
        let rounds = Rounds::new(self.packed, self.steps.clone(), all);
        team::run_with(threads, rounds.count(), layout, |member, turn, layout| {
            let Range { start, end } = rounds.steps(&turn);
            self.part(Part { rows: 0..all, step: start }, end, layout, member, None);
        })
    }

    /// One thread's memory for parts of up to `rows` rows.
    fn layout(&self, start: Option<*mut T>, rows: usize) -> (usize, Layout<T>) {
        Layout::new::<C>(start, rows, self.plan.rows_of(&self.steps), self.packed)
    }

    /// From the part's step to `end`.
    fn part(
        &self, part: Part, end: usize, layout: Layout<T>, member: &Member<'_>,
        board: Option<&Board>,
    ) {
        let Self { cell, packed, plan, inputs, arrays, places, .. } = *self;
        let run =
            Run { cell, packed, plan, part, end, inputs, arrays, places, layout, member, board };
        T::dispatch(packed.isa, run);
    }
}
