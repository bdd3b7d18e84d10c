//! Cross entropy: which rows count, how much, and what becomes of their losses.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};

use super::Reduction;
use super::rows::{Rows, Term};
use crate::chunks::{reserved, zeros};
use crate::error::{Error, Result};
use crate::indices::index;
use crate::parallel::threads_for;
use crate::shape::{equal, refuse};
use crate::simd::{Element, Isa};
use crate::view::View;

const OPERATION: &str = "cross_entropy";
/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// The cross entropy of `N` rows of logits over `V` classes, and what it is to regard.
///
/// With `p = softmax(logits)` of a row, `y` its target, `w` the class weights, `s` the row's weight
/// and `e` the label smoothing, the row's loss is
/// `s * (1 - e) * w[y] * -ln p[y] + s * e / V * (sum of w[c] * -ln p[c] over all c)`.
/// A mean divides the sum of these by the sum of `s * w[y]`.
///
/// ```
/// use ndarray::{Array2, array};
/// use recurra::loss::{CrossEntropy, Reduction};
///
/// let (logits, targets) = (Array2::<f64>::zeros((2, 4)), array![2, -1]);
/// let mut gradient = Array2::zeros((2, 4));
/// let options = CrossEntropy { ignore_index: Some(-1), ..CrossEntropy::new(targets.view()) };
/// let loss = options.run(logits.view(), gradient.view_mut(), None)?;
/// assert_eq!(loss, [4.0_f64.ln()]);
/// assert_eq!(gradient, array![[0.25, 0.25, -0.75, 0.25], [0.0, 0.0, 0.0, 0.0]]);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CrossEntropy<'a, T> {
    /// `(N,)`, each from 0 to V-1 or `ignore_index`.
    pub targets: ArrayView1<'a, i64>,
    /// The weight of each row `(N,)`; all 1 without. A row of weight 0 is not looked at.
    pub weights: Option<ArrayView1<'a, T>>,
    /// The weight of each class `(V,)`; all 1 without.
    pub class_weights: Option<ArrayView1<'a, T>>,
    /// A row with this target has weight 0.
    pub ignore_index: Option<i64>,
    /// The part of a target, from 0 to below 1, that is spread over all classes evenly.
    pub label_smoothing: f64,
    /// What is returned.
    pub reduction: Reduction,
}

impl<'a, T: Element> CrossEntropy<'a, T> {
    /// The plain mean over all rows.
    pub fn new(targets: ArrayView1<'a, i64>) -> Self {
        Self {
            targets,
            weights: None,
            class_weights: None,
            ignore_index: None,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }

    /// Returns the one loss, or with [`Reduction::None`] that of each row; writes its gradient with
    /// respect to `logits (N, V)` to `dlogits (N, V)`, for `None` that of each row's own loss.
    ///
    /// A row's largest logit is subtracted first, so nothing overflows; sums are ascending, in
    /// float64. NaN, or infinity as the largest logit, makes a row's loss and gradient NaN. A
    /// class that weighs nothing may have a logit of minus infinity.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit, targets that are not
    /// from 0 to V-1, weights that are negative or not finite, and a mean of no weight at all;
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn run(
        &self, logits: ArrayView2<'_, T>, dlogits: ArrayViewMut2<'_, T>, threads: Option<usize>,
    ) -> Result<Vec<f64>> {
        let (rows, classes) = logits.dim();
        self.check(rows, classes)?;
        equal(OPERATION, "dlogits", "(N, V)", &[rows, classes], dlogits.shape())?;
        let (terms, total) = self.terms(rows, classes)?;
        let smoothing = self.smoothing(classes)?;
        let threads = threads_for(OPERATION, threads, logits.len().saturating_mul(COST))?;
        let all = Rows {
            logits: View::of2(&logits),
            classes,
            terms: &terms,
            class_weights: smoothing.as_deref(),
            class_weight: smoothing.iter().flatten().fold(0.0, |sum, w| sum + w.to_f64()),
            scale: if self.reduction == Reduction::Mean { 1.0 / total } else { 1.0 },
            isa: Isa::current()?,
        };
        let mut losses = all.run(dlogits, threads)?;
        let sum = losses.iter().fold(0.0, |sum, loss| sum + loss);
        match self.reduction {
            Reduction::None => losses.truncate(rows),
            Reduction::Mean => one(&mut losses, sum / total),
            Reduction::Sum => one(&mut losses, sum),
        }
        Ok(losses)
    }

    /// What each row asks for, and what a mean divides by.
    fn terms(&self, rows: usize, classes: usize) -> Result<(Vec<Term>, f64)> {
        let mut terms = reserved(rows, "the targets of the rows")?;
        let mut total = 0.0;
        for (row, &target) in self.targets.iter().enumerate() {
            if self.ignore_index == Some(target) {
                terms.push(Term::default());
                continue;
            }
            let target = index(OPERATION, "targets", row, target, 'V', classes)?;
            let weight = self.weights.map_or(1.0, |w| w[row].to_f64());
            let hit = weight * self.class_weights.map_or(1.0, |w| w[target].to_f64());
            let spread = self.label_smoothing / classes as f64 * weight;
            terms.push(Term { target, hit: (1.0 - self.label_smoothing) * hit, spread });
            total += hit;
        }
        if self.reduction == Reduction::Mean && total <= 0.0 {
            return Err(no_mean(rows));
        }
        Ok((terms, total))
    }

    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        equal(OPERATION, "targets", "(N,)", &[rows], self.targets.shape())?;
        weights("weights", "(N,)", rows, self.weights)?;
        weights("class_weights", "(V,)", classes, self.class_weights)?;
        if (0.0..1.0).contains(&self.label_smoothing) {
            return Ok(());
        }
        let got = self.label_smoothing.to_string();
        Err(refuse(OPERATION, "label_smoothing", "a number from 0 to below 1", got))
    }

    /// The class weights by which smoothed targets are spread; none without smoothing.
    fn smoothing(&self, classes: usize) -> Result<Option<Vec<T>>> {
        if self.label_smoothing == 0.0 {
            return Ok(None);
        }
        let mut line = zeros(classes, "the class weights")?;
        match self.class_weights {
            Some(weights) => line.iter_mut().zip(weights).for_each(|(w, &given)| *w = given),
            None => line.fill(T::from_f64(1.0)),
        }
        Ok(Some(line))
    }
}

fn no_mean(rows: usize) -> Error {
    match rows {
        0 => refuse(OPERATION, "logits", "at least one row for a mean", "none"),
        _ => refuse(OPERATION, "targets", "a sum of weights above 0 for a mean", "0"),
    }
}

fn one(losses: &mut Vec<f64>, loss: f64) {
    losses.truncate(1);
    losses[0] = loss;
}

/// Refuses a wrong number of weights, and those that are negative or not finite.
fn weights<T: Element>(
    argument: &'static str, letters: &str, n: usize, given: Option<ArrayView1<'_, T>>,
) -> Result<()> {
    let Some(given) = given else { return Ok(()) };
    equal(OPERATION, argument, letters, &[n], given.shape())?;
    let weighs = |w: f64| w.is_finite() && w >= 0.0;
    match given.iter().map(|w| w.to_f64()).enumerate().find(|&(_, w)| !weighs(w)) {
        None => Ok(()),
        Some((i, w)) => {
            let got = format!("{w} at position {i}");
            Err(refuse(OPERATION, argument, "finite numbers >= 0", got))
        }
    }
}
