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
    /// The coefficients of `(1 - e^-r - r) / r^2` for `|r| <= ln 2 / 2`: a minimax polynomial, by
    /// which `e^-r` is wrong by 5e-9 at most, and by 1e-17 in double precision.
    const EXP_SERIES: &'static [Self];
    /// `1.5 * 2^m + bias` for a mantissa of `m` bits: what is added to it is rounded to an integer,
    /// whose exponent then stands in the lowest bits.
    const EXPONENT: Self;
    /// Beyond this, `e^-w` is zero.
    const EXP_MAX: Self;
    /// A power of two that lifts all of `e^-w` out of the subnormal numbers, and by which
    /// `e^w` stays finite for `w <= EXP_MAX` when it is divided by it: exponent and inverse.
    const LIFT: (Self, Self);
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
        &[-0.5, 0.166_665_18, -0.041_666_206, 0.008_368_918, -0.001_395_054_2];
    const EXPONENT: Self = 12_582_912.0 + 127.0;
    const EXP_MAX: Self = 110.0;
    const LIFT: (Self, Self) = (36.0, f32::from_bits((127 - 36) << 23));
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
        -0.500_000_000_000_001_3,
        0.166_666_666_666_667,
        -0.041_666_666_666_514_93,
        0.008_333_333_333_307_118,
        -0.001_388_888_894_715_612_2,
        0.000_198_412_699_175_718_67,
        -2.480_148_978_582_598e-5,
        2.755_721_613_139_287e-6,
        -2.763_133_970_490_11e-7,
        2.511_791_512_674_608_6e-8,
    ];
    const EXPONENT: Self = 6_755_399_441_055_744.0 + 1023.0;
    const EXP_MAX: Self = 760.0;
    const LIFT: (Self, Self) = (80.0, f64::from_bits((1023 - 80) << 52));
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
