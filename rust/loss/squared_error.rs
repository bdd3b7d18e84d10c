//! The squared difference.

use crate::error::Result;
use crate::shape::equal;
use crate::simd::Element;

const OPERATION: &str = "squared_error";

/// The squares of the differences of `N` numbers from their targets.
///
/// ```
/// use recurra::loss::SquaredError;
///
/// let (mut differences, mut gradient) = ([0.0; 3], [0.0; 3]);
/// let loss = SquaredError { weights: Some(&[1.0, 0.5, 0.0]) };
/// let sum = loss.run(&[1.0, 2.0, 3.0], &[0.0, 4.0, f64::NAN], &mut differences, None)?;
/// assert_eq!(sum, 3.0);
/// loss.backward(&differences, &[1.0], 2.0, &mut gradient)?;
/// assert_eq!(gradient, [1.0, -1.0, 0.0]);
/// # Ok::<(), recurra::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SquaredError<'a, T> {
    /// The weight of each number `(N,)`; all 1 without. What has weight 0 is not looked at.
    pub weights: Option<&'a [T]>,
}

impl<T: Element> SquaredError<'_, T> {
    /// Returns the sum of the losses, ascending and in float64; writes the differences, which
    /// `backward` takes, and, where asked for, each loss.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ.
    pub fn run(
        &self, prediction: &[T], target: &[T], differences: &mut [T], mut losses: Option<&mut [T]>,
    ) -> Result<f64> {
        let n = prediction.len();
        self.check(n, "target", target.len())?;
        self.check(n, "differences", differences.len())?;
        self.check(n, "losses", losses.as_ref().map_or(n, |losses| losses.len()))?;
        let pairs = prediction.iter().zip(target);
        differences.iter_mut().zip(pairs).for_each(|(e, (&p, &t))| *e = p - t);
        let mut sum = 0.0;
        for (i, &e) in differences.iter().enumerate() {
            let loss = self.weights.map_or(e * e, |weights| weighed(weights[i], e * e));
            losses.iter_mut().for_each(|losses| losses[i] = loss);
            sum += loss.to_f64();
        }
        Ok(sum)
    }

    /// Writes the gradient with respect to the prediction, for the gradients `dlosses` of the
    /// losses divided by `divisor`: one for each, or one for their sum.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for lengths that differ.
    pub fn backward(
        &self, differences: &[T], dlosses: &[T], divisor: f64, gradient: &mut [T],
    ) -> Result<()> {
        let n = differences.len();
        self.check(n, "gradient", gradient.len())?;
        let divisor = T::from_f64(divisor);
        let one = if let [g] = dlosses { Some(*g / divisor) } else { None };
        self.check(n, "dlosses", one.map_or(dlosses.len(), |_| n))?;
        for (i, (to, &e)) in gradient.iter_mut().zip(differences).enumerate() {
            let share = one.unwrap_or_else(|| dlosses[i] / divisor);
            *to = self.weights.map_or(share * (e + e), |w| weighed(share * w[i], e + e));
        }
        Ok(())
    }

    fn check(&self, n: usize, argument: &'static str, got: usize) -> Result<()> {
        equal(OPERATION, argument, "(N,)", &[n], &[got])?;
        let weights = self.weights.map_or(n, <[T]>::len);
        equal(OPERATION, "weights", "(N,)", &[n], &[weights])
    }
}

/// 0 where the weight is 0, whatever the value is.
fn weighed<T: Element>(weight: T, value: T) -> T {
    if weight == T::default() { T::default() } else { weight * value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    const N: usize = 700;

    /// The sum, the losses and the gradient of plain loops.
    fn naive<T: Element>(p: &[T], t: &[T], w: &[T], g: &[T], divisor: T) -> (f64, Vec<T>, Vec<T>) {
        let (mut sum, mut losses, mut gradient) = (0.0, vec![], vec![]);
        for i in 0..p.len() {
            let e = p[i] - t[i];
            losses.push(w[i] * (e * e));
            gradient.push(g[i % g.len()] / divisor * w[i] * (e + e));
            sum += losses[i].to_f64();
        }
        (sum, losses, gradient)
    }

    fn agree<T: Element>(one: T, divisor: T) {
        let drawn = |seed| numbers::<T>(1, N, seed).into_raw_vec_and_offset().0;
        let (p, t, dlosses) = (drawn(1), drawn(2), drawn(3));
        let weights: Vec<T> = drawn(4).into_iter().map(|w| w * w).collect();
        for (given, w) in [(None, vec![one; N]), (Some(&*weights), weights.clone())] {
            for g in [&dlosses[..], &dlosses[..1]] {
                let (mut e, mut each, mut gradient) = (p.clone(), p.clone(), p.clone());
                let loss = SquaredError { weights: given };
                let sum = loss.run(&p, &t, &mut e, Some(&mut each)).unwrap();
                loss.backward(&e, g, divisor.to_f64(), &mut gradient).unwrap();
                let found = (sum, each, gradient);
                assert_eq!(found, naive(&p, &t, &w, g, divisor));
                assert_eq!(loss.run(&p, &t, &mut e, None).unwrap(), sum);
            }
        }
    }

    #[test]
    fn it_has_the_bits_of_plain_loops() {
        agree::<f32>(1.0, 7.0);
        agree::<f64>(1.0, 7.0);
    }

    #[test]
    fn what_weighs_nothing_is_not_looked_at() {
        let (mut e, mut gradient) = ([0.0; 2], [7.0; 2]);
        let loss = SquaredError { weights: Some(&[0.0, 2.0]) };
        assert_eq!(loss.run(&[f64::NAN, 3.0], &[0.0, 1.0], &mut e, None).unwrap(), 8.0);
        loss.backward(&e, &[1.0], 2.0, &mut gradient).unwrap();
        assert_eq!(gradient, [0.0, 4.0]);
    }

    #[test]
    fn other_lengths_are_refused() {
        let loss = SquaredError::<f32>::default();
        let error = loss.run(&[1.0, 2.0], &[1.0], &mut [0.0; 2], None).unwrap_err();
        let text = "squared_error: target: expected shape (N,) = (2,), got (1,)";
        assert_eq!(error.to_string(), text);
        let error = loss.backward(&[1.0; 3], &[1.0; 2], 1.0, &mut [0.0; 3]).unwrap_err();
        let text = "squared_error: dlosses: expected shape (N,) = (3,), got (2,)";
        assert_eq!(error.to_string(), text);
        let loss = SquaredError { weights: Some(&[1.0][..]) };
        let error = loss.run(&[1.0, 2.0], &[1.0; 2], &mut [0.0; 2], None).unwrap_err();
        let text = "squared_error: weights: expected shape (N,) = (2,), got (1,)";
        assert_eq!(error.to_string(), text);
    }
}
