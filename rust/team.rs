//! A few threads that take every step of one sequence together.
//!
//! Where a batch has too few rows to go round, the units of a layer are shared out instead: each
//! thread keeps its part of the weights in its own cache and all meet after every product. The
//! meeting is a bounded spin, then a yield, so that a thread that lost its core costs a time slice
//! and not the machine.
//!
//! Nobody is waited for who may not come: threads that are busy elsewhere or asleep when the work
//! starts are left out of the team, and a caller that finds nobody works alone. So teams of several
//! callers cannot wait for each other in a circle. Work is cut into *rounds*, and who came during one
//! is a member from the next on: a sleeping thread is not waited for, and would otherwise never help
//! a caller who pauses between calls. When all have come they take the rounds that are left as one.
//! How many came, and when, changes no bit of a result.

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
/// How long the caller waits for those who are awake and yet do not come.
const PATIENCE: Duration = Duration::from_micros(50);
/// A place of its own cache line: what one thread writes does not disturb the others.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicUsize);

/// Who came, and how far each of them is.
struct Team {
    /// The most that can be members.
    largest: usize,
    rounds: usize,
    /// Helpers that came.
    came: Line,
    /// The first of the rounds under way and the number of their members: see `announced`.
    round: Line,
    /// Meetings before that round.
    before: Line,
    /// Meetings that each thread has reached.
    reached: [Line; LARGEST],
}

/// No round comes any more.
const OVER: usize = usize::MAX;

/// A round and the number of its members as one number, which is not that of another round or zero.
fn announced(round: usize, size: usize) -> usize {
    (round + 1) * (LARGEST + 1) + size
}

impl Team {
    fn new(largest: usize, rounds: usize) -> Self {
        let ([came, round, before], reached) = Default::default();
        Self { largest, rounds, came, round, before, reached }
    }

    /// What a team of `size` does from round `first` on: that one, or all if nobody is missing.
    fn turn(&self, first: usize, size: usize) -> Range<usize> {
        first..if size == self.largest { self.rounds } else { first + 1 }
    }

    /// The member `index` of a round of `size`.
    fn member(&self, index: usize, size: usize) -> Member<'_> {
        let meetings = Cell::new(self.before.0.load(Ordering::Acquire));
        Member { team: Some(self), index, size, meetings }
    }

    /// What a helper does: the rounds of which it is a member.
    fn help(&self, work: &impl Fn(&Member<'_>, Range<usize>)) {
        let index = self.came.0.fetch_add(1, Ordering::AcqRel) + 1;
        let mut seen = 0;
        loop {
            pool::wait_until(|| self.round.0.load(Ordering::Acquire) != seen);
            seen = self.round.0.load(Ordering::Acquire);
            if seen == OVER || index >= LARGEST {
                return;
            }
            let (first, size) = (seen / (LARGEST + 1) - 1, seen % (LARGEST + 1));
            let turn = self.turn(first, size);
            let end = turn.end;
            if index < size {
                self.member(index, size).take(turn, work);
            }
            if end == self.rounds {
                return; // also who is not in it: others may have work for this thread
            }
        }
    }

    /// What the caller does: all rounds, with those who came before each. Only who is awake is
    /// waited for.
    fn lead(&self, awake: usize, work: &impl Fn(&Member<'_>, Range<usize>)) {
        let over = Over(self);
        let (start, came) = (Instant::now(), || self.came.0.load(Ordering::Acquire));
        while came() < awake && start.elapsed() < PATIENCE {
            spin_loop();
        }
        let mut first = 0;
        while first < self.rounds {
            let size = self.largest.min(came() + 1);
            self.round.0.store(announced(first, size), Ordering::Release);
            let (member, turn) = (self.member(0, size), self.turn(first, size));
            first = turn.end;
            member.take(turn, work);
            debug_assert!(member.meetings.get() > self.before.0.load(Ordering::Relaxed));
            self.before.0.store(member.meetings.get(), Ordering::Release);
        }
        drop(over);
    }
}

/// Lets those go who wait for a round, also when the caller panics.
struct Over<'a>(&'a Team);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.round.0.store(OVER, Ordering::Release);
    }
}

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

    /// Does its part of some rounds; all are done with them before the next one begins.
    fn take(&self, turn: Range<usize>, work: &impl Fn(&Member<'_>, Range<usize>)) {
        let is_last = self.team.is_none_or(|team| turn.end == team.rounds);
        work(self, turn);
        if !is_last {
            self.meet();
        }
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

/// Runs `work` for rounds 0 to `rounds - 1`, some of them at a time, on the caller and on up to
/// `threads - 1` more threads that are free. Whenever it runs it meets at least once: there the caller
/// waits for a member who has not seen yet that it began.
pub(crate) fn run(threads: usize, rounds: usize, work: impl Fn(&Member<'_>, Range<usize>) + Sync) {
    let largest = threads.clamp(1, LARGEST);
    if largest == 1 {
        return work(&Member::alone(), 0..rounds);
    }
    let team = Team::new(largest, rounds);
    pool::with_helpers(largest - 1, |awake| team.lead(awake, &work), || team.help(&work));
}

/// As [`run`], with a piece of one workspace for each thread: `layout` measures a piece, and says
/// what lies where in one that starts at a place.
///
/// # Errors
/// [`crate::Error::Memory`].
pub(crate) fn run_with<T: Element, P: Copy + Sync>(
    threads: usize, rounds: usize, layout: impl Fn(Option<*mut T>) -> (usize, P),
    work: impl Fn(&Member<'_>, Range<usize>, P) + Sync,
) -> Result<()> {
    let each = layout(None).0;
    with_workspace(each.saturating_mul(threads), |start: *mut T| {
        let place = |i: usize| layout(Some(start.wrapping_add(i * each))).1;
        let first = place(0);
        let of = |i: usize| if (1..threads).contains(&i) { place(i) } else { first };
        let places: [P; LARGEST] = std::array::from_fn(of);
        run(threads, rounds, |member, turn| work(member, turn, places[member.index()]));
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
            run(threads, 5, |member, turn| {
                for round in 100 * turn.start + 1..=100 * turn.end {
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
                        run(3, 4, |member, turn| {
                            (0..5).for_each(|_| member.meet());
                            let rounds = if member.is_first() { turn.len() } else { 0 };
                            done.fetch_add(rounds, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 800);
    }

    /// A thread that wakes while the first round runs is left out of that and helps with the next;
    /// when nobody is missing all that is left is one turn.
    #[test]
    fn who_comes_late_is_a_member_from_the_next_round_on() {
        for (largest, turns) in [(2, &[(1, 3)][..]), (3, &[(1, 2), (2, 3)])] {
            let (team, took) = (Team::new(largest, 3), Mutex::new(vec![]));
            let came = || team.came.0.load(Ordering::Acquire);
            let work = |member: &Member<'_>, turn: Range<usize>| {
                member.meet();
                if turn.start == 0 {
                    pool::wait_until(|| came() == 1);
                }
                took.lock().unwrap().push((turn, member.index(), member.size));
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    pool::wait_until(|| team.round.0.load(Ordering::Acquire) > 0);
                    team.help(&work);
                });
                team.lead(0, &work);
            });
            let mut took = took.into_inner().unwrap();
            took.sort_by_key(|(turn, index, _)| (turn.start, *index));
            let both = turns.iter().flat_map(|&(a, b)| [(a..b, 0, 2), (a..b, 1, 2)]);
            assert_eq!(took, [(0..1, 0, 1)].into_iter().chain(both).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shares_cover_everything_once() {
        let share =
            |index, size| Member { team: None, index, size, meetings: Cell::new(0) }.share(10);
        assert_eq!([share(0, 3), share(1, 3), share(2, 3)], [0..3, 3..6, 6..10]);
        assert_eq!(Member::alone().share(7), 0..7);
    }
}
