//! Counts the operations of an algorithm by running it without numbers.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use recurra::Element;
use recurra::simd::{Kernel, Lanes};

static OPERATIONS: AtomicUsize = AtomicUsize::new(0);

/// Additions, multiplications, divisions and square roots of `kernel` on one element; a fused
/// multiply-add is two. Comparisons and what works on bits is not counted.
pub fn operations<T: Element>(kernel: impl Kernel<T>) -> usize {
    OPERATIONS.store(0, Relaxed);
    kernel.run(Counting);
    OPERATIONS.load(Relaxed)
}

/// A register of one element that has no value.
#[derive(Clone, Copy)]
struct Counting;

impl Counting {
    fn count(n: usize) {
        OPERATIONS.fetch_add(n, Relaxed);
    }
}

#[rustfmt::skip]
impl<T: Element> Lanes<T> for Counting {
    type V = ();
    const N: usize = 1;
    const ROWS: usize = 4;

    fn splat(self, _: T) {}
    fn add(self, (): (), (): ()) { Self::count(1) }
    fn sub(self, (): (), (): ()) { Self::count(1) }
    fn mul(self, (): (), (): ()) { Self::count(1) }
    fn div(self, (): (), (): ()) { Self::count(1) }
    fn sqrt(self, (): ()) { Self::count(1) }
    fn fma(self, (): (), (): (), (): ()) { Self::count(2) }
    fn fnma(self, (): (), (): (), (): ()) { Self::count(2) }
    fn max(self, (): (), (): ()) {}
    fn min(self, (): (), (): ()) {}
    fn abs(self, (): ()) {}
    fn with_sign(self, (): (), (): ()) {}
    fn low_bits_as_exponent(self, (): ()) {}
    fn select_lt(self, (): (), (): (), (): (), (): ()) {}
    unsafe fn load(self, _: *const T) {}
    unsafe fn store(self, _: *mut T, (): ()) {}
    unsafe fn load_part(self, _: *const T, _: usize) {}
    unsafe fn store_part(self, _: *mut T, (): (), _: usize) {}
    fn enter<K: Kernel<T>>(self, kernel: K) -> K::Output { kernel.run(self) }
}
