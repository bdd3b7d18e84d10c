//! Parts of a result, each handed to one task that owns it.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::parallel;

/// Runs `work(i, part i)` for all parts on up to `threads` threads.
///
/// # Errors
/// The first part's error.
pub(crate) fn each<P: Send>(
    parts: impl Iterator<Item = P>, threads: usize, work: impl Fn(usize, P) -> Result<()> + Sync,
) -> Result<()> {
    if threads <= 1 {
        return parts.enumerate().try_for_each(|(i, part)| work(i, part));
    }
    let mut shared = Vec::new();
    for part in parts {
        let bytes = shared.len().checked_add(1).and_then(|n| n.checked_mul(size_of::<P>()));
        let refused = |_| Error::Memory { purpose: "the parts of a result", bytes };
        shared.try_reserve(1).map_err(refused)?;
        shared.push(Mutex::new(Some(part)));
    }
    let parts = shared;
    parallel::run(parts.len(), threads, |i| {
        let part = parts[i].lock().unwrap_or_else(PoisonError::into_inner).take();
        part.map_or(Ok(()), |part| work(i, part))
    })
}

/// An empty vector with room for `len` elements.
pub(crate) fn reserved<T>(len: usize, purpose: &'static str) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    let bytes = len.checked_mul(size_of::<T>());
    vector.try_reserve_exact(len).map_err(|_| Error::Memory { purpose, bytes })?;
    Ok(vector)
}

/// `len` times the default.
pub(crate) fn zeros<T: Clone + Default>(len: usize, purpose: &'static str) -> Result<Vec<T>> {
    let mut vector = reserved(len, purpose)?;
    vector.resize(len, T::default());
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_on_once_whatever_the_threads() {
        for threads in [1, 2, 3] {
            let mut numbers = vec![0; 100];
            let add = |i: usize, part: &mut [usize]| {
                part.iter_mut().for_each(|n| *n += i + 1);
                Ok(())
            };
            each(numbers.chunks_mut(7), threads, add).unwrap();
            let expected: Vec<usize> = (0..100).map(|n| n / 7 + 1).collect();
            assert_eq!(numbers, expected, "{threads} threads");
        }
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        let error = reserved::<f64>(usize::MAX, "a test").unwrap_err();
        assert_eq!(error, Error::Memory { purpose: "a test", bytes: None });
        assert_eq!(zeros::<f32>(2, "a test"), Ok(vec![0.0; 2]));
    }
}
