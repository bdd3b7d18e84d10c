//! The memory of backward: what flows from one span of time to the span before it and to the
//! gradients of the weights, and a thread's own.

use std::ops::Range;

use crate::buffer::{Buffer, Parts};
use crate::cells::Cell;
use crate::error::Result;
use crate::kernel::apart;
use crate::kernel::panel_width;
use crate::sequence::saved::{Saved, rows_of};
use crate::sequence::space::groups_at_once;
use crate::simd::Element;
use crate::view::View;

/// The caller's arrays, and what is left for the gradients of the weights.
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
    /// Gradients of the gates, `(window rows, GRADIENTS * H)`; the first ones are those of the
    /// span's first step.
    pub gates: Buffer<T>,
    /// Elements from a row of them to the next.
    pub gates_row: usize,
    /// `(window rows, P)`, projected LSTM only
    pub projected: Buffer<T>,
    /// `(B, H)`, for a cell that has a state `c`
    pub dc: Buffer<T>,
    /// `(B, H)`, for a cell in which part of the gradient flows without a product
    pub carry: Buffer<T>,
}

impl<T: Element> Between<T> {
    pub fn new<C: Cell<T>>(saved: &Saved<T>) -> Result<Self> {
        let (plan, sizes) = (&saved.plan, saved.weights.sizes());
        let reserve = |rows, width| rows_of(rows, width, "gradients of the gates");
        let when = |needed: bool, width: usize| Some(if needed { width } else { 0 });
        let gates_row = apart::<T>(C::GRADIENTS.saturating_mul(sizes.hidden));
        Ok(Self {
            gates: reserve(plan.window_rows(), Some(gates_row))?,
            gates_row,
            projected: reserve(plan.window_rows(), when(sizes.projected, sizes.h_row::<T>()))?,
            dc: reserve(plan.rows.len(), when(C::CELL_STATE, sizes.hidden))?,
            carry: reserve(plan.rows.len(), when(C::CARRY, sizes.hidden))?,
        })
    }

    /// The first stage of a span's last step multiplies what the later span left for its first,
    /// which lies where this span's first step goes: it is moved behind the span.
    ///
    /// # Safety
    /// The later span is complete, and nobody else uses the window.
    pub unsafe fn take_over(&self, saved: &Saved<T>, span: &Range<usize>) {
        let row = self.gates_row;
        let to = self.gates.ptr().wrapping_add(saved.plan.rows_of(span) * row);
        // SAFETY: the window has room for one step behind the span.
        unsafe { std::ptr::copy(self.gates.ptr(), to, saved.plan.count(span.end) * row) };
    }
}

/// One thread's memory.
#[derive(Clone, Copy)]
pub(super) struct Layout<T> {
    pub sums: *mut T,
    pub zeros: *mut T,
    pub groups: usize,
    pub sums_row: usize,
}

// SAFETY: places only; `Run` says who touches what.
unsafe impl<T: Element> Sync for Layout<T> {}

impl<T: Element> Layout<T> {
    /// For parts of up to `rows` rows; at `start`, or only measured.
    pub fn new(start: Option<*mut T>, saved: &Saved<T>, rows: usize) -> (usize, Self) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let (sizes, width) =
            (saved.weights.sizes(), panel_width(saved.weights.packed.isa.lanes::<T>()));
        let all = sizes.hidden.max(sizes.output).div_ceil(width);
        let groups = groups_at_once::<T>(rows, 1, width, all);
        let layout = Self {
            sums: parts.take(rows.saturating_mul(groups * width)),
            zeros: parts.take(groups * width),
            groups,
            sums_row: groups * width,
        };
        (parts.used(), layout)
    }
}
