//! A layer and a batch for it, for the tests that use the Rust interface.

use ndarray::{Array, Array1, Array2, Array3, IntoDimension};
use recurra::{CellKind, Element, Memory, Parameters, Sequence, StateGradients, Weights};

/// Every cell; the last one is the projected LSTM.
pub const CELLS: [CellKind; 6] = [
    CellKind::RnnTanh,
    CellKind::RnnRelu,
    CellKind::Lstm,
    CellKind::Gru,
    CellKind::GruBefore,
    CellKind::Lstm,
];

/// Numbers between -1 and 1 without a pattern, the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn array<T: Element, S: IntoDimension>(&mut self, shape: S) -> Array<T, S::Dim> {
        Array::from_shape_simple_fn(shape.into_dimension(), || T::from_f64(self.next()))
    }
}

/// A layer, a batch for it, and the gradients that flow in.
#[derive(Clone)]
pub struct Case<T> {
    pub kind: CellKind,
    pub w_ih: Array2<T>,
    pub w_hh: Array2<T>,
    pub b_ih: Array1<T>,
    pub b_hh: Array1<T>,
    pub w_hr: Option<Array2<T>>,
    pub x: Array3<T>,
    pub h0: Array2<T>,
    pub c0: Option<Array2<T>>,
    pub lengths: Array1<i64>,
    pub reverse: bool,
    pub memory: Memory,
    pub dy: Array3<T>,
    pub dh_n: Array2<T>,
    pub dc_n: Option<Array2<T>>,
}

impl<T: Element> Case<T> {
    /// `cell` is a place in `CELLS`.
    pub fn new(cell: usize, [b, t, i, h]: [usize; 4], reverse: bool) -> Self {
        let (kind, n) = (CELLS[cell], &mut Numbers(0x9E37_79B9 + cell as u64));
        let (projected, lstm) = (cell == 5, kind == CellKind::Lstm);
        let (rows, p) = (kind.gates() * h, if projected { h.div_ceil(2) } else { h });
        Self {
            kind,
            w_ih: n.array((rows, i)),
            w_hh: n.array((rows, p)),
            b_ih: n.array(rows),
            b_hh: n.array(rows),
            w_hr: projected.then(|| n.array((p, h))),
            x: n.array((b, t, i)),
            h0: n.array((b, p)),
            c0: lstm.then(|| n.array((b, h))),
            lengths: (0..b).map(|row| ((5 * row + 3) % (t + 1)) as i64).collect(),
            reverse,
            memory: Memory::Keep,
            dy: n.array((b, t, p)),
            dh_n: n.array((b, p)),
            dc_n: lstm.then(|| n.array((b, h))),
        }
    }

    pub fn weights(&self) -> Weights<T> {
        let parameters = Parameters {
            w_ih: self.w_ih.view(),
            w_hh: self.w_hh.view(),
            b_ih: Some(self.b_ih.view()),
            b_hh: Some(self.b_hh.view()),
            w_hr: self.w_hr.as_ref().map(|w| w.view()),
        };
        Weights::pack(self.kind, &parameters, true).unwrap()
    }

    pub fn sequence(&self, threads: usize) -> Sequence<'_, T> {
        Sequence {
            x: self.x.view(),
            h0: Some(self.h0.view()),
            c0: self.c0.as_ref().map(|c| c.view()),
            lengths: Some(self.lengths.view()),
            reverse: self.reverse,
            save: true,
            memory: self.memory,
            threads: Some(threads),
        }
    }

    pub fn upstream(&self) -> StateGradients<'_, T> {
        StateGradients {
            dy: Some(self.dy.view()),
            dh_n: Some(self.dh_n.view()),
            dc_n: self.dc_n.as_ref().map(|c| c.view()),
            x: (self.memory == Memory::Low).then(|| self.x.view()),
        }
    }
}
