//! Whole layers: packing, one step, a forward pass, a training step.

use std::hint::black_box;

use ndarray::{Array1, Array2, Array3, Axis};
use recurra::{
    CellKind, Element, Gradients, Output, Parameters, Sequence, StateGradients, Weights,
};

use crate::measure::{Bench, Group, Work};
use crate::numbers;

/// `B, T, I, H`
pub type Shape = [usize; 4];

/// A cell of the table; the projected one has `P = H/2`.
#[derive(Clone, Copy)]
pub struct Cell {
    pub name: &'static str,
    pub kind: CellKind,
    pub projected: bool,
}

/// A layer and its data.
pub struct Layer<T> {
    cell: Cell,
    shape: Shape,
    w_ih: Array2<T>,
    w_hh: Array2<T>,
    w_hr: Option<Array2<T>>,
    bias: Array1<T>,
    x: Array3<T>,
    dy: Array3<T>,
    /// h and, for the LSTM, c
    state: (Array2<T>, Option<Array2<T>>),
}

impl<T: Element> Layer<T> {
    pub fn new(cell: Cell, shape: Shape) -> Self {
        let [b, t, i, h] = shape;
        let rows = cell.kind.gates() * h;
        let output = if cell.projected { h / 2 } else { h };
        let scale = T::from_f64(2.0 / (h as f64).sqrt());
        let weights = |rows, columns| array(rows, columns).mapv(|w: T| w * scale);
        let steps = |width: usize| {
            let array = Array3::from_shape_vec([b, t, width], numbers::<T>(b * t * width));
            array.expect("as many numbers as places")
        };
        Self {
            cell,
            shape,
            w_ih: weights(rows, i),
            w_hh: weights(rows, output),
            w_hr: cell.projected.then(|| weights(output, h)),
            bias: numbers(rows).into(),
            x: steps(i),
            dy: steps(output),
            state: (array(b, output), (cell.kind == CellKind::Lstm).then(|| array(b, h))),
        }
    }

    /// Packing for inference, as a share of reading the parameters alone.
    pub fn packing(&self, bench: &mut Bench, group: &mut Group<'_>) {
        let [_, _, i, h] = self.shape;
        let bytes = self.bytes(true);
        let work = Work::Reads { bytes, weights: bytes };
        bench.time::<T>(group, &format!("{} packing I{i} H{h}", self.cell.name), work, 1, || {
            black_box(black_box(self).pack(false));
        });
    }

    /// One step of a batch of one, with packed weights, all of which it reads.
    pub fn step(&self, bench: &mut Bench, group: &mut Group<'_>) {
        recurra::parallel::set_num_threads(1).expect("one thread can be had");
        let weights = self.pack(false);
        let x = self.x.index_axis(Axis(1), 0);
        let (h, c) = (self.state.0.view(), self.state.1.as_ref().map(|c| c.view()));
        let [_, _, i, hidden] = self.shape;
        let bytes = self.bytes(true);
        let work = Work::Reads { bytes, weights: bytes };
        let name = format!("{} step B1 I{i} H{hidden}", self.cell.name);
        bench.time::<T>(group, &name, work, 1, || {
            black_box(weights.step(black_box(x), Some(h), c).expect("the shapes fit"));
        });
    }

    /// A forward pass with packed weights. In a batch of one every step reads the recurrent
    /// weights; what the projection of the input takes counts as time, not as bytes.
    pub fn forward(&self, bench: &mut Bench, group: &mut Group<'_>) {
        let weights = self.pack(false);
        let [b, t, ..] = self.shape;
        let recurrent = self.bytes(false);
        let work = match b {
            1 => Work::Reads { bytes: t * recurrent, weights: recurrent },
            _ => Work::Flops(self.flops()),
        };
        for threads in bench.threads.clone() {
            bench.time::<T>(group, &self.name("forward", threads), work, threads, || {
                let out = weights.forward(black_box(&self.sequence(threads, false)));
                black_box(out.expect("the shapes fit"));
            });
        }
    }

    /// A training step, which packs the weights as it must after every change.
    pub fn training(&self, bench: &mut Bench, group: &mut Group<'_>) {
        let work = Work::Flops(3 * self.flops());
        for threads in bench.threads.clone() {
            bench.time::<T>(group, &self.name("training", threads), work, threads, || {
                black_box(self.train(black_box(threads)));
            });
        }
    }

    fn name(&self, what: &str, threads: usize) -> String {
        let [b, t, i, h] = self.shape;
        format!("{} {what} B{b} T{t} I{i} H{h}, {threads} thread(s)", self.cell.name)
    }

    /// Of the products of a forward pass; a training step has three times as many.
    fn flops(&self) -> usize {
        let [b, t, ..] = self.shape;
        2 * b * t * self.bytes(true) / size_of::<T>()
    }

    /// Of the matrices that a step multiplies with, or of the recurrent ones alone.
    fn bytes(&self, with_input: bool) -> usize {
        let recurrent = self.w_hh.len() + self.w_hr.as_ref().map_or(0, |w| w.len());
        size_of::<T>() * (recurrent + if with_input { self.w_ih.len() } else { 0 })
    }

    fn pack(&self, training: bool) -> Weights<T> {
        let parameters = Parameters {
            w_ih: self.w_ih.view(),
            w_hh: self.w_hh.view(),
            b_ih: Some(self.bias.view()),
            b_hh: Some(self.bias.view()),
            w_hr: self.w_hr.as_ref().map(|w| w.view()),
        };
        Weights::pack(self.cell.kind, &parameters, training).expect("the shapes fit")
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

/// `rows` by `columns` numbers.
pub fn array<T: Element>(rows: usize, columns: usize) -> Array2<T> {
    let array = Array2::from_shape_vec([rows, columns], numbers(rows * columns));
    array.expect("as many numbers as places")
}
