//! Which rows are computed when, and where.
//!
//! Rows are sorted by length, longest first, so that the rows of step `s` are the first `count(s)`
//! and no padding is computed. Step rows lie one behind the other in memory: `offset(s)` rows
//! precede those of step `s`. Threads work on *parts*: ranges of the sorted rows.

use std::ops::Range;

use crate::chunks::reserved;
use crate::error::Result;

/// What there was no memory for.
const ORDER: &str = "the order of the rows";

/// Step rows of a span, at least: enough for large products, and for two splits over threads to be
/// worth it; few enough that the gradients of the gates wait in the cache for them. 1024 was
/// the best compromise of 256, 512, 1024 and 2048: see docs/performance.md, "What was tried".
const SPAN_ROWS: usize = 1024;
/// Steps of a span on average, at least: what is done once a span is little beside the steps.
const SPAN_STEPS: usize = 8;

/// The rows of a call.
pub struct Plan {
    /// The caller's row numbers, longest row first.
    pub rows: Vec<usize>,
    /// Their lengths, in that order.
    pub lengths: Vec<usize>,
    /// For each step and the end: the step rows before it.
    offsets: Vec<usize>,
    /// The spans of time that backward works on, first to last; see `cut`.
    pub spans: Vec<Range<usize>>,
}

impl Plan {
    /// A plan for rows of these lengths.
    pub fn new(mut lengths: Vec<usize>) -> Result<Self> {
        let mut rows = reserved(lengths.len(), ORDER)?;
        rows.extend(0..lengths.len());
        if !lengths.is_sorted_by(|a, b| a >= b) {
            // Rows of equal length keep their order; a stable sort would say so itself, but it
            // allocates, and aborts the process when it cannot.
            rows.sort_unstable_by_key(|&row: &usize| (std::cmp::Reverse(lengths[row]), row));
            lengths.sort_unstable_by_key(|&length| std::cmp::Reverse(length));
        }
        let steps = lengths.first().copied().unwrap_or(0);
        let mut offsets = reserved(steps + 1, ORDER)?;
        let (mut active, mut offset) = (rows.len(), 0);
        for s in 0..steps {
            while lengths[active - 1] <= s {
                active -= 1;
            }
            offsets.push(offset);
            offset += active;
        }
        offsets.push(offset);
        Ok(Self { rows, lengths, offsets, spans: Vec::new() })
    }

    /// Steps of the longest row.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Rows that have a step `s`.
    pub fn count(&self, s: usize) -> usize {
        if s < self.steps() { self.offsets[s + 1] - self.offsets[s] } else { 0 }
    }

    /// Rows of a part that have a step `s`: its first ones.
    pub fn count_in(&self, part: &Range<usize>, s: usize) -> usize {
        self.count(s).min(part.end).saturating_sub(part.start)
    }

    /// Steps of a part's longest row.
    pub fn steps_in(&self, part: &Range<usize>) -> usize {
        if part.is_empty() { 0 } else { self.lengths[part.start] }
    }

    /// Step rows before step `s`.
    pub fn offset(&self, s: usize) -> usize {
        self.offsets[s]
    }

    /// All step rows: the sum of all lengths.
    pub fn step_rows(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// Step rows of some steps.
    pub fn rows_of(&self, steps: &Range<usize>) -> usize {
        self.offsets[steps.end] - self.offsets[steps.start]
    }

    /// The step to which a step row belongs, if it is one of the first `step_rows()`.
    pub fn step_of(&self, step_row: usize) -> usize {
        self.offsets.partition_point(|&offset| offset <= step_row) - 1
    }

    /// The place in time of step `s` of sorted row `r`.
    pub fn time(&self, r: usize, s: usize, reverse: bool) -> usize {
        if reverse { self.lengths[r] - 1 - s } else { s }
    }

    /// The end of the steps from `s` on, before `end`, that have about `rows` step rows of a part
    /// together; at least one step.
    pub fn chunk_end(&self, part: &Range<usize>, s: usize, end: usize, rows: usize) -> usize {
        let (mut stop, mut sum) = (s + 1, self.count_in(part, s));
        while stop < end && sum + self.count_in(part, stop) <= rows {
            sum += self.count_in(part, stop);
            stop += 1;
        }
        stop
    }

    /// The row of the state history before step `s`, for row 0: histories hold the initial states
    /// first and then one row a step row.
    pub fn previous_state(&self, s: usize) -> usize {
        match s {
            0 => 0,
            _ => self.next_state(s - 1),
        }
    }

    /// The row of the state history after step `s`, for row 0.
    pub fn next_state(&self, s: usize) -> usize {
        self.rows.len() + self.offsets[s]
    }

    /// At most `n` parts that cover all rows and have about equally much to do in some steps.
    pub fn parts(&self, steps: &Range<usize>, n: usize) -> Result<Vec<Range<usize>>> {
        let n = n.clamp(1, self.rows.len().max(1));
        let (all, mut done, mut start) = (self.rows_of(steps), 0, 0);
        let mut parts = reserved(n, ORDER)?;
        for (r, &length) in self.lengths.iter().enumerate() {
            done += length.clamp(steps.start, steps.end) - steps.start;
            // Compared as fractions of everything, without a product that might not fit.
            if parts.len() + 1 < n && done >= all / n * (parts.len() + 1) {
                parts.push(start..r + 1);
                start = r + 1;
            }
        }
        parts.push(start..self.rows.len());
        Ok(parts)
    }

    /// Cuts time into spans for backward, at least one, of about equally many step rows.
    ///
    /// Sums are taken span by span, so spans depend on the lengths alone, never on the threads.
    pub fn cut(&mut self) -> Result<()> {
        let (steps, all) = (self.steps(), self.step_rows());
        let most = (all / SPAN_ROWS).min(steps / SPAN_STEPS).max(1);
        let (each, more) = (all / most, all % most);
        self.spans = reserved(most, ORDER)?;
        let mut start = 0;
        for s in 0..steps {
            let end = self.spans.len() + 1;
            if self.offsets[s + 1] >= end * each + end.min(more) {
                self.spans.push(start..s + 1);
                start = s + 1;
            }
        }
        if steps == 0 {
            self.spans.push(0..0);
        }
        Ok(())
    }

    /// Rows of a window: memory for the step rows of one span at a time, and for one step more.
    pub fn window_rows(&self) -> usize {
        let rows = |span: &Range<usize>| self.rows_of(span) + self.count(span.end);
        self.spans.iter().map(rows).max().unwrap_or(0)
    }

    /// The first row of the checkpoint before a span: there is a row for every row that has the
    /// span's first step. The number of spans names the end of them all.
    pub fn checkpoint(&self, span: usize) -> usize {
        self.spans[..span].iter().map(|span| self.count(span.start)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_counted() {
        let plan = Plan::new(vec![2, 0, 5, 3, 3]).unwrap();
        assert_eq!(plan.rows, [2, 3, 4, 0, 1]);
        assert_eq!(plan.lengths, [5, 3, 3, 2, 0]);
        assert_eq!((plan.steps(), plan.step_rows()), (5, 13));
        let counts: Vec<_> = (0..6).map(|s| plan.count(s)).collect();
        assert_eq!(counts, [4, 4, 3, 1, 1, 0]);
        let in_part: Vec<_> = (0..4).map(|s| plan.count_in(&(1..4), s)).collect();
        assert_eq!(in_part, [3, 3, 2, 0]);
        let of_rows: Vec<_> = (0..13).map(|row| plan.step_of(row)).collect();
        assert_eq!(of_rows, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn parts_cover_all_rows_and_share_the_work() {
        for lengths in
            [vec![7; 10], vec![9, 1, 1, 1, 1, 1, 1, 1, 1, 1], vec![0; 3], vec![4], vec![]]
        {
            let plan = Plan::new(lengths.clone()).unwrap();
            for n in 1..12 {
                let parts = plan.parts(&(0..plan.steps()), n).unwrap();
                assert!(parts.len() <= n && !parts.is_empty());
                assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, lengths.len()));
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            }
        }
        let parts = |lengths: &[usize], steps| {
            Plan::new(lengths.to_vec()).unwrap().parts(&steps, 2).unwrap()
        };
        assert_eq!(parts(&[7; 10], 0..7), [0..5, 5..10]);
        assert_eq!(parts(&[9, 9, 2, 1, 1, 1, 1, 1, 1, 1], 0..9), [0..2, 2..10]);
        assert_eq!(parts(&[9, 9, 9, 9, 1, 1], 2..9), [0..2, 2..6]);
    }

    #[test]
    fn an_empty_batch_has_no_steps() {
        let plan = Plan::new(vec![]).unwrap();
        assert_eq!((plan.rows.len(), plan.step_rows(), plan.steps()), (0, 0, 0));
        assert_eq!(plan.steps_in(&(0..0)), 0);
    }

    #[test]
    fn spans_cover_all_steps_and_windows_hold_them() {
        for lengths in [vec![700; 9], vec![4000, 3, 0, 900], vec![20; 300], vec![5; 900], vec![]] {
            let mut plan = Plan::new(lengths).unwrap();
            plan.cut().unwrap();
            let spans = &plan.spans;
            assert_eq!((spans[0].start, spans[spans.len() - 1].end), (0, plan.steps()));
            assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(
                spans.iter().all(|span| {
                    plan.rows_of(span) + plan.count(span.end) <= plan.window_rows()
                })
            );
        }
        let spans = |lengths: &[usize]| {
            let mut plan = Plan::new(lengths.to_vec()).unwrap();
            plan.cut().unwrap();
            plan.spans.len()
        };
        assert_eq!([spans(&[2047]), spans(&[2048]), spans(&[9; 900])], [1, 2, 1]);
    }

    #[test]
    fn chunks_cover_all_steps_of_a_part() {
        let plan = Plan::new(vec![9, 9, 2]).unwrap();
        let ends = |part: Range<usize>| {
            let (mut s, mut ends) = (0, vec![]);
            while s < plan.steps_in(&part) {
                s = plan.chunk_end(&part, s, plan.steps_in(&part), 5);
                ends.push(s);
            }
            ends
        };
        assert_eq!(ends(0..3), [1, 3, 5, 7, 9]);
        assert_eq!(ends(1..3), [3, 8, 9]);
        assert_eq!(ends(2..3), [2]);
    }
}
