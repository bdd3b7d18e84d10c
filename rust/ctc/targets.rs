//! The labels of a batch.

use ndarray::ArrayView1;

use crate::chunks::reserved;
use crate::error::Result;
use crate::shape::{equal, refuse};

/// The labels of all rows, one row after another.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// (sum of all S,): from 0 to V-1, never the blank.
    pub labels: ArrayView1<'a, i64>,
    /// (B,): how many of them each row has.
    pub lengths: ArrayView1<'a, i64>,
}

/// Labels on a private copy.
pub(super) struct Labels {
    pub all: Vec<usize>,
    /// Where each row's begin, and the end.
    starts: Vec<usize>,
}

impl Labels {
    pub fn of(&self, row: usize) -> &[usize] {
        &self.all[self.starts[row]..self.starts[row + 1]]
    }
}

impl Targets<'_> {
    pub(super) fn checked(
        &self, operation: &'static str, batch: usize, classes: usize, blank: usize,
    ) -> Result<Labels> {
        let starts = self.starts(operation, batch)?;
        let mut all = reserved(self.labels.len(), "a copy of the labels")?;
        for (place, &label) in self.labels.iter().enumerate() {
            match usize::try_from(label) {
                Ok(label) if label < classes && label != blank => all.push(label),
                _ => {
                    let row = starts.partition_point(|&start| start <= place) - 1;
                    let most = classes - 1;
                    let expected = format!("integers from 0 to V-1 = {most} but the blank {blank}");
                    let got = format!("{label} in row {row} at position {}", place - starts[row]);
                    return Err(refuse(operation, "targets", expected, got));
                }
            }
        }
        Ok(Labels { all, starts })
    }

    /// Where the labels of each row begin, and the end of all.
    fn starts(&self, operation: &'static str, batch: usize) -> Result<Vec<usize>> {
        equal(operation, "target_lengths", "(B,)", &[batch], self.lengths.shape())?;
        let total = self.labels.len();
        let mut starts = reserved(batch.saturating_add(1), "where the labels of rows begin")?;
        let mut end = 0usize;
        starts.push(end);
        for (row, &length) in self.lengths.iter().enumerate() {
            let after = usize::try_from(length).ok().and_then(|n| end.checked_add(n));
            let Some(after) = after.filter(|&after| after <= total) else {
                let expected = format!("integers from 0 on whose sum is {total}, as of labels");
                let got = format!("{length} in row {row} behind a sum of {end}");
                return Err(refuse(operation, "target_lengths", expected, got));
            };
            end = after;
            starts.push(end);
        }
        if end == total {
            return Ok(starts);
        }
        let expected = format!("integers from 0 on whose sum is {total}, as of labels");
        Err(refuse(operation, "target_lengths", expected, format!("a sum of {end}")))
    }
}
