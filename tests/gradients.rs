//! Gradients through the Rust interface: against finite differences, and into memory that fits.

mod cases;

use cases::{CELLS, Case};
use ndarray::{Array2, Array3, Zip};
use recurra::{CellKind, Error, GradientOutputs, Gradients, Memory, Outputs, StateGradients};

const STEP: f64 = 2e-4;

/// The number of which backward returns the gradients.
fn loss(case: &Case<f64>) -> f64 {
    let out = case.weights().forward(&case.sequence(1)).unwrap();
    let flat =
        |a: &Array2<f64>, d: &Array2<f64>| Zip::from(a).and(d).fold(0.0, |s, a, d| s + a * d);
    let y = Zip::from(&out.y).and(&case.dy).fold(0.0, |sum, y, dy| sum + y * dy);
    let c = out.c_n.as_ref().zip(case.dc_n.as_ref()).map_or(0.0, |(c, d)| flat(c, d));
    y + flat(&out.h_n, &case.dh_n) + c
}

type Place = fn(&mut Case<f64>) -> Option<&mut [f64]>;

/// Every argument that has a gradient, by name.
const ARGUMENTS: [(&str, Place); 8] = [
    ("x", |case| case.x.as_slice_mut()),
    ("w_ih", |case| case.w_ih.as_slice_mut()),
    ("w_hh", |case| case.w_hh.as_slice_mut()),
    ("b_ih", |case| case.b_ih.as_slice_mut()),
    ("b_hh", |case| case.b_hh.as_slice_mut()),
    ("w_hr", |case| case.w_hr.as_mut()?.as_slice_mut()),
    ("h0", |case| case.h0.as_slice_mut()),
    ("c0", |case| case.c0.as_mut()?.as_slice_mut()),
];

fn claimed<'a>(name: &str, g: &'a Gradients<f64>) -> Option<&'a [f64]> {
    match name {
        "x" => g.dx.as_slice(),
        "w_ih" => g.dw_ih.as_slice(),
        "w_hh" => g.dw_hh.as_slice(),
        "b_ih" => g.db_ih.as_ref()?.as_slice(),
        "b_hh" => g.db_hh.as_ref()?.as_slice(),
        "w_hr" => g.dw_hr.as_ref()?.as_slice(),
        "h0" => g.dh0.as_slice(),
        _ => g.dc0.as_ref()?.as_slice(),
    }
}

/// The slope of the loss in one number, from central differences of the fourth order.
fn slope(case: &mut Case<f64>, place: Place, i: usize) -> f64 {
    let value = place(case).unwrap()[i];
    let mut at = |steps: f64| {
        place(case).unwrap()[i] = value + steps * STEP;
        loss(case)
    };
    let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP);
    place(case).unwrap()[i] = value;
    slope
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for (cell, kind) in CELLS.into_iter().enumerate() {
        for (reverse, memory) in [(false, Memory::Keep), (true, Memory::Keep), (true, Memory::Low)]
        {
            let mut case = Case::<f64>::new(cell, [4, 4, 3, 5], reverse);
            case.memory = memory;
            let saved = case.weights().forward(&case.sequence(1)).unwrap().saved.unwrap();
            let gradients = saved.backward(&case.upstream(), Some(1)).unwrap();
            for (name, place) in ARGUMENTS {
                let claimed = claimed(name, &gradients);
                assert_eq!(claimed.map(<[f64]>::len), place(&mut case).map(|a| a.len()), "{name}");
                for (i, &claimed) in claimed.into_iter().flatten().enumerate() {
                    let numeric = slope(&mut case, place, i);
                    let error = (claimed - numeric).abs() / numeric.abs().max(1.0);
                    assert!(error < 1e-9, "{kind:?} {name}[{i}]: {claimed}, {numeric}");
                }
            }
        }
    }
}

#[test]
fn absent_incoming_gradients_are_zeros() {
    for cell in 0..CELLS.len() {
        let case = Case::<f64>::new(cell, [4, 4, 3, 5], false);
        let saved = case.weights().forward(&case.sequence(1)).unwrap().saved.unwrap();
        let g = saved.backward(&StateGradients::default(), Some(1)).unwrap();
        for (name, _) in ARGUMENTS {
            assert!(claimed(name, &g).into_iter().flatten().all(|&d| d == 0.0), "{name}");
        }
    }
}

/// The inputs come again where no copy was kept, and only there.
#[test]
fn inputs_are_those_that_forward_read() {
    for cell in 0..CELLS.len() {
        let mut case = Case::<f32>::new(cell, [4, 4, 3, 5], false);
        for (memory, other) in [(Memory::Keep, Memory::Low), (Memory::Low, Memory::Keep)] {
            case.memory = memory;
            let saved = case.weights().forward(&case.sequence(1)).unwrap().saved.unwrap();
            case.memory = other;
            let text = saved.backward(&case.upstream(), Some(1)).unwrap_err().to_string();
            let expected =
                if memory == Memory::Keep { "expected None" } else { "expected an array" };
            assert!(text.contains(&format!("backward: x: {expected}, since")), "{text}");
        }
        case.memory = Memory::Low;
        let saved = case.weights().forward(&case.sequence(1)).unwrap().saved.unwrap();
        // Other strides, the same numbers.
        let by_features = case.x.clone().reversed_axes().as_standard_layout().into_owned();
        let upstream = StateGradients { x: Some(by_features.t()), ..case.upstream() };
        let (expected, got) = (case.upstream(), upstream);
        let [expected, got] = [expected, got].map(|g| saved.backward(&g, Some(1)).unwrap());
        assert_eq!(expected.dw_ih, got.dw_ih);
        let mut changed = case.x.clone();
        let row = case.lengths.iter().position(|&length| length > 1).unwrap();
        changed[[row, 1, 2]] += 1.0;
        let upstream = StateGradients { x: Some(changed.view()), ..case.upstream() };
        let text = saved.backward(&upstream, Some(1)).unwrap_err().to_string();
        assert!(text.ends_with(&format!("got other numbers in row {row}")), "{text}");
        case.x = Array3::zeros((4, 4, 2));
        let text = saved.backward(&case.upstream(), Some(1)).unwrap_err().to_string();
        assert!(text.ends_with("x: expected shape (B, T, I) = (4, 4, 3), got (4, 4, 2)"), "{text}");
    }
}

/// A place for a result that the cell does not have.
fn refused(result: Result<impl Sized, Error>, operation: &str, argument: &str) {
    let text = result.map(drop).expect_err("a refusal").to_string();
    assert!(text.starts_with(&format!("{operation}: {argument}: expected None")), "{text}");
}

#[test]
fn places_for_results_that_a_cell_does_not_have_are_refused() {
    for (cell, kind) in CELLS.into_iter().enumerate() {
        let case = Case::<f64>::new(cell, [4, 4, 3, 5], false);
        let out = case.weights().forward(&case.sequence(1)).unwrap();
        let (mut y, mut h_n) = (out.y, out.h_n);
        let saved = out.saved.unwrap();
        let mut g = saved.backward(&case.upstream(), Some(1)).unwrap();
        let (mut c, mut square) = (Array2::zeros((4, 5)), Array2::zeros((5, 5)));
        let lstm = kind == CellKind::Lstm;
        let name = |function: &str| match kind {
            CellKind::RnnTanh | CellKind::RnnRelu => format!("rnn_{function}"),
            CellKind::Lstm => format!("lstm_{function}"),
            CellKind::Gru | CellKind::GruBefore => format!("gru_{function}"),
        };
        if !lstm {
            let outputs =
                Outputs { y: Some(y.view_mut()), h_n: h_n.view_mut(), c_n: Some(c.view_mut()) };
            let result = case.weights().forward_into(&case.sequence(1), outputs);
            refused(result, &name("forward"), "c_n");
        }
        for extra in ["dc0", "dw_hr"] {
            if lstm && (extra == "dc0" || g.dw_hr.is_some()) {
                continue;
            }
            let outputs = GradientOutputs {
                dx: None,
                dw_ih: g.dw_ih.view_mut(),
                dw_hh: g.dw_hh.view_mut(),
                db_ih: None,
                db_hh: None,
                dw_hr: (extra == "dw_hr").then(|| square.view_mut()),
                dh0: g.dh0.view_mut(),
                dc0: (extra == "dc0").then(|| c.view_mut()),
            };
            let result = saved.backward_into(&case.upstream(), outputs, Some(1));
            refused(result, &name("backward"), extra);
        }
    }
}

#[test]
fn a_refused_step_names_what_its_caller_gave() {
    for (cell, kind) in CELLS.into_iter().enumerate() {
        let weights = Case::<f64>::new(cell, [4, 4, 3, 5], false).weights();
        let error = weights.step(Array2::zeros((2, 7)).view(), None, None).unwrap_err();
        let name = ["rnn", "rnn", "lstm", "gru", "gru"][kind as usize];
        let text = format!("{name}_step: x: expected shape (B, I) = (2, 3), got (2, 7)");
        assert_eq!(error.to_string(), text);
    }
}
