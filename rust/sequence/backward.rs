//! The gradients of a forward call.

use ndarray::{
    Array1, Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3,
};

use crate::buffer::{Buffer, size, with_workspace};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::parallel;
use crate::sequence::bptt::{Arrays, Layout, Run};
use crate::sequence::forward::array;
use crate::sequence::saved::Saved;
use crate::sequence::weights::{Function, transposed};
use crate::sequence::{WithCell, gradients, with_cell};
use crate::shape;
use crate::simd::Element;
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
    /// [`Error::Argument`] for shapes that do not fit, [`Error::Memory`].
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
