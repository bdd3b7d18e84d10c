//! What the inputs were, where forward does not keep them: backward reads the caller's once more, and
//! must not compute gradients of something else.

use crc32fast::Hasher;
use ndarray::{ArrayView1, ArrayView3, s};

use crate::chunks::reserved;
use crate::error::Result;
use crate::sequence::plan::Plan;
use crate::simd::Element;

/// A checksum for each row, longest row first, of the steps that it has.
pub(super) struct Checksums(Vec<u32>);

impl Checksums {
    /// Of `x`, whose shape is the plan's.
    pub fn of<T: Element>(x: &ArrayView3<'_, T>, plan: &Plan) -> Result<Self> {
        let mut all = reserved(plan.rows.len(), "checksums of the inputs")?;
        all.extend(rows(x, plan).map(|(_, checksum)| checksum));
        Ok(Self(all))
    }

    /// The first row, as the caller numbers them, that has changed.
    pub fn changed<T: Element>(&self, x: &ArrayView3<'_, T>, plan: &Plan) -> Option<usize> {
        let pairs = rows(x, plan).zip(&self.0);
        pairs.filter(|((_, now), then)| now != *then).map(|((row, _), _)| row).min()
    }
}

/// The caller's number and the checksum of each row.
fn rows<T: Element>(x: &ArrayView3<'_, T>, plan: &Plan) -> impl Iterator<Item = (usize, u32)> {
    plan.rows.iter().zip(&plan.lengths).map(|(&row, &length)| {
        let (steps, mut hasher) = (x.slice(s![row, ..length, ..]), Hasher::new());
        match steps.as_slice() {
            Some(all) => hasher.update(bytes(all)),
            None => steps.rows().into_iter().for_each(|line| update(&mut hasher, line)),
        }
        (row, hasher.finalize())
    })
}

fn update<T: Element>(hasher: &mut Hasher, line: ArrayView1<'_, T>) {
    match line.as_slice() {
        Some(all) => hasher.update(bytes(all)),
        None => line.iter().for_each(|x| hasher.update(bytes(std::slice::from_ref(x)))),
    }
}

/// The memory of numbers.
fn bytes<T: Element>(numbers: &[T]) -> &[u8] {
    // SAFETY: an element is `f32` or `f64`, all of whose bytes are initialised.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
