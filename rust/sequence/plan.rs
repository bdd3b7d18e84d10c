//! Which rows are computed when, where, and by which task.
//!
//! Rows are sorted by length, longest first, so that the rows of step `s` are the first `count(s)`
//! and no padding is computed. They are dealt to the tasks in turn: every task's rows are sorted
//! too, and all tasks have about the same work. A task's step rows lie one behind the other in
//! memory: `offset(s)` rows precede those of step `s`.

use std::ops::Range;

use crate::chunks::reserved;
use crate::error::Result;

/// What there was no memory for.
const ORDER: &str = "the order of the rows";

/// Step rows of a span, at least: enough for large products, and for two splits over threads to be
/// worth it; few enough that the gradients of the gates wait in the cache for them. 512 to 4096
/// were as fast where it was measured.
const SPAN_ROWS: usize = 1024;
/// Steps of a span on average, at least: what is done once a span is little beside the steps.
const SPAN_STEPS: usize = 8;

/// The rows of one task.
pub struct Task {
    /// The callers' row numbers, longest row first.
    pub rows: Vec<usize>,
    /// Their lengths.
    pub lengths: Vec<usize>,
    /// Step rows before step `s`; one entry more than the longest row has steps.
    offsets: Vec<usize>,
    /// Step rows of all tasks before this one.
    pub first_step_row: usize,
    /// Rows of all tasks before this one.
    pub first_row: usize,
    /// Where this task's part of a window starts: memory for the step rows of one span at a time,
    /// and for one step more.
    pub first_window_row: usize,
    /// Where this task's part of the checkpoints starts: a row for every row that has a span's
    /// first step.
    pub first_checkpoint: usize,
}

impl Task {
    /// Steps of the longest row.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Rows that have a step `s`.
    pub fn count(&self, s: usize) -> usize {
        if s < self.steps() { self.offsets[s + 1] - self.offsets[s] } else { 0 }
    }

    /// Step rows of this task before step `s`.
    pub fn offset(&self, s: usize) -> usize {
        self.offsets[s]
    }

    /// Step rows of this task.
    pub fn step_rows(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// The place in time of step `s` of row `r`.
    pub fn time(&self, r: usize, s: usize, reverse: bool) -> usize {
        if reverse { self.lengths[r] - 1 - s } else { s }
    }

    /// The end of the steps that start at `s` and have about `rows` step rows together.
    pub fn chunk_end(&self, s: usize, rows: usize) -> usize {
        let limit = self.offsets[s] + rows;
        let end = self.offsets.partition_point(|&offset| offset <= limit) - 1;
        end.clamp(s + 1, self.steps())
    }

    /// The part of a span in which this task has steps.
    pub fn clip(&self, span: &Range<usize>) -> Range<usize> {
        span.start.min(self.steps())..span.end.min(self.steps())
    }

    /// The row of a window, whose first step is `start`, at which the task's first step row would
    /// be: below zero if the window starts later.
    pub fn first_in_window(&self, start: usize) -> isize {
        self.first_window_row as isize - self.offsets[start] as isize
    }

    /// Step rows of a span.
    pub fn rows_of(&self, span: &Range<usize>) -> usize {
        let span = self.clip(span);
        self.offsets[span.end] - self.offsets[span.start]
    }

    /// The row of the state history before step `s` of row `r`: histories hold the task's initial
    /// states first and then one row a step row.
    pub fn previous_state(&self, r: usize, s: usize) -> usize {
        match s {
            0 => r,
            _ => self.rows.len() + self.offsets[s - 1] + r,
        }
    }

    /// The row of the state history after step `s`, for row 0.
    pub fn next_state(&self, s: usize) -> usize {
        self.rows.len() + self.offsets[s]
    }
}

/// All tasks of a call.
pub struct Plan {
    /// Each with its own rows; at least one.
    pub tasks: Vec<Task>,
    /// Rows of the batch.
    pub rows: usize,
    /// Step rows of all tasks: the sum of all lengths.
    pub step_rows: usize,
    /// The spans of time that backward works on, first to last; see `cut`.
    pub spans: Vec<Range<usize>>,
    /// Rows of all tasks' windows.
    pub window_rows: usize,
    /// Rows of all tasks' checkpoints.
    pub checkpoints: usize,
}

impl Plan {
    /// A plan for rows of these lengths on `tasks` tasks.
    pub fn new(lengths: &[usize], tasks: usize) -> Result<Self> {
        let rows = lengths.len();
        let mut order = reserved(rows, ORDER)?;
        order.extend(0..rows);
        // Rows of equal length keep their order; a stable sort would say so itself, but it
        // allocates, and aborts the process when it cannot.
        order.sort_unstable_by_key(|&row: &usize| (std::cmp::Reverse(lengths[row]), row));
        let tasks = tasks.clamp(1, rows.max(1));
        let mut plan = Self {
            tasks: reserved(tasks, ORDER)?,
            rows,
            step_rows: 0,
            spans: Vec::new(),
            window_rows: 0,
            checkpoints: 0,
        };
        let mut first_row = 0;
        for i in 0..tasks {
            let task = task(&order, lengths, i, tasks, plan.step_rows, first_row)?;
            plan.step_rows += task.step_rows();
            first_row += task.rows.len();
            plan.tasks.push(task);
        }
        Ok(plan)
    }

    /// Steps of the longest row: the end of the last span.
    pub fn end(&self) -> usize {
        self.tasks.iter().map(Task::steps).max().unwrap_or(0)
    }

    /// Cuts time into spans for backward, at least one, of about equally many step rows.
    ///
    /// Sums are taken span by span, so spans depend on the lengths alone, never on the tasks.
    pub fn cut(&mut self) -> Result<()> {
        let steps = self.end();
        let most = (self.step_rows / SPAN_ROWS).min(steps / SPAN_STEPS).max(1);
        let (each, more) = (self.step_rows / most, self.step_rows % most);
        self.spans = reserved(most, ORDER)?;
        let (mut start, mut rows) = (0, 0);
        for s in 0..steps {
            rows += self.tasks.iter().map(|task| task.count(s)).sum::<usize>();
            let end = self.spans.len() + 1;
            if rows >= end * each + end.min(more) {
                self.spans.push(start..s + 1);
                start = s + 1;
            }
        }
        if steps == 0 {
            self.spans.push(0..0);
        }
        self.place_windows();
        Ok(())
    }

    fn place_windows(&mut self) {
        for task in &mut self.tasks {
            let rows = |span: &Range<usize>| task.rows_of(span) + task.count(span.end);
            let window = self.spans.iter().map(rows).max().unwrap_or(0);
            let checkpoints: usize = self.spans.iter().map(|span| task.count(span.start)).sum();
            task.first_window_row = self.window_rows;
            task.first_checkpoint = self.checkpoints;
            self.window_rows += window;
            self.checkpoints += checkpoints;
        }
    }

    /// Calls `f(task, s, r)` for every step row of a span in an order that does not depend on the
    /// number of tasks: by step, then by the place in the sorted batch.
    pub fn each_row(&self, span: &Range<usize>, mut f: impl FnMut(&Task, usize, usize)) {
        for s in span.clone() {
            for r in 0..self.tasks[0].count(s) {
                for task in self.tasks.iter().filter(|task| r < task.count(s)) {
                    f(task, s, r);
                }
            }
        }
    }
}

fn task(
    order: &[usize], lengths: &[usize], i: usize, tasks: usize, first_step_row: usize,
    first_row: usize,
) -> Result<Task> {
    let own = order.len().saturating_sub(i).div_ceil(tasks);
    let mut rows = reserved(own, ORDER)?;
    rows.extend(order.iter().skip(i).step_by(tasks));
    let mut sorted = reserved(own, ORDER)?;
    sorted.extend(rows.iter().map(|&row| lengths[row]));
    let steps = sorted.first().copied().unwrap_or(0);
    let mut offsets = reserved(steps + 1, ORDER)?;
    let (mut active, mut offset) = (own, 0);
    for s in 0..steps {
        while sorted[active - 1] <= s {
            active -= 1;
        }
        offsets.push(offset);
        offset += active;
    }
    offsets.push(offset);
    Ok(Task {
        rows,
        lengths: sorted,
        offsets,
        first_step_row,
        first_row,
        first_window_row: 0,
        first_checkpoint: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_dealt_and_counted() {
        let plan = Plan::new(&[2, 0, 5, 3, 3], 2).unwrap();
        assert_eq!(plan.step_rows, 13);
        assert_eq!(plan.tasks[0].rows, [2, 4, 1]);
        assert_eq!(plan.tasks[1].rows, [3, 0]);
        assert_eq!(plan.tasks[0].lengths, [5, 3, 0]);
        let counts: Vec<_> = (0..6).map(|s| plan.tasks[0].count(s)).collect();
        assert_eq!(counts, [2, 2, 2, 1, 1, 0]);
        assert_eq!(plan.tasks[1].first_step_row, 8);
        assert_eq!(plan.tasks[1].first_row, 3);
    }

    #[test]
    fn the_order_of_sums_does_not_depend_on_the_tasks() {
        let lengths = [4, 1, 0, 3, 3, 2, 4];
        let row_and_step = |tasks| {
            let mut plan = Plan::new(&lengths, tasks).unwrap();
            plan.cut().unwrap();
            let mut rows = vec![];
            for span in plan.spans.iter().rev() {
                plan.each_row(span, |task, s, r| rows.push((task.rows[r], s)));
            }
            rows
        };
        let one = row_and_step(1);
        assert_eq!(one.len(), 17);
        for tasks in 2..=8 {
            assert_eq!(one, row_and_step(tasks), "{tasks} tasks");
        }
    }

    #[test]
    fn an_empty_batch_has_one_empty_task() {
        let plan = Plan::new(&[], 4).unwrap();
        assert_eq!((plan.tasks.len(), plan.step_rows, plan.tasks[0].steps()), (1, 0, 0));
    }

    #[test]
    fn spans_do_not_depend_on_the_tasks_and_windows_hold_them() {
        for lengths in [vec![700; 9], vec![4000, 3, 0, 900], vec![20; 300], vec![5; 900], vec![]] {
            let cut = |tasks| {
                let mut plan = Plan::new(&lengths, tasks).unwrap();
                plan.cut().unwrap();
                plan
            };
            let (one, longest) = (cut(1), lengths.iter().copied().max().unwrap_or(0));
            assert_eq!((one.spans[0].start, one.spans[one.spans.len() - 1].end), (0, longest));
            assert!(one.spans.windows(2).all(|pair| pair[0].end == pair[1].start));
            for plan in [2, 3, 7].map(cut) {
                assert_eq!(plan.spans, one.spans);
                for (i, task) in plan.tasks.iter().enumerate() {
                    let after =
                        plan.tasks.get(i + 1).map_or(plan.window_rows, |t| t.first_window_row);
                    let rows = plan.spans.iter().map(|span| task.rows_of(span)).max();
                    assert!(rows.unwrap() <= after - task.first_window_row);
                }
            }
        }
        let spans = |lengths: &[usize]| {
            let mut plan = Plan::new(lengths, 1).unwrap();
            plan.cut().unwrap();
            plan.spans.len()
        };
        assert_eq!([spans(&[2047]), spans(&[2048]), spans(&[9; 900])], [1, 2, 1]);
    }

    #[test]
    fn chunks_cover_all_steps() {
        let task = &Plan::new(&[9, 9, 2], 1).unwrap().tasks[0];
        let (mut s, mut ends) = (0, vec![]);
        while s < task.steps() {
            s = task.chunk_end(s, 5);
            ends.push(s);
        }
        assert_eq!(ends, [1, 3, 5, 7, 9]);
    }
}
