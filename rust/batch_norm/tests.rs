use ndarray::{Array1, Array2, s};

use super::*;
use crate::parallel::WORTH_SPLITTING;
use crate::testing::{numbers, on_every_isa};

fn line<T: Element>(width: usize, seed: u64) -> Array1<T> {
    numbers::<T>(1, width, seed).row(0).to_owned()
}

/// `mean, variance, y, dx, dweight, dbias`, of the batch; what is not valid holds NaN.
fn run<T: Element>(rows: usize, width: usize, valid: &[bool], threads: usize) -> [Vec<T>; 6] {
    let mut x = numbers::<T>(rows, width, 1);
    let mut dy = numbers::<T>(rows, width, 2);
    for i in (0..rows).filter(|&i| !valid[i]) {
        x.row_mut(i).fill(T::from_f64(f64::NAN));
        dy.row_mut(i).fill(T::from_f64(f64::NAN));
    }
    all(&x, &dy, valid, threads)
}

fn all<T: Element>(x: &Array2<T>, dy: &Array2<T>, valid: &[bool], threads: usize) -> [Vec<T>; 6] {
    let (threads, valid) = (Some(threads), Some(ArrayView1::from(valid)));
    let (width, seven) = (x.ncols(), T::from_f64(7.0));
    let empty = || Array1::from_elem(width, seven);
    let (mut mean, mut variance) = (empty(), empty());
    statistics(x.view(), valid, mean.view_mut(), variance.view_mut(), threads).unwrap();
    let scale = variance.mapv(|v| T::from_f64(1.0) / (v + T::from_f64(1e-5)).sqrt());
    let (weight, bias) = (line(width, 3), line(width, 4));
    let columns = Columns {
        mean: mean.view(),
        scale: scale.view(),
        weight: Some(weight.view()),
        bias: Some(bias.view()),
    };
    let (mut y, mut dx) = (Array2::from_elem(x.dim(), seven), Array2::from_elem(x.dim(), seven));
    forward(x.view(), valid, columns, y.view_mut(), threads).unwrap();
    let (mut dweight, mut dbias) = (empty(), empty());
    let (dweight_to, dbias_to) = (dweight.view_mut(), dbias.view_mut());
    let out = Gradients { dx: dx.view_mut(), dweight: dweight_to, dbias: dbias_to };
    backward(x.view(), valid, columns, dy.view(), true, out, threads).unwrap();
    let flat = |a: Array2<T>| a.into_raw_vec_and_offset().0;
    let [mean, variance, dweight, dbias] = [mean, variance, dweight, dbias].map(|a| a.to_vec());
    [mean, variance, flat(y), flat(dx), dweight, dbias]
}

/// The same of one feature, in float64 loops, over valid rows.
fn plain(x: &[f64], dy: &[f64], weight: f64, bias: f64) -> [Vec<f64>; 6] {
    let mean_of = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let mean = mean_of(x);
    let variance = mean_of(&x.iter().map(|x| (x - mean).powi(2)).collect::<Vec<_>>());
    let scale = 1.0 / (variance + 1e-5).sqrt();
    let n: Vec<f64> = x.iter().map(|x| (x - mean) * scale).collect();
    let product: Vec<f64> = n.iter().zip(dy).map(|(n, dy)| n * dy).collect();
    let (flat, along) = (mean_of(dy), mean_of(&product));
    let y = n.iter().map(|n| n * weight + bias).collect();
    let slope = |(n, dy): (&f64, &f64)| (dy - flat - n * along) * scale * weight;
    let dx = n.iter().zip(dy).map(slope).collect();
    let sum = |v: &[f64]| vec![v.iter().sum()];
    [vec![mean], vec![variance], y, dx, sum(&product), sum(dy)]
}

fn agrees<T: Element>(bound: f64) {
    for (rows, width) in [(2, 1), (9, 3), (70, 16), (300, 19)] {
        let valid: Vec<bool> = (0..rows).map(|i| i % 5 != 2).collect();
        let got = run::<T>(rows, width, &valid, 1);
        let (x, dy) = (numbers::<T>(rows, width, 1), numbers::<T>(rows, width, 2));
        let (weight, bias) = (line::<T>(width, 3), line::<T>(width, 4));
        for j in 0..width {
            let seen = |a: &Array2<T>| -> Vec<f64> {
                (0..rows).filter(|&i| valid[i]).map(|i| a[(i, j)].to_f64()).collect()
            };
            let expected = plain(&seen(&x), &seen(&dy), weight[j].to_f64(), bias[j].to_f64());
            for (k, expected) in expected.iter().enumerate() {
                let column = got[k][j..].iter().step_by(width);
                let is_wide = k == 2 || k == 3;
                let kept = column.enumerate().filter(|&(i, _)| !is_wide || valid[i]);
                for ((_, got), expected) in kept.zip(expected) {
                    let error = (got.to_f64() - expected).abs();
                    assert!(error <= bound * expected.abs().max(1.0), "{k}, {j}: {error}");
                }
            }
        }
        let hidden =
            |k: usize| (0..rows).filter(|&i| !valid[i]).all(|i| got[k][i * width].to_f64() == 0.0);
        assert!(hidden(2) && hidden(3));
    }
}

#[test]
fn results_are_those_of_plain_loops() {
    agrees::<f32>(1e-5);
    agrees::<f64>(2e-14);
}

#[test]
fn sets_and_threads_change_no_bit() {
    const { assert!(6000 * 103 * COST >= WORTH_SPLITTING) };
    let valid: Vec<bool> = (0..6000).map(|i| i % 7 != 3).collect();
    let expected = run::<f32>(6000, 103, &valid, 1);
    let doubled = run::<f64>(80, 21, &valid[..80], 1);
    on_every_isa(|isa| {
        for threads in [1, 2, 3] {
            let got = run::<f32>(6000, 103, &valid, threads);
            assert!(got == expected, "{isa}, {threads} threads");
        }
        assert!(run::<f64>(80, 21, &valid[..80], 1) == doubled, "{isa}");
    });
}

#[test]
fn rows_that_are_not_valid_change_no_bit() {
    let (x, dy) = (numbers::<f32>(150, 5, 1), numbers::<f32>(150, 5, 2));
    let [mean, variance, y, dx, dweight, dbias] = all(&x, &dy, &[true; 150], 1);
    let spread = |a: &Array2<f32>| {
        let mut wide = Array2::from_elem((300, 5), f32::NAN);
        wide.slice_mut(s![1..;2, ..]).assign(a);
        wide
    };
    let valid: Vec<bool> = (0..300).map(|i| i % 2 == 1).collect();
    let wide = all(&spread(&x), &spread(&dy), &valid, 1);
    assert_eq!([&mean, &variance, &dweight, &dbias], [0, 1, 4, 5].map(|k| &wide[k]));
    for (narrow, k) in [(y, 2), (dx, 3)] {
        let odd = wide[k].chunks(5).skip(1).step_by(2).flatten();
        assert!(narrow.iter().eq(odd));
    }
}

#[test]
fn no_rows_no_features_and_bad_shapes() {
    for (rows, width) in [(0, 3), (3, 0), (0, 0)] {
        assert_eq!(run::<f32>(rows, width, &vec![true; rows], 2)[3].len(), 0);
    }
    let (x, mut mean, mut variance) =
        (Array2::<f64>::zeros((2, 3)), Array1::zeros(3), Array1::zeros(4));
    let (to, wide) = (mean.view_mut(), variance.view_mut());
    let error = statistics(x.view(), None, to, wide, None).unwrap_err();
    let text = "batch_norm_statistics: variance: expected shape (F,) = (3,), got (4,)";
    assert_eq!(error.to_string(), text);
}
