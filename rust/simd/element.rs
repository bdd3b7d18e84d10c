//! The two element types, and the constants by which they differ.

use super::{Isa, Kernel};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`.
pub trait Element:
    sealed::Sealed
    + Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + 'static
{
    /// The name that NumPy gives it.
    const NAME: &'static str;
    /// `1 / ln 2`
    const LOG2_E: Self;
    /// `ln 2` in two parts; the first has enough trailing zeros to be multiplied exactly.
    const LN_2: [Self; 2];
    /// `1/2!, 1/3!, ...`: the series of `(e^r - 1 - r) / r^2`, to the last term that counts for
    /// `|r| <= ln 2 / 2`.
    const EXP_SERIES: &'static [Self];
    /// Below this, `e^x` is zero.
    const EXP_MIN: Self;
    /// An exponent that lifts the whole range of `e^x`, x <= 0, out of the subnormal numbers.
    const EXP_LIFT: Self;
    /// `2^-EXP_LIFT`
    const EXP_DROP: Self;
    /// Carried gradients smaller than this become zero, before they become subnormal and slow:
    /// 2^-96, and 2^-960 in double precision.
    const TINY: Self;

    /// The nearest element.
    fn from_f64(x: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// Natural logarithm, the same bits on every platform.
    fn ln(self) -> Self;
    /// Runs `kernel` on the instruction set `isa`.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;
}

macro_rules! dispatch {
    () => {
        #[inline]
        fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
            super::isa::enter(isa, kernel)
        }
    };
}

impl Element for f32 {
    const NAME: &'static str = "float32";
    const LOG2_E: Self = std::f32::consts::LOG2_E;
    const LN_2: [Self; 2] = [0.693_145_75, 1.428_606_8e-6];
    const EXP_SERIES: &'static [Self] =
        &[0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];
    const EXP_MIN: Self = -110.0;
    const EXP_LIFT: Self = 64.0;
    const EXP_DROP: Self = f32::from_bits((127 - 64) << 23);
    const TINY: Self = f32::from_bits((127 - 96) << 23);

    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    fn ln(self) -> Self {
        libm::logf(self)
    }
    dispatch!();
}

impl Element for f64 {
    const NAME: &'static str = "float64";
    const LOG2_E: Self = std::f64::consts::LOG2_E;
    const LN_2: [Self; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    const EXP_SERIES: &'static [Self] = &[
        0.5,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5040.0,
        1.0 / 40320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
        1.0 / 6_227_020_800.0,
    ];
    const EXP_MIN: Self = -760.0;
    const EXP_LIFT: Self = 512.0;
    const EXP_DROP: Self = f64::from_bits((1023 - 512) << 52);
    const TINY: Self = f64::from_bits((1023 - 960) << 52);

    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn ln(self) -> Self {
        libm::log(self)
    }
    dispatch!();
}
