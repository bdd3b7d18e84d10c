//! The gradients of a forward call.

use std::ops::Range;

use ndarray::{
    Array1, Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3,
};

use crate::board::{self, Board, Part};
use crate::cells::Cell;
use crate::error::Result;
use crate::parallel;
use crate::sequence::between::{Arrays, Between, Layout};
use crate::sequence::bptt::Run;
use crate::sequence::forward::{self, array};
use crate::sequence::gradients::Totals;
use crate::sequence::input_gradients::input_gradients;
use crate::sequence::saved::{Checkpoints, Histories, Memory, Places, Saved};
use crate::sequence::sharing::{ROWS_TOGETHER, Rounds, part_count, team_size};
use crate::sequence::time_loop::Inputs;
use crate::sequence::weights::{Function, Transposed, transposed};
use crate::sequence::{WithCell, with_cell};
use crate::shape;
use crate::simd::Element;
use crate::team::{self, Member};
use crate::view::View;

/// The gradients that come in; absent ones are zero. And the inputs, where they were not kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct StateGradients<'a, T> {
    /// `(B, T, H)`, or `(B, T, P)`; not read past a row's length.
    pub dy: Option<ArrayView3<'a, T>>,
    /// `(B, H)`, or `(B, P)`
    pub dh_n: Option<ArrayView2<'a, T>>,
    /// `(B, H)`, LSTM only
    pub dc_n: Option<ArrayView2<'a, T>>,
    /// `(B, T, I)`: the inputs that forward had, where it kept little; refused otherwise.
    pub x: Option<ArrayView3<'a, T>>,
}

/// Where a backward call writes; all of it is written.
#[derive(Debug)]
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
    /// [`crate::Error::Argument`] for shapes that do not fit and for inputs that are not those that
    /// forward had, [`crate::Error::Memory`].
    pub fn backward(
        &self, upstream: &StateGradients<'_, T>, threads: Option<usize>,
    ) -> Result<Gradients<T>> {
        let (rows, steps, sizes) = self.dims();
        let gates = self.kind().gates() * sizes.hidden;
        let lstm = self.kind() == crate::CellKind::Lstm;
        let bias = |given: bool| given.then(|| array(gates)).transpose();
        let [b_ih, b_hh] = self.biases();
        let mut g = Gradients {
            dx: array((rows, steps, sizes.input))?,
            dw_ih: array((gates, sizes.input))?,
            dw_hh: array((gates, sizes.output))?,
            db_ih: bias(b_ih)?,
            db_hh: bias(b_hh)?,
            dw_hr: sizes.projected.then(|| array((sizes.output, sizes.hidden))).transpose()?,
            dh0: array((rows, sizes.output))?,
            dc0: lstm.then(|| array((rows, sizes.hidden))).transpose()?,
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
    /// As [`Saved::backward`]; nothing is written then unless memory ran out.
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
        self.check_inputs(operation, upstream.x.as_ref())?;
        let step = kind.gates() * sizes.hidden * (sizes.input + sizes.output);
        let work = step.saturating_mul(self.plan.step_rows()).saturating_mul(2);
        let threads = parallel::threads_for(operation, threads, work)?;
        let run = Backward { saved: self, upstream, outputs, threads, operation };
        with_cell(kind, sizes.projected, run)
    }
}

impl<T: Element> Saved<T> {
    /// Inputs are given where none were kept, and are what they were.
    fn check_inputs(&self, operation: &'static str, x: Option<&ArrayView3<'_, T>>) -> Result<()> {
        let forward = self.kind().operation(Function::Forward);
        let refuse = |expected, got: &str| Err(shape::refuse(operation, "x", expected, got));
        match (&self.checksums, x) {
            (None, None) => Ok(()),
            (None, Some(_)) => refuse(format!("None, since {forward} kept a copy"), "an array"),
            (Some(_), None) => refuse(format!("an array, since {forward} kept no copy"), "None"),
            (Some(checksums), Some(x)) => {
                let (rows, steps, sizes) = self.dims();
                let expected = [rows, steps, sizes.input];
                shape::equal(operation, "x", "(B, T, I)", &expected, x.shape())?;
                let changed = checksums.changed(x, &self.plan);
                changed.map_or(Ok(()), |row| {
                    let expected = format!("no change since {forward}, which kept no copy");
                    refuse(expected, &format!("other numbers in row {row}"))
                })
            }
        }
    }
}

impl<T: Element> GradientOutputs<'_, T> {
    fn check(&self, operation: &'static str, saved: &Saved<T>) -> Result<()> {
        let (rows, steps, sizes) = saved.dims();
        let gates = saved.kind().gates() * sizes.hidden;
        let lstm = saved.kind() == crate::CellKind::Lstm;
        shape::absent(operation, "dw_hr", self.dw_hr.is_some() && !sizes.projected)?;
        shape::absent(operation, "dc0", self.dc0.is_some() && !lstm)?;
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
        let (saved, plan) = (self.saved, &self.saved.plan);
        let transposed = transposed(&saved.weights.packed, self.operation)?;
        let window = Histories::window::<C>(plan, saved.weights.sizes(), saved.memory())?;
        let between = Between::new::<C>(saved)?;
        let mut totals = Totals::new::<C>(saved, self.threads)?;
        for (number, span) in plan.spans.iter().enumerate().rev() {
            let arrays = self.arrays(&between);
            let steps = Steps { cell, saved, number, window: &window, threads: self.threads };
            // SAFETY: the later span left its gradients, and nobody else works on them.
            unsafe { between.take_over(saved, span) };
            steps.again(self.upstream.x.as_ref())?;
            steps.backward(transposed, &arrays)?;
            // SAFETY: the gradients of the span's gates are complete, and `dx` was checked.
            let dx = unsafe {
                input_gradients::<T, C>(saved, &transposed.input, &between, span, arrays.dx)
            };
            totals.add::<C>(span, &between, &window, &mut self.outputs, dx)?;
        }
        totals.finish::<C>(&mut self.outputs);
        Ok(())
    }
}

impl<T: Element> Backward<'_, '_, '_, T> {
    fn arrays<'s>(&mut self, between: &'s Between<T>) -> Arrays<'s, T> {
        Arrays {
            dy: self.upstream.dy.as_ref().map(View::of3),
            dh_n: self.upstream.dh_n.as_ref().map(View::of2),
            dc_n: self.upstream.dc_n.as_ref().map(View::of2),
            dx: self.outputs.dx.as_mut().map(View::of_mut3),
            dh0: View::of_mut2(&mut self.outputs.dh0),
            dc0: self.outputs.dc0.as_mut().map(View::of_mut2),
            between,
        }
    }
}

/// All rows in one span.
struct Steps<'a, T: Element, C> {
    cell: C,
    saved: &'a Saved<T>,
    number: usize,
    window: &'a Histories<T>,
    threads: usize,
}

impl<T: Element, C: Cell<T>> Steps<'_, T, C> {
    fn span(&self) -> Range<usize> {
        self.saved.plan.spans[self.number].clone()
    }

    fn places(&self) -> Places<T> {
        let (saved, sizes) = (self.saved, self.saved.weights.sizes());
        let (history, first) = match saved.memory() {
            Memory::Keep => (&saved.history, 0),
            Memory::Low => (self.window, saved.plan.offset(self.span().start)),
        };
        Places::saved::<C>(history, first, saved.plan.rows.len(), sizes)
    }

    /// Runs forward again where little was kept, and `x` was given: the same sums, so the same bits.
    fn again(&self, x: Option<&ArrayView3<'_, T>>) -> Result<()> {
        let (saved, places, steps) = (self.saved, self.places(), self.span());
        let Some(x) = x else { return Ok(()) };
        let inputs = Inputs { x: View::of3(x), reverse: saved.reverse };
        let (plan, packed) = (&saved.plan, &*saved.weights.packed);
        let checkpoints = Checkpoints { history: &saved.history, plan };
        // SAFETY: forward wrote the checkpoint; nobody else has the window.
        unsafe { checkpoints.read(self.number, &(0..plan.rows.len()), &places) };
        let (cell, arrays) = (self.cell, None);
        forward::Steps { cell, packed, plan, inputs, arrays, places, steps }.run(self.threads)
    }

    fn backward(&self, transposed: &Transposed<T>, arrays: &Arrays<'_, T>) -> Result<()> {
        let (plan, packed) = (&self.saved.plan, &self.saved.weights.packed);
        match team_size(plan.rows.len(), packed, self.threads, ROWS_TOGETHER) {
            Some(team) => self.together(transposed, arrays, team),
            None => self.apart(transposed, arrays),
        }
    }

    /// Each thread takes rows of its own through time.
    fn apart(&self, transposed: &Transposed<T>, arrays: &Arrays<'_, T>) -> Result<()> {
        let (saved, span) = (self.saved, self.span());
        let n = part_count(saved.plan.rows.len(), self.threads);
        let parts = saved.plan.parts(&span, n)?;
        let rows = parts.iter().map(Range::len).max().unwrap_or(0);
        let layout = |start| Layout::new(start, saved, rows);
        let run = |start: *mut T, part: Part, board: &Board| {
            let (layout, member) = (layout(Some(start)).1, &Member::alone());
            self.part(transposed, arrays, part, span.start, layout, member, Some(board));
        };
        board::run(parts, span.end, self.threads, layout(None).0, run)
    }

    /// The threads, or the only one, take every step together.
    fn together(
        &self, transposed: &Transposed<T>, arrays: &Arrays<'_, T>, threads: usize,
    ) -> Result<()> {
        let all = self.saved.plan.rows.len();
        let layout = |start| Layout::new(start, self.saved, all);
        let rounds = Rounds::new(&self.saved.weights.packed, self.span(), all);
        let count = rounds.count();
        team::run_with(threads, count, layout, |member, turn, layout| {
            let steps = rounds.steps(&(count - turn.end..count - turn.start));
            let part = Part { rows: 0..all, step: steps.end };
            self.part(transposed, arrays, part, steps.start, layout, member, None);
        })
    }

    /// From the part's step back to `end`.
    #[expect(clippy::too_many_arguments, reason = "what one thread works on and with")]
    fn part(
        &self, transposed: &Transposed<T>, arrays: &Arrays<'_, T>, part: Part, end: usize,
        layout: Layout<T>, member: &Member<'_>, board: Option<&Board>,
    ) {
        let (cell, saved, span, places) = (self.cell, self.saved, self.span(), self.places());
        let run =
            Run { cell, saved, transposed, part, end, arrays, places, layout, span, member, board };
        T::dispatch(saved.weights.packed.isa, run);
    }
}
