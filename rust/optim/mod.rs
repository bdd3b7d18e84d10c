//! Optimizers: one pass over a parameter, in place; what clipping needs, and averages of weights.
//!
//! A parameter, its gradient and its moments are slices of equal length. Hyperparameters are
//! float64 and rounded to the parameter's precision once. Everything is element-wise or summed in
//! a fixed order, so results have the same bits for every instruction set and number of threads.

mod adadelta;
mod adagrad;
mod adam;
mod adamax;
mod blend;
mod lion;
mod nadam;
mod norm;
mod parts;
mod radam;
mod rmsprop;
mod sgd;
#[cfg(test)]
mod testing;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adamax::Adamax;
pub use blend::blend;
pub use lion::Lion;
pub use nadam::Nadam;
pub use norm::{clamp, scale, sum_of_squares};
pub use radam::Radam;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use crate::chunks::each;
use crate::error::Result;
use crate::shape::{equal, refuse};
use crate::simd::{Element, Isa, Kernel, Lanes};

/// Elements that one task updates.
const CHUNK: usize = 1 << 14;

/// What an optimizer does with an element: a new value and new moments, `M` of them.
trait Update<T: Element, const M: usize>: Sync {
    /// Implementations are `#[inline(always)]`.
    fn update<L: Lanes<T>>(&self, l: L, p: L::V, g: L::V, moments: [L::V; M]) -> (L::V, [L::V; M]);
}

/// Updates all elements.
fn update_all<T: Element, U: Update<T, M>, const M: usize>(
    update: &U, param: &mut [T], grad: &[T], moments: [&mut [T]; M], threads: usize,
) -> Result<()> {
    let isa = Isa::current()?;
    let mut moments = moments.map(|m| m.chunks_mut(CHUNK));
    let parts = param.chunks_mut(CHUNK).zip(grad.chunks(CHUNK)).map(|(param, grad)| {
        let moments = moments.each_mut().map(|m| m.next().unwrap_or_default());
        Part { update, param, grad, moments }
    });
    each(parts, threads, |_, part| {
        T::dispatch(isa, part);
        Ok(())
    })
}

/// The elements of one task.
struct Part<'a, T, U, const M: usize> {
    update: &'a U,
    param: &'a mut [T],
    grad: &'a [T],
    moments: [&'a mut [T]; M],
}

impl<T: Element, U: Update<T, M>, const M: usize> Kernel<T> for Part<'_, T, U, M> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes<T>>(self, l: L) {
        let Self { update, param, grad, moments } = self;
        let mut n = param.len().min(grad.len());
        for m in &moments {
            n = n.min(m.len());
        }
        let (p, g, m) = (param.as_mut_ptr(), grad.as_ptr(), moments.map(<[T]>::as_mut_ptr));
        for i in (0..n).step_by(L::N) {
            let rest = n - i;
            let mut old = [l.splat(T::default()); M];
            // SAFETY: i .. i + min(rest, N) lies inside all of the slices.
            unsafe {
                for j in 0..M {
                    old[j] = l.load_up_to(m[j].add(i), rest);
                }
                let values = (l.load_up_to(p.add(i), rest), l.load_up_to(g.add(i), rest));
                let (value, new) = update.update(l, values.0, values.1, old);
                l.store_up_to(p.add(i), value, rest);
                for j in 0..M {
                    l.store_up_to(m[j].add(i), new[j], rest);
                }
            }
        }
    }
}

/// Moments that decay would become subnormal, and a hundred times slower: below `tiny` they become
/// zero, on every instruction set alike.
#[inline(always)]
fn without_tiny<T: Element, L: Lanes<T>>(l: L, m: L::V, tiny: T) -> L::V {
    l.select_lt(l.abs(m), l.splat(tiny), l.splat(T::default()), m)
}

/// A slice as long as the parameter.
fn same_length(
    operation: &'static str, argument: &'static str, param: usize, got: usize,
) -> Result<()> {
    equal(operation, argument, "of param", &[param], &[got])
}

/// A hyperparameter `low <= value < high`, so never NaN.
fn within(operation: &'static str, argument: &'static str, value: f64, high: f64) -> Result<()> {
    if (0.0..high).contains(&value) {
        return Ok(());
    }
    let expected = format!("0 <= {argument} < {high}");
    Err(refuse(operation, argument, expected, value.to_string()))
}

/// A step's number.
pub(crate) fn counted(operation: &'static str, step: u64) -> Result<()> {
    match step {
        0 => Err(refuse(operation, "step", "an integer from 1 on", "0")),
        _ => Ok(()),
    }
}

/// A moment that is there, as long as the parameter, with a certain hyperparameter and only then.
fn given<T>(
    operation: &'static str, argument: &'static str, with: &str, wanted: bool,
    moment: Option<&[T]>, param: usize,
) -> Result<()> {
    match (wanted, moment) {
        (true, None) => Err(refuse(operation, argument, format!("an array with {with}"), "none")),
        (false, Some(_)) => {
            Err(refuse(operation, argument, format!("none without {with}"), "an array"))
        }
        (true, Some(moment)) => same_length(operation, argument, param, moment.len()),
        (false, None) => Ok(()),
    }
}
