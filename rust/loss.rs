//! Losses: value and gradient together.
//!
//! Letters: `N` rows, `V` classes.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis};

use crate::buffer::with_workspace;
use crate::chunks::{each, zeros};
use crate::error::Result;
use crate::indices::checked;
use crate::math::exp_negative;
use crate::parallel::threads_for;
use crate::shape::{equal, refuse};
use crate::simd::{Element, Isa, Kernel, Lanes};
use crate::view::View;

/// How the losses of all rows become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// Rows that one task works on.
const ROWS: usize = 32;
/// Rows whose sums are under way at once: an addition takes four cycles.
const AT_ONCE: usize = 4;
/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// The cross entropy `-ln softmax(logits)[target]` of each row, reduced; writes its gradient
/// `softmax(logits) - onehot(target)`, for a mean divided by `N`, to `dlogits (N, V)`.
///
/// `logits (N, V)`, `targets (N,)` from 0 to V-1. A row's largest logit is subtracted first, so
/// nothing overflows; sums are ascending, in float64. NaN, or infinity as the largest logit, makes
/// a row's loss and gradient NaN.
///
/// ```
/// use ndarray::{Array2, array};
/// use recurra::loss::{Reduction, cross_entropy};
///
/// let (logits, targets) = (Array2::<f64>::zeros((1, 4)), array![2]);
/// let mut gradient = Array2::zeros((1, 4));
/// let loss = cross_entropy(
///     logits.view(), targets.view(), Reduction::Mean, gradient.view_mut(), None,
/// )?;
/// assert_eq!(loss, 4.0_f64.ln());
/// assert_eq!(gradient, array![[0.25, 0.25, -0.75, 0.25]]);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit, targets that are not
/// from 0 to V-1, and the mean of no rows; [`Error::Memory`](crate::Error::Memory).
pub fn cross_entropy<T: Element>(
    logits: ArrayView2<'_, T>, targets: ArrayView1<'_, i64>, reduction: Reduction,
    mut dlogits: ArrayViewMut2<'_, T>, threads: Option<usize>,
) -> Result<f64> {
    let operation = "cross_entropy";
    let (rows, classes) = logits.dim();
    let targets = checked(operation, "targets", targets, rows, 'V', classes)?;
    equal(operation, "dlogits", "(N, V)", &[rows, classes], dlogits.shape())?;
    let scale = match reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean if rows > 0 => 1.0 / rows as f64,
        Reduction::Mean => {
            return Err(refuse(operation, "logits", "at least one row for a mean", "none"));
        }
    };
    let threads = threads_for(operation, threads, logits.len().saturating_mul(COST))?;
    let isa = Isa::current()?;
    let mut losses = zeros(rows, "losses of the rows")?;
    let parts = dlogits.axis_chunks_iter_mut(Axis(0), ROWS).zip(losses.chunks_mut(ROWS));
    let logits = View::of2(&logits);
    each(parts, threads, |part, (mut gradient, losses)| {
        let gradient = View::of_mut2(&mut gradient);
        for (i, losses) in losses.chunks_mut(AT_ONCE).enumerate() {
            let row = i * AT_ONCE;
            let first = part * ROWS + row;
            let targets = &targets[first..first + losses.len()];
            let of_group =
                Group { logits, first, gradient, row, classes, targets, scale }.run(isa)?;
            losses.copy_from_slice(&of_group[..losses.len()]);
        }
        Ok(())
    })?;
    let sum = losses.iter().fold(0.0, |sum, loss| sum + loss);
    Ok(if reduction == Reduction::Mean { sum / rows as f64 } else { sum })
}

/// A few rows at once.
struct Group<'a, T> {
    logits: View<T>,
    /// The first row of the logits.
    first: usize,
    gradient: View<T>,
    /// The first row of the gradient.
    row: usize,
    classes: usize,
    /// One for each row.
    targets: &'a [usize],
    scale: f64,
}

impl<T: Element> Group<'_, T> {
    /// Writes the gradients and returns the losses.
    fn run(self, isa: Isa) -> Result<[f64; AT_ONCE]> {
        let width = self.classes.next_multiple_of(isa.lanes::<T>());
        with_workspace(width.saturating_mul(self.targets.len()), |memory| {
            T::dispatch(isa, GroupRun { group: self, memory, width })
        })
    }
}

struct GroupRun<'a, T> {
    group: Group<'a, T>,
    /// The rows, each in whole registers.
    memory: *mut T,
    /// Elements from one to the next.
    width: usize,
}

impl<T: Element> Kernel<T> for GroupRun<'_, T> {
    type Output = [f64; AT_ONCE];

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) -> Self::Output {
        let mut losses = [0.0; AT_ONCE];
        // SAFETY: targets were checked, the memory was measured for this group, and no other task
        // has these rows of the gradient.
        unsafe {
            for (r, &target) in self.group.targets.iter().enumerate() {
                losses[r] = self.exponentials(l, r, target);
            }
            for (r, sum) in self.sums().into_iter().enumerate() {
                losses[r] = Element::ln(sum) - losses[r];
                if let Some(&target) = self.group.targets.get(r) {
                    self.gradient(l, r, target, sum);
                }
            }
        }
        losses
    }
}

impl<T: Element> GroupRun<'_, T> {
    fn line(&self, r: usize) -> *mut T {
        self.memory.wrapping_add(r * self.width)
    }

    /// `e^(z - largest z)` of row `r`; returns the target's `z - largest z`.
    #[inline(always)]
    unsafe fn exponentials<L: Lanes<T>>(&self, l: L, r: usize, target: usize) -> f64 {
        let (g, line) = (&self.group, self.line(r));
        // SAFETY: the caller vouches for the row, whose line has whole registers.
        unsafe {
            g.logits.read(g.first + r, 0, g.classes, line);
            (g.classes..self.width).for_each(|j| *line.add(j) = T::from_f64(f64::NEG_INFINITY));
            let largest = self.largest(l, line);
            let shifted = *line.add(target) - largest;
            for j in (0..self.width).step_by(L::N) {
                let z = l.sub(l.load(line.add(j)), l.splat(largest));
                l.store(line.add(j), exp_negative(l, z));
            }
            shifted.to_f64()
        }
    }

    /// The largest number of a line; NaN is passed over, for it comes back in the sum.
    #[inline(always)]
    unsafe fn largest<L: Lanes<T>>(&self, l: L, line: *const T) -> T {
        const { assert!(L::N <= 16) };
        let mut lanes = l.splat(T::from_f64(f64::NEG_INFINITY));
        let mut all = [T::from_f64(f64::NEG_INFINITY); 16];
        // SAFETY: the caller vouches for a line of whole registers; the array holds one.
        unsafe {
            for j in (0..self.width).step_by(L::N) {
                let z = l.load(line.add(j));
                lanes = l.select_lt(lanes, z, z, lanes);
            }
            l.store(all.as_mut_ptr(), lanes);
        }
        all.into_iter().fold(all[0], |a, b| if a < b { b } else { a })
    }

    /// The sum of each row, ascending.
    #[inline(always)]
    unsafe fn sums(&self) -> [f64; AT_ONCE] {
        // The last row stands in for missing ones.
        let lines = std::array::from_fn(|r| self.line(r.min(self.group.targets.len() - 1)));
        let mut sums = [0.0; AT_ONCE];
        for j in 0..self.group.classes {
            for (sum, line) in sums.iter_mut().zip::<[*mut T; AT_ONCE]>(lines) {
                // SAFETY: the caller vouches for the lines.
                *sum += unsafe { *line.add(j) }.to_f64();
            }
        }
        sums
    }

    /// `softmax - onehot`, scaled.
    #[inline(always)]
    unsafe fn gradient<L: Lanes<T>>(&self, l: L, r: usize, target: usize, sum: f64) {
        let (g, line) = (&self.group, self.line(r));
        let factor = l.splat(T::from_f64(g.scale / sum));
        // SAFETY: the caller vouches for the row and its target.
        unsafe {
            for j in (0..self.width).step_by(L::N) {
                l.store(line.add(j), l.mul(l.load(line.add(j)), factor));
            }
            *line.add(target) = *line.add(target) - T::from_f64(g.scale);
            g.gradient.write(g.row + r, 0, g.classes, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};

    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::{numbers, on_every_isa};

    type Rows<'a, T> = ArrayView2<'a, T>;

    fn run<T: Element>(
        z: Rows<'_, T>, targets: &[i64], by: Reduction, threads: usize,
    ) -> Result<(f64, Array2<T>)> {
        let mut d = Array2::from_elem(z.dim(), T::from_f64(7.0));
        let loss = cross_entropy(z, targets.into(), by, d.view_mut(), Some(threads))?;
        Ok((loss, d))
    }

    fn naive(z: Rows<'_, f64>, targets: &[i64]) -> (f64, Array2<f64>) {
        let mut d = z.map(|z| z.exp());
        let mut loss = 0.0;
        for (mut row, &t) in d.rows_mut().into_iter().zip(targets) {
            let sum = row.sum();
            row /= sum;
            loss -= row[t as usize].ln();
            row[t as usize] -= 1.0;
        }
        (loss, d)
    }

    fn close(a: &Array2<f64>, b: &Array2<f64>, tolerance: f64) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    #[test]
    fn values_and_gradients_are_those_of_the_definition() {
        for (n, v) in [(1, 1), (3, 2), (6, 9), (37, 65)] {
            let z = numbers::<f64>(n, v, 1).map(|z| 5.0 * z);
            let targets: Vec<i64> = (0..n).map(|i| (i * 7 % v) as i64).collect();
            let (loss, d) = naive(z.view(), &targets);
            let (sum, d_sum) = run(z.view(), &targets, Reduction::Sum, 1).unwrap();
            let (mean, d_mean) = run(z.view(), &targets, Reduction::Mean, 1).unwrap();
            assert!((sum - loss).abs() < 1e-13 * loss.max(1.0) && close(&d, &d_sum, 1e-15));
            assert!((mean - loss / n as f64).abs() < 1e-14 * loss.max(1.0));
            assert!(close(&(d / n as f64), &d_mean, 1e-15));
        }
    }

    fn same_bits<T: Element>() {
        const { assert!(1409 * 203 * COST >= WORTH_SPLITTING) };
        let z = numbers::<T>(1409, 203, 2);
        let targets: Vec<i64> = (0..1409).map(|i| i * 31 % 203).collect();
        let expected = run(z.view(), &targets, Reduction::Mean, 1).unwrap();
        on_every_isa(|isa| {
            for threads in [1, 2, 3] {
                let got = run(z.view(), &targets, Reduction::Mean, threads).unwrap();
                assert_eq!(got, expected, "{isa}, {threads} threads");
            }
        });
        let strided = z.t().to_owned();
        assert_eq!(run(strided.t(), &targets, Reduction::Mean, 1).unwrap(), expected);
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        same_bits::<f32>();
        same_bits::<f64>();
    }

    #[test]
    fn a_row_has_the_same_gradient_alone() {
        let z = numbers::<f32>(9, 33, 3);
        let targets: Vec<i64> = (0..9).collect();
        let (_, all) = run(z.view(), &targets, Reduction::Sum, 1).unwrap();
        for (r, row) in z.rows().into_iter().enumerate() {
            let alone = row.insert_axis(Axis(0));
            let (_, d) = run(alone, &targets[r..=r], Reduction::Sum, 1).unwrap();
            assert_eq!(d.row(0), all.row(r));
        }
    }

    #[test]
    fn extreme_logits_do_not_overflow() {
        let z = array![[1e30_f32, -1e30, 0.0], [f32::NEG_INFINITY, 0.0, 0.0]];
        let (loss, d) = run(z.view(), &[0, 1], Reduction::Sum, 1).unwrap();
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(d, array![[0.0, 0.0, 0.0], [0.0, -0.5, 0.5]]);
    }

    #[test]
    fn what_is_no_number_stays_in_its_row() {
        for bad in [f64::NAN, f64::INFINITY] {
            on_every_isa(|_| {
                let z = array![[0.0, bad, 1.0], [0.0, 0.0, 0.0]];
                let (loss, d) = run(z.view(), &[2, 0], Reduction::Sum, 1).unwrap();
                assert!(loss.is_nan() && d.row(0).iter().all(|d| d.is_nan()));
                assert!(d.row(1).iter().all(|d| d.is_finite()));
            });
        }
    }

    #[test]
    fn no_rows_have_a_sum_but_no_mean() {
        let z = Array2::<f32>::zeros((0, 3));
        assert_eq!(run(z.view(), &[], Reduction::Sum, 1).unwrap().0, 0.0);
        let error = run(z.view(), &[], Reduction::Mean, 1).unwrap_err();
        let text = "cross_entropy: logits: expected at least one row for a mean, got none";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn bad_targets_are_refused() {
        let (z, mut d) = (Array2::<f64>::zeros((2, 3)), Array2::from_elem((2, 3), 7.0));
        let targets = Array1::from(vec![2, -1]);
        let error = cross_entropy(z.view(), targets.view(), Reduction::Sum, d.view_mut(), None);
        let text =
            "cross_entropy: targets: expected integers from 0 to V-1 = 2, got -1 at position 1";
        assert_eq!(error.unwrap_err().to_string(), text);
        assert!(d.iter().all(|&d| d == 7.0));
    }
}
