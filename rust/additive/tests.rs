use ndarray::{Array1, Array3};

use super::*;
use crate::parallel::WORTH_SPLITTING;
use crate::testing::{numbers, on_every_isa};

/// The inputs of a call: query, key, the gradient of the scores, and the weight.
struct Inputs<T>([Array3<T>; 3], Array1<T>);

impl<T: Element> Inputs<T> {
    fn new([batch, queries, keys, width]: [usize; 4]) -> Self {
        let cube = |n: usize, m: usize, seed| {
            let flat = numbers::<T>(batch * n, m, seed);
            flat.into_shape_with_order((batch, n, m)).unwrap()
        };
        let cubes = [cube(queries, width, 1), cube(keys, width, 2), cube(queries, keys, 3)];
        Self(cubes, numbers::<T>(1, width, 4).row(0).to_owned())
    }

    /// `scores, dquery, dkey, dweight`
    fn run(&self, threads: usize) -> [Vec<T>; 4] {
        let Self([query, key, dscores], weight) = self;
        let like = |a: &Array3<T>| Array3::from_elem(a.dim(), T::from_f64(7.0));
        let (mut scores, mut dquery, mut dkey) = (like(dscores), like(query), like(key));
        let mut dweight = Array1::from_elem(weight.len(), T::from_f64(7.0));
        let (q, k, w, n) = (query.view(), key.view(), weight.view(), Some(threads));
        forward(q, k, w, scores.view_mut(), n).unwrap();
        let (dq, dk, dw) = (dquery.view_mut(), dkey.view_mut(), dweight.view_mut());
        let out = Gradients { dquery: dq, dkey: dk, dweight: dw };
        backward(q, k, w, dscores.view(), out, n).unwrap();
        let [scores, dquery, dkey] = [scores, dquery, dkey].map(|a| a.into_raw_vec_and_offset().0);
        [scores, dquery, dkey, dweight.to_vec()]
    }

    /// The same in float64 loops.
    fn plain(&self) -> [Vec<f64>; 4] {
        let Self([query, key, dscores], weight) = self;
        let zeros = |n: usize| vec![0.0; n];
        let (mut dq, mut dk, mut dw) = (zeros(query.len()), zeros(key.len()), zeros(weight.len()));
        let (mut scores, width) = (Vec::new(), weight.len());
        for ((b, q, k), dscore) in dscores.indexed_iter() {
            let (mut score, dscore) = (0.0, dscore.to_f64());
            for h in 0..width {
                let t = libm::tanh(query[[b, q, h]].to_f64() + key[[b, k, h]].to_f64());
                let (w, slope) = (weight[h].to_f64(), 1.0 - t * t);
                score += w * t;
                dq[(b * query.dim().1 + q) * width + h] += dscore * w * slope;
                dk[(b * key.dim().1 + k) * width + h] += dscore * w * slope;
                dw[h] += dscore * t;
            }
            scores.push(score);
        }
        [scores, dq, dk, dw]
    }
}

fn agrees<T: Element>(bound: f64) {
    let empty = [[0, 2, 3, 4], [2, 0, 3, 4], [2, 3, 0, 4], [2, 3, 4, 0]];
    for sizes in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 1, 20, 16], [2, 70, 9, 33]].iter().chain(&empty) {
        let inputs = Inputs::<T>::new(*sizes);
        for (got, wanted) in inputs.run(1).iter().zip(inputs.plain()) {
            assert_eq!(got.len(), wanted.len());
            let largest = wanted.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
            for (got, wanted) in got.iter().zip(wanted) {
                assert!((got.to_f64() - wanted).abs() <= bound * largest, "{sizes:?}");
            }
        }
    }
}

#[test]
fn results_are_those_of_plain_loops() {
    agrees::<f32>(1e-6);
    agrees::<f64>(2e-15);
}

fn same_bits<T: Element>() {
    let sizes = [5, 12, 41, 67];
    assert!(sizes.iter().product::<usize>() * COST >= WORTH_SPLITTING);
    let inputs = Inputs::<T>::new(sizes);
    let expected = inputs.run(1);
    on_every_isa(|isa| {
        for threads in [1, 2, 3] {
            assert_eq!(inputs.run(threads), expected, "{isa}");
        }
    });
}

#[test]
fn sets_and_threads_change_no_bit() {
    same_bits::<f32>();
    same_bits::<f64>();
}

#[test]
fn bad_shapes_are_refused() {
    let Inputs([query, key, mut scores], weight) = Inputs::<f32>::new([2, 3, 4, 5]);
    let short = weight.slice(ndarray::s![..4]);
    let error = forward(query.view(), key.view(), short, scores.view_mut(), None).unwrap_err();
    assert_eq!(error.to_string(), "additive_forward: weight: expected shape (H,) = (5,), got (4,)");
    let other = key.slice(ndarray::s![..1, .., ..]);
    let error = forward(query.view(), other, weight.view(), scores.view_mut(), None).unwrap_err();
    let text = "additive_forward: key: expected shape (B, K, H) = (2, 4, 5), got (1, 4, 5)";
    assert_eq!(error.to_string(), text);
}
