//! `dx`: the product of the gates' gradients of a span with `w_ih`, split over blocks of step rows.

use std::ops::Range;

use crate::buffer::{Parts, with_workspace};
use crate::cells::Cell;
use crate::error::Result;
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::panels::Panels;
use crate::sequence::between::Between;
use crate::sequence::saved::Saved;
use crate::sequence::space::CHUNK_ROWS;
use crate::simd::{Element, Kernel, Lanes};
use crate::view::View;

/// `dx` of the steps of a span, if there is a place for it: how many tasks, and what runs one.
///
/// # Safety
/// While tasks run, `between` has the gradients of the span's gates, `dx` has a place for every step
/// row, and nobody else touches it.
pub(super) unsafe fn input_gradients<'a, T: Element, C: Cell<T>>(
    saved: &'a Saved<T>, panels: &'a Panels<T>, between: &Between<T>, span: &Range<usize>,
    dx: Option<View<T>>,
) -> (usize, impl Fn(usize) -> Result<()> + Sync + use<'a, T, C>) {
    let (plan, sizes) = (&saved.plan, saved.weights.sizes());
    let (first, n) = (plan.offset(span.start), plan.rows_of(span));
    let gates = between.gates.ptr().wrapping_add(C::INPUT_GRADIENTS * sizes.hidden).cast_const();
    let gates = Rows { start: gates, row: between.gates_row };
    let count = if dx.is_some() { n.div_ceil(CHUNK_ROWS) } else { 0 };
    let run = move |i: usize| {
        let Some(dx) = dx else { return Ok(()) };
        let rows = i * CHUNK_ROWS..n.min((i + 1) * CHUNK_ROWS);
        let memory = |start: Option<*mut T>| {
            let mut parts = start.map_or_else(Parts::measure, Parts::of);
            let row = panels.count * panel_width(saved.weights.packed.isa.lanes::<T>());
            let places = (parts.take(rows.len() * row), parts.take(row), row);
            (parts.used(), places)
        };
        with_workspace(memory(None).0, |start| {
            let memory = memory(Some(start)).1;
            let block = Block { saved, panels, gates, rows: rows.clone(), first, dx, memory };
            T::dispatch(saved.weights.packed.isa, block);
        })
    };
    (count, run)
}

/// Some step rows of the span.
struct Block<'a, T: Element> {
    saved: &'a Saved<T>,
    panels: &'a Panels<T>,
    gates: Rows<T>,
    rows: Range<usize>,
    /// Step rows before the span.
    first: usize,
    dx: View<T>,
    /// Rows of whole panels, one row of zeros, and the length of a row.
    memory: (*mut T, *mut T, usize),
}

impl<T: Element> Kernel<T> for Block<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (plan, (out, zeros, out_row)) = (&self.saved.plan, self.memory);
        let start = self.gates.start.wrapping_add(self.rows.start * self.gates.row);
        // SAFETY: as `input_gradients` says; the memory was made for these rows.
        unsafe {
            (0..out_row).step_by(L::N).for_each(|i| l.store(zeros.add(i), l.splat(T::default())));
            Product {
                m: self.rows.len(),
                k: self.panels.k,
                a: Rows { start, ..self.gates },
                panels: self.panels.start(0),
                panel_stride: self.panels.stride,
                count: self.panels.count,
                init: Init { start: zeros, row: 0, blocks: Blocks::DENSE },
                out,
                out_row,
                out_blocks: Blocks::DENSE,
            }
            .run_on(l);
            for i in 0..self.rows.len() {
                let row = self.first + self.rows.start + i;
                let s = plan.step_of(row);
                let r = row - plan.offset(s);
                let t = plan.time(r, s, self.saved.reverse);
                let width = self.saved.weights.sizes().input;
                self.dx.write(plan.rows[r], t, width, out.add(i * out_row));
            }
        }
    }
}
