//! The gradients of weights and biases: large products over the step rows of a span at a time,
//! while the gradients of its gates are in the cache.
//!
//! Work is split over the results, never over the summed index; the sum runs over the
//! spans from the last to the first, within a span over the steps in ascending order, and within a
//! step over the batch sorted by length, whatever the number of threads.

use std::ops::Range;

use ndarray::ArrayViewMut1;

use crate::buffer::Buffer;
use crate::cells::Cell;
use crate::chunks::{reserved, zeros};
use crate::error::Result;
use crate::gemm::{self, Gathered, Outer};
use crate::kernel::{Rows, is_narrow};
use crate::sequence::backward::GradientOutputs;
use crate::sequence::between::Between;
use crate::sequence::saved::{Histories, Memory, Saved};
use crate::simd::Element;
use crate::view::View;

/// The sums of the spans so far. Those of the weights are in the results themselves.
pub(super) struct Totals<'a, T: Element> {
    saved: &'a Saved<T>,
    threads: usize,
    /// A number for each gradient column.
    biases: Vec<T>,
    /// The numbers from 0 on: the step rows of a span, in the order of the sums.
    rows: Vec<usize>,
    /// For each of them the place of the state before it, in what has the states.
    states: Vec<usize>,
}

impl<'a, T: Element> Totals<'a, T> {
    pub fn new<C: Cell<T>>(saved: &'a Saved<T>, threads: usize) -> Result<Self> {
        let index = || reserved(saved.plan.window_rows(), "the order of the sums");
        let biases = zeros(C::GRADIENTS * saved.weights.sizes().hidden, "gradients of the biases")?;
        let (mut rows, states) = (index()?, index()?);
        rows.extend(0..saved.plan.window_rows());
        Ok(Self { saved, threads, biases, rows, states })
    }

    /// The places of the states before the step rows of a span, of which `first` is the first one
    /// in what has the states.
    fn order(&mut self, span: &Range<usize>, first: usize) {
        let plan = &self.saved.plan;
        self.states.clear();
        for s in span.clone() {
            let state = plan.previous_state(s) - first;
            self.states.extend(state..state + plan.count(s));
        }
    }

    /// Adds a span, whose `between` is complete; `window` has what was computed again. Before it run
    /// other tasks: see `gemm::outer_products`.
    pub fn add<C: Cell<T>>(
        &mut self, span: &Range<usize>, between: &Between<T>, window: &Histories<T>,
        outputs: &mut GradientOutputs<'_, T>, others: (usize, impl Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        let (saved, sizes) = (self.saved, self.saved.weights.sizes());
        let (plan, h, accumulate) = (&saved.plan, sizes.hidden, span.end < saved.plan.steps());
        let first = plan.offset(span.start);
        let (history, skip) = match saved.memory() {
            Memory::Keep => (&saved.history, first),
            Memory::Low => (window, 0),
        };
        self.order(span, first - skip);
        let rows = |memory: &Buffer<T>, width, skip, index| {
            let skip = if memory.len() > 0 { skip * width } else { 0 };
            Gathered {
                start: memory.ptr().wrapping_add(skip).cast_const(),
                width,
                row: width,
                index,
            }
        };
        let (index, states) = (&self.rows[..plan.rows_of(span)], &self.states[..]);
        let x = rows(&history.x, sizes.input, skip, index);
        let before =
            Gathered { row: sizes.h_row::<T>(), ..rows(&history.h, sizes.output, 0, states) };
        let auxiliary = rows(&history.auxiliary, h, skip, index);
        let d = Rows { start: between.gates.ptr().cast_const(), row: between.gates_row };
        let is_wanted = outputs.db_ih.is_some() || outputs.db_hh.is_some();
        let biases = is_wanted.then_some(self.biases.as_mut_ptr());
        let sums = |column: usize| biases.map(|all| all.wrapping_add(column * h));

        let input = C::INPUT_GRADIENTS..C::INPUT_GRADIENTS + C::GATES;
        let of_input = Outer {
            left: d,
            first: input.start * h,
            rows: C::GATES * h,
            right: x,
            out: View::of_mut2(&mut outputs.dw_ih),
            out_row: 0,
            accumulate,
            sums: sums(input.start),
        };
        let isa = saved.weights.packed.isa;
        let is_narrow = is_narrow(sizes.input, isa.lanes::<T>());
        let mut products = vec![if is_narrow { turned(&of_input, index) } else { of_input }];
        let out = View::of_mut2(&mut outputs.dw_hh);
        for (gate, count, column) in runs(C::RECURRENT_GRADIENTS, C::AUXILIARY_GATE) {
            let right = if C::AUXILIARY_GATE == Some(gate) { auxiliary } else { before };
            let (first, rows, out_row) = (column * h, count * h, gate * h);
            // Columns that the product with x has as well are summed there.
            let sums = if input.contains(&column) && !is_narrow { None } else { sums(column) };
            products.push(Outer { left: d, first, rows, right, out, out_row, accumulate, sums });
        }
        let alone = input.filter(|column| is_narrow && !C::RECURRENT_GRADIENTS.contains(column));
        products.extend(alone.map(|column| Outer {
            first: column * h,
            rows: h,
            right: Gathered { width: 0, ..x },
            sums: sums(column),
            ..of_input
        }));
        if let Some(dw_hr) = &mut outputs.dw_hr {
            products.push(Outer {
                left: Rows { start: between.projected.ptr().cast_const(), row: sizes.h_row::<T>() },
                first: 0,
                rows: sizes.output,
                right: auxiliary,
                out: View::of_mut2(dw_hr),
                out_row: 0,
                accumulate,
                sums: None,
            });
        }
        // SAFETY: forward and backward wrote all rows that the places name; outputs were checked.
        unsafe { gemm::outer_products(isa, &products, self.threads, others)? };
        Ok(())
    }

    /// Writes the gradients of the biases.
    pub fn finish<C: Cell<T>>(&self, outputs: &mut GradientOutputs<'_, T>) {
        let (sums, h) = (&self.biases, self.saved.weights.sizes().hidden);
        biases(outputs.db_ih.as_mut(), sums, h, |gate| C::INPUT_GRADIENTS + gate);
        biases(outputs.db_hh.as_mut(), sums, h, |gate| C::RECURRENT_GRADIENTS[gate]);
    }
}

/// The same product with its factors exchanged: the result's columns become rows. `index` numbers the
/// step rows, which lie in order in both.
fn turned<'a, T: Element>(product: &Outer<'_, T>, index: &'a [usize]) -> Outer<'a, T> {
    let Outer { left, first, rows, right, out, accumulate, .. } = *product;
    let start = left.start.wrapping_add(first);
    Outer {
        left: Rows { start: right.start, row: right.row },
        first: 0,
        rows: right.width,
        right: Gathered { start, width: rows, row: left.row, index },
        out: out.transposed(),
        out_row: 0,
        accumulate,
        sums: None,
    }
}

/// Runs of gates whose gradient columns lie side by side and that share a factor: the first gate,
/// their number and the first column.
fn runs(columns: &[usize], apart: Option<usize>) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (gate, &column) in columns.iter().enumerate() {
        match runs.last_mut() {
            Some((_, count, first)) if *first + *count == column && apart != Some(gate) => {
                *count += 1
            }
            _ => runs.push((gate, 1, column)),
        }
    }
    runs
}

fn biases<T: Element>(
    out: Option<&mut ArrayViewMut1<'_, T>>, sums: &[T], h: usize, column: impl Fn(usize) -> usize,
) {
    if let Some(out) = out {
        for (i, b) in out.iter_mut().enumerate() {
            *b = sums[column(i / h) * h + i % h];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn gates_with_neighbouring_columns_share_a_product() {
        assert_eq!(runs(&[0, 1, 2, 3], None), [(0, 4, 0)]);
        assert_eq!(runs(&[1, 2, 0], None), [(0, 2, 1), (2, 1, 0)]);
        assert_eq!(runs(&[0, 1, 2], Some(2)), [(0, 2, 0), (2, 1, 2)]);
    }
}
