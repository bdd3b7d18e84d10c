//! Linear-chain conditional random fields (Lafferty, McCallum and Pereira 2001).
//!
//! The score of the tags `y_1 ... y_T` is `start(y_1) + sum of emissions_t(y_t) + sum of
//! transitions(y_(t-1), y_t) + end(y_T)`, and their probability `e^score` over the sum of that for
//! all sequences of tags. Letters: `B` rows, `T` steps, `K` tags. All sums are in float64.

mod batch;
mod chain;
mod viterbi;

use ndarray::s;
use ndarray::{ArrayView1, ArrayView2, ArrayView3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3};

use crate::chunks::zeros;
use crate::error::Result;
use crate::parallel::threads_for;
use crate::shape::{equal, lengths, refuse, show};
use crate::simd::Element;
use batch::Batch;

pub use viterbi::decode;

/// What a pair of tags costs at a step, in fused multiply-adds.
const COST: usize = 128;
/// The same where only the best is looked for.
const DECODE_COST: usize = 16;

/// A batch and the model's scores.
#[derive(Debug, Clone, Copy)]
pub struct Crf<'a, T> {
    /// (B, T, K)
    pub emissions: ArrayView3<'a, T>,
    /// (B,): the steps of each row, from 0 to T; all T where absent.
    pub lengths: Option<ArrayView1<'a, i64>>,
    /// (K, K): from the row's tag to the column's.
    pub transitions: ArrayView2<'a, T>,
    /// (K,): of the first tag.
    pub start: ArrayView1<'a, T>,
    /// (K,): of the last tag.
    pub end: ArrayView1<'a, T>,
}

/// Where gradients go.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// (B, T, K); zero past a row's length.
    pub emissions: ArrayViewMut3<'a, T>,
    /// (K, K)
    pub transitions: ArrayViewMut2<'a, T>,
    /// (K,)
    pub start: ArrayViewMut1<'a, T>,
    /// (K,)
    pub end: ArrayViewMut1<'a, T>,
}

/// `-ln P(tags | emissions)` of each row; 0 for a row of length 0.
///
/// `tags (B, T)` are from 0 to K-1 and not read past a row's length. The gradients are those of the
/// sum of all losses, each times its weight (1 where there are no `weights (B,)`). A score of minus
/// infinity forbids; forbidden tags have the loss infinity. NaN, or that every sequence is
/// forbidden, makes a row's loss NaN, and every gradient that it has a part in.
///
/// ```
/// use ndarray::{Array1, Array2, Array3, array};
/// use recurra::crf::{Crf, loss};
///
/// // Nothing is known: all 3 * 3 sequences have the same probability.
/// let (emissions, transitions) = (Array3::<f64>::zeros((1, 2, 3)), Array2::zeros((3, 3)));
/// let (start, end) = (Array1::zeros(3), Array1::zeros(3));
/// let crf = Crf {
///     emissions: emissions.view(),
///     lengths: None,
///     transitions: transitions.view(),
///     start: start.view(),
///     end: end.view(),
/// };
/// let losses = loss(&crf, array![[0, 2]].view(), None, None, None)?;
/// assert!((losses[0] - 9.0_f64.ln()).abs() < 1e-15);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes, lengths and tags that do not fit; [`Error::Memory`](crate::Error::Memory).
pub fn loss<T: Element>(
    crf: &Crf<'_, T>, tags: ArrayView2<'_, i64>, weights: Option<ArrayView1<'_, f64>>,
    gradients: Option<Gradients<'_, T>>, threads: Option<usize>,
) -> Result<Vec<f64>> {
    let operation = "crf_loss";
    let lengths = crf.checked(operation)?;
    let tags = crf.checked_tags(operation, tags, &lengths)?;
    if let Some(weights) = weights {
        equal(operation, "weights", "(B,)", &[lengths.len()], weights.shape())?;
    }
    let mut gradients = gradients;
    if let Some(gradients) = &gradients {
        crf.check_gradients(operation, gradients)?;
    }
    let emissions = gradients.as_mut().map(|g| g.emissions.view_mut());
    let batch = Batch { crf, lengths: &lengths, tags: Some(&tags), weights };
    let (losses, sums) = batch.run(operation, emissions, threads)?;
    if let Some(gradients) = gradients {
        sums.write(gradients);
    }
    Ok(losses)
}

/// The probability of each tag at each step, written to `marginals (B, T, K)`; zero past a row's
/// length, NaN where every sequence is forbidden.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes and lengths that do not fit; [`Error::Memory`](crate::Error::Memory).
pub fn marginals<T: Element>(
    crf: &Crf<'_, T>, marginals: ArrayViewMut3<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "crf_marginals";
    let lengths = crf.checked(operation)?;
    equal(operation, "marginals", "(B, T, K)", crf.emissions.shape(), marginals.shape())?;
    let batch = Batch { crf, lengths: &lengths, tags: None, weights: None };
    batch.run(operation, Some(marginals), threads).map(|_| ())
}

impl<T: Element> Crf<'_, T> {
    /// The checked lengths of the rows.
    fn checked(&self, operation: &'static str) -> Result<Vec<usize>> {
        let (batch, steps, tags) = self.emissions.dim();
        if tags == 0 {
            let got = show(self.emissions.shape());
            return Err(refuse(operation, "emissions", "shape (B, T, K) with K >= 1", got));
        }
        equal(operation, "transitions", "(K, K)", &[tags, tags], self.transitions.shape())?;
        equal(operation, "start_transitions", "(K,)", &[tags], self.start.shape())?;
        equal(operation, "end_transitions", "(K,)", &[tags], self.end.shape())?;
        lengths(operation, self.lengths, batch, steps)
    }

    /// A private copy (B, T) of the tags, 0 past a row's length.
    fn checked_tags(
        &self, operation: &'static str, given: ArrayView2<'_, i64>, lengths: &[usize],
    ) -> Result<Vec<usize>> {
        let (batch, steps, tags) = self.emissions.dim();
        equal(operation, "tags", "(B, T)", &[batch, steps], given.shape())?;
        let mut copy = zeros(given.len(), "a copy of the tags")?;
        for (row, &length) in lengths.iter().enumerate() {
            for step in 0..length {
                let tag = given[[row, step]];
                let checked = usize::try_from(tag).ok().filter(|&tag| tag < tags);
                copy[row * steps + step] = checked.ok_or_else(|| {
                    let expected = format!("integers from 0 to K-1 = {}", tags - 1);
                    let got = format!("{tag} in row {row} at step {step}");
                    refuse(operation, "tags", expected, got)
                })?;
            }
        }
        Ok(copy)
    }

    fn check_gradients(&self, operation: &'static str, to: &Gradients<'_, T>) -> Result<()> {
        let (shape, tags) = (self.emissions.shape(), self.start.len());
        equal(operation, "demissions", "(B, T, K)", shape, to.emissions.shape())?;
        equal(operation, "dtransitions", "(K, K)", &[tags, tags], to.transitions.shape())?;
        equal(operation, "dstart_transitions", "(K,)", &[tags], to.start.shape())?;
        equal(operation, "dend_transitions", "(K,)", &[tags], to.end.shape())
    }

    fn threads(&self, operation: &'static str, asked: Option<usize>, cost: usize) -> Result<usize> {
        let pairs = self.emissions.len().saturating_mul(self.start.len());
        threads_for(operation, asked, pairs.saturating_mul(cost))
    }

    /// The steps of a row.
    fn row(&self, b: usize, length: usize) -> ArrayView2<'_, T> {
        self.emissions.slice(s![b, ..length, ..])
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3, Axis};

    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::{numbers, on_every_isa};

    /// Emissions, transitions, start and end.
    struct Given<T>(Array3<T>, Array2<T>, Array1<T>, Array1<T>);

    impl<T: Element> Given<T> {
        fn new(batch: usize, steps: usize, tags: usize) -> Self {
            let emissions = numbers::<T>(batch * steps, tags, 5);
            let row = |seed| numbers::<T>(1, tags, seed).remove_axis(Axis(0));
            let emissions = emissions.into_shape_with_order((batch, steps, tags)).unwrap();
            Self(emissions, numbers(tags, tags, 6), row(7), row(8))
        }

        fn crf(&self) -> Crf<'_, T> {
            let Self(emissions, transitions, start, end) = self;
            Crf {
                emissions: emissions.view(),
                lengths: None,
                transitions: transitions.view(),
                start: start.view(),
                end: end.view(),
            }
        }
    }

    fn score(given: &Given<f64>, tags: &[usize]) -> f64 {
        let Given(emissions, transitions, start, end) = given;
        let steps: f64 = tags.iter().enumerate().map(|(t, &k)| emissions[[0, t, k]]).sum();
        let pairs: f64 = tags.windows(2).map(|pair| transitions[[pair[0], pair[1]]]).sum();
        start[tags[0]] + steps + pairs + end[tags[tags.len() - 1]]
    }

    #[test]
    fn the_best_tags_and_all_probabilities_are_those_of_enumeration() {
        let (steps, count) = (5, 3);
        let given = Given::new(1, steps, count);
        let every: Vec<Vec<usize>> = (0..count.pow(steps as u32))
            .map(|n| (0..steps).map(|t| n / count.pow(t as u32) % count).collect())
            .collect();
        let total: f64 = every.iter().map(|tags| score(&given, tags).exp()).sum();
        let mut tags = Array2::zeros((1, steps));
        let best = decode(&given.crf(), tags.view_mut(), None).unwrap()[0];
        for one in &every {
            let as_tags = Array2::from_shape_fn((1, steps), |(_, t)| one[t] as i64);
            let value = loss(&given.crf(), as_tags.view(), None, None, None).unwrap()[0];
            assert!((value - (total.ln() - score(&given, one))).abs() < 1e-13, "{one:?}");
            assert!(score(&given, one) < best + 1e-13);
            assert_eq!(as_tags == tags, (score(&given, one) - best).abs() < 1e-13);
        }
    }

    fn same_bits<T: Element>() {
        let (batch, steps, count) = (9, 60, 17);
        const { assert!(9 * 60 * 17 * 17 * DECODE_COST >= WORTH_SPLITTING) };
        let given = Given::<T>::new(batch, steps, count);
        let tags = Array2::from_shape_fn((batch, steps), |(b, t)| ((b + t * t) % count) as i64);
        let run = |threads| {
            let mut to = Given::<T>::new(batch, steps, count);
            let gradients = Gradients {
                emissions: to.0.view_mut(),
                transitions: to.1.view_mut(),
                start: to.2.view_mut(),
                end: to.3.view_mut(),
            };
            let crf = given.crf();
            let losses = loss(&crf, tags.view(), None, Some(gradients), Some(threads)).unwrap();
            let mut best = tags.clone();
            let scores = decode(&crf, best.view_mut(), Some(threads)).unwrap();
            (losses, to.0, to.1, to.2, to.3, best, scores)
        };
        let expected = run(1);
        on_every_isa(|isa| {
            for threads in [1, 3] {
                assert!(run(threads) == expected, "{isa}, {threads} threads");
            }
        });
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        same_bits::<f32>();
        same_bits::<f64>();
    }

    #[test]
    fn tags_that_do_not_fit_are_refused() {
        let given = Given::<f32>::new(1, 2, 3);
        let tags = ndarray::array![[0, 3]];
        let error = loss(&given.crf(), tags.view(), None, None, None).unwrap_err();
        let text = "crf_loss: tags: expected integers from 0 to K-1 = 2, got 3 in row 0 at step 1";
        assert_eq!(error.to_string(), text);
    }
}
