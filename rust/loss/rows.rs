//! The softmax of rows, a few at once: their losses and gradients.

use ndarray::{ArrayViewMut2, Axis};

use crate::buffer::with_workspace;
use crate::chunks::{each, zeros};
use crate::error::Result;
use crate::lane_sums::largest;
use crate::math::exp_negative;
use crate::simd::{Element, Isa, Kernel, Lanes};
use crate::view::View;

/// Rows that one task works on.
const ROWS: usize = 32;
/// Rows whose sums are under way at once: an addition takes four cycles.
const AT_ONCE: usize = 4;

/// What a row asks for: `hit * -ln p[target] + spread * (sum of class weight * -ln p)`.
#[derive(Clone, Copy, Default)]
pub(super) struct Term {
    pub target: usize,
    pub hit: f64,
    pub spread: f64,
}

impl Term {
    /// With a target that was checked, then.
    fn counts(&self) -> bool {
        self.hit != 0.0 || self.spread != 0.0
    }
}

/// All rows, as every task sees them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub logits: View<T>,
    pub classes: usize,
    /// One for each row; those that count have a target below `classes`.
    pub terms: &'a [Term],
    /// Over which the `spread` goes, one for each class; none if every `spread` is 0.
    pub class_weights: Option<&'a [T]>,
    /// Their sum.
    pub class_weight: f64,
    /// By which gradients, not losses, are multiplied.
    pub scale: f64,
    pub isa: Isa,
}

impl<T: Element> Rows<'_, T> {
    /// Writes the gradients and returns the losses; at least one, so that there is room for the sum
    /// of no rows.
    pub fn run(&self, mut gradient: ArrayViewMut2<'_, T>, threads: usize) -> Result<Vec<f64>> {
        let rows = self.terms.len();
        let mut losses = zeros(rows.max(1), "losses of the rows")?;
        let of_parts = losses[..rows].chunks_mut(ROWS);
        let parts = gradient.axis_chunks_iter_mut(Axis(0), ROWS).zip(of_parts);
        each(parts, threads, |part, (gradient, losses)| self.part(part * ROWS, gradient, losses))?;
        Ok(losses)
    }

    /// The losses and gradients of the rows from `first` on, as many as there are `losses`.
    fn part(
        &self, first: usize, mut gradient: ArrayViewMut2<'_, T>, losses: &mut [f64],
    ) -> Result<()> {
        let (mut live, mut n) = ([0; ROWS], 0);
        for i in 0..losses.len() {
            if self.terms[first + i].counts() {
                live[n] = i;
                n += 1;
            } else {
                // What does not count is not read: there may be anything.
                gradient.index_axis_mut(Axis(0), i).fill(T::default());
            }
        }
        let gradient = View::of_mut2(&mut gradient);
        for members in live[..n].chunks(AT_ONCE) {
            let group = Group { all: *self, first, gradient, members }.run()?;
            members.iter().zip(group).for_each(|(&i, loss)| losses[i] = loss);
        }
        Ok(())
    }
}

/// A few rows at once.
struct Group<'a, T> {
    all: Rows<'a, T>,
    /// Of the logits and terms, the row that is row 0 of the gradient.
    first: usize,
    gradient: View<T>,
    /// Rows of the gradient.
    members: &'a [usize],
}

impl<T: Element> Group<'_, T> {
    /// Writes the gradients and returns the losses.
    fn run(self) -> Result<[f64; AT_ONCE]> {
        let width = self.all.classes.next_multiple_of(self.all.isa.lanes::<T>());
        with_workspace(width.saturating_mul(self.members.len()), |memory| {
            T::dispatch(self.all.isa, GroupRun { group: self, memory, width })
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
        let (n, mut largest) = (self.group.members.len(), [T::default(); AT_ONCE]);
        let (mut losses, mut spread) = ([0.0; AT_ONCE], [0.0; AT_ONCE]);
        // SAFETY: targets were checked, the memory was measured for this group, and no other task
        // has these rows of the gradient.
        unsafe {
            for (r, largest) in largest.iter_mut().enumerate().take(n) {
                *largest = self.read(l, r);
            }
            if let Some(weights) = self.group.all.class_weights {
                spread = self.distances(weights, largest);
            }
            for r in 0..n {
                losses[r] = self.exponentials(l, r, largest[r]);
            }
            let sums = self.sums();
            for r in 0..n {
                losses[r] = self.loss(r, Element::ln(sums[r]), losses[r], spread[r]);
                self.gradient(l, r, sums[r]);
            }
        }
        losses
    }
}

impl<T: Element> GroupRun<'_, T> {
    fn line(&self, r: usize) -> *mut T {
        self.memory.wrapping_add(r * self.width)
    }

    fn term(&self, r: usize) -> Term {
        self.group.all.terms[self.group.first + self.group.members[r]]
    }

    /// Copies row `r` to its line; returns its largest number.
    #[inline(always)]
    unsafe fn read<L: Lanes<T>>(&self, l: L, r: usize) -> T {
        let (g, line) = (&self.group, self.line(r));
        // SAFETY: the caller vouches for the row, whose line has whole registers.
        unsafe {
            g.all.logits.read(g.first + g.members[r], 0, g.all.classes, line);
            let padding = g.all.classes..self.width;
            padding.for_each(|j| *line.add(j) = T::from_f64(f64::NEG_INFINITY));
            // NaN is passed over, for it comes back in the sum.
            largest(l, line, self.width)
        }
    }

    /// `e^(z - largest z)` of row `r`; returns the target's `z - largest z`.
    #[inline(always)]
    unsafe fn exponentials<L: Lanes<T>>(&self, l: L, r: usize, largest: T) -> f64 {
        let line = self.line(r);
        // SAFETY: the caller vouches for the line, which has whole registers.
        unsafe {
            let shifted = *line.add(self.term(r).target) - largest;
            for j in (0..self.width).step_by(L::N) {
                let z = l.sub(l.load(line.add(j)), l.splat(largest));
                l.store(line.add(j), exp_negative(l, z));
            }
            shifted.to_f64()
        }
    }

    /// The sum of each row, ascending.
    #[inline(always)]
    unsafe fn sums(&self) -> [f64; AT_ONCE] {
        let (lines, mut sums) = (self.lines(), [0.0; AT_ONCE]);
        for j in 0..self.group.all.classes {
            for (sum, line) in sums.iter_mut().zip::<[*mut T; AT_ONCE]>(lines) {
                // SAFETY: the caller vouches for the lines.
                *sum += unsafe { *line.add(j) }.to_f64();
            }
        }
        sums
    }

    /// The sum of `weight * (largest z - z)` of each row, ascending.
    ///
    /// With what is added as an argument, the function above could do both, at half the speed.
    #[inline(always)]
    unsafe fn distances(&self, weights: &[T], largest: [T; AT_ONCE]) -> [f64; AT_ONCE] {
        let (lines, mut sums) = (self.lines(), [0.0; AT_ONCE]);
        let largest = largest.map(T::to_f64);
        for (j, weight) in weights.iter().enumerate() {
            let weight = weight.to_f64();
            // Whatever the distance is: it may be infinite.
            if weight != 0.0 {
                for r in 0..AT_ONCE {
                    // SAFETY: the caller vouches for the lines.
                    sums[r] += weight * (largest[r] - unsafe { *lines[r].add(j) }.to_f64());
                }
            }
        }
        sums
    }

    /// The last row stands in for missing ones.
    #[inline(always)]
    fn lines(&self) -> [*mut T; AT_ONCE] {
        std::array::from_fn(|r| self.line(r.min(self.group.members.len() - 1)))
    }

    /// From the logarithm of the sum, the target's `z - largest z`, and the sum of class weight
    /// times `largest z - z`.
    fn loss(&self, r: usize, ln_sum: f64, shifted: f64, spread: f64) -> f64 {
        let (term, class_weight) = (self.term(r), self.group.all.class_weight);
        let hit = if term.hit == 0.0 { 0.0 } else { term.hit * (ln_sum - shifted) };
        match self.group.all.class_weights {
            None => hit,
            Some(_) => hit + term.spread * (class_weight * ln_sum + spread),
        }
    }

    /// `hit * (softmax - onehot) + spread * (class weight of all * softmax - class weight)`, scaled.
    #[inline(always)]
    unsafe fn gradient<L: Lanes<T>>(&self, l: L, r: usize, sum: f64) {
        let (g, line, term) = (&self.group, self.line(r), self.term(r));
        let whole = term.hit + term.spread * g.all.class_weight;
        let factor = l.splat(T::from_f64(whole * g.all.scale / sum));
        // SAFETY: the caller vouches for the row and its target.
        unsafe {
            for j in (0..self.width).step_by(L::N) {
                l.store(line.add(j), l.mul(l.load(line.add(j)), factor));
            }
            if let Some(weights) = g.all.class_weights {
                let spread = T::from_f64(term.spread * g.all.scale);
                for (j, &weight) in weights.iter().enumerate() {
                    *line.add(j) = *line.add(j) - spread * weight;
                }
            }
            *line.add(term.target) = *line.add(term.target) - T::from_f64(term.hit * g.all.scale);
            g.gradient.write(g.members[r], 0, g.all.classes, line);
        }
    }
}
