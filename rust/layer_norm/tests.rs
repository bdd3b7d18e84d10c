use ndarray::{Array1, Array2, s};

use super::*;
use crate::parallel::WORTH_SPLITTING;
use crate::testing::{numbers, on_every_isa};

/// The inputs of a call: `x`, `dy`, and weight and bias, if there are any.
struct Call<T> {
    x: Array2<T>,
    dy: Array2<T>,
    affine: Option<[Array1<T>; 2]>,
}

impl<T: Element> Call<T> {
    fn new(rows: usize, width: usize, is_affine: bool) -> Self {
        let line = |seed| numbers::<T>(1, width, seed).row(0).to_owned();
        let affine = is_affine.then(|| [line(3), line(4)]);
        Self { x: numbers(rows, width, 1), dy: numbers(rows, width, 2), affine }
    }

    /// `y, mean, scale, dx, dweight, dbias`
    fn run(&self, threads: usize) -> [Vec<T>; 6] {
        let (seven, threads) = (T::from_f64(7.0), Some(threads));
        let full = || Array2::from_elem(self.x.dim(), seven);
        let line = |n| Array1::from_elem(n, seven);
        let (mut y, mut dx) = (full(), full());
        let (mut mean, mut scale) = (line(self.x.nrows()), line(self.x.nrows()));
        let (mut dweight, mut dbias) = (line(self.x.ncols()), line(self.x.ncols()));
        let [weight, bias] = [0, 1].map(|i| self.affine.as_ref().map(|a| a[i].view()));
        let found = Statistics { mean: mean.view_mut(), scale: scale.view_mut() };
        forward(self.x.view(), weight, bias, 1e-5, y.view_mut(), found, threads).unwrap();
        let (dweight_to, dbias_to) = (dweight.view_mut(), dbias.view_mut());
        let out = Gradients { dx: dx.view_mut(), dweight: dweight_to, dbias: dbias_to };
        let (x, dy) = (self.x.view(), self.dy.view());
        backward(x, weight, mean.view(), scale.view(), dy, out, threads).unwrap();
        let flat = |a: Array2<T>| a.into_raw_vec_and_offset().0;
        let [mean, scale, dweight, dbias] = [mean, scale, dweight, dbias].map(|a| a.to_vec());
        [flat(y), mean, scale, flat(dx), dweight, dbias]
    }

    /// The same in float64 loops.
    fn plain(&self) -> [Vec<f64>; 6] {
        let mut out = [(); 6].map(|()| Vec::new());
        let width = self.x.ncols();
        let of = |i: usize, j: usize| self.affine.as_ref().map(|a| a[i][j].to_f64());
        let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
        for (x, dy) in self.x.rows().into_iter().zip(self.dy.rows()) {
            let mean_of = |f: &dyn Fn(usize) -> f64| (0..width).map(f).sum::<f64>() / width as f64;
            let mean = mean_of(&|j| x[j].to_f64());
            let variance = mean_of(&|j| (x[j].to_f64() - mean).powi(2));
            let scale = 1.0 / (variance + 1e-5).sqrt();
            let n = |j: usize| (x[j].to_f64() - mean) * scale;
            let g = |j: usize| dy[j].to_f64() * of(0, j).unwrap_or(1.0);
            let (flat, along) = (mean_of(&g), mean_of(&|j| g(j) * n(j)));
            for j in 0..width {
                out[0].push(n(j) * of(0, j).unwrap_or(1.0) + of(1, j).unwrap_or(0.0));
                out[3].push((g(j) - flat - n(j) * along) * scale);
                dweight[j] += dy[j].to_f64() * n(j);
                dbias[j] += dy[j].to_f64();
            }
            out[1].push(mean);
            out[2].push(scale);
        }
        (out[4], out[5]) = (dweight, dbias);
        out
    }
}

fn agrees<T: Element>(bound: f64) {
    for (rows, width) in [(1, 2), (3, 5), (0, 3), (65, 16), (130, 33), (2, 1500)] {
        for is_affine in [false, true] {
            let call = Call::<T>::new(rows, width, is_affine);
            for (i, (got, expected)) in call.run(1).iter().zip(call.plain()).enumerate() {
                assert_eq!(got.len(), expected.len());
                let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
                for (got, expected) in got.iter().zip(expected) {
                    let error = (got.to_f64() - expected).abs();
                    assert!(error <= bound * largest, "{i} of {rows} x {width}: {error}");
                }
            }
        }
    }
}

#[test]
fn results_are_those_of_plain_loops() {
    agrees::<f32>(1e-5);
    agrees::<f64>(2e-14);
}

#[test]
fn sets_and_threads_change_no_bit() {
    const { assert!(3000 * 103 * COST >= WORTH_SPLITTING) };
    let call = Call::<f32>::new(3000, 103, true);
    let expected = call.run(1);
    let double = Call::<f64>::new(70, 21, true);
    let doubled = double.run(1);
    on_every_isa(|isa| {
        for threads in [1, 2, 3] {
            assert!(call.run(threads) == expected, "{isa}, {threads} threads");
        }
        assert!(double.run(1) == doubled, "{isa}");
    });
}

#[test]
fn a_row_has_the_same_bits_alone() {
    let call = Call::<f32>::new(100, 37, true);
    let [y, _, _, dx, ..] = call.run(1);
    for i in [0, 63, 64, 99] {
        let row = |a: &Array2<f32>| a.slice(s![i..=i, ..]).to_owned();
        let one = Call { x: row(&call.x), dy: row(&call.dy), affine: call.affine.clone() };
        let [y_alone, _, _, dx_alone, ..] = one.run(1);
        assert_eq!(y_alone, y[i * 37..][..37]);
        assert_eq!(dx_alone, dx[i * 37..][..37]);
    }
}

#[test]
fn bad_shapes_are_refused() {
    let x = Array2::<f64>::zeros((2, 0));
    let (mut y, mut one, mut two) = (x.clone(), Array1::zeros(2), Array1::zeros(2));
    let found = Statistics { mean: one.view_mut(), scale: two.view_mut() };
    let error =
        forward(x.view(), None, None, 1.0, y.view_mut(), found, None).unwrap_err().to_string();
    let text = "layer_norm_forward: x: expected shape (N, F) with F >= 1, got (2, 0)";
    assert_eq!(error, text);
    let (x, weight) = (Array2::<f64>::zeros((2, 3)), Array1::zeros(4));
    let mut y = x.clone();
    let found = Statistics { mean: one.view_mut(), scale: two.view_mut() };
    let weight = Some(weight.view());
    let error = forward(x.view(), weight, None, 1.0, y.view_mut(), found, None).unwrap_err();
    let text = "layer_norm_forward: weight: expected shape (F,) = (3,), got (4,)";
    assert_eq!(error.to_string(), text);
}
