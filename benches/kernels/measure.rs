//! Measuring with criterion: between the samples stands what the machine can do.

use std::time::Instant;

use criterion::{BenchmarkGroup, Throughput, measurement::WallTime};
use recurra::{Element, Isa};

use crate::bandwidth::{Level, Stream, level_of, levels};
use crate::peak::peak;
use crate::table::{Probe, Row, Sample};

/// Where criterion collects the benchmarks.
pub type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Samples of a benchmark.
const SAMPLES: usize = 15;

/// What an iteration does, and so what limits it.
#[derive(Clone, Copy)]
pub enum Work {
    /// Floating-point operations, a multiply-add is two: limited by the FMA peak.
    Flops(usize),
    /// Bytes read of weights that take so many bytes: limited by the bandwidth of the cache that
    /// holds them.
    Reads { bytes: usize, weights: usize },
}

/// The run of all benchmarks.
pub struct Bench {
    /// The instruction set in use.
    pub isa: Isa,
    /// Numbers of threads to measure with.
    pub threads: Vec<usize>,
    pub levels: Vec<Level>,
    pub probes: Vec<Probe>,
    pub rows: Vec<Row>,
}

impl Bench {
    pub fn new() -> Self {
        let isa = Isa::current().expect("RECURRA_ISA names a set of this machine");
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = [1, 2].into_iter().filter(|&n| n <= available).collect();
        Self { isa, threads, levels: levels(), probes: vec![], rows: vec![] }
    }

    /// Measures `f`, with a look at the limit before every sample.
    pub fn time<T: Element>(
        &mut self, group: &mut Group<'_>, name: &str, work: Work, threads: usize,
        mut f: impl FnMut(),
    ) {
        let (name, isa) = (format!("{name} {}", T::NAME), self.isa);
        let mut row =
            Row { name: name.clone(), work, level: self.level(work, threads), samples: vec![] };
        let mut stream = None;
        // The least that criterion takes, where an iteration lasts a second.
        group.sample_size(if matches!(work, Work::Flops(n) if n > 1 << 34) { 10 } else { SAMPLES });
        group.throughput(match work {
            Work::Flops(n) => Throughput::Elements(n as u64),
            Work::Reads { bytes, .. } => Throughput::Bytes(bytes as u64),
        });
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let limit = match work {
                    Work::Flops(_) => peak::<T>(isa, threads),
                    Work::Reads { weights, .. } => {
                        stream.get_or_insert_with(|| Stream::<T>::new(weights)).read(isa, threads)
                    }
                };
                let start = Instant::now();
                (0..iterations).for_each(|_| f());
                let time = start.elapsed();
                let seconds = time.as_secs_f64() / iterations as f64;
                row.samples.push(Sample { iterations, seconds, limit });
                time
            });
        });
        // Empty where a filter left it out.
        if !row.samples.is_empty() {
            self.rows.push(row);
        }
    }

    /// The cache that holds a thread's part of the weights.
    fn level(&self, work: Work, threads: usize) -> Option<String> {
        match work {
            Work::Flops(_) => None,
            Work::Reads { weights, .. } => {
                Some(level_of(&self.levels, weights / threads).to_owned())
            }
        }
    }

    /// Looks at what the machine can do: its FMA peaks, and what it reads from half of each cache
    /// and from far more than the last one.
    pub fn probe(&mut self) {
        for threads in self.threads.clone() {
            self.best("FMA peak, float32".to_owned(), "GFLOP/s", threads, peak::<f32>);
            self.best("FMA peak, float64".to_owned(), "GFLOP/s", threads, peak::<f64>);
            let half = |level: &Level| (level.name.clone(), level.bytes / 2);
            let mut sizes: Vec<_> = self.levels.iter().map(half).collect();
            sizes.push(("memory".to_owned(), 4 * self.levels.last().map_or(0, |l| l.bytes)));
            for (name, bytes) in sizes {
                let stream = Stream::<f32>::new(bytes);
                let name = format!("reading {} KiB ({name})", bytes >> 10);
                self.best(name, "GB/s", threads, |isa, threads| stream.read(isa, threads));
            }
        }
    }

    fn best(
        &mut self, name: String, unit: &'static str, threads: usize, f: impl Fn(Isa, usize) -> f64,
    ) {
        let best = (0..10).map(|_| f(self.isa, threads)).fold(0.0, f64::max);
        self.probes.push(Probe { name, threads, best, unit });
    }
}
