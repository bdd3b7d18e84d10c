//! How the rows of a call, or its units, are shared out to threads.

use std::ops::Range;

use crate::board;
use crate::sequence::space::CHUNK_ROWS;
use crate::sequence::weights::Packed;
use crate::team;

/// As many parts as threads, or a multiple of it where a part would have very many rows.
pub(super) fn part_count(rows: usize, threads: usize) -> usize {
    rows.div_ceil(CHUNK_ROWS * threads).max(1) * threads
}

/// Fused multiply-adds of one row and step below which threads that meet after each cost more than
/// they save.
const WORTH_MEETING: usize = 3 << 14;
/// The same, from which that holds for more rows: each thread reads a part of weights that lie in
/// caches far away, and reads them once for all rows.
const WORTH_SHARING: usize = 3 << 18;

/// Rows for each thread up to which forward takes them together, for its packed weights.
///
/// On two threads of a busy Zen 3 four to sixteen rows each took 3 to 17 % less time together with an
/// LSTM or GRU of 512 and 1024 units, as long with 256 units or with 32 rows, more with 128 units.
/// On a quiet Zen 4 four rows each took 1 to 3 % less time, eight 1 to 6.
pub(super) fn rows_together<T>(packed: &Packed<T>) -> usize {
    if step_work(packed) >= WORTH_SHARING { 2 * ROWS_TOGETHER } else { ROWS_TOGETHER }
}

/// The same for backward, which gains nothing with more: with two it is faster by half.
pub(super) const ROWS_TOGETHER: usize = 2;

/// Fused multiply-adds of one row and step, without the input's.
fn step_work<T>(packed: &Packed<T>) -> usize {
    packed.kind.gates() * packed.sizes.hidden * packed.sizes.output
}

/// Threads that take every step together, where all would have at most `together` rows of their
/// own. One thread is a team where nobody could be given rows: a step of one row takes a
/// microsecond or two, beside which a board is much.
pub(super) fn team_size<T>(
    rows: usize, packed: &Packed<T>, threads: usize, together: usize,
) -> Option<usize> {
    let largest = threads.min(team::LARGEST);
    let is_team = match threads {
        1 => rows < board::SHARED,
        // More rows for each of a team leave the other threads nothing to do.
        _ => rows <= together * largest && step_work(packed) >= WORTH_MEETING,
    };
    is_team.then_some(largest)
}

/// Fused multiply-adds of a round, about: some tens of microseconds, beside which the meeting at its
/// end is little and which a thread that wakes meanwhile does not miss for long.
///
/// Some tenths of a millisecond were too many. A thread that missed the only round of a call went to
/// sleep before the next call began, missed the round of that one too, and so on: one row of 128
/// units took as long on two threads as on one, for minutes.
const ROUND_WORK: usize = 1 << 20;

/// The steps that a team takes, cut into rounds.
pub(super) struct Rounds {
    steps: Range<usize>,
    each: usize,
}

impl Rounds {
    /// Rounds of steps of `rows` rows each.
    pub fn new<T>(packed: &Packed<T>, steps: Range<usize>, rows: usize) -> Self {
        Self { steps, each: ROUND_WORK.div_ceil(step_work(packed).saturating_mul(rows).max(1)) }
    }

    /// How many; one where there is no step.
    pub fn count(&self) -> usize {
        self.steps.len().div_ceil(self.each).max(1)
    }

    /// The steps of some rounds.
    pub fn steps(&self, rounds: &Range<usize>) -> Range<usize> {
        let step = |round| self.steps.end.min(self.steps.start + round * self.each);
        step(rounds.start)..step(rounds.end)
    }
}
