use ndarray::{Array3, array, s};

use super::*;
use crate::parallel::WORTH_SPLITTING;
use crate::testing::{numbers, on_every_isa};

fn run<T: Element>(
    form: Form, x: &Array3<T>, mask: Option<&Array3<bool>>, threads: usize,
) -> Array3<T> {
    let mut y = Array3::from_elem(x.dim(), T::from_f64(7.0));
    forward(form, x.view(), mask.map(|m| m.view()), y.view_mut(), Some(threads)).unwrap();
    y
}

fn run_back<T: Element>(form: Form, y: &Array3<T>, dy: &Array3<T>, threads: usize) -> Array3<T> {
    let mut dx = Array3::from_elem(y.dim(), T::from_f64(7.0));
    backward(form, y.view(), dy.view(), dx.view_mut(), Some(threads)).unwrap();
    dx
}

fn cube<T: Element>(sizes: [usize; 3], seed: u64) -> Array3<T> {
    let scale = T::from_f64(5.0);
    let flat = numbers::<T>(sizes[0] * sizes[1], sizes[2], seed).mapv(|x| x * scale);
    flat.into_shape_with_order(sizes).unwrap()
}

/// In float64, with the logarithm.
fn plain(row: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let largest = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = row.iter().map(|x| libm::exp(x - largest)).sum();
    row.iter().map(|x| (libm::exp(x - largest) / sum, x - largest - libm::log(sum))).unzip()
}

fn agrees<T: Element>(bound: f64) {
    for sizes in [[1, 1, 1], [2, 3, 7], [1, 5, 16], [3, 2, 33], [1, 2, 2050]] {
        let (x, dy) = (cube::<T>(sizes, 1), cube::<T>(sizes, 2));
        for form in [Form::Softmax, Form::LogSoftmax, Form::Attention] {
            let y = run(form, &x, None, 1);
            let dx = run_back(form, &y, &dy, 1);
            let rows = x.rows().into_iter().zip(dy.rows());
            let results = y.rows().into_iter().zip(dx.rows());
            for ((x, dy), (y, dx)) in rows.zip(results) {
                let wide = |row: ndarray::ArrayView1<'_, T>| {
                    row.iter().map(|x| x.to_f64()).collect::<Vec<_>>()
                };
                let (p, log_p) = plain(&wide(x));
                let dy = wide(dy);
                let sum: f64 = match form {
                    Form::LogSoftmax => dy.iter().sum(),
                    _ => dy.iter().zip(&p).map(|(a, b)| a * b).sum(),
                };
                for (j, (y, dx)) in wide(y).into_iter().zip(wide(dx)).enumerate() {
                    let (expected, slope) = match form {
                        Form::LogSoftmax => (log_p[j], dy[j] - p[j] * sum),
                        _ => (p[j], p[j] * (dy[j] - sum)),
                    };
                    assert!(
                        (y - expected).abs() <= bound * expected.abs().max(1e-3),
                        "{y} {expected}"
                    );
                    assert!((dx - slope).abs() <= bound * 100.0, "{dx} {slope}");
                }
            }
        }
    }
}

#[test]
fn results_are_those_of_plain_loops() {
    agrees::<f32>(2e-6);
    agrees::<f64>(4e-15);
}

#[test]
fn sets_and_threads_change_no_bit() {
    let sizes = [20, 130, 113];
    assert!(sizes.iter().product::<usize>() * COST >= WORTH_SPLITTING);
    let (x, dy) = (cube::<f32>(sizes, 1), cube::<f32>(sizes, 2));
    let mask = x.mapv(|x| x < 2.0);
    for form in [Form::Softmax, Form::LogSoftmax, Form::Attention] {
        let mask = (form == Form::Attention).then_some(&mask);
        let y = run(form, &x, mask, 1);
        let dx = run_back(form, &y, &dy, 1);
        on_every_isa(|isa| {
            for threads in [1, 2, 3] {
                assert_eq!(run(form, &x, mask, threads), y, "{form:?} on {isa}");
                assert_eq!(run_back(form, &y, &dy, threads), dx, "{form:?} on {isa}");
            }
        });
    }
}

#[test]
fn keys_that_are_hidden_change_no_bit() {
    let (x, mut padded) = (cube::<f32>([2, 3, 19], 1), Array3::from_elem((2, 3, 40), f32::NAN));
    padded.slice_mut(s![.., .., ..19]).assign(&x);
    let mut seen = Array3::from_elem((2, 3, 40), false);
    seen.slice_mut(s![.., .., ..19]).fill(true);
    let (y, wide) =
        (run(Form::Attention, &x, None, 1), run(Form::Attention, &padded, Some(&seen), 1));
    assert_eq!(wide.slice(s![.., .., ..19]), y);
    assert!(wide.slice(s![.., .., 19..]).iter().all(|&y| y == 0.0));
    // A mask of any strides.
    let everywhere = Array3::from_elem((2, 1, 38), true);
    let narrow = everywhere.slice(s![.., .., ..;2]);
    let (mut again, narrow) = (y.clone(), narrow.broadcast((2, 3, 19)).unwrap());
    forward(Form::Attention, x.view(), Some(narrow), again.view_mut(), None).unwrap();
    assert_eq!(again, y);
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = array![[[inf, 0.0], [nan, 0.0], [nan, -inf], [-inf, -inf], [-inf, 0.0]]];
    for form in [Form::Softmax, Form::LogSoftmax, Form::Attention] {
        on_every_isa(|_| {
            let y = run(form, &x, None, 1);
            assert!(y.slice(s![0, ..3, ..]).iter().all(|y| y.is_nan()));
            let attends = form == Form::Attention;
            assert!(y.slice(s![0, 3, ..]).iter().all(|y| if attends {
                *y == 0.0
            } else {
                y.is_nan()
            }));
            let last = if form == Form::LogSoftmax { [-inf, 0.0] } else { [0.0, 1.0] };
            assert_eq!(y.slice(s![0, 4, ..]).to_vec(), last);
        });
    }
}

#[test]
fn nothing_and_bad_shapes() {
    for sizes in [[0, 2, 3], [2, 0, 3], [2, 3, 0]] {
        let x = cube::<f32>(sizes, 1);
        assert_eq!(run_back(Form::Softmax, &run(Form::Softmax, &x, None, 2), &x, 2).shape(), sizes);
    }
    let (x, mut y) = (cube::<f32>([2, 3, 4], 1), Array3::zeros((2, 3, 5)));
    let error = forward(Form::Softmax, x.view(), None, y.view_mut(), None).unwrap_err();
    let text = "softmax_forward: y: expected shape (B, Q, K) = (2, 3, 4), got (2, 3, 5)";
    assert_eq!(error.to_string(), text);
    let mut y = Array3::zeros((4, 3, 2));
    let turned = y.view_mut().reversed_axes();
    let error = forward(Form::Softmax, x.view(), None, turned, None).unwrap_err();
    let text = "softmax_forward: y: expected an array in row-major order, got other strides";
    assert_eq!(error.to_string(), text);
}
