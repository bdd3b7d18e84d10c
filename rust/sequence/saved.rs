//! What forward keeps for backward, and where a step's rows lie in it.

use std::fmt;
use std::ops::Range;

use crate::buffer::{Buffer, Parts, size};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::sequence::checksums::Checksums;
use crate::sequence::plan::Plan;
use crate::sequence::weights::Weights;
use crate::shape::{self, Sizes};
use crate::simd::Element;

/// How much forward keeps for backward, and so how much backward has to do. Gradients have the same
/// bits either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// The inputs, the states and the gates of all steps: the fastest.
    #[default]
    Keep,
    /// The states of a few steps; backward reads the caller's inputs once more and runs the steps
    /// between them again. That takes as long as forward does.
    Low,
}

impl Memory {
    /// Refuses to keep little of nothing.
    pub(super) fn check(self, operation: &'static str, save: bool) -> Result<()> {
        match (self, save) {
            (Self::Low, false) => {
                let expected = "'keep' with save=False";
                Err(shape::refuse(operation, "memory", expected, "'low'".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// What one forward call kept: an immutable private copy, for any number of backward calls.
///
/// Changing the weights after forward changes nothing here, nor does changing `x`, unless it was
/// told to keep little: then backward is given `x` again and refuses another one.
pub struct Saved<T: Element> {
    pub(super) weights: Weights<T>,
    pub(super) plan: Plan,
    pub(super) steps: usize,
    pub(super) reverse: bool,
    /// Of the inputs, where little was kept; absent where they were kept too.
    pub(super) checksums: Option<Checksums>,
    pub(super) history: Histories<T>,
}

impl<T: Element> Saved<T> {
    /// B, T and the layer's sizes.
    pub fn dims(&self) -> (usize, usize, Sizes) {
        (self.plan.rows.len(), self.steps, self.weights.sizes())
    }

    /// The cell that ran.
    pub fn kind(&self) -> crate::CellKind {
        self.weights.kind()
    }

    /// Which of `b_ih` and `b_hh` were given.
    pub fn biases(&self) -> [bool; 2] {
        self.weights.packed.biases
    }

    /// How much was kept.
    pub(super) fn memory(&self) -> Memory {
        if self.checksums.is_some() { Memory::Low } else { Memory::Keep }
    }

    /// Bytes that it holds, without the weights.
    pub fn bytes(&self) -> usize {
        let m = &self.history;
        let all = [&m.x, &m.h, &m.c, &m.kept, &m.auxiliary];
        all.iter().map(|buffer| buffer.len() * size_of::<T>()).sum()
    }
}

impl<T: Element> fmt::Debug for Saved<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dims, bytes) = (self.dims(), self.bytes());
        f.debug_struct("Saved").field("dims", &dims).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// Rows for step rows and for states: of the whole sequence, or of one span at a time. States have
/// one row more for each row of the batch.
pub(super) struct Histories<T> {
    pub x: Buffer<T>,
    pub h: Buffer<T>,
    pub c: Buffer<T>,
    pub kept: Buffer<T>,
    pub auxiliary: Buffer<T>,
}

impl<T: Element> Histories<T> {
    /// For what forward keeps.
    pub fn whole<C: Cell<T>>(plan: &Plan, sizes: Sizes, memory: Memory) -> Result<Self> {
        let rows = plan.step_rows();
        let rows = match memory {
            Memory::Keep => [rows, rows + plan.rows.len(), rows],
            Memory::Low => [0, plan.checkpoint(plan.spans.len()), 0],
        };
        Self::new::<C>(rows, sizes, "what backward needs")
    }

    /// For what backward computes again of one span: nothing where all was kept.
    pub fn window<C: Cell<T>>(plan: &Plan, sizes: Sizes, memory: Memory) -> Result<Self> {
        let rows = plan.window_rows();
        let rows = match memory {
            Memory::Keep => [0; 3],
            Memory::Low => [rows, rows + plan.rows.len(), rows],
        };
        Self::new::<C>(rows, sizes, "a span of what backward needs")
    }

    fn new<C: Cell<T>>(
        [inputs, states, gates]: [usize; 3], sizes: Sizes, purpose: &'static str,
    ) -> Result<Self> {
        let reserve = |rows, width| rows_of(rows, width, purpose);
        let when = |needed: bool| Some(if needed { sizes.hidden } else { 0 });
        Ok(Self {
            x: reserve(inputs, Some(sizes.input))?,
            h: reserve(states, Some(sizes.h_row::<T>()))?,
            c: reserve(states, when(C::CELL_STATE))?,
            kept: reserve(gates, size(&[C::KEPT, sizes.hidden]))?,
            auxiliary: reserve(gates, when(has_auxiliary::<T, C>()))?,
        })
    }
}

/// A buffer for rows; `None` is a width that does not fit a number.
pub(super) fn rows_of<T: Element>(
    rows: usize, width: Option<usize>, purpose: &'static str,
) -> Result<Buffer<T>> {
    let len = width.and_then(|width| size(&[rows, width]));
    Buffer::new(len.ok_or(Error::Memory { purpose, bytes: None })?, purpose)
}

pub(super) fn has_auxiliary<T: Element, C: Cell<T>>() -> bool {
    C::FORWARD.iter().any(|stage| stage.gives_auxiliary)
}

/// The states before each span, for the rows that have its first step: where backward starts from
/// if nothing was kept beside.
///
/// Keeping every `h` as well, so that the gates of many steps are one large product instead of a
/// time loop, kept twice as much and was faster for a batch of one row only.
#[derive(Clone, Copy)]
pub(super) struct Checkpoints<'a, T> {
    pub history: &'a Histories<T>,
    pub plan: &'a Plan,
}

impl<T: Element> Checkpoints<'_, T> {
    /// Keeps the states of some rows before a span.
    ///
    /// # Safety
    /// `places` has the states before the span's first step, and nobody else has these rows.
    pub unsafe fn write(&self, span: usize, rows: &Range<usize>, places: &Places<T>) {
        for (kept, state, n) in self.states(span, rows, places) {
            // SAFETY: the caller vouches for the states; these rows' checkpoints are here.
            unsafe { std::ptr::copy_nonoverlapping(state.cast_const(), kept, n) };
        }
    }

    /// Puts the states before a span where its first step looks for them.
    ///
    /// # Safety
    /// Forward wrote the checkpoint; `places` has room for states, and nobody else has these rows.
    pub unsafe fn read(&self, span: usize, rows: &Range<usize>, places: &Places<T>) {
        for (kept, state, n) in self.states(span, rows, places) {
            // SAFETY: as in `write`.
            unsafe { std::ptr::copy_nonoverlapping(kept.cast_const(), state, n) };
        }
    }

    /// For `h` and `c`: where the checkpoint of the rows before a span is, where their states are,
    /// and how many elements.
    fn states(
        &self, span: usize, rows: &Range<usize>, places: &Places<T>,
    ) -> [(*mut T, *mut T, usize); 2] {
        let (plan, s) = (self.plan, self.plan.spans[span].start);
        let (first, count) = (plan.checkpoint(span) + rows.start, plan.count_in(rows, s));
        let part = |buffer: &Buffer<T>, width: usize, state: *mut T| {
            let width = if buffer.len() > 0 { width } else { 0 };
            let kept = buffer.ptr().wrapping_add(first * width);
            (kept, state.wrapping_add(rows.start * width), count * width)
        };
        let (h, c) = (&self.history.h, &self.history.c);
        let (output, hidden) = (places.sizes.h_row::<T>(), places.sizes.hidden);
        [part(h, output, places.h_before(plan, s)), part(c, hidden, places.c_before(plan, s))]
    }
}

/// The memory of all rows: histories, or two alternating rows of states for each.
#[derive(Clone, Copy)]
pub(super) struct Places<T> {
    /// Absent when the inputs are not kept.
    x: Option<*mut T>,
    h: *mut T,
    c: *mut T,
    kept: *mut T,
    auxiliary: *mut T,
    keeps: bool,
    sizes: Sizes,
    kept_width: usize,
    rows: usize,
}

// SAFETY: places only; who runs steps says who touches what.
unsafe impl<T: Element> Sync for Places<T> {}

impl<T: Element> Places<T> {
    /// Inside histories, in which the step row `first` is the first: not zero where they are a
    /// window.
    pub fn saved<C: Cell<T>>(
        history: &Histories<T>, first: usize, rows: usize, sizes: Sizes,
    ) -> Self {
        let at = |buffer: &Buffer<T>, width: usize| {
            buffer.ptr().wrapping_sub(if buffer.len() > 0 { first * width } else { 0 })
        };
        let kept_width = C::KEPT * sizes.hidden;
        Self {
            x: Some(at(&history.x, sizes.input)),
            h: at(&history.h, sizes.h_row::<T>()),
            c: at(&history.c, sizes.hidden),
            kept: at(&history.kept, kept_width),
            auxiliary: at(&history.auxiliary, sizes.hidden),
            keeps: true,
            sizes,
            kept_width,
            rows,
        }
    }

    /// In a workspace: only what the next step needs.
    pub fn passing<C: Cell<T>>(parts: &mut Parts<T>, rows: usize, sizes: Sizes) -> Self {
        let reread = C::FORWARD.iter().any(|stage| !stage.reads_kept.is_empty());
        let kept_width = if reread { C::KEPT * sizes.hidden } else { 0 };
        let when = |needed: bool| if needed { rows.saturating_mul(sizes.hidden) } else { 0 };
        Self {
            x: None,
            h: parts.take(rows.saturating_mul(2 * sizes.h_row::<T>())),
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
    pub fn x(&self, plan: &Plan, s: usize) -> Option<*mut T> {
        self.x.map(|x| x.wrapping_add(plan.offset(s) * self.sizes.input))
    }

    /// Whether gates are kept, for backward or for the next stage.
    pub fn keeps_gates(&self) -> bool {
        self.keeps || self.kept_width > 0
    }

    fn state(&self, plan: &Plan, s: usize, after: bool) -> usize {
        match (self.keeps, after) {
            (true, false) => plan.previous_state(s),
            (true, true) => plan.next_state(s),
            (false, _) => (s + usize::from(after)) % 2 * self.rows,
        }
    }

    /// `h` before step `s`, row 0.
    pub fn h_before(&self, plan: &Plan, s: usize) -> *mut T {
        self.h.wrapping_add(self.state(plan, s, false) * self.sizes.h_row::<T>())
    }

    /// `h` after step `s`, row 0.
    pub fn h_after(&self, plan: &Plan, s: usize) -> *mut T {
        self.h.wrapping_add(self.state(plan, s, true) * self.sizes.h_row::<T>())
    }

    /// `c` before step `s`, row 0.
    pub fn c_before(&self, plan: &Plan, s: usize) -> *mut T {
        let row = if self.keeps { self.state(plan, s, false) } else { 0 };
        self.c.wrapping_add(row * self.sizes.hidden)
    }

    /// `c` after step `s`, row 0: the same place where nothing is kept.
    pub fn c_after(&self, plan: &Plan, s: usize) -> *mut T {
        let row = if self.keeps { self.state(plan, s, true) } else { 0 };
        self.c.wrapping_add(row * self.sizes.hidden)
    }

    /// The kept values of step `s`, row 0.
    pub fn kept(&self, plan: &Plan, s: usize) -> *mut T {
        let row = if self.keeps { plan.offset(s) } else { 0 };
        self.kept.wrapping_add(row * self.kept_width)
    }

    /// The auxiliary rows of step `s`, row 0.
    pub fn auxiliary(&self, plan: &Plan, s: usize) -> *mut T {
        let row = if self.keeps { plan.offset(s) } else { 0 };
        self.auxiliary.wrapping_add(row * self.sizes.hidden)
    }
}
