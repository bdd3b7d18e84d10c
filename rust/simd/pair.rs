//! Two registers as one.
//!
//! A cell's arithmetic is one long chain of dependent operations. Two chains side by side keep a
//! pipeline busy that one leaves idle while it waits: the LSTM's arithmetic takes 58 cycles a
//! register instead of 77 on Zen 3. A second pass for the last activation, or doing it one register
//! later, gave 52 to 61 and would cut every cell in two.

use super::{Element, Kernel, LINE, Lanes};

/// Twice the lanes of `L`, operation by operation.
#[derive(Debug, Clone, Copy)]
pub struct Pair<L>(pub L);

/// Operations that are done on both registers.
macro_rules! both {
    ($($name:ident($($arg:ident),*);)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> Self::V {
            [self.0.$name($($arg[0]),*), self.0.$name($($arg[1]),*)]
        }
    )*};
}

impl<T: Element, L: Lanes<T>> Lanes<T> for Pair<L> {
    type V = [L::V; 2];
    const N: usize = 2 * L::N;
    const ROWS: usize = L::ROWS;

    both! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        sqrt(a);
        fma(a, b, c);
        fnma(a, b, c);
        max(a, x);
        min(a, x);
        abs(a);
        with_sign(a, sign);
        low_bits_as_exponent(a);
        select_lt(a, b, x, y);
    }

    #[inline(always)]
    fn splat(self, x: T) -> Self::V {
        [self.0.splat(x); 2]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const T) -> Self::V {
        // SAFETY: the caller vouches for 2 N elements.
        unsafe { [self.0.load(p), self.0.load(p.add(L::N))] }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T, v: Self::V) {
        // SAFETY: the caller vouches for 2 N elements.
        unsafe {
            self.0.store(p, v[0]);
            self.0.store(p.add(L::N), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const T, n: usize) -> Self::V {
        let (first, second) = (self.0, n.saturating_sub(L::N));
        // SAFETY: the caller vouches for n elements; the second register reads those behind N.
        unsafe { [first.load_up_to(p, n), first.load_part(p.wrapping_add(L::N), second)] }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut T, v: Self::V, n: usize) {
        // SAFETY: the caller vouches for n elements; the second register writes those behind N.
        unsafe {
            self.0.store_up_to(p, v[0], n);
            self.0.store_part(p.wrapping_add(L::N), v[1], n.saturating_sub(L::N));
        }
    }
    /// Two registers fill a cache line; those of AVX-512 fill two.
    #[inline(always)]
    fn prefetch(self, p: *const T) {
        self.0.prefetch(p);
        if size_of::<Self::V>() > LINE {
            self.0.prefetch(p.wrapping_add(L::N));
        }
    }
    #[inline(always)]
    fn enter<K: Kernel<T>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}
