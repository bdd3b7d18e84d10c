//! The product of rows with packed weights, split over the rows.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};

use crate::buffer::{Buffer, Parts, with_workspace};
use crate::error::Result;
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::panels::Panels;
use crate::parallel;
use crate::simd::{Element, Isa, Kernel, Lanes};
use crate::view::View;

/// The most rows that one task multiplies at once: a multiple of every tile's height, few enough
/// that they stay in the cache.
const ROWS: usize = 96;
/// Panels that one task multiplies at once, so that their sums stay in the cache as well.
const PANELS: usize = 16;
/// The fewest rows that are worth a task of their own.
pub(super) const FEW_ROWS: usize = 12;

/// `to = from * panels + start`, split over rows.
pub(super) fn multiply<T: Element>(
    isa: Isa, from: &ArrayView2<'_, T>, panels: &Panels<T>, start: Option<ArrayView1<'_, T>>,
    mut to: ArrayViewMut2<'_, T>, threads: usize,
) -> Result<()> {
    let (rows, columns) = to.dim();
    if columns == 0 {
        return Ok(());
    }
    let width = panel_width(isa.lanes::<T>());
    let init = Buffer::<T>::new(panels.count * width, "packed biases")?.zeroed();
    for (i, &b) in start.iter().flatten().enumerate() {
        // SAFETY: there are no more biases than columns, and no more columns than in the panels.
        unsafe { *init.ptr().add(i) = b };
    }
    let (from, to) = (View::of2(from), View::of_mut2(&mut to));
    let product = Multiply { from, panels, width, init: &init, to, columns };
    let each = rows.div_ceil(2 * threads).next_multiple_of(FEW_ROWS).min(ROWS);
    parallel::run(rows.div_ceil(each.max(1)), threads, |i| {
        let task = Task { product: &product, first: i * each, rows: each.min(rows - i * each) };
        with_workspace(task.places(None).0, |start| {
            T::dispatch(isa, TaskRun { task: &task, places: task.places(Some(start)).1 });
        })
    })
}

/// A product with packed weights.
struct Multiply<'a, T> {
    from: View<T>,
    panels: &'a Panels<T>,
    /// Columns of a panel.
    width: usize,
    /// One row of whole panels.
    init: &'a Buffer<T>,
    to: View<T>,
    columns: usize,
}

/// Some of its rows.
struct Task<'a, T> {
    product: &'a Multiply<'a, T>,
    first: usize,
    rows: usize,
}

impl<T: Element> Task<'_, T> {
    /// How much memory the task needs, and where it has its rows: of the left factor, dense, and
    /// of the result, in whole panels.
    fn places(&self, start: Option<*mut T>) -> (usize, [*mut T; 2]) {
        let mut parts = start.map_or_else(Parts::measure, Parts::of);
        let p = self.product;
        let widths = [p.panels.k, p.panels.count.min(PANELS) * p.width];
        let places = widths.map(|width| parts.take(self.rows.saturating_mul(width)));
        (parts.used(), places)
    }
}

struct TaskRun<'a, T> {
    task: &'a Task<'a, T>,
    places: [*mut T; 2],
}

impl<T: Element> Kernel<T> for TaskRun<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (task, p, [left, _]) = (self.task, self.task.product, self.places);
        // SAFETY: shapes were checked, the places were measured for this task, and no other task
        // has its rows.
        unsafe {
            for r in 0..task.rows {
                p.from.read(task.first + r, 0, p.panels.k, left.add(r * p.panels.k));
            }
            for panel in (0..p.panels.count).step_by(PANELS) {
                self.some(l, panel, PANELS.min(p.panels.count - panel));
            }
        }
    }
}

impl<T: Element> TaskRun<'_, T> {
    /// Some panels' columns of the result.
    #[inline(always)]
    unsafe fn some<L: Lanes<T>>(&self, l: L, panel: usize, count: usize) {
        let (task, p, [left, out]) = (self.task, self.task.product, self.places);
        let (first, row) = (panel * p.width, count * p.width);
        let columns = row.min(p.columns - first);
        // SAFETY: as `run` says.
        unsafe {
            Product {
                m: task.rows,
                k: p.panels.k,
                a: Rows { start: left.cast_const(), row: p.panels.k },
                transposed: false,
                panels: p.panels.start(panel),
                panel_stride: p.panels.stride,
                count,
                init: Init { start: p.init.ptr().add(first), row: 0, blocks: Blocks::DENSE },
                out,
                out_row: row,
                out_blocks: Blocks::DENSE,
            }
            .run_on(l);
            let to = p.to.columns_from(first);
            (0..task.rows).for_each(|r| to.write(task.first + r, 0, columns, out.add(r * row)));
        }
    }
}
