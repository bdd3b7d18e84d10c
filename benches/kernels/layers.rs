//! Whole layers: one step, a forward pass, a training step.

use std::hint::black_box;

use ndarray::{Array1, Array2, Array3, Axis};
use recurra::{
    CellKind, Element, Gradients, Output, Parameters, Sequence, StateGradients, Weights,
};

use crate::measure::{Bench, Group, Work};
use crate::numbers;

/// `B, T, I, H`
pub type Shape = [usize; 4];

/// A layer and its data.
pub struct Layer<T> {
    cell: &'static str,
    kind: CellKind,
    shape: Shape,
    w_ih: Array2<T>,
    w_hh: Array2<T>,
    bias: Array1<T>,
    x: Array3<T>,
    dy: Array3<T>,
    state: Array2<T>,
}

impl<T: Element> Layer<T> {
    pub fn new((cell, kind): (&'static str, CellKind), shape: Shape) -> Self {
        let [b, t, i, h] = shape;
        let rows = kind.gates() * h;
        let scale = T::from_f64(2.0 / (h as f64).sqrt());
        let array = |shape: [usize; 2]| {
            let array = Array2::from_shape_vec(shape, numbers::<T>(shape[0] * shape[1]));
            array.expect("as many numbers as places")
        };
        let steps = |width: usize| {
            let array = Array3::from_shape_vec([b, t, width], numbers::<T>(b * t * width));
            array.expect("as many numbers as places")
        };
        Self {
            cell,
            kind,
            shape,
            w_ih: array([rows, i]).mapv(|w| w * scale),
            w_hh: array([rows, h]).mapv(|w| w * scale),
            bias: numbers(rows).into(),
            x: steps(i),
            dy: steps(h),
            state: array([b, h]),
        }
    }

    /// One step of a batch of one, with packed weights.
    pub fn step(&self, bench: &mut Bench, group: &mut Group<'_>) {
        let weights = self.pack(false);
        let x = self.x.index_axis(Axis(1), 0);
        let h = self.state.view();
        let c = (self.kind == CellKind::Lstm).then_some(h);
        let name = format!("{} step B1 H{}", self.cell, self.shape[3]);
        bench.time::<T>(group, &name, Work::Flops(self.flops()), 1, || {
            black_box(weights.step(black_box(x), Some(h), c).expect("the shapes fit"));
        });
    }

    /// A forward pass with packed weights, and a training step, which packs them as it must after
    /// every change.
    pub fn sequences(&self, bench: &mut Bench, group: &mut Group<'_>) {
        let weights = self.pack(false);
        let [b, t, i, h] = self.shape;
        for threads in bench.threads.clone() {
            let name =
                |what| format!("{} {what} B{b} T{t} I{i} H{h}, {threads} thread(s)", self.cell);
            let work = Work::Flops(self.flops());
            bench.time::<T>(group, &name("forward"), work, threads, || {
                let out = weights.forward(black_box(&self.sequence(threads, false)));
                black_box(out.expect("the shapes fit"));
            });
            let work = Work::Flops(3 * self.flops());
            bench.time::<T>(group, &name("training"), work, threads, || {
                black_box(self.train(black_box(threads)));
            });
        }
    }

    /// Of the products of a forward pass; a training step has three times as many.
    fn flops(&self) -> usize {
        let [b, t, i, h] = self.shape;
        2 * b * t * self.kind.gates() * h * (i + h)
    }

    fn pack(&self, training: bool) -> Weights<T> {
        let parameters = Parameters {
            w_ih: self.w_ih.view(),
            w_hh: self.w_hh.view(),
            b_ih: Some(self.bias.view()),
            b_hh: Some(self.bias.view()),
            w_hr: None,
        };
        Weights::pack(self.kind, &parameters, training).expect("the shapes fit")
    }

    fn sequence(&self, threads: usize, save: bool) -> Sequence<'_, T> {
        Sequence { threads: Some(threads), save, ..Sequence::new(self.x.view()) }
    }

    fn train(&self, threads: usize) -> (Output<T>, Gradients<T>) {
        let out = self.pack(true).forward(&self.sequence(threads, true)).expect("the shapes fit");
        let dy = StateGradients { dy: Some(self.dy.view()), ..StateGradients::default() };
        let saved = out.saved.as_ref().expect("asked for");
        let gradients = saved.backward(&dy, Some(threads)).expect("the shapes fit");
        (out, gradients)
    }
}
