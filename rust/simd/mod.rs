//! The only place that knows instruction sets.
//!
//! [`Lanes`] is a token: a value of it exists only where its instruction set was detected, so its
//! arithmetic is safe to call and only memory access is `unsafe`. Every algorithm is written once,
//! generic over `Lanes`, as a [`Kernel`]; [`Element::dispatch`] enters the chosen instruction set
//! once per kernel, and everything `#[inline(always)]` below that point is compiled for it.
//!
//! All sets give the same bits: one rounding per operation, fused multiply-add everywhere, true
//! division, no approximate reciprocals, and a lane never holds a part of another lane's sum, except
//! where `lane_sums` makes the same sixteen parts on every set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod element;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pair;
mod scalar;

pub use element::Element;
pub use isa::Isa;
pub use pair::Pair;

/// A vector register of `T` and what can be done with it.
pub trait Lanes<T: Element>: Copy + Send + Sync + 'static {
    /// The register.
    type V: Copy;
    /// Elements in a register.
    const N: usize;
    /// Rows of the register tile: `ROWS` x 2 accumulators, two weights and one broadcast must fit
    /// in the register file.
    const ROWS: usize;

    /// Every lane is `x`.
    fn splat(self, x: T) -> Self::V;
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`, correctly rounded
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square root, correctly rounded
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c` with one rounding
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b` with one rounding
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of a number `a` and any `x`; NaN where `x` is NaN.
    fn max(self, a: Self::V, x: Self::V) -> Self::V;
    /// The smaller of a number `a` and any `x`; NaN where `x` is NaN.
    fn min(self, a: Self::V, x: Self::V) -> Self::V;
    /// `|a|`
    fn abs(self, a: Self::V) -> Self::V;
    /// `a >= 0` with the sign of `sign`
    fn with_sign(self, a: Self::V, sign: Self::V) -> Self::V;
    /// The lowest bits of the mantissa, as sign and exponent of a power of two.
    fn low_bits_as_exponent(self, a: Self::V) -> Self::V;
    /// `x` where `a < b`, else `y` (also where either is NaN).
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;

    /// Reads `N` elements.
    ///
    /// # Safety
    /// `p` is valid for reading `N` elements; no alignment is needed.
    unsafe fn load(self, p: *const T) -> Self::V;
    /// Writes `N` elements.
    ///
    /// # Safety
    /// `p` is valid for writing `N` elements; no alignment is needed.
    unsafe fn store(self, p: *mut T, v: Self::V);
    /// Reads the first `n <= N` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `p` is valid for reading `n` elements.
    unsafe fn load_part(self, p: *const T, n: usize) -> Self::V;
    /// Writes the first `n <= N` lanes.
    ///
    /// # Safety
    /// `p` is valid for writing `n` elements.
    unsafe fn store_part(self, p: *mut T, v: Self::V, n: usize);

    /// Asks for the cache line of `p`, any address, where the set has an instruction for it, into the
    /// second-level cache: what is asked for comes some thousand cycles early, and the first level
    /// has no room to spare. On Zen 4 backward takes 1 to 5 % longer if it goes there.
    #[inline(always)]
    fn prefetch(self, _: *const T) {}

    /// A place that no reading and no computation of `v` is moved past: without it, the compiler
    /// reads ahead in an unrolled loop until its sums no longer fit in the registers. It is no
    /// instruction, and a set with registers enough needs none.
    #[inline(always)]
    fn pin(self, _: &mut Self::V) {}
    /// The same place, of which the compiler no longer knows how far it is from others; no
    /// instruction either. It is for sets that add a distance while they read.
    #[inline(always)]
    fn pin_place(self, p: *const T) -> *const T {
        p
    }

    /// Transposes a block of `N` lines of `N` elements: line `i`, `step` elements after line
    /// `i - 1`, becomes column `i` of rows that are `row` elements apart.
    ///
    /// # Safety
    /// All lines are valid for reading, all rows for writing, and they do not overlap.
    #[inline(always)]
    unsafe fn transpose(self, from: *const T, step: isize, to: *mut T, row: usize) {
        for i in 0..Self::N {
            for j in 0..Self::N {
                // SAFETY: the caller vouches for N lines and N rows of N elements.
                unsafe { *to.add(j * row + i) = *from.offset(i as isize * step).add(j) };
            }
        }
    }

    /// Runs `kernel` as a function of its own, compiled for this instruction set.
    fn enter<K: Kernel<T>>(self, kernel: K) -> K::Output;

    /// Reads `min(n, N)` elements.
    ///
    /// # Safety
    /// `p` is valid for reading `min(n, N)` elements.
    #[inline(always)]
    unsafe fn load_up_to(self, p: *const T, n: usize) -> Self::V {
        // SAFETY: the caller vouches for exactly the elements that are read.
        unsafe { if n >= Self::N { self.load(p) } else { self.load_part(p, n) } }
    }

    /// Writes `min(n, N)` elements.
    ///
    /// # Safety
    /// `p` is valid for writing `min(n, N)` elements.
    #[inline(always)]
    unsafe fn store_up_to(self, p: *mut T, v: Self::V, n: usize) {
        // SAFETY: the caller vouches for exactly the elements that are written.
        unsafe { if n >= Self::N { self.store(p, v) } else { self.store_part(p, v, n) } }
    }
}

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// An algorithm, written once for all instruction sets.
pub trait Kernel<T: Element> {
    /// What it returns.
    type Output;
    /// The algorithm. Implementations are `#[inline(always)]`, or they run without the set.
    fn run<L: Lanes<T>>(self, lanes: L) -> Self::Output;
}
