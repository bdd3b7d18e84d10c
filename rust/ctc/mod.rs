//! Connectionist temporal classification (Graves et al. 2006): loss, gradient, decoding.
//!
//! Letters: `B` rows, `T` steps, `V` classes, one of which is the blank, `S` labels of a row.
//! Logits are batch first, `(B, T, V)`, and the softmax is taken here: logarithms of probabilities
//! are logits that it leaves as they are. All sums are in float64.

mod beam;
mod greedy;
mod lattice;
mod memory;
mod targets;

use ndarray::{ArrayView1, ArrayView2, ArrayView3, ArrayViewMut3, Axis, s};

use crate::chunks::{each, zeros};
use crate::error::{Error, Result};
use crate::parallel::threads_for;
use crate::shape::{equal, lengths, refuse};
use crate::simd::{Element, Isa};
use lattice::Row;

pub use beam::beam_decode;
pub use greedy::greedy_decode;
pub use targets::Targets;

/// What Python calls the lengths, beside those of the targets.
const NAME: &str = "input_lengths";
/// What an element of the logits costs in fused multiply-adds, and a label at a step.
const COST: usize = 128;
const LABEL_COST: usize = 1024;

/// What the loss is taken of.
#[derive(Debug, Clone, Copy)]
pub struct Ctc<'a, T> {
    /// (B, T, V)
    pub logits: ArrayView3<'a, T>,
    /// (B,): the steps of each row, from 0 to T; all T where absent.
    pub lengths: Option<ArrayView1<'a, i64>>,
    /// The class that stands for no label.
    pub blank: usize,
}

/// A sequence of labels that decoding found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Without blanks.
    pub labels: Vec<usize>,
    /// The natural logarithm of its probability.
    pub log_probability: f64,
}

/// `-ln P(targets | logits)` of each row.
///
/// `dlogits (B, T, V)` gets the gradient of the sum of all losses, each times its weight (1 where
/// there are no `weights (B,)`): zero past a row's length. A row that has no alignment, because it
/// has too few steps, has the loss infinity and the gradient NaN, or zero for both with
/// `zero_infinity`. NaN, or infinity as the largest logit, makes a row's loss and gradient NaN.
///
/// ```
/// use ndarray::{Array3, array};
/// use recurra::ctc::{Ctc, Targets, loss};
///
/// // Two steps, two classes alike: "1" is one of four paths thrice.
/// let logits = Array3::<f64>::zeros((1, 2, 2));
/// let (labels, lengths) = (array![1], array![1]);
/// let targets = Targets { labels: labels.view(), lengths: lengths.view() };
/// let ctc = Ctc { logits: logits.view(), lengths: None, blank: 0 };
/// let losses = loss(&ctc, targets, false, None, None, None)?;
/// assert!((losses[0] - (4.0_f64 / 3.0).ln()).abs() < 1e-15);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes, lengths and labels that do not fit;
/// [`Error::Memory`](crate::Error::Memory).
pub fn loss<T: Element>(
    ctc: &Ctc<'_, T>, targets: Targets<'_>, zero_infinity: bool,
    weights: Option<ArrayView1<'_, f64>>, mut dlogits: Option<ArrayViewMut3<'_, T>>,
    threads: Option<usize>,
) -> Result<Vec<f64>> {
    let operation = "ctc_loss";
    let (batch, steps, classes) = ctc.logits.dim();
    let lengths = ctc.checked(operation)?;
    let labels = targets.checked(operation, batch, classes, ctc.blank)?;
    if let Some(weights) = weights {
        equal(operation, "weights", "(B,)", &[batch], weights.shape())?;
    }
    if let Some(dlogits) = &dlogits {
        equal(operation, "dlogits", "(B, T, V)", ctc.logits.shape(), dlogits.shape())?;
    }
    let states = steps.saturating_mul(labels.all.len()).saturating_mul(LABEL_COST);
    let work = ctc.logits.len().saturating_mul(COST).saturating_add(states);
    let threads = threads_for(operation, threads, work)?;
    let isa = Isa::current()?;
    let mut losses = zeros(batch, "losses of the rows")?;
    let mut gradients = dlogits.as_mut().map(|d| d.axis_iter_mut(Axis(0)));
    let next = |loss| (loss, gradients.as_mut().and_then(Iterator::next));
    each(losses.iter_mut().map(next), threads, |b, (loss, gradient)| {
        let gradient = gradient.map(|whole| {
            let (inside, mut behind) = whole.split_at(Axis(0), lengths[b]);
            behind.fill(T::default());
            inside
        });
        let row = Row {
            logits: ctc.row(b, lengths[b]),
            labels: labels.of(b),
            blank: ctc.blank,
            weight: weights.map_or(1.0, |weights| weights[b]),
            zero_infinity,
            gradient,
        };
        *loss = row.run(isa)?;
        Ok(())
    })?;
    Ok(losses)
}

impl<T: Element> Ctc<'_, T> {
    /// The checked lengths of the rows.
    fn checked(&self, operation: &'static str) -> Result<Vec<usize>> {
        let (batch, steps, classes) = self.logits.dim();
        if self.blank >= classes {
            let expected = format!("an integer from 0 to V-1 = {}", classes as i128 - 1);
            return Err(refuse(operation, "blank", expected, self.blank.to_string()));
        }
        lengths(operation, self.lengths, batch, steps).map_err(|error| match error {
            Error::Argument { expected, got, .. } => refuse(operation, NAME, expected, got),
            other => other,
        })
    }

    /// The steps of a row.
    fn row(&self, b: usize, length: usize) -> ArrayView2<'_, T> {
        self.logits.slice(s![b, ..length, ..])
    }
}

/// That the classes of a step had probabilities.
fn refuse_undefined(operation: &'static str, row: usize, step: usize) -> crate::Error {
    let expected = "numbers of which the largest is finite";
    refuse(operation, "logits", expected, format!("others in row {row} at step {step}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ndarray::{Array1, Array3, ArrayView1};

    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::{numbers, on_every_isa};

    fn logits<T: Element>(batch: usize, steps: usize, classes: usize) -> Array3<T> {
        let numbers = numbers::<T>(batch * steps, classes, 9).map(|x| *x * T::from_f64(3.0));
        numbers.into_shape_with_order((batch, steps, classes)).unwrap()
    }

    /// What every sequence of labels has of all paths: each is walked.
    fn walked(logits: ArrayView2<'_, f64>) -> HashMap<Vec<usize>, f64> {
        let (steps, classes) = logits.dim();
        let mut all = HashMap::new();
        for path in 0..classes.pow(steps as u32) {
            let (mut labels, mut before, mut p, mut rest) = (Vec::new(), 0, 1.0, path);
            for row in logits.rows() {
                let class = rest % classes;
                rest /= classes;
                p *= row[class].exp() / row.iter().map(|z| z.exp()).sum::<f64>();
                if class != 0 && class != before {
                    labels.push(class);
                }
                before = class;
            }
            *all.entry(labels).or_insert(0.0) += p;
        }
        all
    }

    #[test]
    fn a_loss_is_that_of_all_its_paths_and_a_wide_beam_finds_them_all() {
        let logits = logits::<f64>(1, 6, 3);
        let ctc = Ctc { logits: logits.view(), lengths: None, blank: 0 };
        let all = walked(logits.index_axis(Axis(0), 0));
        let found = beam_decode(&ctc, all.len() + 1, None).unwrap().remove(0);
        assert_eq!(found.len(), all.len());
        for Hypothesis { labels, log_probability } in found {
            let given: Array1<i64> = labels.iter().map(|&label| label as i64).collect();
            let count = Array1::from_elem(1, labels.len() as i64);
            let targets = Targets { labels: given.view(), lengths: count.view() };
            let value = loss(&ctc, targets, false, None, None, None).unwrap()[0];
            assert!((value + all[&labels].ln()).abs() < 1e-12, "{labels:?}: {value}");
            assert!((value + log_probability).abs() < 1e-12, "{labels:?}: {log_probability}");
        }
    }

    fn same_bits<T: Element>() {
        let (batch, steps, classes, count) = (7, 90, 29, 11);
        const { assert!(7 * 90 * 29 * COST >= WORTH_SPLITTING) };
        let logits = logits::<T>(batch, steps, classes);
        let labels: Array1<i64> = (0..batch * count).map(|i| 1 + (i * i % 28) as i64).collect();
        let counts = Array1::from_elem(batch, count as i64);
        let targets = Targets { labels: labels.view(), lengths: counts.view() };
        let ctc = Ctc { logits: logits.view(), lengths: None, blank: 0 };
        let run = |threads| {
            let mut gradient = logits.clone();
            let to = Some(gradient.view_mut());
            let losses = loss(&ctc, targets, false, None, to, Some(threads)).unwrap();
            let beams = beam_decode(&ctc, 5, Some(threads)).unwrap();
            (losses, gradient, beams, greedy_decode(&ctc, Some(threads)).unwrap())
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
    fn what_does_not_fit_is_refused() {
        let logits = logits::<f64>(2, 3, 4);
        let refusal = |labels: &[i64], counts: &[i64], blank| {
            let ctc = Ctc { logits: logits.view(), lengths: None, blank };
            let targets = Targets { labels: labels.into(), lengths: ArrayView1::from(counts) };
            loss(&ctc, targets, false, None, None, None).unwrap_err().to_string()
        };
        let head = "ctc_loss: ";
        let texts = [
            (refusal(&[], &[0, 0], 4), "blank: expected an integer from 0 to V-1 = 3, got 4"),
            (
                refusal(&[1, 2, 0], &[1, 2], 0),
                "targets: expected integers from 0 to V-1 = 3 but the blank 0, \
                 got 0 in row 1 at position 1",
            ),
            (
                refusal(&[1], &[i64::MAX, i64::MAX], 0),
                "target_lengths: expected integers from 0 on whose sum is 1, as of labels, \
                 got 9223372036854775807 in row 0 behind a sum of 0",
            ),
        ];
        for (got, text) in texts {
            assert_eq!(got, format!("{head}{text}"));
        }
    }
}
