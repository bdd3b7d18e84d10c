//! `dx`: the product of the gates' gradients of a span with `w_ih`, split over blocks of step rows.

use std::ops::Range;

use crate::buffer::{Parts, with_workspace};
use crate::cells::Cell;
use crate::error::Result;
use crate::kernel::{Blocks, Init, Product, Rows, is_narrow, panel_width};
use crate::panels::{Columns, Panels, pack_line};
use crate::sequence::between::Between;
use crate::sequence::saved::Saved;
use crate::sequence::space::CHUNK_ROWS;
use crate::simd::{Element, Kernel, LINE, Lanes};
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
    let (width, isa) = (sizes.input, saved.weights.packed.isa);
    // A cache line of `dx` has several steps of few inputs, and one thread should write them.
    let steps = LINE / size_of::<T>() / width.max(1);
    let each = (steps * plan.count(span.start)).max(CHUNK_ROWS);
    let count = if dx.is_some() { n.div_ceil(each) } else { 0 };
    let run = move |i: usize| {
        let Some(dx) = dx else { return Ok(()) };
        let end = n.min((i + 1) * each);
        (i * each..end).step_by(CHUNK_ROWS).try_for_each(|start| {
            let rows = start..end.min(start + CHUNK_ROWS);
            let memory = |start: Option<*mut T>| {
                Workspace::new(start, rows.len(), panels, isa.lanes::<T>(), width)
            };
            with_workspace(memory(None).0, |start| {
                let memory = memory(Some(start)).1;
                let block = Block { saved, panels, gates, rows: rows.clone(), first, dx, memory };
                T::dispatch(isa, block);
            })
        })
    };
    (count, run)
}

/// A block's memory.
#[derive(Clone, Copy)]
struct Workspace<T> {
    /// Sums: a row for each step row, or a row for each input where these are few.
    out: *mut T,
    out_row: usize,
    /// As long as a row of sums.
    zeros: *mut T,
    /// Few inputs: the gates' gradients as panels, and a row of `dx`.
    gates: *mut T,
    row: *mut T,
}

impl<T: Element> Workspace<T> {
    fn new(
        start: Option<*mut T>, rows: usize, panels: &Panels<T>, lanes: usize, width: usize,
    ) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let (panel, few) = (panel_width(lanes), is_narrow(width, lanes));
        let out_row = if few { rows.next_multiple_of(panel) } else { panels.count * panel };
        let memory = Self {
            out: parts.take(if few { width } else { rows } * out_row),
            out_row,
            zeros: parts.take(out_row),
            gates: parts.take(if few { out_row * panels.k } else { 0 }),
            row: parts.take(if few { width } else { 0 }),
        };
        (parts.used(), memory)
    }
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
    memory: Workspace<T>,
}

impl<T: Element> Kernel<T> for Block<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let w = self.memory;
        // SAFETY: as `input_gradients` says; the memory was made for these rows.
        unsafe {
            let zeros = (0..w.out_row).step_by(L::N);
            zeros.for_each(|i| l.store(w.zeros.add(i), l.splat(T::default())));
            if is_narrow(self.width(), L::N) { self.columns(l) } else { self.rows(l) }
        }
    }
}

impl<T: Element> Block<'_, T> {
    fn width(&self) -> usize {
        self.saved.weights.sizes().input
    }

    /// `out = a * panels`
    #[inline(always)]
    unsafe fn product<L: Lanes<T>>(
        &self, l: L, m: usize, (a, transposed): (Rows<T>, bool), panels: *const T, count: usize,
    ) {
        let (w, k) = (self.memory, self.panels.k);
        let init = Init { start: w.zeros.cast_const(), row: 0, blocks: Blocks::DENSE };
        let (panel_stride, out_blocks) = (k * panel_width(L::N), Blocks::DENSE);
        let (out, out_row) = (w.out, w.out_row);
        // SAFETY: as `run` says.
        unsafe {
            Product {
                m,
                k,
                a,
                transposed,
                panels,
                panel_stride,
                count,
                init,
                out,
                out_row,
                out_blocks,
            }
            .run_on(l);
        }
    }

    /// Writes the step rows of the block into `dx`, each from the place where it is.
    #[inline(always)]
    unsafe fn write(&self, place: impl Fn(usize) -> *const T) {
        let plan = &self.saved.plan;
        let rows = self.first + self.rows.start..self.first + self.rows.end;
        let mut s = plan.step_of(rows.start);
        for (i, row) in rows.enumerate() {
            if row == plan.offset(s + 1) {
                s += 1;
            }
            let r = row - plan.offset(s);
            let t = plan.time(r, s, self.saved.reverse);
            // SAFETY: as `run` says; the caller vouches for the inputs of each row.
            unsafe { self.dx.write(plan.rows[r], t, self.width(), place(i)) };
        }
    }

    fn start(&self) -> *const T {
        self.gates.start.wrapping_add(self.rows.start * self.gates.row)
    }

    /// A row of sums for each step row.
    #[inline(always)]
    unsafe fn rows<L: Lanes<T>>(&self, l: L) {
        let (w, a) = (self.memory, Rows { start: self.start(), row: self.gates.row });
        // SAFETY: as `run` says.
        unsafe {
            self.product(l, self.rows.len(), (a, false), self.panels.start(0), self.panels.count);
            self.write(|i| w.out.add(i * w.out_row));
        }
    }

    /// A row of sums for each input: few inputs would fill little of a panel, and step rows fill it.
    #[inline(always)]
    unsafe fn columns<L: Lanes<T>>(&self, l: L) {
        let (w, k, width) = (self.memory, self.panels.k, panel_width(L::N));
        let (n, start, line) = (self.rows.len(), self.start(), self.gates.row);
        // SAFETY: as `run` says.
        unsafe {
            for i in (0..n).step_by(width) {
                let (from, to) = (start.add(i * line), w.gates.add(i * k));
                let lines = width.min(n - i);
                Columns { k, from, lines, line: line as isize, step: 1, to }.run(l);
            }
            // The one panel of `w_ih` has a row for each gate.
            let a = Rows { start: self.panels.start(0), row: width };
            self.product(l, self.width(), (a, true), w.gates, n.div_ceil(width));
            self.write(|i| {
                pack_line(w.out.add(i), w.out_row as isize, w.row, self.width(), self.width());
                w.row
            });
        }
    }
}
