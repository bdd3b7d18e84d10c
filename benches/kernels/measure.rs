//! Measuring with criterion, and the table of rates beside the peak.

use std::time::Instant;

use criterion::{BenchmarkGroup, Throughput, measurement::WallTime};
use recurra::{Element, Isa};

use crate::peak::peak;

/// Where criterion collects the benchmarks.
pub type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// What an iteration does, and how much of it.
#[derive(Clone, Copy)]
pub enum Work {
    /// Floating-point operations of the matrix products; a multiply-add is two.
    Flops(usize),
    /// Numbers.
    Numbers(usize),
}

/// What was measured of one benchmark.
struct Row {
    name: String,
    work: Work,
    /// Iterations, and the seconds that each took.
    samples: Vec<(u64, f64)>,
    peaks: Vec<f64>,
}

/// The run of all benchmarks.
pub struct Bench {
    /// The instruction set in use.
    pub isa: Isa,
    /// Numbers of threads to measure with.
    pub threads: Vec<usize>,
    rows: Vec<Row>,
}

impl Bench {
    pub fn new() -> Self {
        let isa = Isa::current().expect("RECURRA_ISA names a set of this machine");
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = [1, 2].into_iter().filter(|&n| n <= available).collect();
        Self { isa, threads, rows: Vec::new() }
    }

    /// Measures `f`, with a look at the peak before every sample.
    pub fn time<T: Element>(
        &mut self, group: &mut Group<'_>, name: &str, work: Work, threads: usize,
        mut f: impl FnMut(),
    ) {
        let (Work::Flops(amount) | Work::Numbers(amount)) = work;
        let (name, isa) = (format!("{name} {}", T::NAME), self.isa);
        let mut row = Row { name: name.clone(), work, samples: vec![], peaks: vec![] };
        group.throughput(Throughput::Elements(amount as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                row.peaks.push(peak::<T>(isa, threads));
                let start = Instant::now();
                (0..iterations).for_each(|_| f());
                let time = start.elapsed();
                row.samples.push((iterations, time.as_secs_f64() / iterations as f64));
                time
            });
        });
        // Empty where a filter left it out.
        if !row.samples.is_empty() {
            self.rows.push(row);
        }
    }

    pub fn print_peaks<T: Element>(&self) {
        for &threads in &self.threads {
            let best = (0..20).map(|_| peak::<T>(self.isa, threads)).fold(0.0, f64::max);
            let (isa, name) = (self.isa.name(), T::NAME);
            println!("FMA peak of {threads} thread(s), {name}, {isa}: {best:.1} GFLOP/s");
        }
    }

    pub fn print_table(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        println!("\nMedians; the peak is the one measured between the samples.\n");
        println!("| benchmark | time, µs | rate | peak, GFLOP/s | share |");
        println!("|---|--:|--:|--:|--:|");
        self.rows.iter_mut().for_each(Row::print);
    }
}

impl Row {
    fn print(&mut self) {
        let seconds = self.median_time();
        self.peaks.sort_by(f64::total_cmp);
        let peak = self.peaks[self.peaks.len() / 2];
        let (Work::Flops(amount) | Work::Numbers(amount)) = self.work;
        let rate = amount as f64 / seconds / 1e9;
        let (rate, share) = match self.work {
            Work::Flops(_) => {
                (format!("{rate:.1} GFLOP/s"), format!("{:.0}%", 100.0 * rate / peak))
            }
            Work::Numbers(_) => (format!("{rate:.2} billion/s"), "–".to_owned()),
        };
        println!("| {} | {:.2} | {rate} | {peak:.1} | {share} |", self.name, seconds * 1e6);
    }

    /// Over all iterations: samples of many count for more than the first ones of a warm-up.
    fn median_time(&mut self) -> f64 {
        self.samples.sort_by(|a, b| a.1.total_cmp(&b.1));
        let half = self.samples.iter().map(|sample| sample.0).sum::<u64>().div_ceil(2);
        let mut passed = 0;
        let middle = self.samples.iter().find(|sample| {
            passed += sample.0;
            passed >= half
        });
        middle.expect("a row has samples").1
    }
}
