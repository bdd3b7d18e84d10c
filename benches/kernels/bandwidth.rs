//! What the machine can read: the rate of a loop that loads a buffer and adds it up.

use std::hint::black_box;
use std::time::Instant;

use recurra::simd::{Kernel, Lanes};
use recurra::{Element, Isa};

use crate::numbers;
use crate::peak::{keep, together};

/// Bytes that a thread reads for one figure, at least.
const ENOUGH: usize = 32 << 20;
/// Places that are read side by side, which is how several panels are read. On a Zen 3 one alone
/// gets 29 to 48 GB/s out of the third-level cache, two 46 to 56, and four 51 to 60; from the
/// nearer caches all get the same.
const STREAMS: usize = 4;
/// Registers read of each before the next one's turn: together as many sums as hide the latency of
/// an addition at two loads a cycle.
const EACH: usize = 2;

/// A buffer to be read, from a cache line on.
pub struct Stream<T> {
    memory: Vec<T>,
    first: usize,
}

impl<T: Element> Stream<T> {
    /// As large as weights of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let memory = numbers::<T>((bytes + 64) / size_of::<T>());
        let first = memory.as_ptr().align_offset(64);
        Self { memory, first }
    }

    /// GB/s of `threads` threads that read at the same time, each its own part again and again.
    pub fn read(&self, isa: Isa, threads: usize) -> f64 {
        let data = &self.memory[self.first..];
        let part = data.len() / threads;
        together(threads, |i| {
            let data = &data[i * part..][..part];
            // The first passes bring the part into the cache of this thread's core.
            T::dispatch(isa, Read { data, passes: 2 });
            let passes = (ENOUGH / size_of_val(data)).max(2);
            T::dispatch(isa, Read { data, passes })
        })
    }
}

struct Read<'a, T> {
    data: &'a [T],
    passes: usize,
}

impl<T: Element> Kernel<T> for Read<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) -> f64 {
        let mut sums = [[l.splat(T::default()); EACH]; STREAMS];
        let steps = self.data.len() / (STREAMS * EACH * L::N);
        let stream = steps * EACH * L::N;
        let bytes = stream * STREAMS * size_of::<T>() * self.passes;
        let start = Instant::now();
        for _ in 0..self.passes {
            let data = black_box(self.data).as_ptr();
            for step in 0..steps {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: each of the streams has this step's registers.
                        let x = unsafe { l.load(data.add(i * stream + (step * EACH + j) * L::N)) };
                        *sum = l.add(*sum, x);
                    }
                }
            }
        }
        sums.into_iter().flatten().for_each(|sum| keep::<T, L>(l, sum));
        bytes as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

/// A level of the memory: its name and bytes.
pub struct Level {
    pub name: String,
    pub bytes: usize,
}

/// The caches of the first processor, the smallest first, where the system tells; else guesses.
pub fn levels() -> Vec<Level> {
    let found: Vec<Level> = (0..8).filter_map(cache).collect();
    if !found.is_empty() {
        return found;
    }
    let guess = |(name, bytes)| Level { name: format!("{name}?"), bytes };
    [("L1", 32 << 10), ("L2", 512 << 10), ("L3", 16 << 20)].map(guess).into()
}

fn cache(index: usize) -> Option<Level> {
    let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
    let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).ok();
    if read("type")?.trim() == "Instruction" {
        return None;
    }
    let kibibytes: usize = read("size")?.trim().strip_suffix('K')?.parse().ok()?;
    Some(Level { name: format!("L{}", read("level")?.trim()), bytes: kibibytes << 10 })
}

/// The smallest level that holds so many bytes.
pub fn level_of(levels: &[Level], bytes: usize) -> &str {
    levels.iter().find(|level| bytes <= level.bytes).map_or("memory", |level| &level.name)
}
