//! One row: the forward algorithm, and the probabilities of tags that follow from it.
//!
//! ```text
//! sum_t(j)      = ln(sum over i of e^(a_(t-1)(i) + transitions(i, j)))
//! a_t(j)        = sum_t(j) + emissions_t(j)
//! pair_t(i, j)  = share_(t+1)(j) e^(a_t(i) + transitions(i, j) - sum_(t+1)(j))
//! share_t(i)    = sum over j of pair_t(i, j)
//! ```
//!
//! A share is the probability of a tag at a step, a pair that of two neighbours: the gradients of
//! `ln Z` with respect to emissions and transitions, by the chain rule from the last step to the
//! first. Each `a_t` is kept relative to its largest, so differences lose nothing in long
//! sequences.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use super::batch::{Model, area};
use crate::chunks::zeros;
use crate::error::Result;
use crate::log_space::{
    ZERO, exp, largest, ln, load, log_sum, or_zero, read, store, sum, with_zeros,
};
use crate::simd::{Element, Isa, Kernel, Lanes};

/// A row of the batch, cut to its length.
pub(super) struct Row<'a, T> {
    pub model: &'a Model,
    /// (T, K)
    pub emissions: ArrayView2<'a, T>,
    /// (T,)
    pub tags: Option<&'a [usize]>,
    /// What gradients are multiplied by.
    pub weight: f64,
}

/// Gradients of what all rows share, as the model's lines.
pub(super) struct Sums {
    pub width: usize,
    pub transitions: Vec<f64>,
    pub start: Vec<f64>,
    pub end: Vec<f64>,
}

impl Sums {
    pub fn new(model: &Model) -> Result<Self> {
        let (width, purpose) = (model.width, "gradients of the transitions");
        Ok(Self {
            width,
            transitions: zeros(area(model.tags, width, purpose)?, purpose)?,
            start: zeros(width, purpose)?,
            end: zeros(width, purpose)?,
        })
    }

    fn parts(&mut self) -> [&mut [f64]; 3] {
        [&mut self.transitions, &mut self.start, &mut self.end]
    }

    pub fn add(&mut self, other: &Self) {
        let others = [&other.transitions, &other.start, &other.end];
        for (to, from) in self.parts().into_iter().zip(others) {
            to.iter_mut().zip(from).for_each(|(to, x)| *to += x);
        }
    }

    fn make_undefined(&mut self) {
        self.parts().into_iter().for_each(|part| part.fill(f64::NAN));
    }
}

/// Where a row's gradients go: its own (all T, K), and those that it shares.
type Places<'a, T> = Option<(ArrayViewMut2<'a, T>, &'a mut Sums)>;

impl<T: Element> Row<'_, T> {
    /// Writes and adds up the gradients and returns the loss.
    pub fn run(self, isa: Isa, places: Places<'_, T>) -> Result<f64> {
        let (steps, width) = (self.emissions.nrows(), self.model.width);
        let places = places.map(|(gradient, sums)| {
            let (inside, mut behind) = gradient.split_at(Axis(0), steps);
            behind.fill(T::default());
            (inside, sums)
        });
        if steps == 0 {
            return Ok(0.0);
        }
        let len = steps.saturating_mul(2).saturating_add(5).saturating_mul(width);
        with_zeros(len, |memory| {
            let (paths, rest) = memory.split_at_mut(steps * width);
            let (sums, rest) = rest.split_at_mut(steps * width);
            let mut rest = rest.chunks_exact_mut(width);
            let [line, most, relative, shares, later] =
                std::array::from_fn(|_| rest.next().unwrap_or_default());
            let memory = Memory { paths, sums, line, most, relative, shares, later };
            <f64 as Element>::dispatch(isa, Chain { row: self, memory, places })
        })
    }
}

struct Memory<'m> {
    /// `T` lines: `a_t`.
    paths: &'m mut [f64],
    /// `T` lines: `sum_t`, 0 where it is minus infinity.
    sums: &'m mut [f64],
    /// The emissions of a step, or what takes no more than a line.
    line: &'m mut [f64],
    /// The largest of the terms of `sum_t`, and the sum relative to it.
    most: &'m mut [f64],
    relative: &'m mut [f64],
    shares: &'m mut [f64],
    later: &'m mut [f64],
}

struct Chain<'a, 'm, 'p, T> {
    row: Row<'a, T>,
    memory: Memory<'m>,
    places: Places<'p, T>,
}

impl<T: Element> Kernel<f64> for Chain<'_, '_, '_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes<f64>>(mut self, l: L) -> f64 {
        let offsets = self.forward(l);
        let end = self.end(l);
        let given = self.row.tags.map_or(0.0, |tags| self.row.model.end[tags[tags.len() - 1]]);
        let loss = if end.is_finite() { offsets + (end - given) } else { f64::NAN };
        match self.places.take() {
            Some((mut gradient, sums)) if loss.is_nan() => {
                gradient.fill(T::from_f64(f64::NAN));
                sums.make_undefined();
            }
            Some((gradient, sums)) => self.backward(l, end, gradient, sums),
            None => {}
        }
        loss
    }
}

impl<T: Element> Chain<'_, '_, '_, T> {
    fn steps(&self) -> usize {
        self.row.emissions.nrows()
    }

    /// Fills `paths` and `sums`; returns what they lack of `ln Z`, less the score of the tags up
    /// to the end: the two are large and near each other, so they are subtracted step by step.
    #[inline(always)]
    fn forward<L: Lanes<f64>>(&mut self, l: L) -> f64 {
        let (width, mut offsets) = (self.row.model.width, 0.0);
        for t in 0..self.steps() {
            read(self.row.emissions.row(t), self.memory.line);
            let score = self.score(t);
            self.sum_paths(l, t);
            let path = &mut self.memory.paths[t * width..][..width];
            let most = largest(path);
            path.iter_mut().for_each(|a| *a -= most);
            offsets += most - score;
        }
        offsets
    }

    /// What the tag of step `t`, whose emissions are in the line, adds to the score.
    fn score(&self, t: usize) -> f64 {
        let (model, Some(tags)) = (self.row.model, self.row.tags) else { return 0.0 };
        let before = if t == 0 { &model.start } else { model.from(tags[t - 1]) };
        before[tags[t]] + self.memory.line[tags[t]]
    }

    /// `sum_t` and `a_t`, the latter not yet relative to its largest.
    #[inline(always)]
    fn sum_paths<L: Lanes<f64>>(&mut self, l: L, t: usize) {
        let (model, m) = (self.row.model, &mut self.memory);
        let (before, path) = m.paths.split_at_mut(t * model.width);
        let sums = &mut m.sums[t * model.width..][..model.width];
        if t == 0 {
            m.most.copy_from_slice(&model.start);
            m.relative.fill(1.0);
        } else {
            add_up(l, model, &before[(t - 1) * model.width..], m.most, m.relative);
        }
        let terms = m.most.iter().zip(&*m.relative).zip(&*m.line);
        for (((most, relative), emission), (sum, a)) in terms.zip(sums.iter_mut().zip(path)) {
            let log = most + ln(*relative);
            *sum = if log == ZERO { 0.0 } else { log };
            *a = log + emission;
        }
    }

    /// `ln Z` relative to the last step's largest `a`.
    #[inline(always)]
    fn end<L: Lanes<f64>>(&mut self, l: L) -> f64 {
        self.ends();
        log_sum(l, self.memory.line)
    }

    /// `a` of the last step and the end's scores.
    #[inline(always)]
    fn ends(&mut self) {
        let (width, last) = (self.row.model.width, self.steps() - 1);
        let terms = self.memory.paths[last * width..].iter().zip(&self.row.model.end);
        self.memory.line.iter_mut().zip(terms).for_each(|(to, (a, end))| *to = a + end);
    }

    /// `weight (shares - the tags)` at each step, and what the row adds to `sums`.
    #[inline(always)]
    fn backward<L: Lanes<f64>>(
        &mut self, l: L, end: f64, mut gradient: ArrayViewMut2<'_, T>, sums: &mut Sums,
    ) {
        let (last, weight) = (self.steps() - 1, self.row.weight);
        self.last_shares(l, end);
        add_scaled(&mut sums.end, self.memory.shares, weight);
        for t in (0..=last).rev() {
            if t < last {
                std::mem::swap(&mut self.memory.shares, &mut self.memory.later);
                self.earlier_shares(l, t, &mut sums.transitions);
            }
            let tag = self.row.tags.map(|tags| tags[t]);
            for (k, (to, share)) in
                gradient.row_mut(t).iter_mut().zip(&*self.memory.shares).enumerate()
            {
                let given = if tag == Some(k) { 1.0 } else { 0.0 };
                *to = T::from_f64(weight * (share - given));
            }
        }
        add_scaled(&mut sums.start, self.memory.shares, weight);
        self.subtract_tags(sums);
    }

    #[inline(always)]
    fn last_shares<L: Lanes<f64>>(&mut self, l: L, end: f64) {
        self.ends();
        for j in (0..self.memory.line.len()).step_by(L::N) {
            let relative = l.sub(load(l, self.memory.line, j), l.splat(end));
            store(l, self.memory.shares, j, exp(l, relative));
        }
    }

    /// The shares at step `t` from those of the step after it; adds the pairs to `sums`.
    #[inline(always)]
    fn earlier_shares<L: Lanes<f64>>(&mut self, l: L, t: usize, sums: &mut [f64]) {
        let (model, m) = (self.row.model, &mut self.memory);
        let path = &m.paths[t * model.width..];
        let after = &m.sums[(t + 1) * model.width..];
        for i in 0..model.tags {
            let (from, a) = (model.from(i), l.splat(path[i]));
            let sums = &mut sums[i * model.width..][..model.width];
            for j in (0..model.width).step_by(L::N) {
                let relative = l.sub(l.add(a, load(l, from, j)), load(l, after, j));
                let pair = l.mul(exp(l, relative), load(l, m.later, j));
                store(l, m.line, j, pair);
                let sum = l.fma(pair, l.splat(self.row.weight), load(l, sums, j));
                store(l, sums, j, sum);
            }
            m.shares[i] = sum(m.line);
        }
    }

    fn subtract_tags(&self, sums: &mut Sums) {
        let (Some(tags), weight) = (self.row.tags, self.row.weight) else { return };
        sums.start[tags[0]] -= weight;
        sums.end[tags[tags.len() - 1]] -= weight;
        for pair in tags.windows(2) {
            sums.transitions[pair[0] * sums.width + pair[1]] -= weight;
        }
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f64], terms: &[f64], weight: f64) {
    sums.iter_mut().zip(terms).for_each(|(sum, x)| *sum += weight * x);
}

// Loops, not closures: what is not sure to be inlined runs without the instruction set.

/// The sum over `i` of `e^(a(i) + transitions(i, j))` relative to its largest term, for each `j`.
#[inline(always)]
fn add_up<L: Lanes<f64>>(l: L, model: &Model, a: &[f64], most: &mut [f64], relative: &mut [f64]) {
    for j in (0..model.width).step_by(L::N) {
        let mut highest = l.splat(ZERO);
        for (i, &a) in a[..model.tags].iter().enumerate() {
            highest = l.max(highest, l.add(l.splat(a), load(l, model.from(i), j)));
        }
        let (from, mut sum) = (or_zero(l, highest), l.splat(0.0));
        for (i, &a) in a[..model.tags].iter().enumerate() {
            let term = l.add(l.splat(a), load(l, model.from(i), j));
            sum = l.add(sum, exp(l, l.sub(term, from)));
        }
        store(l, most, j, highest);
        store(l, relative, j, sum);
    }
}
