//! When work is split over threads, and how. The caller is one of the threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::pool;

/// Fused multiply-adds below which waking a second thread costs more than it saves.
pub(crate) const WORTH_SPLITTING: usize = 1 << 21;

/// Zero until someone sets or asks for it.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The threads that a call uses unless it says otherwise.
///
/// What [`set_num_threads`] set; else `RECURRA_NUM_THREADS`; else what the affinity mask and the
/// cgroup quota of the process allow.
///
/// # Errors
/// [`Error::Argument`] when `RECURRA_NUM_THREADS` is not a positive integer.
pub fn num_threads() -> Result<usize> {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let n = initial_threads()?;
            // Somebody may have set a number meanwhile: theirs counts.
            Ok(THREADS
                .compare_exchange(0, n, Ordering::Relaxed, Ordering::Relaxed)
                .err()
                .unwrap_or(n))
        }
        n => Ok(n),
    }
}

/// Sets [`num_threads`] for the whole process and returns it. Results do not depend on it.
///
/// # Errors
/// [`Error::Argument`] for zero.
pub fn set_num_threads(n: usize) -> Result<usize> {
    let n = checked(n, "set_num_threads", "n")?;
    THREADS.store(n, Ordering::Relaxed);
    Ok(n)
}

fn checked(n: usize, operation: &'static str, argument: &'static str) -> Result<usize> {
    let possible = Some(n).filter(|n| (1..=MAX_THREADS).contains(n));
    possible.ok_or_else(|| refused(operation, argument, n.to_string()))
}

/// The error for a number of threads that cannot be.
pub(crate) fn refused(operation: &'static str, argument: &'static str, got: String) -> Error {
    let expected = format!("an integer from 1 to {MAX_THREADS}");
    Error::Argument { operation, argument, expected, got }
}

/// More than any machine has cores; a typing error should not start a million threads.
const MAX_THREADS: usize = 4096;

fn initial_threads() -> Result<usize> {
    let (name, argument) = ("RECURRA_NUM_THREADS", "value");
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else {
        let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        return Ok(available.min(MAX_THREADS));
    };
    let text = text.to_string_lossy();
    let parsed = text.trim().parse().ok();
    let possible = parsed.filter(|n| (1..=MAX_THREADS).contains(n));
    possible.ok_or_else(|| refused(name, argument, format!("{text:?}")))
}

/// How many threads a call of `work` fused multiply-adds gets, at most `asked` (default: the
/// process's number).
///
/// # Errors
/// [`Error::Argument`] for `asked == Some(0)`.
pub(crate) fn threads_for(
    operation: &'static str, asked: Option<usize>, work: usize,
) -> Result<usize> {
    let n = match asked {
        Some(n) => checked(n, operation, "n_threads")?,
        None => num_threads()?,
    };
    Ok(if work < WORTH_SPLITTING { 1 } else { n })
}

/// Runs `task(0)` to `task(n - 1)` on up to `threads` threads and waits for all of them.
///
/// # Errors
/// The first task's error in order of the tasks.
pub(crate) fn run<F>(n: usize, threads: usize, task: F) -> Result<()>
where
    F: Fn(usize) -> Result<()> + Sync,
{
    if n <= 1 || threads <= 1 {
        return (0..n).try_for_each(task);
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                break;
            }
            if let Err(error) = task(i) {
                let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|&(j, _)| i < j) {
                    *first = Some((i, error));
                }
            }
        }
    };
    pool::with_helpers(threads.min(n) - 1, |_| work(), work);
    let first = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    first.map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let counts: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            let count = |i: usize| {
                counts[i].fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            run(100, threads, count).unwrap();
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads");
        }
    }

    #[test]
    fn the_first_failing_task_is_reported() {
        let fail = |i: usize| match i {
            3 | 7 => Err(Error::Memory { purpose: "a test", bytes: Some(i) }),
            _ => Ok(()),
        };
        let expected = Err(Error::Memory { purpose: "a test", bytes: Some(3) });
        assert_eq!(run(10, 1, fail), expected);
        assert_eq!(run(10, 2, fail), expected);
    }

    #[test]
    fn zero_threads_are_refused() {
        assert!(set_num_threads(0).is_err());
        assert!(threads_for("f", Some(0), usize::MAX).is_err());
        assert_eq!(threads_for("f", Some(8), 10), Ok(1));
    }
}
