//! Rows that change hands in the middle of their sequences keep every bit; who gets which rows.

use ndarray::{Array1, Array2, Array3};

use crate::board::tests::EAGER;
use crate::sequence::sharing::{ROWS_TOGETHER, rows_together, team_size};
use crate::testing::{numbers, on_every_isa};
use crate::{CellKind, Memory, Parameters, Sequence, StateGradients, Weights};

const SIZES: [usize; 4] = [32, 70, 32, 56];

struct Layer {
    kind: CellKind,
    w_ih: Array2<f32>,
    w_hh: Array2<f32>,
    b: Array1<f32>,
    x: Array3<f32>,
    lengths: Array1<i64>,
}

impl Layer {
    fn new(kind: CellKind) -> Self {
        let ([b, t, i, h], g) = (SIZES, kind.gates());
        let x = numbers(b * t, i, 1).into_shape_with_order((b, t, i)).unwrap();
        let lengths = Array1::from_shape_fn(b, |r| (t - r % 7 * 9) as i64 * i64::from(r != 5));
        let (w_ih, w_hh) = (numbers(g * h, i, 2) / 8.0, numbers(g * h, h, 3) / 8.0);
        Self { kind, w_ih, w_hh, b: numbers(1, g * h, 4).row(0).to_owned(), x, lengths }
    }

    /// All results of forward and backward, on one thread.
    fn run(&self, memory: Memory) -> Vec<u32> {
        let (w_ih, w_hh, b) = (self.w_ih.view(), self.w_hh.view(), self.b.view());
        let p = Parameters { w_ih, w_hh, b_ih: Some(b), b_hh: Some(b), w_hr: None };
        let weights = Weights::pack(self.kind, &p, true).unwrap();
        let lengths = Some(self.lengths.view());
        let (threads, save) = (Some(1), true);
        let q = Sequence { lengths, save, memory, threads, ..Sequence::new(self.x.view()) };
        let out = weights.forward(&q).unwrap();
        let x = (memory == Memory::Low).then(|| self.x.view());
        let upstream = StateGradients { dy: Some(out.y.view()), x, ..StateGradients::default() };
        let g = out.saved.unwrap().backward(&upstream, threads).unwrap();
        let passing =
            weights.forward(&Sequence { save: false, memory: Memory::Keep, ..q }).unwrap();
        let all = [&out.y, &g.dx, &passing.y].map(|a| a.iter().copied().collect::<Vec<_>>());
        let more = [&out.h_n, &g.dw_ih, &g.dw_hh, &g.dh0].map(|a| a.iter().copied().collect());
        all.iter().chain(&more).flatten().map(|x: &f32| x.to_bits()).collect()
    }
}

#[test]
fn rows_that_change_hands_keep_every_bit() {
    on_every_isa(|isa| {
        for kind in [CellKind::RnnTanh, CellKind::Lstm, CellKind::Gru, CellKind::GruBefore] {
            let layer = Layer::new(kind);
            for memory in [Memory::Keep, Memory::Low] {
                let expected = layer.run(memory);
                EAGER.set(true);
                let got = layer.run(memory);
                EAGER.set(false);
                assert!(got == expected, "{kind:?}, {memory:?}, {isa}");
            }
        }
    });
}

/// A team has at most eight threads: rows for more than that go apart, and nobody is left idle.
#[test]
fn units_are_shared_out_only_where_that_leaves_nobody_idle() {
    let (w_ih, w_hh) = (numbers::<f32>(4 * 128, 8, 1), numbers::<f32>(4 * 128, 128, 2));
    let (w_ih, w_hh) = (w_ih.view(), w_hh.view());
    let p = Parameters { w_ih, w_hh, b_ih: None, b_hh: None, w_hr: None };
    let weights = Weights::pack(CellKind::Lstm, &p, false).unwrap();
    assert_eq!(rows_together(&weights.packed), ROWS_TOGETHER);
    let team = |rows, threads| team_size(rows, &weights.packed, threads, ROWS_TOGETHER);
    assert_eq!([team(4, 2), team(5, 2)], [Some(2), None]);
    assert_eq!([team(16, 8), team(16, 64), team(17, 64)], [Some(8), Some(8), None]);
    assert_eq!([team(1, 1), team(64, 1)], [Some(1), None]);
}
