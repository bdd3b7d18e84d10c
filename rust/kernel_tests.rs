//! The product and its packing, against plain loops, bit for bit, on every instruction set.

use ndarray::Array2;

use crate::gemm::{Gathered, Outer, outer_products};
use crate::kernel::{Blocks, Init, Product, Rows, panel_width};
use crate::panels::Panels;
use crate::simd::{Element, Isa, Kernel, Lanes};
use crate::testing::numbers;
use crate::view::View;

/// `init + a * b` in the order that the crate promises.
fn plain<T: Element>(
    a: &Array2<T>, b: &Array2<T>, init: &Array2<T>, fma: fn(T, T, T) -> T,
) -> Array2<T> {
    Array2::from_shape_fn(init.dim(), |(m, j)| {
        (0..a.ncols()).fold(init[(m, j)], |sum, k| fma(a[(m, k)], b[(k, j)], sum))
    })
}

/// The crate's product on these matrices; panels in blocks of two with a gap of one between.
struct Whole<'a, T> {
    isa: Isa,
    a: &'a Array2<T>,
    /// Given to the product as its columns.
    transposed: bool,
    b: &'a Array2<T>,
    init: &'a Array2<T>,
}

impl<T: Element> Kernel<T> for Whole<'_, T> {
    type Output = Array2<T>;

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) -> Array2<T> {
        let Self { isa, a, transposed, b, init } = self;
        let width = panel_width(L::N);
        let (m, k, n) = (a.nrows(), a.ncols(), b.ncols());
        let source = |i: usize| b.row(i).as_ptr();
        // SAFETY: the rows of `b` have n contiguous elements.
        let panels = unsafe { Panels::pack_rows(isa.lanes::<T>(), k, n, 1, source).unwrap() };
        let blocks = Blocks { count: 2, stride: 3 * width };
        let column = |j: usize| j / width / 2 * 3 * width + j / width % 2 * width + j % width;
        let columns = column(panels.count * width - 1) + 1;
        let mut start = Array2::from_elem((m, columns), T::default());
        let mut out = start.clone();
        for ((i, j), &x) in init.indexed_iter() {
            start[(i, column(j))] = x;
        }
        let a = if transposed { a.t() } else { a.view() }.as_standard_layout().into_owned();
        let product = Product {
            m,
            k,
            a: Rows { start: a.as_ptr(), row: a.ncols() },
            transposed,
            panels: panels.start(0),
            panel_stride: panels.stride,
            count: panels.count,
            init: Init { start: start.as_ptr(), row: columns, blocks },
            out: out.as_mut_ptr(),
            out_row: columns,
            out_blocks: blocks,
        };
        // SAFETY: all matrices have the rows and columns that the product names.
        unsafe { product.run_on(l) };
        Array2::from_shape_fn((m, n), |(i, j)| out[(i, column(j))])
    }
}

fn products_are_plain_sums<T: Element>(fma: fn(T, T, T) -> T) {
    for isa in Isa::present() {
        // Up to four of the tallest tiles, on every set.
        for m in 1..=48 {
            for (n, k) in [(1, 1), (3, 0), (70, 5), (33, 255), (200, 7), (17, 256), (40, 600)] {
                let (a, b, init) = (numbers(m, k, 1), numbers(k, n, 2), numbers(m, n, 3));
                let expected = plain(&a, &b, &init, fma);
                for transposed in [false, true] {
                    let whole = Whole { isa, a: &a, transposed, b: &b, init: &init };
                    let case = format!("{} {m} x {n} x {k}, {transposed}", isa.name());
                    assert!(T::dispatch(isa, whole) == expected, "{case}");
                }
            }
        }
    }
}

#[test]
fn products_are_plain_sums_float32() {
    products_are_plain_sums::<f32>(f32::mul_add);
}

#[test]
fn products_are_plain_sums_float64() {
    products_are_plain_sums::<f64>(f64::mul_add);
}

#[test]
fn columns_are_packed_from_lines_of_any_step() {
    for isa in Isa::present() {
        let width = panel_width(isa.lanes::<f32>());
        for (lines, k, step) in
            [(1, 1, 1), (width, 40, 1), (width - 1, 37, 1), (width, 19, 3), (0, 5, 1)]
        {
            let w = numbers::<f32>(lines.max(1), k * step, 4);
            let source = |_| (w.as_ptr(), lines);
            let line = (k * step) as isize;
            // SAFETY: each of the lines has k elements at that step.
            let panels =
                unsafe { Panels::pack_columns(isa, k, 1, line, step as isize, source).unwrap() };
            for (i, j) in (0..k).flat_map(|i| (0..width).map(move |j| (i, j))) {
                // SAFETY: the panel has k rows of `width`, all of them written.
                let got = unsafe { *panels.start(0).add(i * width + j) };
                let expected = if j < lines { w[(j, i * step)] } else { 0.0 };
                assert_eq!(got, expected, "{} k {i} column {j}", isa.name());
            }
        }
    }
}

fn outer_products_are_plain_sums<T: Element>(
    (rows, columns): (usize, usize), fma: fn(T, T, T) -> T,
) {
    let terms = 300;
    let (left, right) = (numbers::<T>(terms, rows + 3, 5), numbers::<T>(terms, columns + 4, 6));
    let index: Vec<usize> = (0..terms).map(|k| (k * 7) % terms).collect();
    let expected = Array2::from_shape_fn((rows, columns), |(i, j)| {
        (0..terms).fold(T::default(), |sum, k| fma(left[(k, i + 2)], right[(index[k], j)], sum))
    });
    let column = |i| (0..terms).fold(T::default(), |sum, k| sum + left[(k, i + 2)]);
    let expected_sums: Vec<T> = (0..rows).map(column).collect();
    for isa in Isa::present() {
        for (threads, cut) in [(1, 0), (2, 17), (3, 280), (1, 300)] {
            let mut sums = vec![T::default(); rows];
            let mut out = Array2::from_elem((rows + 1, columns), T::default());
            out.slice_mut(ndarray::s![1.., ..]).fill(T::from_f64(f64::NAN));
            // In two parts: the second goes on where the first one ended.
            for (terms, accumulate) in [(0..cut, false), (cut..terms, true)] {
                let start = left.as_ptr().wrapping_add(terms.start * (rows + 3));
                let index = &index[terms];
                let product = Outer {
                    left: Rows { start, row: rows + 3 },
                    first: 2,
                    rows,
                    right: Gathered {
                        start: right.as_ptr(),
                        width: columns,
                        row: columns + 4,
                        index,
                    },
                    out: View::of_mut2(&mut out.view_mut()),
                    out_row: 1,
                    accumulate,
                    sums: Some(sums.as_mut_ptr()),
                };
                // SAFETY: the left factor has a row for each number, the index names rows of the
                // right one; the result has the rows and columns, and there is a sum for each row.
                unsafe { outer_products(isa, &[product], threads, (0, |_| Ok(()))).unwrap() };
            }
            assert!(out.slice(ndarray::s![1.., ..]) == expected, "{} {threads} {cut}", isa.name());
            assert!(out.row(0).iter().all(|&x| x == T::default()));
            assert!(sums == expected_sums, "{} {threads} {cut}", isa.name());
        }
    }
}

#[test]
fn outer_products_are_plain_sums_whatever_the_threads() {
    // Rows that are split over threads, and no whole number of registers; columns of few panels and
    // of many, on every set, and many with few left over.
    for size in [(7, 45), (61, 45), (131, 45), (61, 7), (131, 130), (30, 530)] {
        outer_products_are_plain_sums::<f32>(size, f32::mul_add);
        outer_products_are_plain_sums::<f64>(size, f64::mul_add);
    }
}
