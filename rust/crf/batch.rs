//! All rows of a batch, and the scores and gradients that they share.

use ndarray::{ArrayView1, ArrayViewMut3, Axis};

use super::chain::{Row, Sums};
use super::{COST, Crf, Gradients};
use crate::chunks::{each, reserved, zeros};
use crate::error::{Error, Result};
use crate::log_space::{padded, read};
use crate::simd::{Element, Isa};

/// Rows that one task works on: their gradients of the transitions are summed first.
const ROWS: usize = 4;

/// The scores that all rows share, as lines of float64.
pub(super) struct Model {
    pub tags: usize,
    /// The length of a line.
    pub width: usize,
    /// `K` lines
    pub transitions: Vec<f64>,
    pub start: Vec<f64>,
    pub end: Vec<f64>,
}

impl Model {
    pub fn new<T: Element>(crf: &Crf<'_, T>) -> Result<Self> {
        let (tags, purpose) = (crf.start.len(), "the scores of transitions");
        let width = padded(tags);
        let mut transitions = zeros(area(tags, width, purpose)?, purpose)?;
        for (from, line) in crf.transitions.rows().into_iter().zip(transitions.chunks_mut(width)) {
            read(from, line);
        }
        let [mut start, mut end] = [zeros(width, purpose)?, zeros(width, purpose)?];
        read(crf.start, &mut start);
        read(crf.end, &mut end);
        Ok(Self { tags, width, transitions, start, end })
    }

    /// From one tag to all.
    #[inline(always)]
    pub fn from(&self, tag: usize) -> &[f64] {
        &self.transitions[tag * self.width..][..self.width]
    }
}

/// A product of sizes that must fit.
pub(super) fn area(rows: usize, columns: usize, purpose: &'static str) -> Result<usize> {
    rows.checked_mul(columns).ok_or(Error::Memory { purpose, bytes: None })
}

/// A checked batch.
pub(super) struct Batch<'a, 'c, T> {
    pub crf: &'a Crf<'c, T>,
    pub lengths: &'a [usize],
    /// (B, T); without them there is no loss, and marginals are what is written.
    pub tags: Option<&'a [usize]>,
    pub weights: Option<ArrayView1<'a, f64>>,
}

impl<T: Element> Batch<'_, '_, T> {
    /// The losses, and the gradients of what all rows share; writes those of the emissions.
    pub fn run(
        &self, operation: &'static str, emissions: Option<ArrayViewMut3<'_, T>>,
        threads: Option<usize>,
    ) -> Result<(Vec<f64>, Sums)> {
        let threads = self.crf.threads(operation, threads, COST)?;
        let (isa, model) = (Isa::current()?, Model::new(self.crf)?);
        let mut losses = zeros(self.lengths.len(), "losses of the rows")?;
        let mut emissions = emissions;
        let tasks = if emissions.is_some() { losses.len().div_ceil(ROWS) } else { 0 };
        let mut partial = reserved(tasks, "gradients of the transitions")?;
        for _ in 0..tasks {
            partial.push(Sums::new(&model)?);
        }
        let mut parts = emissions.as_mut().map(|e| e.axis_chunks_iter_mut(Axis(0), ROWS));
        let mut shared = partial.iter_mut();
        let next = |losses| (losses, parts.as_mut().and_then(Iterator::next), shared.next());
        each(losses.chunks_mut(ROWS).map(next), threads, |part, (losses, mut gradients, sums)| {
            let mut sums = sums;
            for (i, loss) in losses.iter_mut().enumerate() {
                let gradient = gradients.as_mut().map(|g| g.index_axis_mut(Axis(0), i));
                let b = part * ROWS + i;
                *loss = self.row(&model, b).run(isa, gradient.zip(sums.as_deref_mut()))?;
            }
            Ok(())
        })?;
        let mut total = Sums::new(&model)?;
        partial.iter().for_each(|sums| total.add(sums));
        Ok((losses, total))
    }

    fn row<'b>(&'b self, model: &'b Model, b: usize) -> Row<'b, T> {
        let (length, steps) = (self.lengths[b], self.crf.emissions.shape()[1]);
        Row {
            model,
            emissions: self.crf.row(b, length),
            tags: self.tags.map(|tags| &tags[b * steps..][..length]),
            weight: self.weights.map_or(1.0, |weights| weights[b]),
        }
    }
}

impl Sums {
    pub fn write<T: Element>(&self, mut to: Gradients<'_, T>) {
        let rows = self.transitions.chunks(self.width);
        let rows = to.transitions.rows_mut().into_iter().zip(rows);
        let ends = [(to.start.view_mut(), &*self.start), (to.end.view_mut(), &*self.end)];
        for (to, from) in rows.chain(ends) {
            to.into_iter().zip(from).for_each(|(to, &x)| *to = T::from_f64(x));
        }
    }
}
