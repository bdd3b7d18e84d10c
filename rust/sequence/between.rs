//! The memory of backward: what flows from one span of time to the span before it and to the
//! gradients of the weights, and a task's share of it.

use crate::buffer::{Buffer, Parts, size};
use crate::cells::Cell;
use crate::error::Result;
use crate::kernel::panel_width;
use crate::sequence::plan::Task;
use crate::sequence::saved::{Saved, rows_of};
use crate::sequence::time_loop::{CHUNK_ROWS, groups_at_once};
use crate::simd::Element;
use crate::view::View;

/// The caller's arrays, and what the tasks leave for the gradients of the weights.
pub(super) struct Arrays<'a, T> {
    pub dy: Option<View<T>>,
    pub dh_n: Option<View<T>>,
    pub dc_n: Option<View<T>>,
    pub dx: Option<View<T>>,
    pub dh0: View<T>,
    pub dc0: Option<View<T>>,
    pub between: &'a Between<T>,
}

/// What a span leaves for the gradients of the weights and for the span before it.
pub(super) struct Between<T> {
    /// Gradients of the gates, `(window rows, GRADIENTS * H)`; a task's first ones are those of the
    /// span's first step.
    pub gates: Buffer<T>,
    /// `(window rows, P)`, projected LSTM only
    pub projected: Buffer<T>,
    /// `(B, H)`, for a cell that has a state `c`
    dc: Buffer<T>,
    /// `(B, H)`, for a cell in which part of the gradient flows without a product
    carry: Buffer<T>,
}

impl<T: Element> Between<T> {
    pub fn new<C: Cell<T>>(saved: &Saved<T>) -> Result<Self> {
        let (plan, sizes) = (&saved.plan, saved.weights.sizes());
        let reserve = |rows, width| rows_of(rows, width, "gradients of the gates");
        let when = |needed: bool, width: usize| Some(if needed { width } else { 0 });
        Ok(Self {
            gates: reserve(plan.window_rows, size(&[C::GRADIENTS, sizes.hidden]))?,
            projected: reserve(plan.window_rows, when(sizes.projected, sizes.output))?,
            dc: reserve(plan.rows, when(C::CELL_STATE, sizes.hidden))?,
            carry: reserve(plan.rows, when(C::CARRY, sizes.hidden))?,
        })
    }
}

/// A task's memory.
#[derive(Clone, Copy)]
pub(super) struct Layout<T> {
    /// The row of this task's window for the first step of the span.
    pub window: *mut T,
    pub projected: *mut T,
    pub dc: *mut T,
    pub carry: *mut T,
    pub sums: *mut T,
    pub zeros: *mut T,
    pub groups: usize,
    pub sums_row: usize,
    /// A chunk of `dx`, rows of whole panels.
    pub dx: *mut T,
    pub dx_row: usize,
}

impl<T: Element> Layout<T> {
    pub fn new<C: Cell<T>>(
        start: Option<*mut T>, saved: &Saved<T>, task: &Task, arrays: &Arrays<'_, T>,
    ) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let (sizes, rows) = (saved.weights.sizes(), task.rows.len());
        let width = panel_width(saved.weights.packed.isa.lanes::<T>());
        let panels = |n: usize| n.div_ceil(width);
        let all = panels(sizes.hidden.max(sizes.output));
        let groups = groups_at_once::<T>(rows, width, all);
        let dx_row = panels(sizes.input) * width;
        let chunk =
            if arrays.dx.is_some() { rows.max(CHUNK_ROWS.min(task.step_rows())) } else { 0 };
        let (first, between) = (task.first_window_row, arrays.between);
        let state = |buffer: &Buffer<T>| buffer.ptr().wrapping_add(task.first_row * sizes.hidden);
        let projected = if sizes.projected { first * sizes.output } else { 0 };
        let layout = Self {
            window: between.gates.ptr().wrapping_add(first * C::GRADIENTS * sizes.hidden),
            projected: between.projected.ptr().wrapping_add(projected),
            dc: state(&between.dc),
            carry: state(&between.carry),
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
