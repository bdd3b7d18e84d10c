//! Sums over the elements of one row, and its largest, in the lanes of registers.
//!
//! Term `j` goes to partial sum `j % 16`, on every instruction set; the partial sums are then added
//! in halves. So the order depends on the number of terms alone, and zeros behind the last one
//! change nothing.

use crate::simd::{Element, Lanes};

/// Partial sums: as many as the widest register has elements.
const LANES: usize = 16;
/// Terms after which partial sums begin anew, so that long rows in single precision stay exact.
const BLOCK: usize = 64 * LANES;

/// What is summed: `K` sums of `n` terms at once.
pub(crate) trait Terms<T: Element, const K: usize> {
    /// The terms from `j` on, `min(n - j, L::N)` of them; what the other lanes hold is not used.
    ///
    /// # Safety
    /// `j < n`, and what the terms are made of exists.
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; K];
}

/// Elements `j` to `j + L::N`, or to `n`.
///
/// # Safety
/// They exist.
#[inline(always)]
pub(crate) unsafe fn elements<T: Element, L: Lanes<T>>(l: L, a: &[T], j: usize, n: usize) -> L::V {
    // SAFETY: the caller vouches for the elements.
    unsafe { l.load_up_to(a.as_ptr().add(j), n - j) }
}

/// The largest of `n` numbers; NaN is passed over.
///
/// # Safety
/// They exist.
#[inline(always)]
pub(crate) unsafe fn largest<T: Element, L: Lanes<T>>(l: L, from: *const T, n: usize) -> T {
    const { assert!(L::N <= LANES) };
    let mut lanes = [T::from_f64(f64::NEG_INFINITY); LANES];
    let mut largest = l.splat(lanes[0]);
    let whole = n / L::N * L::N;
    let more = |a: T, b: T| if a < b { b } else { a };
    // SAFETY: the caller vouches for the numbers; the array holds a register.
    unsafe {
        for j in (0..whole).step_by(L::N) {
            let z = l.load(from.add(j));
            largest = l.select_lt(largest, z, z, largest);
        }
        l.store(lanes.as_mut_ptr(), largest);
        let all = lanes.into_iter().fold(lanes[0], more);
        (whole..n).fold(all, |all, j| more(all, *from.add(j)))
    }
}

/// Partial sums under way, in the first `LANES / L::N` registers.
type Sums<V, const K: usize> = [[V; K]; LANES];

/// The sums of `n` terms.
///
/// # Safety
/// All terms exist.
#[inline(always)]
pub(crate) unsafe fn lane_sums<T: Element, L: Lanes<T>, const K: usize>(
    l: L, n: usize, terms: &impl Terms<T, K>,
) -> [T; K] {
    const { assert!(LANES.is_multiple_of(L::N)) };
    let mut totals = [[l.splat(T::default()); K]; LANES];
    for start in (0..n).step_by(BLOCK) {
        // SAFETY: the caller vouches for the terms.
        let sums = unsafe { block_sums(l, start, n, terms) };
        for r in 0..LANES / L::N {
            for k in 0..K {
                totals[r][k] = l.add(totals[r][k], sums[r][k]);
            }
        }
    }
    let mut sums = [T::default(); K];
    for (k, sum) in sums.iter_mut().enumerate() {
        *sum = together(l, &totals, k);
    }
    sums
}

/// The partial sums of a block that begins with term `start`.
#[inline(always)]
unsafe fn block_sums<T: Element, L: Lanes<T>, const K: usize>(
    l: L, start: usize, n: usize, terms: &impl Terms<T, K>,
) -> Sums<L::V, K> {
    let mut sums = [[l.splat(T::default()); K]; LANES];
    let end = n.min(start + BLOCK);
    let whole = start + (end - start) / LANES * LANES;
    for j in (start..whole).step_by(LANES) {
        for (r, sums) in sums.iter_mut().enumerate().take(LANES / L::N) {
            // SAFETY: a whole register of terms before `n`.
            let new = unsafe { terms.at(l, j + r * L::N, n) };
            for k in 0..K {
                sums[k] = l.add(sums[k], new[k]);
            }
        }
    }
    for (r, sums) in sums.iter_mut().enumerate().take(LANES / L::N) {
        let j = whole + r * L::N;
        if j < end {
            // SAFETY: `j` is before `n`.
            let new = unsafe { terms.at(l, j, n) };
            for k in 0..K {
                sums[k] = l.add(sums[k], first(l, new[k], n - j));
            }
        }
    }
    sums
}

/// The first `n` lanes; the others are zero.
#[inline(always)]
fn first<T: Element, L: Lanes<T>>(l: L, v: L::V, n: usize) -> L::V {
    if n >= L::N {
        return v;
    }
    let mut lanes = [T::default(); LANES];
    // SAFETY: the array holds a register.
    unsafe {
        l.store_part(lanes.as_mut_ptr(), v, n);
        l.load(lanes.as_ptr())
    }
}

/// The sum of all lanes, in halves.
#[inline(always)]
fn together<T: Element, L: Lanes<T>, const K: usize>(l: L, sums: &Sums<L::V, K>, k: usize) -> T {
    let mut lanes = [T::default(); LANES];
    for (r, sums) in sums.iter().enumerate().take(LANES / L::N) {
        // SAFETY: the array holds all registers.
        unsafe { l.store(lanes.as_mut_ptr().add(r * L::N), sums[k]) };
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = lanes[i] + lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};
    use crate::testing::numbers;

    struct Values<'a, T>(&'a [T]);

    impl<T: Element> Terms<T, 1> for Values<'_, T> {
        #[inline(always)]
        unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
            // SAFETY: the caller vouches for the terms.
            unsafe { [elements(l, self.0, j, n)] }
        }
    }

    impl<T: Element> Kernel<T> for Values<'_, T> {
        type Output = T;

        #[inline(always)]
        fn run<L: Lanes<T>>(self, l: L) -> T {
            // SAFETY: there are as many terms as values.
            unsafe { lane_sums(l, self.0.len(), &self)[0] }
        }
    }

    /// The same order in plain loops.
    fn plain<T: Element>(values: &[T]) -> T {
        let mut totals = [T::default(); 16];
        for block in values.chunks(1024) {
            let mut sums = [T::default(); 16];
            block.iter().enumerate().for_each(|(j, &x)| sums[j % 16] = sums[j % 16] + x);
            (0..16).for_each(|i| totals[i] = totals[i] + sums[i]);
        }
        let pairs = |of: &[T]| -> Vec<T> {
            let (left, right) = of.split_at(of.len() / 2);
            left.iter().zip(right).map(|(&a, &b)| a + b).collect()
        };
        pairs(&pairs(&pairs(&pairs(&totals))))[0]
    }

    fn check<T: Element>() {
        for n in [0, 1, 2, 7, 8, 15, 16, 17, 100, 1023, 1024, 1030, 2500] {
            let values = numbers::<T>(1, n, 3).into_raw_vec_and_offset().0;
            let padded: Vec<T> = values.iter().copied().chain([T::default(); 21]).collect();
            for isa in Isa::present() {
                let sum = T::dispatch(isa, Values(&values));
                assert_eq!(sum, plain(&values), "{n} on {}", isa.name());
                assert_eq!(sum, T::dispatch(isa, Values(&padded)), "{n} on {}", isa.name());
            }
        }
    }

    #[test]
    fn the_order_is_that_of_plain_loops_on_every_set() {
        check::<f32>();
        check::<f64>();
    }
}
