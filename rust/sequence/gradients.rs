//! The gradients of weights and biases: large products over all step rows.
//!
//! Work is split over the rows of the results, never over the summed index; the sum runs over the
//! steps in ascending order, and within a step over the batch sorted by length, whatever the
//! number of tasks and threads.

use ndarray::ArrayViewMut1;

use crate::buffer::Buffer;
use crate::cells::Cell;
use crate::chunks::{reserved, zeros};
use crate::error::Result;
use crate::gemm::{self, Gathered, Outer};
use crate::sequence::backward::GradientOutputs;
use crate::sequence::saved::Saved;
use crate::simd::Element;
use crate::view::View;

/// All of them, into `outputs`.
pub(super) fn weights<T: Element, C: Cell<T>>(
    saved: &Saved<T>, gates: &Buffer<T>, projected: &Buffer<T>,
    outputs: &mut GradientOutputs<'_, T>, threads: usize,
) -> Result<()> {
    let sizes = saved.weights.sizes();
    let h = sizes.hidden;
    let places = saved.plan.ordered()?;
    let mut step_rows = reserved(places.len(), "the order of the sums")?;
    step_rows.extend(places.iter().map(|&(row, _)| row));
    let mut states = reserved(places.len(), "the order of the sums")?;
    states.extend(places.iter().map(|&(_, state)| state));
    let rows = |memory: &Buffer<T>, width, index| Gathered { start: memory.ptr(), width, index };
    let m = &saved.memory;
    let x = rows(&m.x, sizes.input, &step_rows);
    let before = rows(&m.h, sizes.output, &states);
    let auxiliary = rows(&m.auxiliary, h, &step_rows);
    let d = rows(gates, C::GRADIENTS * h, &step_rows);

    let mut products = vec![Outer {
        left: d,
        first: C::INPUT_GRADIENTS * h,
        rows: C::GATES * h,
        right: x,
        out: View::of_mut2(&mut outputs.dw_ih),
        out_row: 0,
    }];
    let dw_hh = View::of_mut2(&mut outputs.dw_hh);
    for (gate, count, column) in runs(C::RECURRENT_GRADIENTS, C::AUXILIARY_GATE) {
        let right = if C::AUXILIARY_GATE == Some(gate) { auxiliary } else { before };
        let (first, rows) = (column * h, count * h);
        products.push(Outer { left: d, first, rows, right, out: dw_hh, out_row: gate * h });
    }
    if let Some(dw_hr) = &mut outputs.dw_hr {
        products.push(Outer {
            left: rows(projected, sizes.output, &step_rows),
            first: 0,
            rows: sizes.output,
            right: auxiliary,
            out: View::of_mut2(dw_hr),
            out_row: 0,
        });
    }
    let isa = saved.weights.packed.isa;
    // SAFETY: forward and backward wrote all rows that the places name; outputs were checked.
    unsafe { gemm::outer_products(isa, &products, threads)? };

    let mut sums = zeros(C::GRADIENTS * h, "gradients of the biases")?;
    if outputs.db_ih.is_some() || outputs.db_hh.is_some() {
        // SAFETY: as above.
        unsafe { gemm::column_sums(isa, &d, &mut sums) };
    }
    biases(outputs.db_ih.as_mut(), &sums, h, |gate| C::INPUT_GRADIENTS + gate);
    biases(outputs.db_hh.as_mut(), &sums, h, |gate| C::RECURRENT_GRADIENTS[gate]);
    Ok(())
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
