//! Work on rows that can be handed over while it is under way.
//!
//! Cores are not equally fast: some are built so, others are shared with someone else for a while.
//! So rows are dealt to the threads at first, each of which takes its rows through time on its own,
//! and a thread that has finished is given half of the rows that another one still has, from the
//! step on which that one has reached. While all are equally fast nothing is handed over, and
//! nobody pays for more than one look a few steps. Who computes a row changes no bit of it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::buffer::with_workspace;
use crate::chunks::reserved;
use crate::error::{Error, Result};
use crate::pool;
use crate::simd::Element;

/// Rows that are too few to be given: a thread is slow with less than four.
const LEAST: usize = 4;
/// Rows of a part that may be shared.
pub(crate) const SHARED: usize = 2 * LEAST;

/// Rows, and the step that they have reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub rows: Range<usize>,
    pub step: usize,
}

/// The parts of one call that nobody works on, and who waits for one.
pub(crate) struct Board {
    waiting: Mutex<Vec<Part>>,
    /// Their number, to be looked at without the lock.
    ready: AtomicUsize,
    /// Parts that wait or are worked on.
    unfinished: AtomicUsize,
    /// Threads that have nothing to do.
    idle: AtomicUsize,
}

/// A part that somebody works on, until this is dropped.
struct Taken<'a>(&'a Board);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Release);
    }
}

impl Board {
    fn new(parts: Vec<Range<usize>>, step: usize) -> Result<Self> {
        let n = || AtomicUsize::new(parts.len());
        let (ready, unfinished, idle) = (n(), n(), AtomicUsize::new(0));
        let mut waiting = reserved(parts.len(), "the order of the rows")?;
        // The last is taken first: the caller begins with the first rows.
        waiting.extend(parts.into_iter().rev().map(|rows| Part { rows, step }));
        Ok(Self { waiting: Mutex::new(waiting), ready, unfinished, idle })
    }

    /// Leaves the rows from `middle` on to a thread that waits, if there is one, and returns those
    /// that the caller keeps.
    #[inline]
    pub fn give(&self, rows: Range<usize>, middle: usize, step: usize) -> Range<usize> {
        let (few, many) = (middle - rows.start, rows.end - middle);
        if self.idle() == 0 || few.min(many) < LEAST {
            return rows;
        }
        self.hand_over(rows, middle, step)
    }

    #[inline]
    fn idle(&self) -> usize {
        #[cfg(test)]
        if tests::EAGER.get() {
            return usize::MAX;
        }
        self.idle.load(Ordering::Relaxed)
    }

    fn hand_over(&self, rows: Range<usize>, middle: usize, step: usize) -> Range<usize> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.idle() || waiting.try_reserve(1).is_err() {
            return rows;
        }
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        waiting.push(Part { rows: middle..rows.end, step });
        self.ready.store(waiting.len(), Ordering::Release);
        rows.start..middle
    }

    /// The next part, or, if all are worked on, the first one that is handed over.
    fn take(&self) -> Option<(Part, Taken<'_>)> {
        let mut found = self.pop();
        if found.is_none() {
            self.idle.fetch_add(1, Ordering::Relaxed);
            pool::wait_until(|| {
                found = self.pop();
                found.is_some() || self.unfinished.load(Ordering::Acquire) == 0
            });
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        found.map(|part| (part, Taken(self)))
    }

    fn pop(&self) -> Option<Part> {
        if self.ready.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let part = waiting.pop();
        self.ready.store(waiting.len(), Ordering::Release);
        part
    }
}

/// Runs `task` on all parts, which have reached `step`, on up to `threads` threads with `workspace` elements of memory each.
///
/// # Errors
/// [`Error::Memory`] when there is none for a thread; parts may be undone then.
pub(crate) fn run<T: Element>(
    parts: Vec<Range<usize>>, step: usize, threads: usize, workspace: usize,
    task: impl Fn(*mut T, Part, &Board) + Sync,
) -> Result<()> {
    let helpers = threads.min(parts.len()).max(1) - 1;
    let board = Board::new(parts, step)?;
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        let all = |memory| {
            while let Some((part, _taken)) = board.take() {
                task(memory, part, &board);
            }
        };
        if let Err(error) = with_workspace(workspace, all) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    pool::with_helpers(helpers, |_| work(), work);
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Makes this thread hand rows over as if somebody always waited.
        pub static EAGER: Cell<bool> = const { Cell::new(false) };
    }

    /// Every row does every step once and in order, whoever does it.
    #[test]
    fn rows_handed_over_go_on_where_they_were() {
        const STEPS: usize = 200;
        for threads in [1, 2, 3, 8] {
            let rows: Vec<AtomicUsize> = (0..64).map(|_| AtomicUsize::new(0)).collect();
            run::<f32>(vec![0..40, 40..64], 0, threads, 16, |_, part, board| {
                let mut own = part.rows;
                for s in part.step..STEPS {
                    for r in own.clone() {
                        let before = rows[r].swap(s + 1, Ordering::Relaxed);
                        assert_eq!(before, s, "row {r}");
                    }
                    std::thread::yield_now();
                    let middle = own.start + own.len() / 2;
                    own = board.give(own, middle, s + 1);
                }
            })
            .unwrap();
            assert!(rows.iter().all(|row| row.load(Ordering::Relaxed) == STEPS), "{threads}");
        }
    }

    #[test]
    fn a_part_is_given_only_to_someone_who_waits() {
        let board = Board::new(vec![], 0).unwrap();
        assert_eq!(board.give(0..16, 8, 3), 0..16);
        board.idle.store(1, Ordering::Relaxed);
        assert_eq!(board.give(0..7, 3, 3), 0..7, "too few to be shared");
        assert_eq!(board.give(0..16, 8, 3), 0..8);
        assert_eq!(board.give(0..8, 4, 4), 0..8, "the one who waits has got one");
        let (part, taken) = board.take().unwrap();
        assert_eq!(part, Part { rows: 8..16, step: 3 });
        drop(taken);
        assert!(board.take().is_none());
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let parts = (0..8).map(|i| i..i + 1).collect();
        let all =
            || run::<f32>(parts, 0, 4, 0, |_, part, _| assert!(part.rows.start != 5, "row 5"));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all));
        assert!(caught.is_err());
    }

    #[test]
    fn no_memory_is_an_error() {
        let one: Vec<_> = std::iter::once(0..1).collect();
        let result = run::<f32>(one, 0, 2, usize::MAX / 8, |_, _, _| ());
        assert!(matches!(result, Err(Error::Memory { .. })));
    }
}
