//! Which instruction sets there are, and the choice among them at run time.

use std::sync::atomic::{AtomicU8, Ordering};

use super::{Element, Kernel, Lanes, scalar::Scalar};
use crate::error::{Error, Result};

/// An instruction set that this processor has.
///
/// ```
/// let isa = recurra::Isa::current()?;
/// assert!(recurra::Isa::present().contains(&isa));
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Set {
    Scalar = 1,
    #[cfg(target_arch = "x86_64")]
    Avx2 = 2,
    #[cfg(target_arch = "x86_64")]
    Avx512 = 3,
    #[cfg(target_arch = "aarch64")]
    Neon = 4,
}

/// Zero until the first use, then a `Set`. It is a cache of a pure choice: no lock, fork-safe.
static CURRENT: AtomicU8 = AtomicU8::new(0);

impl Isa {
    /// The set in use: the one that `RECURRA_ISA` names, else the widest that is present.
    ///
    /// # Errors
    /// [`Error::InstructionSet`] when `RECURRA_ISA` names a set that is not present.
    pub fn current() -> Result<Self> {
        if let Some(isa) = Self::from_code(CURRENT.load(Ordering::Relaxed)) {
            return Ok(isa);
        }
        let isa = match std::env::var_os("RECURRA_ISA") {
            Some(name) if !name.is_empty() => Self::find("RECURRA_ISA", &name.to_string_lossy())?,
            _ => Self::widest(),
        };
        isa.make_current();
        Ok(isa)
    }

    /// The set that `make_current` stored: nothing else writes the code.
    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self(Set::Scalar)),
            #[cfg(target_arch = "x86_64")]
            2 => Some(Self(Set::Avx2)),
            #[cfg(target_arch = "x86_64")]
            3 => Some(Self(Set::Avx512)),
            #[cfg(target_arch = "aarch64")]
            4 => Some(Self(Set::Neon)),
            _ => None,
        }
    }

    /// Uses this set from now on, in this process. Results do not depend on it.
    pub fn make_current(self) {
        CURRENT.store(self.0 as u8, Ordering::Relaxed);
    }

    /// The set of that name.
    ///
    /// # Errors
    /// [`Error::InstructionSet`] when there is none, or this processor lacks it.
    pub fn named(name: &str) -> Result<Self> {
        Self::find("instruction set", name)
    }

    fn find(operation: &'static str, name: &str) -> Result<Self> {
        let present = Self::present();
        present.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = present.iter().map(|isa| isa.name()).collect();
            Error::InstructionSet { operation, asked: name.to_owned(), present: names.join(", ") }
        })
    }

    /// The sets that this processor has, the widest last.
    pub fn present() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut sets = vec![Self(Set::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            if super::avx2::Avx2::detect().is_some() {
                sets.push(Self(Set::Avx2));
            }
            if super::avx512::Avx512::detect().is_some() {
                sets.push(Self(Set::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Self(Set::Neon));
        sets
    }

    fn widest() -> Self {
        Self::present().pop().unwrap_or(Self(Set::Scalar))
    }

    /// `scalar`, `avx2`, `avx512` or `neon`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
        }
    }

    /// Elements of type `T` in one of its registers.
    pub fn lanes<T: Element>(self) -> usize {
        T::dispatch(self, CountLanes)
    }
}

struct CountLanes;

impl<T: Element> Kernel<T> for CountLanes {
    type Output = usize;
    #[inline(always)]
    fn run<L: Lanes<T>>(self, _: L) -> usize {
        L::N
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn enter<T: Element, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output
where
    Scalar: Lanes<T>,
    super::avx2::Avx2: Lanes<T>,
    super::avx512::Avx512: Lanes<T>,
{
    match isa.0 {
        Set::Scalar => Scalar.enter(kernel),
        // SAFETY: an `Isa` of these sets is made by `present` alone, after detection.
        Set::Avx2 => unsafe { super::avx2::Avx2::assume() }.enter(kernel),
        // SAFETY: as above.
        Set::Avx512 => unsafe { super::avx512::Avx512::assume() }.enter(kernel),
    }
}

#[cfg(target_arch = "aarch64")]
#[inline]
pub(super) fn enter<T: Element, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output
where
    Scalar: Lanes<T>,
    super::neon::Neon: Lanes<T>,
{
    match isa.0 {
        Set::Scalar => Scalar.enter(kernel),
        Set::Neon => super::neon::Neon.enter(kernel),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
pub(super) fn enter<T: Element, K: Kernel<T>>(_: Isa, kernel: K) -> K::Output
where
    Scalar: Lanes<T>,
{
    Scalar.enter(kernel)
}
