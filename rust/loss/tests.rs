use ndarray::{Array1, Array2, ArrayView2, array};

use super::{CrossEntropy, Reduction};
use crate::error::Result;
use crate::parallel::WORTH_SPLITTING;
use crate::simd::Element;
use crate::testing::{numbers, on_every_isa};

type Rows<'a, T> = ArrayView2<'a, T>;

fn plain<T: Element>(targets: &[i64], reduction: Reduction) -> CrossEntropy<'_, T> {
    CrossEntropy { reduction, ..CrossEntropy::new(targets.into()) }
}

fn run<T: Element>(
    z: Rows<'_, T>, options: &CrossEntropy<'_, T>, threads: usize,
) -> Result<(Vec<f64>, Array2<T>)> {
    let mut d = Array2::from_elem(z.dim(), T::from_f64(7.0));
    let losses = options.run(z, d.view_mut(), Some(threads))?;
    Ok((losses, d))
}

/// The definition: losses and gradients of the rows, and the weight that a mean divides by.
fn naive(z: Rows<'_, f64>, options: &CrossEntropy<'_, f64>) -> (Array1<f64>, Array2<f64>, f64) {
    let classes = z.ncols();
    let mut d = Array2::zeros(z.dim());
    let (mut losses, mut total) = (Array1::zeros(z.nrows()), 0.0);
    for (i, &target) in options.targets.iter().enumerate() {
        if options.ignore_index == Some(target) {
            continue;
        }
        let p = z.row(i).map(|z| z.exp()) / z.row(i).map(|z| z.exp()).sum();
        let weight = options.weights.map_or(1.0, |w| w[i]);
        // At most 4.
        let of = |c: usize| weight * options.class_weights.map_or(1.0, |w| w[c]);
        let part = |c: usize| {
            let hit = if c == target as usize { 1.0 - options.label_smoothing } else { 0.0 };
            of(c) * (hit + options.label_smoothing / classes as f64)
        };
        let whole: f64 = (0..classes).map(part).sum();
        for c in 0..classes {
            losses[i] -= part(c) * p[c].ln();
            d[(i, c)] = whole * p[c] - part(c);
        }
        total += of(target as usize);
    }
    (losses, d, total)
}

fn close(a: &Array2<f64>, b: &Array2<f64>, tolerance: f64) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn targets(n: usize, v: usize) -> Vec<i64> {
    (0..n).map(|i| (i * 7 % v) as i64).collect()
}

/// Weights of `n` things, some of them 0.
fn some_weights<T: Element>(n: usize) -> Array1<T> {
    (0..n).map(|i| T::from_f64((i % 5) as f64 / 2.0)).collect()
}

/// Calls `check` with every combination of options.
fn every_option(n: usize, v: usize, mut check: impl FnMut(CrossEntropy<'_, f64>)) {
    let (y, of_rows, of_classes) = (targets(n, v), some_weights(n), some_weights(v));
    for case in 0..16 {
        let given = |bit: usize| case >> bit & 1 == 1;
        check(CrossEntropy {
            weights: given(0).then_some(of_rows.view()),
            class_weights: given(1).then_some(of_classes.view()),
            ignore_index: given(2).then_some(0),
            label_smoothing: if given(3) { 0.2 } else { 0.0 },
            ..CrossEntropy::new(y.as_slice().into())
        });
    }
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    for (n, v) in [(6, 9), (37, 65), (5, 17)] {
        let z = numbers::<f64>(n, v, 1).map(|z| 5.0 * z);
        every_option(n, v, |options| {
            let (losses, d, total) = naive(z.view(), &options);
            let by = |reduction| {
                let options = CrossEntropy { reduction, ..options.clone() };
                run(z.view(), &options, 1).unwrap()
            };
            let (rows, d_rows) = by(Reduction::None);
            assert!(losses.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-13), "{options:?}");
            assert!(close(&d, &d_rows, 4e-15), "{options:?}");
            let (sum, d_sum) = by(Reduction::Sum);
            assert_eq!((rows.iter().fold(0.0, |s, l| s + l), d_rows), (sum[0], d_sum));
            let (mean, d_mean) = by(Reduction::Mean);
            assert_eq!((mean[0], mean.len()), (sum[0] / total, 1));
            assert!(close(&(d / total), &d_mean, 1e-15), "{options:?}");
        });
    }
}

fn same_bits<T: Element>() {
    const { assert!(1409 * 203 * 8 >= WORTH_SPLITTING) };
    let z = numbers::<T>(1409, 203, 2);
    let (y, of_rows, of_classes) = (targets(1409, 203), some_weights(1409), some_weights(203));
    let all = CrossEntropy {
        weights: Some(of_rows.view()),
        class_weights: Some(of_classes.view()),
        ignore_index: Some(3),
        label_smoothing: 0.1,
        ..plain(&y, Reduction::Mean)
    };
    for options in [plain(&y, Reduction::Mean), all] {
        let expected = run(z.view(), &options, 1).unwrap();
        on_every_isa(|isa| {
            for threads in [1, 2, 3] {
                let got = run(z.view(), &options, threads).unwrap();
                assert_eq!(got, expected, "{isa}, {threads} threads");
            }
        });
        let strided = z.t().to_owned();
        assert_eq!(run(strided.t(), &options, 1).unwrap(), expected);
    }
}

#[test]
fn threads_and_instruction_sets_change_no_bit() {
    same_bits::<f32>();
    same_bits::<f64>();
}

#[test]
fn a_row_has_the_same_loss_and_gradient_alone() {
    let (z, y) = (numbers::<f32>(9, 33, 3), targets(9, 33));
    for label_smoothing in [0.0, 0.1] {
        let options = |y| CrossEntropy { label_smoothing, ..plain(y, Reduction::None) };
        let (losses, all) = run(z.view(), &options(&y), 1).unwrap();
        for (r, row) in z.axis_chunks_iter(ndarray::Axis(0), 1).enumerate() {
            let (loss, d) = run(row, &options(&y[r..=r]), 1).unwrap();
            assert_eq!((loss[0], d.row(0)), (losses[r], all.row(r)));
        }
    }
}

#[test]
fn rows_of_no_weight_change_no_bit_and_are_not_read() {
    let (z, y) = (numbers::<f32>(50, 33, 3), targets(50, 33));
    let expected = run(z.view(), &plain(&y, Reduction::Mean), 1).unwrap();
    let mut padded = Array2::from_elem((100, 33), f32::NAN);
    let (mut weights, mut targets) = (Array1::zeros(100), vec![-1; 100]);
    for (i, &y) in y.iter().enumerate() {
        let at = 2 * i + i % 2;
        padded.row_mut(at).assign(&z.row(i));
        (weights[at], targets[at]) = (1.0, y);
    }
    let ignored = CrossEntropy { ignore_index: Some(-1), ..plain(&targets, Reduction::Mean) };
    let clipped: Vec<i64> = targets.iter().map(|&y| y.max(0)).collect();
    let weighted =
        CrossEntropy { weights: Some(weights.view()), ..plain(&clipped, Reduction::Mean) };
    for options in [ignored, weighted] {
        let (loss, d) = run(padded.view(), &options, 1).unwrap();
        assert_eq!(loss, expected.0);
        for i in 0..50 {
            let at = 2 * i + i % 2;
            assert_eq!(d.row(at), expected.1.row(i));
            assert!(d.row(at ^ 1).iter().all(|d| d.to_bits() == 0));
        }
    }
}

#[test]
fn extreme_logits_do_not_overflow() {
    let z = array![[1e30_f32, -1e30, 0.0], [f32::NEG_INFINITY, 0.0, 0.0]];
    let (loss, d) = run(z.view(), &plain(&[0, 1], Reduction::Sum), 1).unwrap();
    assert!((loss[0] - std::f64::consts::LN_2).abs() < 1e-15);
    assert_eq!(d, array![[0.0, 0.0, 0.0], [0.0, -0.5, 0.5]]);
}

#[test]
fn an_impossible_class_costs_nothing_if_it_weighs_nothing() {
    let z = array![[f64::NEG_INFINITY, 0.0, 0.0]];
    let weights = array![0.0, 1.0, 1.0];
    let free = CrossEntropy {
        class_weights: Some(weights.view()),
        label_smoothing: 0.3,
        ..plain(&[1], Reduction::Sum)
    };
    let (loss, d) = run(z.view(), &free, 1).unwrap();
    assert!((loss[0] - 0.9 * std::f64::consts::LN_2).abs() < 1e-15);
    assert!(d.iter().all(|d| d.is_finite()));
    let paid = CrossEntropy { class_weights: None, ..free };
    assert_eq!(run(z.view(), &paid, 1).unwrap().0, [f64::INFINITY]);
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    for bad in [f64::NAN, f64::INFINITY] {
        on_every_isa(|_| {
            let z = array![[0.0, bad, 1.0], [0.0, 0.0, 0.0]];
            let (loss, d) = run(z.view(), &plain(&[2, 0], Reduction::None), 1).unwrap();
            assert!(loss[0].is_nan() && d.row(0).iter().all(|d| d.is_nan()));
            assert!(loss[1].is_finite() && d.row(1).iter().all(|d| d.is_finite()));
        });
    }
}

#[test]
fn no_rows_have_a_sum_but_no_mean() {
    let z = Array2::<f32>::zeros((0, 3));
    assert_eq!(run(z.view(), &plain(&[], Reduction::Sum), 1).unwrap().0, [0.0]);
    assert!(run(z.view(), &plain(&[], Reduction::None), 1).unwrap().0.is_empty());
    let error = run(z.view(), &plain(&[], Reduction::Mean), 1).unwrap_err();
    let text = "cross_entropy: logits: expected at least one row for a mean, got none";
    assert_eq!(error.to_string(), text);
}

#[test]
fn bad_options_are_refused() {
    let (weights, y) = (array![1.0, -1.0, f64::NAN], [2, 1]);
    let (two, three) = (weights.slice(ndarray::s![..2]), weights.slice(ndarray::s![1..]));
    let plain = || plain::<f64>(&y, Reduction::Mean);
    let cases = [
        (
            CrossEntropy { targets: (&[2, -1]).into(), ..plain() },
            "targets: expected integers from 0 to V-1 = 2, got -1 at position 1",
        ),
        (
            CrossEntropy { weights: Some(two), ..plain() },
            "weights: expected finite numbers >= 0, got -1 at position 1",
        ),
        (
            CrossEntropy { weights: Some(weights.view()), ..plain() },
            "weights: expected shape (N,) = (2,), got (3,)",
        ),
        (
            CrossEntropy { class_weights: Some(three), ..plain() },
            "class_weights: expected shape (V,) = (3,), got (2,)",
        ),
        (
            CrossEntropy { label_smoothing: 1.0, ..plain() },
            "label_smoothing: expected a number from 0 to below 1, got 1",
        ),
        (
            CrossEntropy { ignore_index: Some(2), targets: (&[2, 2]).into(), ..plain() },
            "targets: expected a sum of weights above 0 for a mean, got 0",
        ),
    ];
    for (options, text) in cases {
        let (z, mut d) = (Array2::<f64>::zeros((2, 3)), Array2::from_elem((2, 3), 7.0));
        let error = options.run(z.view(), d.view_mut(), None).unwrap_err();
        assert_eq!(error.to_string(), format!("cross_entropy: {text}"));
        assert!(d.iter().all(|&d| d == 7.0));
    }
}
