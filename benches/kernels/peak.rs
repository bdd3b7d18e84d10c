//! What the machine can compute: the rate of fused multiply-adds that touch registers alone.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use recurra::simd::{Kernel, Lanes};
use recurra::{Element, Isa};

/// GFLOP/s of `threads` threads that run at the same time, in a fraction of a millisecond.
pub fn peak<T: Element>(isa: Isa, threads: usize) -> f64 {
    together(threads, |_| T::dispatch(isa, Peak))
}

/// The sum of what a probe finds on each of `threads` threads that start at the same time.
pub fn together(threads: usize, probe: impl Fn(usize) -> f64 + Sync) -> f64 {
    if threads == 1 {
        return probe(0);
    }
    let barrier = Barrier::new(threads);
    let run = |thread| {
        barrier.wait();
        probe(thread)
    };
    std::thread::scope(|scope| {
        let run = &run;
        let probes: Vec<_> = (0..threads).map(|i| scope.spawn(move || run(i))).collect();
        probes.into_iter().map(|probe| probe.join().expect("a probe does not panic")).sum()
    })
}

struct Peak;

impl<T: Element> Kernel<T> for Peak {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) -> f64 {
        // A tile of 8 rows and more says that there are 32 registers; else there are 16.
        if const { L::ROWS >= 8 } { chains::<T, L, 24>(l) } else { chains::<T, L, 12>(l) }
    }
}

/// Chains of dependent operations: enough of them keep every pipeline busy.
#[inline(always)]
fn chains<T: Element, L: Lanes<T>, const CHAINS: usize>(l: L) -> f64 {
    const STEPS: usize = 100_000;
    let number = |x: f64| l.splat(black_box(T::from_f64(x)));
    let (x, y) = (number(0.999), number(0.001));
    // All different, or they could be computed as one.
    let mut sums: [L::V; CHAINS] = std::array::from_fn(|i| number(i as f64));
    let start = Instant::now();
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = l.fma(*sum, x, y);
        }
    }
    sums.into_iter().for_each(|sum| keep::<T, L>(l, sum));
    (2 * L::N * CHAINS * STEPS) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Makes the compiler believe that a register's numbers are used.
#[inline(always)]
pub fn keep<T: Element, L: Lanes<T>>(l: L, numbers: L::V) {
    let mut out = [T::default(); 64];
    assert!(L::N <= out.len());
    // SAFETY: a register fits.
    unsafe { l.store(out.as_mut_ptr(), numbers) };
    black_box(out);
}
