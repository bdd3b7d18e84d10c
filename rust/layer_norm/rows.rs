//! The kernels: some rows, forward and backward.

use crate::lane_sums::{Terms, elements, lane_sums};
use crate::simd::{Element, Kernel, Lanes};

/// Some rows forward.
pub(super) struct Forward<'a, T> {
    pub width: usize,
    pub weight: Option<&'a [T]>,
    pub bias: Option<&'a [T]>,
    pub eps: T,
    pub x: &'a [T],
    pub y: &'a mut [T],
    pub mean: &'a mut [T],
    pub scale: &'a mut [T],
}

impl<T: Element> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (one, count) = (T::from_f64(1.0), T::from_f64(self.width as f64));
        let rows = self.x.chunks_exact(self.width).zip(self.y.chunks_exact_mut(self.width));
        let found = self.mean.iter_mut().zip(self.scale);
        for ((x, y), (mean, scale)) in rows.zip(found) {
            // SAFETY: a row of x and of y, and the parameters, have `width` elements.
            unsafe {
                let [sum] = lane_sums(l, self.width, &Values(x));
                *mean = sum / count;
                let [sum] = lane_sums(l, self.width, &Squares { x, mean: *mean });
                *scale = one / (sum / count + self.eps).sqrt();
                let row = Row { x, mean: *mean, scale: *scale, weight: self.weight };
                row.write(l, self.bias, y);
            }
        }
    }
}

struct Values<'a, T>(&'a [T]);

impl<T: Element> Terms<T, 1> for Values<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        unsafe { [elements(l, self.0, j, n)] }
    }
}

struct Squares<'a, T> {
    x: &'a [T],
    mean: T,
}

impl<T: Element> Terms<T, 1> for Squares<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 1] {
        // SAFETY: the caller vouches for the elements.
        let d = l.sub(unsafe { elements(l, self.x, j, n) }, l.splat(self.mean));
        [l.mul(d, d)]
    }
}

/// A row and how it is normalized.
struct Row<'a, T> {
    x: &'a [T],
    mean: T,
    scale: T,
    weight: Option<&'a [T]>,
}

impl<T: Element> Row<'_, T> {
    /// The normalized elements from `j` on.
    #[inline(always)]
    unsafe fn normalized<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> L::V {
        // SAFETY: the caller vouches for the elements.
        let d = l.sub(unsafe { elements(l, self.x, j, n) }, l.splat(self.mean));
        l.mul(d, l.splat(self.scale))
    }

    /// `dy` times the weight.
    #[inline(always)]
    unsafe fn weighted<L: Lanes<T>>(&self, l: L, dy: L::V, j: usize, n: usize) -> L::V {
        match self.weight {
            // SAFETY: the caller vouches for the elements.
            Some(weight) => l.mul(dy, unsafe { elements(l, weight, j, n) }),
            None => dy,
        }
    }

    #[inline(always)]
    unsafe fn write<L: Lanes<T>>(&self, l: L, bias: Option<&[T]>, y: &mut [T]) {
        let n = self.x.len();
        for j in (0..n).step_by(L::N) {
            // SAFETY: the caller vouches for the elements.
            unsafe {
                let mut v = self.normalized(l, j, n);
                v = self.weighted(l, v, j, n);
                if let Some(bias) = bias {
                    v = l.add(v, elements(l, bias, j, n));
                }
                l.store_up_to(y.as_mut_ptr().add(j), v, n - j);
            }
        }
    }
}

/// Some rows backward.
pub(super) struct Backward<'a, T> {
    pub width: usize,
    pub weight: Option<&'a [T]>,
    pub x: &'a [T],
    pub dy: &'a [T],
    pub mean: &'a [T],
    pub scale: &'a [T],
    pub dx: &'a mut [T],
    /// To which the gradients of weight and bias are added.
    pub sums: (&'a mut [T], &'a mut [T]),
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (width, count) = (self.width, T::from_f64(self.width as f64));
        let (dweight, dbias) = self.sums;
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        let found = self.mean.iter().zip(self.scale);
        for (((x, dy), (&mean, &scale)), dx) in rows.zip(found).zip(self.dx.chunks_exact_mut(width))
        {
            let row = Row { x, mean, scale, weight: self.weight };
            let row = Gradient { row, dy };
            // SAFETY: all rows, parameters and sums have `width` elements.
            unsafe {
                let [sum, along] = lane_sums(l, width, &row);
                row.write(l, [sum / count, along / count], dx, dweight, dbias);
            }
        }
    }
}

/// One row backward: with `g = dy * weight` and `n` the normalized row,
/// `dx = (g - mean of g - n * mean of g n) * scale`.
struct Gradient<'a, T> {
    row: Row<'a, T>,
    dy: &'a [T],
}

/// `g` and `g n`
impl<T: Element> Terms<T, 2> for Gradient<'_, T> {
    #[inline(always)]
    unsafe fn at<L: Lanes<T>>(&self, l: L, j: usize, n: usize) -> [L::V; 2] {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let g = self.row.weighted(l, elements(l, self.dy, j, n), j, n);
            [g, l.mul(g, self.row.normalized(l, j, n))]
        }
    }
}

impl<T: Element> Gradient<'_, T> {
    #[inline(always)]
    unsafe fn write<L: Lanes<T>>(
        &self, l: L, means: [T; 2], dx: &mut [T], dweight: &mut [T], dbias: &mut [T],
    ) {
        let (n, mean, along) = (self.dy.len(), l.splat(means[0]), l.splat(means[1]));
        for j in (0..n).step_by(L::N) {
            // SAFETY: the caller vouches for the elements.
            unsafe {
                let (dy, x) = (elements(l, self.dy, j, n), self.row.normalized(l, j, n));
                let g = l.sub(self.row.weighted(l, dy, j, n), mean);
                let d = l.mul(l.fnma(x, along, g), l.splat(self.row.scale));
                l.store_up_to(dx.as_mut_ptr().add(j), d, n - j);
                let w = l.fma(dy, x, elements(l, dweight, j, n));
                l.store_up_to(dweight.as_mut_ptr().add(j), w, n - j);
                let b = l.add(dy, elements(l, dbias, j, n));
                l.store_up_to(dbias.as_mut_ptr().add(j), b, n - j);
            }
        }
    }
}
