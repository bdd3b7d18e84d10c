//! The most probable tags (Viterbi 1967).

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

use super::batch::Model;
use super::{Crf, DECODE_COST};
use crate::chunks::{each, zeros};
use crate::error::Result;
use crate::log_space::{ZERO, load, read, store, with_zeros};
use crate::shape::{equal, refuse};
use crate::simd::{Element, Isa, Kernel, Lanes};

const OPERATION: &str = "crf_decode";

/// Writes the tags with the highest score to `tags (B, T)`, -1 past a row's length, and returns the
/// scores. Of equal ones it takes the tag of the lowest number, from the last step to the first.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes and lengths that do not fit, for NaN and infinity;
/// [`Error::Memory`](crate::Error::Memory).
pub fn decode<T: Element>(
    crf: &Crf<'_, T>, mut tags: ArrayViewMut2<'_, i64>, threads: Option<usize>,
) -> Result<Vec<f64>> {
    let lengths = crf.checked(OPERATION)?;
    let (batch, steps, _) = crf.emissions.dim();
    equal(OPERATION, "tags", "(B, T)", &[batch, steps], tags.shape())?;
    let (isa, model) = (Isa::current()?, Model::new(crf)?);
    refuse_scores(&model)?;
    for (b, &length) in lengths.iter().enumerate() {
        refuse_emissions(b, crf.row(b, length))?;
    }
    let mut scores = zeros(batch, "scores of the rows")?;
    let parts = scores.iter_mut().zip(tags.axis_iter_mut(Axis(0)));
    each(parts, crf.threads(OPERATION, threads, DECODE_COST)?, |b, (score, tags)| {
        let (inside, mut behind) = tags.split_at(Axis(0), lengths[b]);
        behind.fill(-1);
        if lengths[b] > 0 {
            let emissions = crf.row(b, lengths[b]);
            *score =
                with_zeros(lengths[b].saturating_add(2).saturating_mul(model.width), |memory| {
                    let (line, best) = memory.split_at_mut(model.width);
                    let search = Search { model: &model, emissions, line, best, tags: inside };
                    <f64 as Element>::dispatch(isa, search)
                })?;
        }
        Ok(())
    })?;
    Ok(scores)
}

const EXPECTED: &str = "numbers below infinity";

fn undefined(x: f64) -> bool {
    x.is_nan() || x == f64::INFINITY
}

fn refuse_scores(model: &Model) -> Result<()> {
    let scores = [
        ("transitions", &model.transitions),
        ("start_transitions", &model.start),
        ("end_transitions", &model.end),
    ];
    for (name, scores) in scores {
        if scores.iter().any(|&x| undefined(x)) {
            return Err(refuse(OPERATION, name, EXPECTED, "others"));
        }
    }
    Ok(())
}

fn refuse_emissions<T: Element>(b: usize, emissions: ArrayView2<'_, T>) -> Result<()> {
    let bad = |row: ndarray::ArrayView1<'_, T>| row.iter().any(|x| undefined(x.to_f64()));
    match emissions.rows().into_iter().position(bad) {
        None => Ok(()),
        Some(t) => {
            Err(refuse(OPERATION, "emissions", EXPECTED, format!("others in row {b} at step {t}")))
        }
    }
}

struct Search<'a, T> {
    model: &'a Model,
    /// (T, K)
    emissions: ArrayView2<'a, T>,
    line: &'a mut [f64],
    /// `T` lines: the score of the best tags that end in each.
    best: &'a mut [f64],
    tags: ArrayViewMut1<'a, i64>,
}

impl<T: Element> Kernel<f64> for Search<'_, T> {
    /// The best score.
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes<f64>>(mut self, l: L) -> f64 {
        for t in 0..self.tags.len() {
            self.extend(l, t);
        }
        self.trace_back()
    }
}

impl<T: Element> Search<'_, T> {
    #[inline(always)]
    fn extend<L: Lanes<f64>>(&mut self, l: L, t: usize) {
        let width = self.model.width;
        let (before, best) = self.best.split_at_mut(t * width);
        read(self.emissions.row(t), self.line);
        for j in (0..width).step_by(L::N) {
            let mut from = l.splat(ZERO);
            if t == 0 {
                from = load(l, &self.model.start, j);
            } else {
                let before = &before[(t - 1) * width..];
                for (i, &score) in before[..self.model.tags].iter().enumerate() {
                    let way = l.add(l.splat(score), load(l, self.model.from(i), j));
                    from = l.max(from, way);
                }
            }
            store(l, best, j, l.add(from, load(l, self.line, j)));
        }
    }

    /// Nothing was noted on the way: which tag a maximum came from is found by the same sums.
    fn trace_back(&mut self) -> f64 {
        let (model, last) = (self.model, self.tags.len() - 1);
        let line = |t: usize| &self.best[t * model.width..][..model.width];
        let (mut tag, score) = first_largest((0..model.tags).map(|k| line(last)[k] + model.end[k]));
        self.tags[last] = tag as i64;
        for t in (0..last).rev() {
            (tag, _) = first_largest((0..model.tags).map(|i| line(t)[i] + model.from(i)[tag]));
            self.tags[t] = tag as i64;
        }
        score
    }
}

fn first_largest(scores: impl Iterator<Item = f64>) -> (usize, f64) {
    let better = |best: (usize, f64), next: (usize, f64)| if best.1 < next.1 { next } else { best };
    scores.enumerate().reduce(better).unwrap_or((0, ZERO))
}
