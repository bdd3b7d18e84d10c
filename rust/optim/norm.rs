//! Clipping: the norm of gradients, scaling by a factor, and limits for each value.

use crate::chunks::{each, zeros};
use crate::error::Result;
use crate::optim::within;
use crate::parallel::threads_for;
use crate::simd::Element;

/// Terms of one partial sum.
const BLOCK: usize = 512;
/// Partial sums under way at once: an addition takes four cycles.
const AT_ONCE: usize = 8;
/// Elements that one task sums or scales: a multiple of `BLOCK`.
const CHUNK: usize = 1 << 14;
/// What an element costs in fused multiply-adds.
const COST: usize = 8;

/// The sum of the squares of `values`, in float64: ascending within blocks of 512, and the blocks'
/// sums ascending.
///
/// The norm of all gradients together is the square root of the sum over them:
///
/// ```
/// use recurra::optim::{scale, sum_of_squares};
///
/// let mut gradients = [vec![3.0_f32, 0.0], vec![4.0]];
/// let mut sum = 0.0;
/// for gradient in &gradients {
///     sum += sum_of_squares(gradient, None)?;
/// }
/// assert_eq!(sum.sqrt(), 5.0);
/// for gradient in &mut gradients {
///     scale(gradient, 1.0 / sum.sqrt(), None)?;
/// }
/// assert_eq!(gradients, [vec![0.6, 0.0], vec![0.8]]);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Memory`](crate::Error::Memory),
/// [`Error::Argument`](crate::Error::Argument) for a number of threads that is zero.
pub fn sum_of_squares<T: Element>(values: &[T], threads: Option<usize>) -> Result<f64> {
    let threads = threads_for("grad_norm", threads, values.len().saturating_mul(COST))?;
    let mut sums = zeros(values.len().div_ceil(BLOCK), "partial sums")?;
    let parts = values.chunks(CHUNK).zip(sums.chunks_mut(CHUNK / BLOCK));
    each(parts, threads, |_, (values, sums)| {
        block_sums(values, sums);
        Ok(())
    })?;
    Ok(sums.iter().fold(0.0, |sum, block| sum + block))
}

/// One sum for each block; whole blocks several at once, which changes no sum.
fn block_sums<T: Element>(values: &[T], sums: &mut [f64]) {
    let groups = values.chunks(BLOCK * AT_ONCE).zip(sums.chunks_mut(AT_ONCE));
    for (values, sums) in groups {
        let (blocks, rest) = values.as_chunks::<BLOCK>();
        if let (Ok(blocks), Ok(sums)) = (blocks.try_into(), sums.try_into()) {
            side_by_side(blocks, sums);
            continue;
        }
        let blocks = blocks.iter().map(<[T; BLOCK]>::as_slice).chain([rest]);
        for (sum, block) in sums.iter_mut().zip(blocks) {
            *sum = block.iter().fold(0.0, |sum, &x| squared(x) + sum);
        }
    }
}

fn side_by_side<T: Element>(blocks: &[[T; BLOCK]; AT_ONCE], sums: &mut [f64; AT_ONCE]) {
    let mut under_way = [0.0; AT_ONCE];
    for i in 0..BLOCK {
        for (sum, block) in under_way.iter_mut().zip(blocks) {
            *sum += squared(block[i]);
        }
    }
    *sums = under_way;
}

fn squared<T: Element>(x: T) -> f64 {
    x.to_f64() * x.to_f64()
}

/// Multiplies all `values` by `factor`, rounded to their precision, in place.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a
/// number of threads that is zero.
pub fn scale<T: Element>(values: &mut [T], factor: f64, threads: Option<usize>) -> Result<()> {
    let threads = threads_for("scale_", threads, values.len().saturating_mul(COST))?;
    let factor = T::from_f64(factor);
    each(values.chunks_mut(CHUNK), threads, |_, values| {
        values.iter_mut().for_each(|x| *x = *x * factor);
        Ok(())
    })
}

/// Brings all `values` into `-limit..=limit`, in place; NaN stays.
///
/// ```
/// let mut gradient = [3.0_f32, -0.5, -4.0];
/// recurra::optim::clamp(&mut gradient, 1.0, None)?;
/// assert_eq!(gradient, [1.0, -0.5, -1.0]);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a limit that is negative, infinite or NaN and a
/// number of threads that is zero.
pub fn clamp<T: Element>(values: &mut [T], limit: f64, threads: Option<usize>) -> Result<()> {
    within("clamp_", "limit", limit, f64::INFINITY)?;
    let threads = threads_for("clamp_", threads, values.len().saturating_mul(COST))?;
    let (low, high) = (T::from_f64(-limit), T::from_f64(limit));
    each(values.chunks_mut(CHUNK), threads, |_, values| {
        for x in values {
            *x = if *x > high { high } else { *x };
            *x = if *x < low { low } else { *x };
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::WORTH_SPLITTING;
    use crate::testing::numbers;

    #[test]
    fn sums_are_those_of_plain_loops_for_any_length_and_threads() {
        const { assert!(300_001 * COST >= WORTH_SPLITTING) };
        for n in [0, 1, 511, 512, 4096, 4097, 5000, 300_001] {
            let values = numbers::<f32>(1, n, 1);
            let values = values.as_slice().unwrap();
            let blocks = values
                .chunks(512)
                .map(|block| block.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x)));
            let expected = blocks.fold(0.0, |sum, block: f64| sum + block);
            for threads in [1, 2, 3] {
                assert_eq!(sum_of_squares(values, Some(threads)), Ok(expected), "{n}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_seen() {
        assert!(sum_of_squares(&[1.0, f64::NAN], None).unwrap().is_nan());
        assert_eq!(sum_of_squares(&[f32::NEG_INFINITY], None), Ok(f64::INFINITY));
        assert_eq!(sum_of_squares(&[3e38_f32], None), Ok(f64::from(3e38_f32).powi(2)));
    }

    #[test]
    fn scaling_is_one_multiplication_each() {
        const { assert!(400_000 * COST >= WORTH_SPLITTING) };
        let before = numbers::<f32>(1, 400_000, 2);
        for threads in [1, 2, 3] {
            let mut after = before.clone();
            scale(after.as_slice_mut().unwrap(), 0.3, Some(threads)).unwrap();
            assert_eq!(after, before.map(|x| x * 0.3));
        }
    }

    #[test]
    fn limits_hold_for_each_value_and_nan_is_seen() {
        const { assert!(400_000 * COST >= WORTH_SPLITTING) };
        let before = numbers::<f32>(1, 400_000, 2);
        for threads in [1, 2, 3] {
            let mut after = before.clone();
            clamp(after.as_slice_mut().unwrap(), 0.3, Some(threads)).unwrap();
            assert_eq!(after, before.map(|x| x.clamp(-0.3, 0.3)));
        }
        let mut values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0];
        clamp(&mut values, 2.0, None).unwrap();
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [2.0, -2.0, 0.0]);
        let text = clamp(&mut values, f64::NAN, None).unwrap_err().to_string();
        assert_eq!(text, "clamp_: limit: expected 0 <= limit < inf, got NaN");
    }
}
