//! Losses: value and gradient together.
//!
//! Letters: `N` rows, `V` classes.

mod cross_entropy;
mod rows;
mod squared_error;
#[cfg(test)]
mod tests;

pub use cross_entropy::CrossEntropy;
pub use squared_error::SquaredError;

/// How the losses of all rows become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Not at all: each row has its own.
    None,
    /// Their sum, divided by the sum of their weights.
    Mean,
    /// Their sum.
    Sum,
}
