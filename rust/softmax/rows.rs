//! The kernels: some whole rows, forward and backward.

use ndarray::{ArrayView1, ArrayView3, s};

use super::{Call, Form};
use crate::lane_sums::{Terms, elements, lane_sums, largest};
use crate::math::exp_negative;
use crate::simd::{Element, Kernel, Lanes};

/// Some whole rows forward.
pub(super) struct Forward<'a, T> {
    pub all: Call,
    /// The number of the first row, over the whole batch.
    pub first: usize,
    pub mask: Option<ArrayView3<'a, bool>>,
    pub x: &'a [T],
    pub y: &'a mut [T],
}

impl<T: Element> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let width = self.all.width;
        let rows = self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width));
        for (i, (x, y)) in rows.enumerate() {
            let mut from = x.as_ptr();
            let to = y.as_mut_ptr();
            if let Some(mask) = self.mask {
                let (b, q) =
                    ((self.first + i) / self.all.queries, (self.first + i) % self.all.queries);
                hide(x, mask.slice(s![b, q, ..]), y);
                from = to;
            }
            // SAFETY: both places have `width` elements, the same ones or apart.
            unsafe { row(l, self.all.form, Places { from, to, width }) };
        }
    }
}

/// `x` with minus infinity where the mask is false.
#[inline(always)]
fn hide<T: Element>(x: &[T], mask: ArrayView1<'_, bool>, to: &mut [T]) {
    let hidden = T::from_f64(f64::NEG_INFINITY);
    let pick = |x: T, seen: bool| if seen { x } else { hidden };
    match mask.to_slice() {
        Some(mask) => {
            to.iter_mut().zip(x.iter().zip(mask)).for_each(|(to, (&x, &m))| *to = pick(x, m))
        }
        None => to.iter_mut().zip(x.iter().zip(mask)).for_each(|(to, (&x, &m))| *to = pick(x, m)),
    }
}

/// A row and its result; they may be the same.
#[derive(Clone, Copy)]
struct Places<T> {
    from: *const T,
    to: *mut T,
    width: usize,
}

/// One row forward.
#[inline(always)]
unsafe fn row<T: Element, L: Lanes<T>>(l: L, form: Form, places: Places<T>) {
    // SAFETY: the caller vouches for the places.
    unsafe {
        let largest = largest(l, places.from, places.width);
        let nothing = form == Form::Attention && largest == T::from_f64(f64::NEG_INFINITY);
        let largest = if nothing { T::default() } else { largest };
        let keep = form != Form::LogSoftmax;
        let [sum] = lane_sums(l, places.width, &Exponentials { places, largest, keep });
        let one = T::from_f64(1.0);
        match form {
            Form::LogSoftmax => shift(l, places, largest, sum.ln()),
            // Nothing to attend to: its exponentials are zeros, and stay so.
            _ => scale(l, places, if sum == T::default() { one } else { one / sum }),
        }
    }
}

/// `e^(x - largest)`, which are also written where `keep` says so.
struct Exponentials<T> {
    places: Places<T>,
    largest: T,
    keep: bool,
}

impl<T: Element> Terms<T, 1> for Exponentials<T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let z = l.load_up_to(self.places.from.add(j), n - j);
            let e = exp_negative(l, l.sub(z, l.splat(self.largest)));
            if self.keep {
                l.store_up_to(self.places.to.add(j), e, n - j);
            }
            [e]
        }
    }
}

/// Multiplies a result that stands in its place.
#[inline(always)]
unsafe fn scale<T: Element, L: Lanes<T>>(l: L, row: Places<T>, factor: T) {
    for j in (0..row.width).step_by(L::N) {
        // SAFETY: the caller vouches for the row.
        unsafe {
            let y = l.load_up_to(row.to.add(j), row.width - j);
            l.store_up_to(row.to.add(j), l.mul(y, l.splat(factor)), row.width - j);
        }
    }
}

/// `x - largest - ln_sum`
#[inline(always)]
unsafe fn shift<T: Element, L: Lanes<T>>(l: L, row: Places<T>, largest: T, ln_sum: T) {
    for j in (0..row.width).step_by(L::N) {
        // SAFETY: the caller vouches for the row.
        unsafe {
            let z = l.sub(l.load_up_to(row.from.add(j), row.width - j), l.splat(largest));
            l.store_up_to(row.to.add(j), l.sub(z, l.splat(ln_sum)), row.width - j);
        }
    }
}

/// Some whole rows backward.
pub(super) struct Backward<'a, T> {
    pub all: Call,
    pub y: &'a [T],
    pub dy: &'a [T],
    pub dx: &'a mut [T],
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let width = self.all.width;
        let rows = self.y.chunks_exact(width).zip(self.dy.chunks_exact(width));
        for ((y, dy), dx) in rows.zip(self.dx.chunks_exact_mut(width)) {
            let row = Gradient { y, dy, is_log: self.all.form == Form::LogSoftmax };
            // SAFETY: the three have `width` elements.
            unsafe {
                let [sum] = lane_sums(l, width, &row);
                row.write(l, sum, dx);
            }
        }
    }
}

/// One row backward: `y (dy - sum of y dy)`, and of the logarithm `dy - e^y sum of dy`.
struct Gradient<'a, T> {
    y: &'a [T],
    dy: &'a [T],
    is_log: bool,
}

impl<T: Element> Terms<T, 1> for Gradient<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let dy = elements(l, self.dy, j, n);
            if self.is_log {
                return [dy];
            }
            [l.mul(elements(l, self.y, j, n), dy)]
        }
    }
}

impl<T: Element> Gradient<'_, T> {
    /// # Safety
    /// `dx` is as long as the row.
    #[inline(always)]
    unsafe fn write<L: Lanes<T>>(&self, l: L, sum: T, dx: &mut [T]) {
        let (n, sum) = (self.y.len(), l.splat(sum));
        for j in (0..n).step_by(L::N) {
            // SAFETY: elements j .. n exist in all three.
            unsafe {
                let y = elements(l, self.y, j, n);
                let dy = elements(l, self.dy, j, n);
                let dz = match self.is_log {
                    true => l.fnma(exp_negative(l, y), sum, dy),
                    false => l.mul(y, l.sub(dy, sum)),
                };
                l.store_up_to(dx.as_mut_ptr().add(j), dz, n - j);
            }
        }
    }
}
