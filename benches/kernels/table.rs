//! The tables at the end, as Markdown and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use crate::measure::{Bench, Work};

/// What the machine can do at best.
pub struct Probe {
    pub name: String,
    pub threads: usize,
    pub best: f64,
    pub unit: &'static str,
}

pub struct Sample {
    pub iterations: u64,
    /// Of each iteration.
    pub seconds: f64,
    /// GFLOP/s or GB/s that the machine reached just before.
    pub limit: f64,
}

/// What was measured of one benchmark.
pub struct Row {
    pub name: String,
    pub work: Work,
    /// The cache that holds the weights, where reading them is the limit.
    pub level: Option<String>,
    pub samples: Vec<Sample>,
}

/// A row's figures.
struct Figures<'a> {
    name: &'a str,
    /// Lower quartile, median, upper quartile.
    seconds: [f64; 3],
    rate: f64,
    limit: f64,
    unit: &'static str,
    level: &'a str,
}

impl Row {
    fn figures(&self) -> Figures<'_> {
        let seconds = [0.25, 0.5, 0.75].map(|part| self.quantile(part, |s| s.seconds));
        let (amount, unit) = match self.work {
            Work::Flops(n) => (n, "GFLOP/s"),
            Work::Reads { bytes, .. } => (bytes, "GB/s"),
        };
        Figures {
            name: &self.name,
            seconds,
            rate: amount as f64 / seconds[1] / 1e9,
            limit: self.quantile(0.5, |s| s.limit),
            unit,
            level: self.level.as_deref().unwrap_or("FMA"),
        }
    }

    /// Over all iterations: samples of many count for more than the first ones of a warm-up.
    fn quantile(&self, part: f64, value: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<_> = self.samples.iter().map(|s| (value(s), s.iterations)).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: u64 = values.iter().map(|&(_, n)| n).sum();
        let mut passed = 0;
        let found = values.iter().find(|&&(_, n)| {
            passed += n;
            passed as f64 >= part * all as f64
        });
        found.expect("a row has samples").0
    }
}

impl Bench {
    /// Prints what the machine can do.
    pub fn print_probes(&self) {
        println!("{}", self.heading());
    }

    /// Prints the table, and writes it to `kernels.md` and `kernels.json` in `folder`.
    pub fn report(&self, folder: Option<&Path>) -> std::io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let table = self.table();
        println!("\n{table}\nload average: {}", load());
        let Some(folder) = folder else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let text = format!("# The kernels\n\n{}\n{table}", self.heading());
        std::fs::write(folder.join("kernels.md"), text)?;
        std::fs::write(folder.join("kernels.json"), self.json())
    }

    fn heading(&self) -> String {
        let mut text = format!("- instruction set: {}\n", self.isa.name());
        let _ = writeln!(text, "- load average: {}", load());
        for Probe { name, threads, best, unit } in &self.probes {
            let _ = writeln!(text, "- {name}, {threads} thread(s): {best:.1} {unit}");
        }
        text
    }

    fn table(&self) -> String {
        let mut text = "Medians. The limit is what the machine did between the samples: \
             fused multiply-adds,\nor reads of as many bytes as the weights have, from the cache \
             that is named.\n\n\
             | benchmark | time, µs | quartiles, µs | rate | limit | share |\n\
             |---|--:|--:|--:|--:|--:|\n"
            .to_owned();
        for f in self.rows.iter().map(Row::figures) {
            let [low, middle, high] = f.seconds.map(|s| s * 1e6);
            let _ = writeln!(
                text,
                "| {} | {middle:.2} | {low:.2} – {high:.2} | {:.1} {} | {:.1} {} | {:.0}% |",
                f.name,
                f.rate,
                f.unit,
                f.limit,
                f.level,
                100.0 * f.rate / f.limit
            );
        }
        text
    }

    fn json(&self) -> String {
        let probe = |p: &Probe| {
            let Probe { name, threads, best, unit } = p;
            format!(
                r#"{{"name": {name:?}, "threads": {threads}, "best": {best}, "unit": {unit:?}}}"#
            )
        };
        let row = |row: &Row| {
            let Figures { name, seconds, rate, limit, unit, level } = row.figures();
            format!(
                r#"{{"name": {name:?}, "seconds": {seconds:?}, "rate": {rate}, "limit": {limit}, "unit": {unit:?}, "level": {level:?}}}"#
            )
        };
        let probes: Vec<_> = self.probes.iter().map(probe).collect();
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        format!(
            "{{\n\"isa\": {:?},\n\"probes\": [\n{}\n],\n\"rows\": [\n{}\n]\n}}\n",
            self.isa.name(),
            probes.join(",\n"),
            rows.join(",\n")
        )
    }
}

/// Processes that wanted to run in the last 1, 5 and 15 minutes, where the system tells.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let numbers: Vec<_> = text.split_whitespace().take(3).collect();
    if numbers.is_empty() { "unknown".to_owned() } else { numbers.join(" ") }
}
