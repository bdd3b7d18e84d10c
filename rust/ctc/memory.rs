//! The memory of a row of the lattice: one piece, cut into lines.

use crate::log_space::padded;

/// States that a path may skip over or come from beside its own.
pub(super) const REACH: usize = 2;

/// Sizes of the memory of a row.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub steps: usize,
    /// The length of a line of classes.
    pub classes: usize,
    /// The length of a line of states, and with the states that a path may reach beyond it.
    pub states: usize,
    pub reach: usize,
}

impl Sizes {
    pub fn new(steps: usize, classes: usize, labels: usize) -> Self {
        let states = padded(2 * labels + 1);
        Self { steps, classes: padded(classes), states, reach: states + REACH }
    }

    /// How many numbers a row needs.
    pub fn memory(self) -> usize {
        let lines = self.steps.saturating_mul(2 * self.reach + 1);
        lines.saturating_add(self.classes + 3 * self.states + 3 * self.reach)
    }
}

/// What is kept of a row.
pub(super) struct Memory<'m> {
    /// `T` lines: `a_t`, behind `REACH` zeros' logarithms.
    pub paths: &'m mut [f64],
    /// `T` lines: `sum_t`, 0 where it is minus infinity, and `REACH` more.
    pub sums: &'m mut [f64],
    /// `sum of e^(z - largest z)` at each step.
    pub totals: &'m mut [f64],
    pub classes: &'m mut [f64],
    /// `ln p` of the states' labels.
    pub labels: &'m mut [f64],
    /// The largest of the terms of `sum_t`, and the sum relative to it.
    pub largest: &'m mut [f64],
    pub relative: &'m mut [f64],
    /// 0 where two states before is a way to come from, else minus infinity.
    pub skips: &'m mut [f64],
    pub shares: &'m mut [f64],
    pub later: &'m mut [f64],
}

impl<'m> Memory<'m> {
    pub fn cut(memory: &'m mut [f64], s: Sizes) -> Self {
        let mut rest = memory;
        let mut take = |n: usize| {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(n);
            rest = behind;
            part
        };
        Self {
            paths: take(s.steps * s.reach),
            sums: take(s.steps * s.reach),
            totals: take(s.steps),
            classes: take(s.classes),
            labels: take(s.states),
            largest: take(s.states),
            relative: take(s.states),
            skips: take(s.reach),
            shares: take(s.reach),
            later: take(s.reach),
        }
    }
}
