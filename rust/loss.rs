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
/// from 0 to V-1, and the mean of no rows; [`Error::Memory`](crate::Error::Memory),
/// [`Error::Threads`](crate::Error::Threads).
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
            let group = Group { logits, first, gradient, row, classes, targets, losses, scale };
            group.run(isa)?;
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
    targets: &'a [usize],
    losses: &'a mut [f64],
    scale: f64,
}

impl<T: Element> Group<'_, T> {
    fn run(self, isa: Isa) -> Result<()> {
        let row = self.classes.next_multiple_of(isa.lanes::<T>());
        with_workspace(row.saturating_mul(self.losses.len()), |memory| {
            T::dispatch(isa, GroupRun { group: self, memory, row });
        })
    }
}

struct GroupRun<'a, T> {
    group: Group<'a, T>,
    memory: *mut T,
    /// Elements from a row of `memory` to the next: whole registers.
    row: usize,
}

impl<T: Element> Kernel<T> for GroupRun<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let g = &self.group;
        let (n, mut shifted) = (g.losses.len(), [0.0; AT_ONCE]);
        // SAFETY: targets were checked, the memory has `n` rows of whole registers, and no other
        // task has these rows of the gradient.
        unsafe {
            for r in 0..n {
                let line = self.line(r);
                g.logits.read(g.first + r, 0, g.classes, line);
                (g.classes..self.row).for_each(|j| *line.add(j) = T::from_f64(f64::NEG_INFINITY));
                let largest = self.largest(l, line);
                shifted[r] = (*line.add(g.targets[r]) - largest).to_f64();
                self.map(l, line, |z| exp_negative(l, l.sub(z, l.splat(largest))));
            }
            let sums = self.sums();
            for r in 0..n {
                let (line, target) = (self.line(r), self.line(r).add(g.targets[r]));
                let factor = l.splat(T::from_f64(g.scale / sums[r]));
                self.map(l, line, |e| l.mul(e, factor));
                *target = *target - T::from_f64(g.scale);
                g.gradient.write(g.row + r, 0, g.classes, line);
            }
            for r in 0..n {
                self.group.losses[r] = Element::ln(sums[r]) - shifted[r];
            }
        }
    }
}

impl<T: Element> GroupRun<'_, T> {
    fn line(&self, r: usize) -> *mut T {
        self.memory.wrapping_add(r * self.row)
    }

    /// The largest number of a row; NaN is passed over.
    #[inline(always)]
    unsafe fn largest<L: Lanes<T>>(&self, l: L, line: *mut T) -> T {
        let mut lanes = l.splat(T::from_f64(f64::NEG_INFINITY));
        // SAFETY: the caller vouches for a line of whole registers, of which there is at least one.
        unsafe {
            let first = *line;
            for j in (0..self.row).step_by(L::N) {
                let z = l.load(line.add(j));
                lanes = l.select_lt(lanes, z, z, lanes);
            }
            todo!()
        }
    }
}
