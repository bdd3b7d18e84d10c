//! What the time loop is made of: the product, the activations, and products outside the loop.

use std::hint::black_box;

use ndarray::Array1;
use recurra::kernel::{Blocks, Init, Product, Rows, panel_width};
use recurra::simd::{Kernel, Lanes};
use recurra::{Element, linear, math};

use crate::counting::operations;
use crate::layers::array;
use crate::measure::{Bench, Group, Work};
use crate::numbers;

/// `m` rows by `n` columns, sums of `k` terms, from packed panels, on one thread.
pub fn product<T: Element>(
    bench: &mut Bench, group: &mut Group<'_>, name: &str, [m, n, k]: [usize; 3],
) {
    let isa = bench.isa;
    let (a, zeros) = (numbers::<T>(m * k), vec![T::default(); n]);
    // Panels start on cache lines, as the packed weights of a layer do.
    let memory = numbers::<T>(n * k + 64);
    let panels = &memory[memory.as_ptr().align_offset(64)..][..n * k];
    let mut out = vec![T::default(); m * n];
    let mut multiply = || {
        let (a, out) = (black_box(a.as_slice()), out.as_mut_slice());
        T::dispatch(isa, Multiply { k, a, panels, zeros: &zeros, out });
        black_box(out)[m * n - 1]
    };
    let width = panel_width(isa.lanes::<T>());
    let column = panels[n * k - width * k..].iter().skip(width - 1).step_by(width);
    let terms = a[(m - 1) * k..].iter().zip(column).map(|(&a, &b)| a * b);
    let expected = terms.fold(T::default(), |sum, term| sum + term);
    assert_eq!(multiply(), expected, "the last element of the product {m}x{n}x{k}");
    let work = Work::Flops(2 * m * n * k);
    bench.time::<T>(group, &format!("{name} {m}x{n}x{k}"), work, 1, || _ = multiply());
}

/// `out = a * panels`, all of them dense.
struct Multiply<'a, T> {
    k: usize,
    a: &'a [T],
    panels: &'a [T],
    zeros: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Kernel<T> for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let (k, n, width) = (self.k, self.zeros.len(), panel_width(L::N));
        let m = self.a.len() / k;
        assert!(n.is_multiple_of(width) && self.panels.len() == n * k && self.out.len() == m * n);
        let product = Product {
            m,
            k,
            a: Rows { start: self.a.as_ptr(), row: k },
            transposed: false,
            panels: self.panels.as_ptr(),
            panel_stride: k * width,
            count: n / width,
            init: Init { start: self.zeros.as_ptr(), row: 0, blocks: Blocks::DENSE },
            out: self.out.as_mut_ptr(),
            out_row: n,
            out_blocks: Blocks::DENSE,
        };
        // SAFETY: the slices have the lengths that the product names.
        unsafe { product.run_on(l) };
    }
}

/// Numbers between -8 and 8 in the first-level cache, on one thread.
pub fn activation<T: Element>(bench: &mut Bench, group: &mut Group<'_>, name: &str, is_tanh: bool) {
    let x: Vec<T> = numbers(2048).into_iter().map(|x: T| T::from_f64(16.0) * x).collect();
    let mut y = x.clone();
    let (isa, one) = (bench.isa, &mut [T::default()]);
    let each = operations(Activation { x: &x[..1], y: one, is_tanh });
    bench.time::<T>(group, name, Work::Flops(each * x.len()), 1, || {
        T::dispatch(isa, Activation { x: black_box(&x), y: &mut y, is_tanh });
        black_box(&mut y);
    });
}

struct Activation<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    is_tanh: bool,
}

impl<T: Element> Kernel<T> for Activation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        for (x, y) in self.x.chunks_exact(L::N).zip(self.y.chunks_exact_mut(L::N)) {
            // SAFETY: both chunks have N elements.
            unsafe {
                let x = l.load(x.as_ptr());
                let value = if self.is_tanh { math::tanh(l, x) } else { math::sigmoid(l, x) };
                l.store(y.as_mut_ptr(), value);
            }
        }
    }
}

/// The products outside the time loop, with their packing: `n` rows by `i` inputs and `o` outputs,
/// forward, and backward the gradients of the rows and, as a layer has it, of the weights.
pub fn linear<T: Element>(bench: &mut Bench, group: &mut Group<'_>, [n, i, o]: [usize; 3]) {
    let (x, w, dy) = (array::<T>(n, i), array(o, i), array(n, o));
    let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), w.clone(), Array1::default(o));
    for threads in bench.threads.clone() {
        let name = |what| format!("linear {what} N{n} I{i} O{o}, {threads} thread(s)");
        let work = Work::Flops(2 * n * i * o);
        bench.time::<T>(group, &name("forward"), work, threads, || {
            let (x, y) = (black_box(&x).view(), y.view_mut());
            linear::forward(x, w.view(), None, y, Some(threads)).expect("the shapes fit");
        });
        black_box(&y);
        let work = Work::Flops(4 * n * i * o);
        bench.time::<T>(group, &name("gradients"), work, threads, || {
            let (dx, db) = (Some(dx.view_mut()), Some(db.view_mut()));
            let (x, dw) = (black_box(&x).view(), dw.view_mut());
            let out = linear::Gradients { dx, dw, db };
            linear::backward(x, w.view(), dy.view(), out, Some(threads)).expect("the shapes fit");
        });
        black_box((&dx, &dw, &db));
    }
}
