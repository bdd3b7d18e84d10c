//! The laws about bits, through the Rust interface alone: rows, steps, chunks, padding, threads and
//! instruction sets never change a result.

mod cases;

use std::sync::{Mutex, PoisonError};

use cases::{CELLS, Case};
use ndarray::{Array, Array2, Array3, Axis, Dimension, Slice, concatenate, s};
use recurra::{Element, GradientOutputs, Gradients, Isa, Memory, Output, Outputs, Sequence};

struct Results<T: Element> {
    out: Output<T>,
    grads: Gradients<T>,
}

/// The bits of named arrays; widening a number to 64 bits is exact and keeps its sign.
type Bits = Vec<(&'static str, Vec<u64>)>;

fn bits<'a, T: Element, D: Dimension + 'a>(array: &Array<T, D>) -> Vec<u64> {
    array.iter().map(|x| x.to_f64().to_bits()).collect()
}

impl<T: Element> Case<T> {
    fn run(&self, threads: usize) -> Results<T> {
        let out = self.weights().forward(&self.sequence(threads)).unwrap();
        let grads = out.saved.as_ref().unwrap().backward(&self.upstream(), Some(threads)).unwrap();
        Results { out, grads }
    }

    /// These rows of the batch only.
    fn rows(&self, rows: &[usize]) -> Self {
        let pick = |a: &Array2<T>| a.select(Axis(0), rows);
        Self {
            x: self.x.select(Axis(0), rows),
            h0: pick(&self.h0),
            c0: self.c0.as_ref().map(pick),
            lengths: self.lengths.select(Axis(0), rows),
            dy: self.dy.select(Axis(0), rows),
            dh_n: pick(&self.dh_n),
            dc_n: self.dc_n.as_ref().map(pick),
            ..self.clone()
        }
    }

    /// The steps `start .. end` of time only.
    fn chunk(&self, start: usize, end: usize) -> Self {
        let slice = Slice::from(start..end);
        let within = |&n: &i64| (n - start as i64).clamp(0, (end - start) as i64);
        Self {
            x: self.x.slice_axis(Axis(1), slice).to_owned(),
            dy: self.dy.slice_axis(Axis(1), slice).to_owned(),
            lengths: self.lengths.map(within),
            ..self.clone()
        }
    }
}

impl<T: Element> Results<T> {
    fn of_rows(&self, rows: &[usize]) -> Bits {
        let flat = |a: &Array2<T>| bits(&a.select(Axis(0), rows));
        let mut all = vec![
            ("y", bits(&self.out.y.select(Axis(0), rows))),
            ("dx", bits(&self.grads.dx.select(Axis(0), rows))),
            ("h_n", flat(&self.out.h_n)),
            ("dh0", flat(&self.grads.dh0)),
        ];
        all.extend(self.out.c_n.as_ref().map(|c| ("c_n", flat(c))));
        all.extend(self.grads.dc0.as_ref().map(|c| ("dc0", flat(c))));
        all
    }

    fn all(&self) -> Bits {
        let g = &self.grads;
        let mut all = self.of_rows(&(0..self.out.h_n.nrows()).collect::<Vec<_>>());
        all.extend([("dw_ih", bits(&g.dw_ih)), ("dw_hh", bits(&g.dw_hh))]);
        all.extend(g.db_ih.as_ref().map(|b| ("db_ih", bits(b))));
        all.extend(g.db_hh.as_ref().map(|b| ("db_hh", bits(b))));
        all.extend(g.dw_hr.as_ref().map(|w| ("dw_hr", bits(w))));
        all
    }
}

/// Runs `check` on every cell, in both directions, for shapes around the widths of registers.
fn every_case<T: Element>(check: impl Fn(Case<T>)) {
    for cell in 0..CELLS.len() {
        for (n, shape) in [[7, 6, 3, 5], [13, 4, 17, 33], [2, 9, 8, 16]].into_iter().enumerate() {
            check(Case::new(cell, shape, n % 2 == cell % 2));
        }
    }
}

/// A test of a law, in both precisions.
macro_rules! law {
    ($name:ident, $check:ident) => {
        #[test]
        fn $name() {
            every_case::<f32>($check);
            every_case::<f64>($check);
        }
    };
}

law!(a_row_alone_is_the_row_in_a_batch, rows);
fn rows<T: Element>(case: Case<T>) {
    let whole = case.run(1);
    for row in 0..case.lengths.len() {
        assert_eq!(case.rows(&[row]).run(1).of_rows(&[0]), whole.of_rows(&[row]), "row {row}");
    }
    let many: Vec<usize> = (0..31).map(|k| (7 * k + 2) % case.lengths.len()).collect();
    let all: Vec<usize> = (0..31).collect();
    assert_eq!(case.rows(&many).run(1).of_rows(&all), whole.of_rows(&many));
}

law!(step_by_step_is_the_sequence, steps);
fn steps<T: Element>(mut case: Case<T>) {
    let t = case.x.dim().1;
    case.lengths.fill(t as i64);
    let (whole, weights) = (case.run(1), case.weights());
    let (mut h, mut c) = (case.h0.clone(), case.c0.clone());
    for step in 0..t {
        let time = if case.reverse { t - 1 - step } else { step };
        let x = case.x.index_axis(Axis(1), time);
        (h, c) = weights.step(x, Some(h.view()), c.as_ref().map(|c| c.view())).unwrap();
        let y = whole.out.y.index_axis(Axis(1), time).to_owned();
        assert_eq!(bits(&h), bits(&y), "step {step}");
    }
    assert_eq!(c.as_ref().map(bits), whole.out.c_n.as_ref().map(bits));
}

law!(chunks_are_the_sequence, chunks);
fn chunks<T: Element>(case: Case<T>) {
    let (whole, t) = (case.run(1), case.x.dim().1);
    for cut in 1..t {
        let (mut early, mut late) = (case.chunk(0, cut), case.chunk(cut, t));
        let (first, second) = match case.reverse {
            false => (&mut early, &mut late),
            true => (&mut late, &mut early),
        };
        let out = first.run(1).out;
        (second.h0, second.c0) = (out.h_n, out.c_n);
        let end = second.run(1);
        (first.dh_n, first.dc_n) = (end.grads.dh0.clone(), end.grads.dc0.clone());
        let start = first.run(1);
        assert_eq!(bits(&end.out.h_n), bits(&whole.out.h_n), "cut {cut}");
        assert_eq!(end.out.c_n.as_ref().map(bits), whole.out.c_n.as_ref().map(bits));
        assert_eq!(bits(&start.grads.dh0), bits(&whole.grads.dh0));
        assert_eq!(start.grads.dc0.as_ref().map(bits), whole.grads.dc0.as_ref().map(bits));
        let (a, b) = if case.reverse { (end, start) } else { (start, end) };
        let join = |a: &Array3<T>, b: &Array3<T>| {
            bits(&concatenate(Axis(1), &[a.view(), b.view()]).unwrap())
        };
        assert_eq!(join(&a.out.y, &b.out.y), bits(&whole.out.y));
        assert_eq!(join(&a.grads.dx, &b.grads.dx), bits(&whole.grads.dx));
    }
}

law!(padding_does_not_matter, padding);
fn padding<T: Element>(case: Case<T>) {
    let (whole, (b, t, _)) = (case.run(1), case.x.dim());
    for garbage in [f64::NAN, f64::INFINITY, 1e30] {
        let mut padded = case.clone();
        let tail = |n| Array3::from_elem((b, 3, n), T::from_f64(garbage));
        for a in [&mut padded.x, &mut padded.dy] {
            *a = concatenate(Axis(1), &[a.view(), tail(a.dim().2).view()]).unwrap();
            for (row, &length) in case.lengths.iter().enumerate() {
                a.slice_mut(s![row, length as usize.., ..]).fill(T::from_f64(garbage));
            }
        }
        let mut got = padded.run(1);
        for a in [&mut got.out.y, &mut got.grads.dx] {
            assert!(a.slice(s![.., t.., ..]).iter().all(|x| x.to_f64().to_bits() == 0));
            *a = a.slice(s![.., ..t, ..]).to_owned();
        }
        assert_eq!(got.all(), whole.all(), "{garbage}");
    }
}

law!(few_inputs_are_the_first_of_many, inputs);
fn inputs<T: Element>(case: Case<T>) {
    let ((b, t, i), gates) = (case.x.dim(), case.w_ih.nrows());
    let mut wide = case.clone();
    let (more, nothing) = (T::from_f64(0.5), T::default());
    let more = Array3::from_elem((b, t, 40), more);
    wide.x = concatenate(Axis(2), &[case.x.view(), more.view()]).unwrap();
    let nothing = Array2::from_elem((gates, 40), nothing);
    wide.w_ih = concatenate(Axis(1), &[case.w_ih.view(), nothing.view()]).unwrap();
    let (few, mut many) = (case.run(1), wide.run(1));
    many.grads.dx = many.grads.dx.slice(s![.., .., ..i]).to_owned();
    many.grads.dw_ih = many.grads.dw_ih.slice(s![.., ..i]).to_owned();
    assert_eq!(few.all(), many.all());
}

/// Enough work that more than one thread gets some; more rows than one task takes.
#[test]
fn threads_do_not_matter() {
    fn check<T: Element>() {
        for (cell, kind) in CELLS.into_iter().enumerate() {
            for (b, t, i) in [(2, 300, 40), (33, 20, 40), (300, 2, 40), (300, 4, 3)] {
                let case = Case::<T>::new(cell, [b, t, i, 62], b == 33);
                assert!(kind.gates() * 62 * (i + 31) * b * t > 2 << 20);
                let one = case.run(1).all();
                for threads in [2, 3, 5] {
                    assert_eq!(case.run(threads).all(), one, "{kind:?}, {threads} threads");
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// Few rows and large steps: the threads share out the units of a layer and take steps together.
#[test]
fn a_team_of_threads_does_not_matter() {
    fn check<T: Element>() {
        for (cell, kind) in CELLS.into_iter().enumerate() {
            // Units that do not fill the last panel; the projected output has half as many.
            for (b, reverse) in [(1, false), (3, true)] {
                let mut case = Case::<T>::new(cell, [b, 30, 16, 331], reverse);
                case.lengths[0] = 30;
                let passing = |case: &Case<T>, threads| {
                    let sequence = Sequence { save: false, ..case.sequence(threads) };
                    let out = case.weights().forward(&sequence).unwrap();
                    let c_n = out.c_n.map(|c| bits(&c));
                    (bits(&out.y), bits(&out.h_n), c_n)
                };
                let (one, saved) = (passing(&case, 1), case.run(1).all());
                for threads in [2, 3, 9] {
                    assert!(passing(&case, threads) == one, "{kind:?}, {threads} threads");
                    for memory in [Memory::Keep, Memory::Low] {
                        case.memory = memory;
                        let got = case.run(threads).all();
                        assert!(got == saved, "{kind:?}, {threads} threads, {memory:?}");
                    }
                    case.memory = Memory::Keep;
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// Forward shares out large weights also where each thread could have some rows. In the second case
/// rows of states, inputs and gates' gradients are not side by side: they would meet in one set of a
/// cache.
#[test]
fn a_team_of_threads_does_not_matter_for_several_rows() {
    for (cell, kind) in CELLS.into_iter().enumerate() {
        for shape in [[7, 3, 2, 890], [7, 3, 1024, 1024]] {
            let mut case = Case::<f32>::new(cell, shape, false);
            let expected = case.run(1).all();
            for memory in [Memory::Keep, Memory::Low] {
                case.memory = memory;
                assert!(case.run(2).all() == expected, "{kind:?}, {shape:?}, {memory:?}");
            }
        }
    }
}

/// A team that works on a row in several spans.
#[test]
fn a_team_of_threads_does_not_matter_in_long_sequences() {
    for (cell, kind) in CELLS.into_iter().enumerate() {
        let mut case = Case::<f32>::new(cell, [1, 2100, 3, 226], true);
        case.lengths[0] = 2100;
        let expected = case.run(1).all();
        for memory in [Memory::Keep, Memory::Low] {
            case.memory = memory;
            assert!(case.run(2).all() == expected, "{kind:?}, {memory:?}");
        }
    }
}

/// What `run` gives on every instruction set.
fn on_every_set<R>(run: impl Fn() -> R) -> Vec<(&'static str, R)> {
    // Tests that run meanwhile are not disturbed: their results do not depend on the set.
    static CHOICE: Mutex<()> = Mutex::new(());
    let _choice = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Isa::current().unwrap();
    let results = Isa::present().into_iter().map(|isa| {
        isa.make_current();
        (isa.name(), run())
    });
    let results = results.collect();
    before.make_current();
    results
}

law!(instruction_sets_do_not_matter, instruction_sets);
fn instruction_sets<T: Element>(case: Case<T>) {
    let results = on_every_set(|| case.run(2).all());
    for (name, result) in &results {
        assert_eq!(result, &results[0].1, "{name}");
    }
}

law!(memory_does_not_matter, low_memory);
fn low_memory<T: Element>(mut case: Case<T>) {
    let expected = case.run(1).all();
    case.memory = Memory::Low;
    for (name, got) in on_every_set(|| case.run(1).all()) {
        assert_eq!(got, expected, "{name}");
    }
}

/// Rows of every length, also without a step, whose steps backward works on in several spans.
#[test]
fn memory_and_threads_do_not_matter_in_long_sequences() {
    fn check<T: Element>() {
        for (cell, kind) in CELLS.into_iter().enumerate() {
            let mut case = Case::<T>::new(cell, [60, 127, 9, 19], cell % 2 == 0);
            assert!(case.lengths.sum() > 3 * 1024 && case.lengths.iter().any(|&n| n == 0));
            assert!(kind.gates() * 19 * (9 + 10) * case.lengths.sum() as usize > 1 << 20);
            let expected = case.run(1).all();
            for memory in [Memory::Keep, Memory::Low] {
                case.memory = memory;
                for threads in 1..=4 {
                    assert!(case.run(threads).all() == expected, "{kind:?} {memory:?} {threads}");
                }
                for (name, got) in on_every_set(|| case.run(2).all()) {
                    assert!(got == expected, "{kind:?} {memory:?} {name}");
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

law!(the_callers_memory_may_have_any_strides, callers_memory);
fn callers_memory<T: Element>(case: Case<T>) {
    let (expected, weights) = (case.run(1), case.weights());
    let mut got = case.run(1);
    let (out, g) = (&mut got.out, &mut got.grads);
    // Other memory behind the same numbers: time first, features last to first.
    let (b, t, p) = out.y.dim();
    out.y = Array3::from_elem((t, b, p), T::from_f64(f64::NAN)).permuted_axes([1, 0, 2]);
    out.h_n.invert_axis(Axis(1));
    g.dx = Array3::from_elem(g.dx.dim(), T::from_f64(f64::NAN));
    g.dx.invert_axis(Axis(2));
    g.dw_ih = Array2::from_elem((g.dw_ih.ncols(), g.dw_ih.nrows()), T::from_f64(f64::NAN))
        .reversed_axes();
    let outputs = Outputs {
        y: Some(out.y.view_mut()),
        h_n: out.h_n.view_mut(),
        c_n: out.c_n.as_mut().map(|c| c.view_mut()),
    };
    let saved = weights.forward_into(&case.sequence(1), outputs).unwrap().unwrap();
    let gradients = GradientOutputs {
        dx: Some(g.dx.view_mut()),
        dw_ih: g.dw_ih.view_mut(),
        dw_hh: g.dw_hh.view_mut(),
        db_ih: g.db_ih.as_mut().map(|b| b.view_mut()),
        db_hh: g.db_hh.as_mut().map(|b| b.view_mut()),
        dw_hr: g.dw_hr.as_mut().map(|w| w.view_mut()),
        dh0: g.dh0.view_mut(),
        dc0: g.dc0.as_mut().map(|c| c.view_mut()),
    };
    saved.backward_into(&case.upstream(), gradients, Some(1)).unwrap();
    assert_eq!(got.all(), expected.all());
}
