//! A few threads that take every step of one sequence together.
//!
//! Where a batch has too few rows to go round, the units of a layer are shared out instead: each
//! thread keeps its part of the weights in its own cache and all meet after every product. The
//! meeting is a bounded spin, then a yield, so that a thread that lost its core costs a time slice
//! and not the machine.
//!
//! Nobody is waited for who may not come: threads that are busy elsewhere when the work starts are
//! left out of the team, and a caller that finds nobody works alone. So teams of several callers
//! cannot wait for each other in a circle. How many came changes no bit of a result.

use std::cell::Cell;
use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::buffer::with_workspace;
use crate::error::Result;
use crate::pool;
use crate::simd::Element;

/// The most threads of a team: each looks at all others at every meeting.
pub(crate) const LARGEST: usize = 8;
/// How long the caller waits for others to come; waking a sleeping thread takes about as long.
const PATIENCE: Duration = Duration::from_micros(50);
/// A place of its own cache line: what one thread writes does not disturb the others.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicUsize);

/// Who came, and how far each of them is.
#[derive(Default)]
struct Team {
    /// Helpers that came; `CLOSED` is added when no more are taken.
    came: Line,
    /// Threads of the team with the caller, once it is closed.
    size: Line,
    /// Meetings that each thread has reached.
    reached: [Line; LARGEST],
}

const CLOSED: usize = 1 << 31;

/// One thread of a team.
pub(crate) struct Member<'a> {
    team: Option<&'a Team>,
    index: usize,
    size: usize,
    meetings: Cell<usize>,
}

impl Member<'_> {
    /// A thread that works alone.
    pub fn alone() -> Self {
        Self { team: None, index: 0, size: 1, meetings: Cell::new(0) }
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// One of them does what must be done once.
    pub fn is_first(&self) -> bool {
        self.index == 0
    }

    /// This thread's part of `n` things.
    #[inline]
    pub fn share(&self, n: usize) -> Range<usize> {
        // Two divisions would be a part of a small step's time.
        if self.size == 1 {
            return 0..n;
        }
        n * self.index / self.size..n * (self.index + 1) / self.size
    }

    /// Returns when all threads of the team have come as far; what they wrote can be read then.
    #[inline]
    pub fn meet(&self) {
        let Some(team) = self.team else { return };
        let meeting = self.meetings.get() + 1;
        self.meetings.set(meeting);
        team.reached[self.index].0.store(meeting, Ordering::Release);
        for (i, other) in team.reached.iter().enumerate().take(self.size) {
            if i != self.index {
                pool::wait_until(|| other.0.load(Ordering::Acquire) >= meeting);
            }
        }
    }
}

/// The others must not wait for a thread that panicked.
impl Drop for Member<'_> {
    fn drop(&mut self) {
        if let Some(team) = self.team.filter(|_| std::thread::panicking()) {
            team.reached[self.index].0.store(usize::MAX, Ordering::Release);
        }
    }
}

/// Runs `work` on the caller and on up to `threads - 1` more threads that are free.
pub(crate) fn run(threads: usize, work: impl Fn(&Member<'_>) + Sync) {
    let wanted = threads.clamp(1, LARGEST) - 1;
    if wanted == 0 {
        return work(&Member::alone());
    }
    let (team, work) = (&Team::default(), &work);
    let help = || {
        let index = team.came.0.fetch_add(1, Ordering::AcqRel) + 1;
        if index < LARGEST {
            pool::wait_until(|| team.size.0.load(Ordering::Acquire) > 0);
            let size = team.size.0.load(Ordering::Acquire);
            work(&Member { team: Some(team), index, size, meetings: Cell::new(0) });
        }
    };
    let lead = || {
        let start = Instant::now();
        while team.came.0.load(Ordering::Acquire) < wanted && start.elapsed() < PATIENCE {
            spin_loop();
        }
        let size = team.came.0.fetch_add(CLOSED, Ordering::AcqRel) + 1;
        team.size.0.store(size, Ordering::Release);
        work(&Member { team: Some(team), index: 0, size, meetings: Cell::new(0) });
    };
    pool::with_helpers(wanted, lead, help);
}

/// As [`run`], with a piece of one workspace for each thread: `layout` measures a piece, and says
/// what lies where in one that starts at a place.
///
/// # Errors
/// [`crate::Error::Memory`].
pub(crate) fn run_with<T: Element, P: Copy + Sync>(
    threads: usize, layout: impl Fn(Option<*mut T>) -> (usize, P),
    work: impl Fn(&Member<'_>, P) + Sync,
) -> Result<()> {
    let each = layout(None).0;
    with_workspace(each.saturating_mul(threads), |start: *mut T| {
        let place = |i: usize| layout(Some(start.wrapping_add(i * each))).1;
        let first = place(0);
        let of = |i: usize| if (1..threads).contains(&i) { place(i) } else { first };
        let places: [P; LARGEST] = std::array::from_fn(of);
        run(threads, |member| work(member, places[member.index()]));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn all_meet_before_anyone_goes_on() {
        for threads in 1..=4 {
            let cells: Vec<AtomicUsize> = (0..16).map(|_| AtomicUsize::new(0)).collect();
            let sums = Mutex::new(vec![]);
            run(threads, |member| {
                for round in 1..=500 {
                    for i in member.share(cells.len()) {
                        cells[i].store(round, Ordering::Relaxed);
                    }
                    member.meet();
                    let sum: usize = cells.iter().map(|c| c.load(Ordering::Relaxed)).sum();
                    member.meet();
                    if sum != round * cells.len() {
                        sums.lock().unwrap().push(sum);
                    }
                }
            });
            assert!(sums.lock().unwrap().is_empty(), "{threads} threads");
        }
    }

    #[test]
    fn teams_of_several_callers_do_not_wait_for_each_other() {
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        run(3, |member| {
                            (0..20).for_each(|_| member.meet());
                            done.fetch_add(usize::from(member.is_first()), Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 200);
    }

    #[test]
    fn shares_cover_everything_once() {
        let share =
            |index, size| Member { team: None, index, size, meetings: Cell::new(0) }.share(10);
        assert_eq!([share(0, 3), share(1, 3), share(2, 3)], [0..3, 3..6, 6..10]);
        assert_eq!(Member::alone().share(7), 0..7);
    }
}
