//! Times the kernels, each beside the FMA peak that is measured between its own samples.
//!
//! `cargo bench --bench kernels -- [FILTER] [--quick | --test]`; `RECURRA_BENCH_QUICK=1` takes one
//! small shape of each kind and little time; `RECURRA_ISA` forces an instruction set.
//! Criterion reports as usual, where "elem/s" are floating-point operations per second (numbers
//! per second for activations); a table of rates and shares of the peak ends the run.

#[path = "kernels/layers.rs"]
mod layers;
#[path = "kernels/measure.rs"]
mod measure;
#[path = "kernels/peak.rs"]
mod peak;
#[path = "kernels/pieces.rs"]
mod pieces;

use std::time::Duration;

use criterion::Criterion;
use layers::{Layer, Shape};
use measure::{Bench, Group};
use recurra::{CellKind, Element};

const CELLS: [(&str, CellKind); 3] =
    [("lstm", CellKind::Lstm), ("gru", CellKind::Gru), ("rnn", CellKind::RnnTanh)];
/// Rows, columns and the length of the sums: products of a time step, and one of all steps.
const PRODUCTS: [[usize; 3]; 8] = [
    [12, 512, 128],
    [1, 256, 64],
    [1, 512, 128],
    [6, 512, 128],
    [32, 512, 128],
    [32, 1024, 256],
    [32, 2048, 512],
    [240, 1536, 512],
];
const SHAPES: [Shape; 4] =
    [[32, 100, 64, 64], [32, 50, 128, 128], [64, 100, 256, 256], [64, 100, 512, 512]];
const SMALL: Shape = [8, 20, 64, 64];

fn main() {
    let quick = std::env::var("RECURRA_BENCH_QUICK").is_ok_and(|v| !v.is_empty() && v != "0");
    let (warm_up, time) = if quick { (20, 60) } else { (500, 2000) };
    let mut criterion = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(time))
        .configure_from_args();
    let mut bench = Bench::new();
    // A list of the benchmarks is read by programs.
    if !std::env::args().any(|argument| argument == "--list") {
        bench.print_peaks::<f32>();
        bench.print_peaks::<f64>();
    }
    let shapes = if quick { &[SMALL] } else { &SHAPES[..] };
    let mut group = criterion.benchmark_group("kernels");
    all::<f32>(&mut bench, &mut group, quick, shapes);
    all::<f64>(&mut bench, &mut group, quick, if quick { shapes } else { &SHAPES[2..3] });
    group.finish();
    bench.print_table();
    criterion.final_summary();
}

fn all<T: Element>(bench: &mut Bench, group: &mut Group<'_>, quick: bool, shapes: &[Shape]) {
    let few = if quick { 1 } else { usize::MAX };
    for sizes in PRODUCTS.into_iter().take(few) {
        pieces::product::<T>(bench, group, sizes);
    }
    pieces::activation::<T>(bench, group, "sigmoid", false);
    pieces::activation::<T>(bench, group, "tanh", true);
    for cell in CELLS {
        for hidden in [64, 128].into_iter().take(few) {
            Layer::<T>::new(cell, [1, 1, hidden, hidden]).step(bench, group);
        }
        for &shape in shapes {
            Layer::<T>::new(cell, shape).sequences(bench, group);
        }
    }
}

/// Numbers between -1/2 and 1/2 without a pattern, in steps of 1/8: sums of products are exact.
fn numbers<T: Element>(n: usize) -> Vec<T> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64(((state >> 32) % 9) as f64 / 8.0 - 0.5)
    };
    std::iter::repeat_with(next).take(n).collect()
}
