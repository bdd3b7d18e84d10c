//! What the unit tests of several files share.

use std::sync::{Mutex, PoisonError};

use ndarray::Array2;

use crate::simd::Element;

/// Numbers between -1 and 1 without a pattern, the same on every machine.
pub(crate) fn numbers<T: Element>(rows: usize, columns: usize, seed: u64) -> Array2<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    Array2::from_shape_simple_fn((rows, columns), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    })
}

/// Runs `check` with each instruction set of this machine in turn.
///
/// One test at a time has the choice. Others that run meanwhile are not disturbed: their results do
/// not depend on the set.
pub(crate) fn on_every_isa(mut check: impl FnMut(&str)) {
    static CHOICE: Mutex<()> = Mutex::new(());
    let _choice = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = crate::Isa::current().expect("RECURRA_ISA names a set of this machine");
    for isa in crate::Isa::present() {
        isa.make_current();
        check(isa.name());
    }
    before.make_current();
}
