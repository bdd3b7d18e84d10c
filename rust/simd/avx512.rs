//! AVX-512 (F, BW, DQ, VL): 16 x f32 or 8 x f64, 32 registers.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::{Element, Kernel, Lanes};

/// Proof that the processor has AVX-512 F, BW, DQ and VL.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// The token, where the processor has the set.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma");
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
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
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

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> u16 {
    ((1u32 << n.min(16)) - 1) as u16
}

macro_rules! lanes {
    ($t:ty, $v:ty, $n:expr, $mask:ty, $set1:ident, $abs:ident, $and:ident,
     $or:ident, $cmp:ident, $blend:ident, $loadu:ident, $storeu:ident,
     $maskload:ident, $maskstore:ident, $exponent:item, $($ops:tt)*) => {
        impl Lanes<$t> for Avx512 {
            type V = $v;
            const N: usize = $n;
            const ROWS: usize = 12;

            intrinsics!($v: $($ops)*);

            $exponent

            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: `self` exists only where the instruction set was detected.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            fn abs(self, a: $v) -> $v {
                // SAFETY: as above.
                unsafe { $abs(a) }
            }
            #[inline(always)]
            fn with_sign(self, a: $v, sign: $v) -> $v {
                // SAFETY: as above.
                unsafe { $or(a, $and($set1(-0.0), sign)) }
            }
            #[inline(always)]
            fn select_lt(self, a: $v, b: $v, x: $v, y: $v) -> $v {
                // SAFETY: as above.
                unsafe { $blend($cmp::<_CMP_LT_OQ>(a, b), y, x) }
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
                unsafe { $maskload(first(n) as $mask, p) }
            }
            #[inline(always)]
            unsafe fn store_part(self, p: *mut $t, v: $v, n: usize) {
                // SAFETY: masked lanes are not written; the caller vouches for the others.
                unsafe { $maskstore(p, first(n) as $mask, v) }
            }
            #[inline(always)]
            unsafe fn transpose(self, from: *const $t, step: isize, to: *mut $t, row: usize) {
                // Four blocks of AVX2, whose shuffles are as wide as its memory operations.
                let half = $n / 2;
                for (i, j) in [(0, 0), (0, half), (half, 0), (half, half)] {
                    // SAFETY: AVX-512 processors have AVX2 and FMA; the caller vouches for N lines
                    // and N rows of N elements.
                    unsafe {
                        let from = from.offset(i as isize * step).add(j);
                        let to = to.add(j * row + i);
                        Lanes::<$t>::transpose(Avx2::assume(), from, step, to, row);
                    }
                }
            }
            #[inline(always)]
            fn prefetch(self, p: *const $t) {
                // SAFETY: a hint, which no address makes fail; SSE is part of x86-64.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
            }
            #[inline(always)]
            fn pin(self, v: &mut $v) {
                #[inline]
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn pin(v: &mut $v) {
                    // SAFETY: a comment for the assembler, no instruction.
                    unsafe { asm!("/* {} */", inout(zmm_reg) *v, options(nostack, preserves_flags)) };
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
    f32, __m512, 16, __mmask16, _mm512_set1_ps, _mm512_abs_ps,
    _mm512_and_ps, _mm512_or_ps, _mm512_cmp_ps_mask, _mm512_mask_blend_ps,
    _mm512_loadu_ps, _mm512_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps,
    #[inline(always)]
    fn low_bits_as_exponent(self, a: __m512) -> __m512 {
        // SAFETY: `self` exists only where the instruction set was detected.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    },
    add(a, b) = _mm512_add_ps;
    sub(a, b) = _mm512_sub_ps;
    mul(a, b) = _mm512_mul_ps;
    div(a, b) = _mm512_div_ps;
    sqrt(a) = _mm512_sqrt_ps;
    fma(a, b, c) = _mm512_fmadd_ps;
    fnma(a, b, c) = _mm512_fnmadd_ps;
    max(a, x) = _mm512_max_ps;
    min(a, x) = _mm512_min_ps;
);

lanes!(
    f64, __m512d, 8, __mmask8, _mm512_set1_pd, _mm512_abs_pd,
    _mm512_and_pd, _mm512_or_pd, _mm512_cmp_pd_mask, _mm512_mask_blend_pd,
    _mm512_loadu_pd, _mm512_storeu_pd, _mm512_maskz_loadu_pd, _mm512_mask_storeu_pd,
    #[inline(always)]
    fn low_bits_as_exponent(self, a: __m512d) -> __m512d {
        // SAFETY: `self` exists only where the instruction set was detected.
        unsafe { _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(a))) }
    },
    add(a, b) = _mm512_add_pd;
    sub(a, b) = _mm512_sub_pd;
    mul(a, b) = _mm512_mul_pd;
    div(a, b) = _mm512_div_pd;
    sqrt(a) = _mm512_sqrt_pd;
    fma(a, b, c) = _mm512_fmadd_pd;
    fnma(a, b, c) = _mm512_fnmadd_pd;
    max(a, x) = _mm512_max_pd;
    min(a, x) = _mm512_min_pd;
);
