//! AVX2 with FMA: 8 x f32 or 4 x f64, 16 registers.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Element, Kernel, Lanes};

/// Proof that the processor has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where the processor has the set.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        present.then_some(Self(()))
    }

    /// The token, without asking the processor again.
    ///
    /// # Safety
    /// `detect` returned it before, in this process.
    pub unsafe fn assume() -> Self {
        Self(())
    }

    /// The one entrance: everything inlined into it is compiled with the set.
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    fn compiled<T: Element, K: Kernel<T>>(self, kernel: K) -> K::Output
    where
        Self: Lanes<T>,
    {
        kernel.run(self)
    }
}

/// Maps operations to the intrinsics that are them.
macro_rules! intrinsics {
    ($v:ty: $($name:ident($($arg:ident),*) = $intrinsic:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $v),*) -> $v {
            // SAFETY: `self` exists only where the instruction set was detected.
            unsafe { $intrinsic($($arg),*) }
        }
    )*};
}

/// All ones in the first eight, zeros behind: a window of it masks the first n lanes.
static FIRST_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static FIRST_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

#[inline(always)]
fn mask_32(n: usize) -> __m256i {
    // SAFETY: the window of 8 that starts at 8 - n lies inside the 16, for any n (clamped).
    unsafe { _mm256_loadu_si256(FIRST_32.as_ptr().add(8 - n.min(8)).cast()) }
}

#[inline(always)]
fn mask_64(n: usize) -> __m256i {
    // SAFETY: the window of 4 that starts at 4 - n lies inside the 8, for any n (clamped).
    unsafe { _mm256_loadu_si256(FIRST_64.as_ptr().add(4 - n.min(4)).cast()) }
}

macro_rules! lanes {
    ($t:ty, $v:ty, $n:expr, $mask:ident, $set1:ident, $and:ident, $andnot:ident,
     $or:ident, $cmp:ident, $blend:ident, $loadu:ident, $storeu:ident, $maskload:ident,
     $maskstore:ident, $exponent:item, $transpose:item, $($ops:tt)*) => {
        impl Lanes<$t> for Avx2 {
            type V = $v;
            const N: usize = $n;
            const ROWS: usize = 6;

            intrinsics!($v: $($ops)*);

            $exponent

            $transpose

            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: `self` exists only where the instruction set was detected.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            fn abs(self, a: $v) -> $v {
                // SAFETY: as above.
                unsafe { $andnot($set1(-0.0), a) }
            }
            #[inline(always)]
            fn with_sign(self, a: $v, sign: $v) -> $v {
                // SAFETY: as above.
                unsafe { $or(a, $and($set1(-0.0), sign)) }
            }
            #[inline(always)]
            fn select_lt(self, a: $v, b: $v, x: $v, y: $v) -> $v {
                // SAFETY: as above.
                unsafe { $blend(y, x, $cmp::<_CMP_LT_OQ>(a, b)) }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                // SAFETY: the caller vouches for N elements.
                unsafe { $loadu(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, v: $v) {
                // SAFETY: the caller vouches for N elements.
                unsafe { $storeu(p, v) }
            }
            #[inline(always)]
            unsafe fn load_part(self, p: *const $t, n: usize) -> $v {
                // SAFETY: masked lanes are not read; the caller vouches for the others.
                unsafe { $maskload(p, $mask(n)) }
            }
            #[inline(always)]
            unsafe fn store_part(self, p: *mut $t, v: $v, n: usize) {
                // SAFETY: masked lanes are not written; the caller vouches for the others.
                unsafe { $maskstore(p, $mask(n), v) }
            }
            #[inline(always)]
            fn prefetch(self, p: *const $t) {
                // SAFETY: a hint, which no address makes fail; SSE is part of x86-64.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
            }
            #[inline(always)]
            fn pin(self, v: &mut $v) {
                #[inline]
                #[target_feature(enable = "avx2,fma")]
                fn pin(v: &mut $v) {
                    // SAFETY: a comment for the assembler, no instruction.
                    unsafe { asm!("/* {} */", inout(ymm_reg) *v, options(nostack, preserves_flags)) };
                }
                // SAFETY: `self` exists only where the instruction set was detected.
                unsafe { pin(v) };
            }
            #[inline(always)]
            fn pin_place(self, mut p: *const $t) -> *const $t {
                // SAFETY: a comment for the assembler, no instruction.
                unsafe { asm!("/* {} */", inout(reg) p, options(nostack, preserves_flags)) };
                p
            }
            #[inline(always)]
            fn enter<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                // SAFETY: `self` exists only where the instruction set was detected.
                unsafe { self.compiled(kernel) }
            }
        }
    };
}

lanes!(
    f32, __m256, 8, mask_32, _mm256_set1_ps, _mm256_and_ps, _mm256_andnot_ps,
    _mm256_or_ps, _mm256_cmp_ps, _mm256_blendv_ps, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_maskload_ps, _mm256_maskstore_ps,
    #[inline(always)]
    fn low_bits_as_exponent(self, a: __m256) -> __m256 {
        // SAFETY: `self` exists only where the instruction set was detected.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))) }
    },
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, step: isize, to: *mut f32, row: usize) {
        // Pairs, then fours, then the halves of the registers change places.
        // SAFETY: the caller vouches for 8 lines and 8 rows of 8 elements.
        unsafe {
            let r: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.offset(i as isize * step)));
            let pairs: [__m256; 8] = std::array::from_fn(|i| match i % 2 {
                0 => _mm256_unpacklo_ps(r[i], r[i + 1]),
                _ => _mm256_unpackhi_ps(r[i - 1], r[i]),
            });
            let fours: [__m256; 8] = std::array::from_fn(|i| {
                let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
                match i % 2 {
                    0 => _mm256_shuffle_ps::<0x44>(a, b),
                    _ => _mm256_shuffle_ps::<0xee>(a, b),
                }
            });
            for i in 0..4 {
                let (a, b) = (fours[i], fours[i + 4]);
                _mm256_storeu_ps(to.add(i * row), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((i + 4) * row), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    },
    add(a, b) = _mm256_add_ps;
    sub(a, b) = _mm256_sub_ps;
    mul(a, b) = _mm256_mul_ps;
    div(a, b) = _mm256_div_ps;
    sqrt(a) = _mm256_sqrt_ps;
    fma(a, b, c) = _mm256_fmadd_ps;
    fnma(a, b, c) = _mm256_fnmadd_ps;
    max(a, x) = _mm256_max_ps;
    min(a, x) = _mm256_min_ps;
);

lanes!(
    f64, __m256d, 4, mask_64, _mm256_set1_pd, _mm256_and_pd, _mm256_andnot_pd,
    _mm256_or_pd, _mm256_cmp_pd, _mm256_blendv_pd, _mm256_loadu_pd, _mm256_storeu_pd,
    _mm256_maskload_pd, _mm256_maskstore_pd,
    #[inline(always)]
    fn low_bits_as_exponent(self, a: __m256d) -> __m256d {
        // SAFETY: `self` exists only where the instruction set was detected.
        unsafe { _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(a))) }
    },
    #[inline(always)]
    unsafe fn transpose(self, from: *const f64, step: isize, to: *mut f64, row: usize) {
        // SAFETY: the caller vouches for 4 lines and 4 rows of 4 elements.
        unsafe {
            let r: [__m256d; 4] = std::array::from_fn(|i| _mm256_loadu_pd(from.offset(i as isize * step)));
            let low = [_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpacklo_pd(r[2], r[3])];
            let high = [_mm256_unpackhi_pd(r[0], r[1]), _mm256_unpackhi_pd(r[2], r[3])];
            _mm256_storeu_pd(to, _mm256_permute2f128_pd::<0x20>(low[0], low[1]));
            _mm256_storeu_pd(to.add(row), _mm256_permute2f128_pd::<0x20>(high[0], high[1]));
            _mm256_storeu_pd(to.add(2 * row), _mm256_permute2f128_pd::<0x31>(low[0], low[1]));
            _mm256_storeu_pd(to.add(3 * row), _mm256_permute2f128_pd::<0x31>(high[0], high[1]));
        }
    },
    add(a, b) = _mm256_add_pd;
    sub(a, b) = _mm256_sub_pd;
    mul(a, b) = _mm256_mul_pd;
    div(a, b) = _mm256_div_pd;
    sqrt(a) = _mm256_sqrt_pd;
    fma(a, b, c) = _mm256_fmadd_pd;
    fnma(a, b, c) = _mm256_fnmadd_pd;
    max(a, x) = _mm256_max_pd;
    min(a, x) = _mm256_min_pd;
);
