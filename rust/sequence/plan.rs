//! Which rows are computed when, where, and by which task.
//!
//! Rows are sorted by length, longest first, so that the rows of step `s` are the first `count(s)`
//! and no padding is computed. They are dealt to the tasks in turn: every task's rows are sorted
//! too, and all tasks have about the same work. A task's step rows lie one behind the other in
//! memory: `offset(s)` rows precede those of step `s`.

use crate::chunks::reserved;
use crate::error::Result;

/// What there was no memory for.
const ORDER: &str = "the order of the rows";

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

    /// Where this task's part of a state history starts.
    pub fn first_state(&self) -> usize {
        self.first_row + self.first_step_row
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
        let mut plan = Self { tasks: reserved(tasks, ORDER)?, rows, step_rows: 0 };
        let mut first_row = 0;
        for i in 0..tasks {
            let task = task(&order, lengths, i, tasks, plan.step_rows, first_row)?;
            plan.step_rows += task.step_rows();
            first_row += task.rows.len();
            plan.tasks.push(task);
        }
        Ok(plan)
    }

    /// Every step row in an order that does not depend on the number of tasks: by step, then by
    /// the place in the sorted batch. For each, its place among the step rows and the place of its
    /// previous state in the state history.
    pub fn ordered(&self) -> Result<Vec<(usize, usize)>> {
        let mut places = reserved(self.step_rows, ORDER)?;
        let steps = self.tasks.iter().map(Task::steps).max().unwrap_or(0);
        for s in 0..steps {
            let most = self.tasks[0].count(s);
            for r in 0..most {
                for task in self.tasks.iter().filter(|task| r < task.count(s)) {
                    let state = task.first_state() + task.previous_state(r, s);
                    places.push((task.first_step_row + task.offset(s) + r, state));
                }
            }
        }
        Ok(places)
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
    Ok(Task { rows, lengths: sorted, offsets, first_step_row, first_row })
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
            let plan = Plan::new(&lengths, tasks).unwrap();
            let mut named = vec![(0, 0); plan.step_rows];
            for task in &plan.tasks {
                for s in 0..task.steps() {
                    for r in 0..task.count(s) {
                        named[task.first_step_row + task.offset(s) + r] = (task.rows[r], s);
                    }
                }
            }
            plan.ordered().unwrap().iter().map(|&(place, _)| named[place]).collect::<Vec<_>>()
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
