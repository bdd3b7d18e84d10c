//! What the tests of the optimizers share: three steps, against the formulas and against themselves.

use crate::error::Result;
use crate::parallel::WORTH_SPLITTING;
use crate::simd::Element;
use crate::testing::{numbers, on_every_isa};

/// `param`, `grad`, `moments`, `step`, `threads`
pub(super) trait Stepper<T, const M: usize>:
    Fn(&mut [T], &[T], [&mut [T]; M], u64, Option<usize>) -> Result<()>
{
}

impl<T, const M: usize, F> Stepper<T, M> for F where
    F: Fn(&mut [T], &[T], [&mut [T]; M], u64, Option<usize>) -> Result<()>
{
}

fn values<T: Element>(n: usize, seed: u64) -> Vec<T> {
    numbers::<T>(1, n, seed).into_raw_vec_and_offset().0
}

/// The parameter and its moments after three steps.
fn run<T: Element, const M: usize>(
    step: impl Stepper<T, M>, n: usize, threads: usize,
) -> (Vec<T>, [Vec<T>; M]) {
    let mut p = values(n, 1);
    let mut moments = std::array::from_fn(|_| vec![T::default(); n]);
    for t in 1..4 {
        let moments = moments.each_mut().map(|m| &mut m[..]);
        step(&mut p, &values(n, t + 1), moments, t, Some(threads)).unwrap();
    }
    (p, moments)
}

/// Three steps are those of `formula`, which takes an element, its gradient and moments, and t.
pub(super) fn follows_the_formula<const M: usize>(
    name: &str, step: impl Stepper<f64, M>, formula: impl Fn(&mut f64, f64, &mut [f64; M], i32),
) {
    let n = 37;
    let (p, moments) = run(step, n, 1);
    let (mut q, mut naive) = (values::<f64>(n, 1), vec![[0.0; M]; n]);
    for t in 1..4 {
        let grad = values::<f64>(n, t + 1);
        for i in 0..n {
            formula(&mut q[i], grad[i], &mut naive[i], t as i32);
        }
    }
    for i in 0..n {
        assert!((p[i] - q[i]).abs() < 1e-13, "{name}: element {i} is {}, not {}", p[i], q[i]);
        for (m, kept) in moments.iter().enumerate() {
            let off = (kept[i] - naive[i][m]).abs();
            assert!(off < 1e-13, "{name}: moment {m} of {i} is off by {off}");
        }
    }
}

/// Three steps over many elements have the same bits for all threads and instruction sets.
pub(super) fn same_bits_everywhere<const M: usize>(
    name: &str, cost: usize, step: impl Stepper<f32, M>,
) {
    let n = 300_001;
    assert!(n * cost >= WORTH_SPLITTING);
    let bits = |(p, m): (Vec<f32>, [Vec<f32>; M])| {
        [vec![p], m.to_vec()].concat().concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected = bits(run(&step, n, 1));
    on_every_isa(|isa| {
        for threads in [1, 2, 3] {
            let got = bits(run(&step, n, threads));
            assert!(got == expected, "{name} on {isa}, {threads} threads");
        }
    });
}

/// The text of the refusal of one step with two parameters; gradient and moments have `lengths`.
pub(super) fn refusal<const M: usize>(
    step: impl Stepper<f64, M>, lengths: [usize; M], grad: usize, t: u64,
) -> String {
    let mut moments = lengths.map(|n| vec![0.0; n]);
    let moments = moments.each_mut().map(|m| &mut m[..]);
    step(&mut [0.0; 2], &vec![0.0; grad], moments, t, None).unwrap_err().to_string()
}
