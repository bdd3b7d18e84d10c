//! What forward keeps for backward, and where a step's rows lie in it.

use crate::buffer::{Buffer, Parts, size};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::sequence::plan::{Plan, Task};
use crate::sequence::weights::Weights;
use crate::shape::Sizes;
use crate::simd::Element;

/// What one forward call kept: an immutable private copy, for any number of backward calls.
///
/// Changing `x` or the weights after forward changes nothing here.
pub struct Saved<T: Element> {
    pub(super) weights: Weights<T>,
    pub(super) plan: Plan,
    pub(super) steps: usize,
    pub(super) reverse: bool,
    pub(super) memory: Memory<T>,
}

impl<T: Element> Saved<T> {
    /// B, T and the layer's sizes.
    pub fn dims(&self) -> (usize, usize, Sizes) {
        (self.plan.rows, self.steps, self.weights.sizes())
    }

    /// The cell that ran.
    pub fn kind(&self) -> crate::CellKind {
        self.weights.kind()
    }

    /// Which of `b_ih` and `b_hh` were given.
    pub fn biases(&self) -> [bool; 2] {
        self.weights.packed.biases
    }

    /// Bytes that it holds, without the weights.
    pub fn bytes(&self) -> usize {
        let m = &self.memory;
        let all = [&m.x, &m.h, &m.c, &m.kept, &m.auxiliary];
        all.iter().map(|buffer| buffer.len() * size_of::<T>()).sum()
    }
}

/// Histories of all step rows; states have one row more for each row of the batch.
pub(super) struct Memory<T> {
    pub x: Buffer<T>,
    pub h: Buffer<T>,
    pub c: Buffer<T>,
    pub kept: Buffer<T>,
    pub auxiliary: Buffer<T>,
}

impl<T: Element> Memory<T> {
    pub fn new<C: Cell<T>>(plan: &Plan, sizes: Sizes) -> Result<Self> {
        let purpose = "what backward needs";
        let reserve = |rows: usize, width: Option<usize>| {
            let len = width.and_then(|width| size(&[rows, width]));
            Buffer::new(len.ok_or(Error::Memory { purpose, bytes: None })?, purpose)
        };
        let states = plan.step_rows + plan.rows;
        let when = |needed: bool, width: usize| if needed { Some(width) } else { Some(0) };
        Ok(Self {
            x: reserve(plan.step_rows, Some(sizes.input))?,
            h: reserve(states, Some(sizes.output))?,
            c: reserve(states, when(C::CELL_STATE, sizes.hidden))?,
            kept: reserve(plan.step_rows, size(&[C::KEPT, sizes.hidden]))?,
            auxiliary: reserve(plan.step_rows, when(has_auxiliary::<T, C>(), sizes.hidden))?,
        })
    }
}

pub(super) fn has_auxiliary<T: Element, C: Cell<T>>() -> bool {
    C::FORWARD.iter().any(|stage| stage.gives_auxiliary)
}

/// The memory of one task: its part of the histories, or two alternating rows of states.
#[derive(Clone, Copy)]
pub(super) struct Places<T> {
    /// Null when nothing is kept.
    x: *mut T,
    h: *mut T,
    c: *mut T,
    kept: *mut T,
    auxiliary: *mut T,
    keeps: bool,
    sizes: Sizes,
    kept_width: usize,
    rows: usize,
}

impl<T: Element> Places<T> {
    /// Inside the histories.
    pub fn saved<C: Cell<T>>(memory: &Memory<T>, task: &Task, sizes: Sizes) -> Self {
        let states = task.first_state();
        let at = |buffer: &Buffer<T>, row: usize, width: usize| {
            buffer.ptr().wrapping_add(if buffer.len() > 0 { row * width } else { 0 })
        };
        let kept_width = C::KEPT * sizes.hidden;
        Self {
            x: at(&memory.x, task.first_step_row, sizes.input),
            h: at(&memory.h, states, sizes.output),
            c: at(&memory.c, states, sizes.hidden),
            kept: at(&memory.kept, task.first_step_row, kept_width),
            auxiliary: at(&memory.auxiliary, task.first_step_row, sizes.hidden),
            keeps: true,
            sizes,
            kept_width,
            rows: task.rows.len(),
        }
    }

    /// In a workspace: only what the next step needs.
    pub fn passing<C: Cell<T>>(parts: &mut Parts<T>, rows: usize, sizes: Sizes) -> Self {
        let reread = C::FORWARD.iter().any(|stage| !stage.reads_kept.is_empty());
        let kept_width = if reread { C::KEPT * sizes.hidden } else { 0 };
        let when = |needed: bool| if needed { rows.saturating_mul(sizes.hidden) } else { 0 };
        Self {
            x: std::ptr::null_mut(),
            h: parts.take(rows.saturating_mul(2 * sizes.output)),
            c: parts.take(when(C::CELL_STATE)),
            kept: parts.take(rows.saturating_mul(kept_width)),
            auxiliary: parts.take(when(has_auxiliary::<T, C>())),
            keeps: false,
            sizes,
            kept_width,
            rows,
        }
    }

    /// Rows of `x` of the steps from `s` on, if they are kept.
    pub fn x(&self, task: &Task, s: usize) -> Option<*mut T> {
        self.keeps.then(|| self.x.wrapping_add(task.offset(s) * self.sizes.input))
    }

    /// Whether gates are kept, for backward or for the next stage.
    pub fn keeps_gates(&self) -> bool {
        self.keeps || self.kept_width > 0
    }

    fn state(&self, task: &Task, s: usize, after: bool) -> usize {
        match (self.keeps, after) {
            (true, false) => task.previous_state(0, s),
            (true, true) => task.next_state(s),
            (false, _) => (s + usize::from(after)) % 2 * self.rows,
        }
    }

    /// `h` before step `s`, row 0.
    pub fn h_before(&self, task: &Task, s: usize) -> *mut T {
        self.h.wrapping_add(self.state(task, s, false) * self.sizes.output)
    }

    /// `h` after step `s`, row 0.
    pub fn h_after(&self, task: &Task, s: usize) -> *mut T {
        self.h.wrapping_add(self.state(task, s, true) * self.sizes.output)
    }

    /// `c` before step `s`, row 0.
    pub fn c_before(&self, task: &Task, s: usize) -> *mut T {
        let row = if self.keeps { self.state(task, s, false) } else { 0 };
        self.c.wrapping_add(row * self.sizes.hidden)
    }

    /// `c` after step `s`, row 0: the same place where nothing is kept.
    pub fn c_after(&self, task: &Task, s: usize) -> *mut T {
        let row = if self.keeps { self.state(task, s, true) } else { 0 };
        self.c.wrapping_add(row * self.sizes.hidden)
    }

    /// The kept values of step `s`, row 0.
    pub fn kept(&self, task: &Task, s: usize) -> *mut T {
        let row = if self.keeps { task.offset(s) } else { 0 };
        self.kept.wrapping_add(row * self.kept_width)
    }

    /// The auxiliary rows of step `s`, row 0.
    pub fn auxiliary(&self, task: &Task, s: usize) -> *mut T {
        let row = if self.keeps { task.offset(s) } else { 0 };
        self.auxiliary.wrapping_add(row * self.sizes.hidden)
    }
}
