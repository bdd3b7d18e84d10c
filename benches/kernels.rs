//! Times the kernels, each beside what the machine can do, measured between its own samples: the
//! FMA peak or, where weights are read for a batch of one, the bandwidth of the cache with them.
//!
//! `cargo bench --bench kernels -- [FILTER] [--quick | --test]`; `RECURRA_BENCH_QUICK=1` takes one
//! small shape of each kind and little time; `RECURRA_ISA` forces an instruction set;
//! `RECURRA_BENCH_OUT` names a folder for the final table as Markdown and as JSON.
//! Criterion reports as usual, where "elem/s" are floating-point operations per second.

#[path = "kernels/bandwidth.rs"]
mod bandwidth;
#[path = "kernels/counting.rs"]
mod counting;
#[path = "kernels/layers.rs"]
mod layers;
#[path = "kernels/measure.rs"]
mod measure;
#[path = "kernels/peak.rs"]
mod peak;
#[path = "kernels/pieces.rs"]
mod pieces;
#[path = "kernels/table.rs"]
mod table;

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use layers::{Cell, Layer, Shape};
use measure::{Bench, Group};
use recurra::{CellKind, Element};

const CELLS: [Cell; 6] = [
    Cell { name: "lstm", kind: CellKind::Lstm, projected: false },
    Cell { name: "projected lstm", kind: CellKind::Lstm, projected: true },
    Cell { name: "gru", kind: CellKind::Gru, projected: false },
    Cell { name: "gru reset-before", kind: CellKind::GruBefore, projected: false },
    Cell { name: "rnn tanh", kind: CellKind::RnnTanh, projected: false },
    Cell { name: "rnn relu", kind: CellKind::RnnRelu, projected: false },
];

/// What is measured, of one element type.
struct Sizes {
    /// Rows, columns and the length of the sums of a time step's products.
    products: &'static [[usize; 3]],
    /// The same of the input's projection, which takes 96 rows at once.
    projections: &'static [[usize; 3]],
    /// Rows, inputs and outputs of the products outside the time loop.
    linear: &'static [[usize; 3]],
    /// `H = I` of one step.
    steps: &'static [usize],
    /// `H = I` of packing.
    packing: &'static [usize],
    /// Batches of one, forward alone.
    single: &'static [Shape],
    /// Forward and training.
    batches: &'static [Shape],
}

const FLOAT32: Sizes = Sizes {
    products: &[
        [12, 512, 128],
        [1, 256, 64],
        [1, 512, 128],
        [6, 512, 128],
        [32, 128, 32],
        [32, 256, 64],
        [32, 512, 128],
        [32, 1024, 256],
        [64, 1024, 256],
        [64, 2048, 512],
        [64, 4096, 1024],
    ],
    projections: &[
        [96, 128, 1],
        [96, 256, 64],
        [96, 512, 128],
        [96, 1024, 256],
        [96, 2048, 512],
        [96, 4096, 1024],
    ],
    linear: &[[3200, 64, 256], [1600, 128, 512], [6400, 256, 1024], [6400, 512, 2048]],
    steps: &[32, 64, 128, 256, 512, 1024],
    packing: &[128, 512, 1024],
    single: &[
        [1, 100, 64, 128],
        [1, 100, 256, 256],
        [1, 100, 1, 32],
        [1, 100, 1, 64],
        [1, 100, 1, 128],
        [1, 100, 1, 256],
        [1, 100, 1, 512],
        [1, 100, 1, 1024],
    ],
    batches: &[
        [32, 50, 1, 32],
        [32, 100, 64, 64],
        [32, 50, 128, 128],
        [64, 100, 256, 256],
        [64, 100, 512, 512],
        [64, 50, 1024, 1024],
    ],
};

const FLOAT64: Sizes = Sizes {
    products: &[[32, 512, 128], [64, 1024, 256]],
    projections: &[[96, 1024, 256]],
    linear: &[[6400, 256, 1024]],
    steps: &[128, 512],
    packing: &[512],
    single: &[[1, 100, 256, 256]],
    batches: &[[64, 50, 256, 256], [64, 20, 512, 512]],
};

const QUICK: Sizes = Sizes {
    products: &[[6, 256, 64]],
    projections: &[[96, 256, 64]],
    linear: &[[200, 64, 128]],
    steps: &[64],
    packing: &[64],
    single: &[[1, 20, 1, 64]],
    batches: &[[8, 20, 64, 64]],
};

fn main() {
    let quick = std::env::var("RECURRA_BENCH_QUICK").is_ok_and(|v| !v.is_empty() && v != "0");
    let (warm_up, time) = if quick { (5, 20) } else { (200, 800) };
    let mut criterion = Criterion::default()
        .nresamples(2000)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(time))
        .configure_from_args();
    let mut bench = Bench::new();
    // A list of the benchmarks is read by programs.
    if !std::env::args().any(|argument| argument == "--list") {
        bench.probe();
        bench.print_probes();
    }
    let mut group = criterion.benchmark_group("kernels");
    all::<f32>(&mut bench, &mut group, if quick { &QUICK } else { &FLOAT32 });
    all::<f64>(&mut bench, &mut group, if quick { &QUICK } else { &FLOAT64 });
    group.finish();
    let folder = std::env::var_os("RECURRA_BENCH_OUT").filter(|folder| !folder.is_empty());
    let written = bench.report(folder.as_deref().map(Path::new));
    criterion.final_summary();
    if let Err(error) = written {
        eprintln!("RECURRA_BENCH_OUT: the report cannot be written: {error}");
        std::process::exit(1);
    }
}

fn all<T: Element>(bench: &mut Bench, group: &mut Group<'_>, sizes: &Sizes) {
    pieces::activation::<T>(bench, group, "sigmoid", false);
    pieces::activation::<T>(bench, group, "tanh", true);
    for &product in sizes.products {
        pieces::product::<T>(bench, group, "product", product);
    }
    for &projection in sizes.projections {
        pieces::product::<T>(bench, group, "projection", projection);
    }
    for &linear in sizes.linear {
        pieces::linear::<T>(bench, group, linear);
    }
    for cell in CELLS {
        layers::<T>(bench, group, sizes, cell);
    }
}

fn layers<T: Element>(bench: &mut Bench, group: &mut Group<'_>, sizes: &Sizes, cell: Cell) {
    for &h in sizes.packing {
        Layer::<T>::new(cell, [1, 1, h, h]).packing(bench, group);
    }
    for &h in sizes.steps {
        Layer::<T>::new(cell, [1, 1, h, h]).step(bench, group);
    }
    for &shape in sizes.single {
        Layer::<T>::new(cell, shape).forward(bench, group);
    }
    for &shape in sizes.batches {
        let layer = Layer::<T>::new(cell, shape);
        layer.forward(bench, group);
        layer.training(bench, group);
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
