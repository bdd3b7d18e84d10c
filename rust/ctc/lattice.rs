//! One row of the loss: the lattice of all alignments of its labels with its steps.
//!
//! State `2k` waits with the blank before label `k`, state `2k + 1` is at label `k`. From one step
//! to the next a path stays, goes on by one state, or by two past a blank between different labels:
//!
//! ```text
//! sum_t(s)   = ln(e^a_(t-1)(s) + e^a_(t-1)(s-1) + [may skip to s] e^a_(t-1)(s-2))
//! a_t(s)     = sum_t(s) + ln p_t(label of s)
//! share_t(s) = share_(t+1)(s)   e^(a_t(s) - sum_(t+1)(s))
//!            + share_(t+1)(s+1) e^(a_t(s) - sum_(t+1)(s+1)) + ...
//! ```
//!
//! The share of a state is its part of the probability of all paths at that step: what Graves (2006)
//! gets from a second, backward pass in logarithms follows from the first by the chain rule, with
//! no logarithm more. Each `a_t` is kept relative to its largest, so differences lose nothing in
//! long sequences.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::memory::{Memory, REACH, Sizes};
use crate::error::Result;
use crate::log_space::{
    ZERO, exp, exponentials, largest, ln, load, or_zero, read, store, with_zeros,
};
use crate::simd::{Element, Isa, Kernel, Lanes};

/// A row of the batch, cut to its length.
pub(super) struct Row<'a, T> {
    /// (T, V)
    pub logits: ArrayView2<'a, T>,
    pub labels: &'a [usize],
    pub blank: usize,
    /// What the gradient is multiplied by.
    pub weight: f64,
    /// An infinite loss becomes zero, and so does its gradient.
    pub zero_infinity: bool,
    /// (T, V)
    pub gradient: Option<ArrayViewMut2<'a, T>>,
}

impl<T: Element> Row<'_, T> {
    /// Writes the gradient and returns the loss.
    pub fn run(self, isa: Isa) -> Result<f64> {
        let (steps, classes) = self.logits.dim();
        let sizes = Sizes::new(steps, classes, self.labels.len());
        let len = sizes.memory();
        with_zeros(len, |memory| {
            let lattice = Lattice { sizes, memory: Memory::cut(memory, sizes), row: self };
            <f64 as Element>::dispatch(isa, lattice)
        })
    }
}

struct Lattice<'a, 'm, T> {
    row: Row<'a, T>,
    sizes: Sizes,
    memory: Memory<'m>,
}

impl<T: Element> Kernel<f64> for Lattice<'_, '_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes<f64>>(mut self, l: L) -> f64 {
        self.mark_skips();
        let log_probability = self.forward(l);
        let mut loss = 0.0 - log_probability;
        let undefined = if loss == f64::INFINITY && self.row.zero_infinity {
            loss = 0.0;
            0.0
        } else {
            f64::NAN
        };
        match self.row.gradient.take() {
            Some(gradient) if log_probability.is_finite() => self.backward(l, gradient),
            Some(mut gradient) => gradient.fill(T::from_f64(undefined)),
            None => {}
        }
        loss
    }
}

impl<T: Element> Lattice<'_, '_, T> {
    fn count(&self) -> usize {
        2 * self.row.labels.len() + 1
    }

    fn label(&self, state: usize) -> usize {
        if state.is_multiple_of(2) { self.row.blank } else { self.row.labels[state / 2] }
    }

    fn mark_skips(&mut self) {
        self.memory.skips.fill(ZERO);
        for (k, pair) in self.row.labels.windows(2).enumerate() {
            if pair[0] != pair[1] {
                self.memory.skips[2 * k + 3] = 0.0;
            }
        }
    }

    /// The logarithm of the probability of all paths; minus infinity where there are none.
    #[inline(always)]
    fn forward<L: Lanes<f64>>(&mut self, l: L) -> f64 {
        let mut offsets = 0.0;
        for t in 0..self.sizes.steps {
            if !self.probabilities(l, t) {
                return f64::NAN;
            }
            self.sum_paths(l, t);
            let path = &mut self.memory.paths[t * self.sizes.reach..][..self.sizes.reach];
            let most = largest(&path[REACH..]);
            if most == ZERO {
                // Later steps may hold NaN all the same.
                return if self.has_nan_from(l, t + 1) { f64::NAN } else { ZERO };
            }
            path.iter_mut().for_each(|a| *a -= most);
            offsets += most;
        }
        offsets + self.end()
    }

    #[inline(always)]
    fn has_nan_from<L: Lanes<f64>>(&mut self, l: L, first: usize) -> bool {
        (first..self.sizes.steps).any(|t| !self.probabilities(l, t))
    }

    /// `ln p` of the states' labels at step `t`, and `e^(z - largest z)` for the gradient; false
    /// where they are not numbers.
    #[inline(always)]
    fn probabilities<L: Lanes<f64>>(&mut self, l: L, t: usize) -> bool {
        let logits = self.row.logits.row(t);
        read(logits, self.memory.classes);
        for s in 0..self.count() {
            self.memory.labels[s] = self.memory.classes[self.label(s)];
        }
        let (most, total) = exponentials(l, self.memory.classes);
        let log_total = ln(total);
        let count = self.count();
        self.memory.labels[..count].iter_mut().for_each(|z| *z = (*z - most) - log_total);
        self.memory.labels[count..].fill(ZERO);
        self.memory.totals[t] = total;
        if let Some(gradient) = &mut self.row.gradient {
            let places = gradient.row_mut(t).into_iter().zip(&*self.memory.classes);
            places.for_each(|(to, &e)| *to = T::from_f64(e));
        }
        !total.is_nan()
    }

    /// `sum_t` and `a_t`, the latter not yet relative to its largest.
    #[inline(always)]
    fn sum_paths<L: Lanes<f64>>(&mut self, l: L, t: usize) {
        let (reach, states) = (self.sizes.reach, self.sizes.states);
        let m = &mut self.memory;
        let (before, path) = m.paths.split_at_mut(t * reach);
        let (path, sums) = (&mut path[..reach], &mut m.sums[t * reach..][..states]);
        if t == 0 {
            m.largest.fill(ZERO);
            m.largest[..REACH].fill(0.0);
            m.relative.fill(1.0);
        } else {
            let before = &before[(t - 1) * reach..];
            add_up(l, before, m.skips, m.largest, m.relative);
        }
        path[..REACH].fill(ZERO);
        let terms = m.largest.iter().zip(&*m.relative).zip(&*m.labels);
        for (((most, relative), label), (sum, a)) in
            terms.zip(sums.iter_mut().zip(&mut path[REACH..]))
        {
            let log = most + ln(*relative);
            *sum = if log == ZERO { 0.0 } else { log };
            *a = log + label;
        }
    }

    /// The states in which a path may end.
    fn ends(&self) -> std::ops::Range<usize> {
        self.count().saturating_sub(2)..self.count()
    }

    /// `ln` of the sum of all paths after the last step, relative to its largest `a`.
    fn end(&self) -> f64 {
        let Some(last) = self.sizes.steps.checked_sub(1) else {
            return if self.row.labels.is_empty() { 0.0 } else { ZERO };
        };
        let path = &self.memory.paths[last * self.sizes.reach + REACH..];
        let ends = &path[self.ends()];
        let most = ends.iter().fold(ZERO, |a, &b| if a < b { b } else { a });
        if most == ZERO {
            return ZERO;
        }
        // The states of no label but the blank end in one place alone.
        let less = ends.iter().fold(most, |a, &b| if b < a { b } else { a });
        let both = if ends.len() == 2 { libm::exp(less - most) } else { 0.0 };
        most + ln(1.0 + both)
    }

    /// `weight (p - shares of the labels)` at each step.
    #[inline(always)]
    fn backward<L: Lanes<f64>>(&mut self, l: L, mut gradient: ArrayViewMut2<'_, T>) {
        for t in (0..self.sizes.steps).rev() {
            if t + 1 == self.sizes.steps {
                self.last_shares(t);
            } else {
                std::mem::swap(&mut self.memory.shares, &mut self.memory.later);
                self.earlier_shares(l, t);
            }
            let factor = self.row.weight / self.memory.totals[t];
            let classes = &mut self.memory.classes;
            let mut row = gradient.row_mut(t);
            let pairs = classes.iter_mut().zip(&row);
            pairs.for_each(|(to, e)| *to = e.to_f64() * factor);
            for s in 0..self.count() {
                let label = self.label(s);
                self.memory.classes[label] -= self.row.weight * self.memory.shares[s];
            }
            let pairs = row.iter_mut().zip(&*self.memory.classes);
            pairs.for_each(|(to, &g)| *to = T::from_f64(g));
        }
    }

    fn last_shares(&mut self, t: usize) {
        let (end, ends) = (self.end(), self.ends());
        let path = &self.memory.paths[t * self.sizes.reach + REACH..];
        for s in ends {
            self.memory.shares[s] = libm::exp(path[s] - end);
        }
    }

    /// The shares at step `t` from those of the step after it.
    #[inline(always)]
    fn earlier_shares<L: Lanes<f64>>(&mut self, l: L, t: usize) {
        let (reach, m) = (self.sizes.reach, &mut self.memory);
        let path = &m.paths[t * reach + REACH..];
        let sums = &m.sums[(t + 1) * reach..];
        for s in (0..self.sizes.states).step_by(L::N) {
            let a = load(l, path, s);
            let skipping = l.add(a, load(l, m.skips, s + 2));
            let stay = share(l, a, sums, m.later, s);
            let next = share(l, a, sums, m.later, s + 1);
            let skip = share(l, skipping, sums, m.later, s + 2);
            store(l, m.shares, s, l.add(l.add(stay, next), skip));
        }
    }
}

// Functions, not closures: what is not sure to be inlined runs without the instruction set.

/// The part of the shares from state `to` on that came from states with these `a`.
#[inline(always)]
fn share<L: Lanes<f64>>(l: L, a: L::V, sums: &[f64], later: &[f64], to: usize) -> L::V {
    let part = exp(l, l.sub(a, load(l, sums, to)));
    l.mul(part, load(l, later, to))
}

/// `e^a(s) + e^a(s-1) + e^(a(s-2) + skips(s))` relative to the largest term.
#[inline(always)]
fn add_up<L: Lanes<f64>>(
    l: L, before: &[f64], skips: &[f64], largest: &mut [f64], relative: &mut [f64],
) {
    for s in (0..largest.len()).step_by(L::N) {
        let stay = load(l, before, s + 2);
        let next = load(l, before, s + 1);
        let skip = l.add(load(l, before, s), load(l, skips, s));
        let most = l.max(l.max(stay, next), skip);
        let from = or_zero(l, most);
        let stay = exp(l, l.sub(stay, from));
        let next = exp(l, l.sub(next, from));
        let skip = exp(l, l.sub(skip, from));
        store(l, largest, s, most);
        store(l, relative, s, l.add(l.add(stay, next), skip));
    }
}
