//! What the machine can do: the rate of fused multiply-adds that touch registers alone.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use recurra::simd::{Kernel, Lanes};
use recurra::{Element, Isa};

/// GFLOP/s of `threads` threads that run at the same time, in a fraction of a millisecond.
pub fn peak<T: Element>(isa: Isa, threads: usize) -> f64 {
    if threads == 1 {
        return T::dispatch(isa, Peak);
    }
    let barrier = Barrier::new(threads);
    let probe = || {
        barrier.wait();
        T::dispatch(isa, Peak)
    };
    std::thread::scope(|scope| {
        let probes: Vec<_> = (0..threads).map(|_| scope.spawn(probe)).collect();
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
    for sum in sums {
        let mut out = [T::default(); 64];
        assert!(L::N <= out.len());
        // SAFETY: a register fits.
        unsafe { l.store(out.as_mut_ptr(), sum) };
        black_box(out);
    }
    (2 * L::N * CHAINS * STEPS) as f64 / start.elapsed().as_secs_f64() / 1e9
}
