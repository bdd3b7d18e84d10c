//! The scores of additive attention (Bahdanau et al. 2015), `weight . tanh(query + key)` for each
//! query and key, and their gradients. Each tanh is computed anew backward: there are `B Q K H`.
//!
//! Letters: `B` batch rows, `Q` queries, `K` keys, `H` hidden units.
//!
//! ```
//! use ndarray::{Array3, array};
//!
//! let (query, key) = (array![[[0.0, 0.5]]], array![[[0.0, -0.5], [99.0, 99.0]]]);
//! let mut scores = Array3::zeros((1, 1, 2));
//! let weight = array![2.0, 1.0];
//! recurra::additive::forward(query.view(), key.view(), weight.view(), scores.view_mut(), None)?;
//! assert_eq!(scores, array![[[0.0, 3.0]]]);
//! # Ok::<(), recurra::Error>(())
//! ```

#[cfg(test)]
mod tests;

use ndarray::{ArrayView1, ArrayView3, ArrayViewMut1, ArrayViewMut3};

use crate::block_sums::totals;
use crate::chunks::zeros;
use crate::dense::{Dense, Shares, dense_mut, part, run};
use crate::error::Result;
use crate::lane_sums::{Terms, elements, lane_sums};
use crate::math::tanh;
use crate::parallel::threads_for;
use crate::shape::equal;
use crate::simd::{Element, Isa, Kernel, Lanes};

/// What a hidden unit costs in fused multiply-adds.
const COST: usize = 16;
/// Hidden units that one task works on, in whole queries.
const TASK: usize = 1 << 14;

/// Where [`backward`] writes; all of it is written.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// `(B, Q, H)`
    pub dquery: ArrayViewMut3<'a, T>,
    /// `(B, K, H)`
    pub dkey: ArrayViewMut3<'a, T>,
    /// `(H,)`
    pub dweight: ArrayViewMut1<'a, T>,
}

/// Writes the scores of `query (B, Q, H)` and `key (B, K, H)` to `scores (B, Q, K)`, by a
/// `weight (H,)`.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for shapes that do not fit and results that are not
/// in row-major order, [`Error::Memory`](crate::Error::Memory).
pub fn forward<T: Element>(
    query: ArrayView3<'_, T>, key: ArrayView3<'_, T>, weight: ArrayView1<'_, T>,
    scores: ArrayViewMut3<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "additive_forward";
    let (call, sizes) = Call::new(operation, query, key, weight, threads)?;
    equal(operation, "scores", "(B, Q, K)", &sizes, scores.shape())?;
    let rows = (TASK / call.keys.saturating_mul(call.width).max(1)).max(1);
    let scores = dense_mut(operation, "scores", scores)?;
    let scores = Shares::of(scores, call.keys.saturating_mul(rows));
    run(scores.count(), call.threads, &|i| {
        // SAFETY: each task has its part.
        let scores = unsafe { scores.part(i) };
        T::dispatch(call.isa, Forward { call: &call, first: i * rows, scores });
    })
}

/// The gradients of [`forward`] for the gradient `dscores (B, Q, K)` of its result.
///
/// # Errors
/// As [`forward`].
pub fn backward<T: Element>(
    query: ArrayView3<'_, T>, key: ArrayView3<'_, T>, weight: ArrayView1<'_, T>,
    dscores: ArrayView3<'_, T>, out: Gradients<'_, T>, threads: Option<usize>,
) -> Result<()> {
    let operation = "additive_backward";
    let (of_query, of_key) = (query.dim(), key.dim());
    let (call, sizes) = Call::new(operation, query, key, weight, threads)?;
    equal(operation, "dscores", "(B, Q, K)", &sizes, dscores.shape())?;
    equal(operation, "dquery", "(B, Q, H)", &<[usize; 3]>::from(of_query), out.dquery.shape())?;
    equal(operation, "dkey", "(B, K, H)", &<[usize; 3]>::from(of_key), out.dkey.shape())?;
    equal(operation, "dweight", "(H,)", &[call.width], out.dweight.shape())?;
    let dscores = Dense::of(dscores)?;
    let dquery = dense_mut(operation, "dquery", out.dquery)?;
    let dkey = dense_mut(operation, "dkey", out.dkey)?;
    // The weight's, of each query.
    let mut sums: Vec<T> = zeros(dquery.len(), "sums of the weight's gradient")?;
    let [row, scores] = [call.width, call.keys].map(|n| call.queries.saturating_mul(n));
    let (dquery, shares) = (Shares::of(dquery, row), Shares::of(&mut sums, row));
    let dkey = Shares::of(dkey, call.keys.saturating_mul(call.width));
    run(sizes[0], call.threads, &|b| {
        // SAFETY: each task has its parts.
        let (dquery, dkey, sums) = unsafe { (dquery.part(b), dkey.part(b), shares.part(b)) };
        let dscores = part(&dscores, scores, b);
        T::dispatch(call.isa, Backward { call: &call, b, dscores, dquery, dkey, sums });
    })?;
    let totals = totals(&sums, call.width)?;
    out.dweight.into_iter().zip(totals).for_each(|(to, total)| *to = T::from_f64(total));
    Ok(())
}

/// What all tasks of a call know.
struct Call<'a, T> {
    queries: usize,
    keys: usize,
    width: usize,
    query: Dense<'a, T>,
    key: Dense<'a, T>,
    weight: Dense<'a, T>,
    threads: usize,
    isa: Isa,
}

impl<'a, T: Element> Call<'a, T> {
    /// And the shape of the scores.
    fn new(
        operation: &'static str, query: ArrayView3<'a, T>, key: ArrayView3<'a, T>,
        weight: ArrayView1<'a, T>, threads: Option<usize>,
    ) -> Result<(Self, [usize; 3])> {
        let ((batch, queries, width), keys) = (query.dim(), key.dim().1);
        equal(operation, "key", "(B, K, H)", &[batch, keys, width], key.shape())?;
        equal(operation, "weight", "(H,)", &[width], weight.shape())?;
        let work = query.len().saturating_mul(keys).saturating_mul(COST);
        let (threads, isa) = (threads_for(operation, threads, work)?, Isa::current()?);
        let [query, key] = [Dense::of(query)?, Dense::of(key)?];
        let weight = Dense::of(weight)?;
        let call = Self { queries, keys, width, query, key, weight, threads, isa };
        Ok((call, [batch, queries, keys]))
    }

    /// A query, by its number over the whole batch, and a key.
    fn pair(&self, query: usize, key: usize) -> Pair<'_, T> {
        Pair {
            query: &self.query[query * self.width..][..self.width],
            key: &self.key[key * self.width..][..self.width],
            weight: &self.weight,
        }
    }
}

/// Some queries forward.
struct Forward<'a, T> {
    call: &'a Call<'a, T>,
    /// The number of the first one.
    first: usize,
    scores: &'a mut [T],
}

impl<T: Element> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let Call { queries, keys, width, .. } = *self.call;
        for (q, scores) in (self.first..).zip(self.scores.chunks_exact_mut(keys)) {
            for (k, to) in (q / queries * keys..).zip(scores) {
                let pair = self.call.pair(q, k);
                // SAFETY: the pair's slices have `width` elements.
                [*to] = unsafe { lane_sums(l, width, &pair) };
            }
        }
    }
}

/// One row of the batch backward: `d = dscore * weight * (1 - tanh^2)` is added to the gradients of
/// query and key, `dscore * tanh` to the weight's.
struct Backward<'a, T> {
    call: &'a Call<'a, T>,
    b: usize,
    dscores: &'a [T],
    dquery: &'a mut [T],
    dkey: &'a mut [T],
    /// Of each query.
    sums: &'a mut [T],
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let Call { queries, keys, width, .. } = *self.call;
        self.dquery.fill(T::default());
        self.dkey.fill(T::default());
        for (at, &dscore) in self.dscores.iter().enumerate() {
            let (q, k) = (at / keys, at % keys);
            let pair = self.call.pair(self.b * queries + q, self.b * keys + k);
            let row = |i: usize| i * width..(i + 1) * width;
            let to = [&mut self.dquery[row(q)], &mut self.dkey[row(k)], &mut self.sums[row(q)]];
            pair.add(l, dscore, to);
        }
    }
}

/// One query, one key and the weight, as long as each other.
struct Pair<'a, T> {
    query: &'a [T],
    key: &'a [T],
    weight: &'a [T],
}

/// What the score is the sum of.
impl<T: Element> Terms<T, 1> for Pair<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe { [l.mul(elements(l, self.weight, j, n), self.hidden(l, j, n))] }
    }
}

impl<T: Element> Pair<'_, T> {
    /// tanh of the sum, from `j` on.
    ///
    /// # Safety
    /// `j < n`, and there are `n` elements.
    #[inline(always)]
    unsafe fn hidden<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { tanh(l, l.add(elements(l, self.query, j, n), elements(l, self.key, j, n))) }
    }

    /// Adds what `dscore` gives to the gradients of query, key and weight.
    #[inline(always)]
    fn add<L: Lanes<T>>(&self, l: L, dscore: T, [dquery, dkey, dweight]: [&mut [T]; 3]) {
        let n = self.weight.len();
        let (g, one) = (l.splat(dscore), l.splat(T::from_f64(1.0)));
        assert!([dquery.len(), dkey.len(), dweight.len()] == [n; 3]);
        for j in (0..n).step_by(L::N) {
            // SAFETY: the pair's slices and, as was asserted, the gradients have `n` elements.
            unsafe {
                let t = self.hidden(l, j, n);
                let d = l.mul(l.mul(g, elements(l, self.weight, j, n)), l.fnma(t, t, one));
                for to in [&mut *dquery, &mut *dkey] {
                    l.store_up_to(to.as_mut_ptr().add(j), l.add(elements(l, to, j, n), d), n - j);
                }
                let w = l.fma(g, t, elements(l, dweight, j, n));
                l.store_up_to(dweight.as_mut_ptr().add(j), w, n - j);
            }
        }
    }
}
