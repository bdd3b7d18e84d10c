//! The labels of the most probable path.

use ndarray::ArrayView2;

use super::{COST, Ctc, Hypothesis, refuse_undefined};
use crate::chunks::{each, reserved};
use crate::error::Result;
use crate::log_space::{exponentials, ln, padded, read, with_zeros};
use crate::parallel::threads_for;
use crate::simd::{Element, Isa, Kernel, Lanes};

const OPERATION: &str = "ctc_greedy_decode";

/// Takes the most probable class at each step, the first of equals, then merges repeated classes and
/// drops blanks. The log probability is that of the one path.
///
/// ```
/// use ndarray::array;
/// use recurra::ctc::{Ctc, greedy_decode};
///
/// let logits = array![[[0.0, 2.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]]];
/// let ctc = Ctc { logits: logits.view(), lengths: None, blank: 0 };
/// assert_eq!(greedy_decode(&ctc, None)?[0].labels, [1, 1]);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a blank and lengths that do not fit, and for
/// logits that are NaN or have an infinite largest one; [`Error::Memory`](crate::Error::Memory).
pub fn greedy_decode<T: Element>(
    ctc: &Ctc<'_, T>, threads: Option<usize>,
) -> Result<Vec<Hypothesis>> {
    let lengths = ctc.checked(OPERATION)?;
    let threads = threads_for(OPERATION, threads, ctc.logits.len().saturating_mul(COST))?;
    let isa = Isa::current()?;
    let mut found = reserved(lengths.len(), "hypotheses")?;
    for _ in 0..lengths.len() {
        found.push(Hypothesis { labels: Vec::new(), log_probability: 0.0 });
    }
    each(found.iter_mut(), threads, |b, hypothesis| {
        hypothesis.labels = reserved(lengths[b], "the labels of a hypothesis")?;
        let logits = ctc.row(b, lengths[b]);
        let row = |line: &mut [f64]| {
            let search = Search { logits, blank: ctc.blank, line, hypothesis };
            <f64 as Element>::dispatch(isa, search)
        };
        let undefined = with_zeros(padded(logits.ncols()), row)?;
        undefined.map_or(Ok(()), |step| Err(refuse_undefined(OPERATION, b, step)))
    })?;
    Ok(found)
}

struct Search<'a, T> {
    logits: ArrayView2<'a, T>,
    blank: usize,
    line: &'a mut [f64],
    hypothesis: &'a mut Hypothesis,
}

impl<T: Element> Kernel<f64> for Search<'_, T> {
    /// The step whose probabilities are not numbers.
    type Output = Option<usize>;

    #[inline(always)]
    fn run<L: Lanes<f64>>(self, l: L) -> Option<usize> {
        let mut before = self.blank;
        for (t, logits) in self.logits.rows().into_iter().enumerate() {
            read(logits, self.line);
            let best = first_largest(self.line);
            let (_, total) = exponentials(l, self.line);
            if total.is_nan() {
                return Some(t);
            }
            self.hypothesis.log_probability -= ln(total);
            if best != before && best != self.blank {
                self.hypothesis.labels.push(best);
            }
            before = best;
        }
        None
    }
}

fn first_largest(line: &[f64]) -> usize {
    let better = |best: usize, j: usize| if line[best] < line[j] { j } else { best };
    (0..line.len()).fold(0, better)
}
