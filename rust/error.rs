//! One error type: which operation, which argument, what was expected, what was got.

use std::fmt;

/// Why a call was refused. A call that refuses an argument has changed nothing; one that found no
/// memory may have written a part of its results.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument does not fit: a wrong shape, length, index or option.
    Argument {
        /// The function, by the name that it has in Python.
        operation: &'static str,
        /// The name of the argument.
        argument: &'static str,
        /// What the operation needs.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// The operation needs more memory than there is.
    Memory {
        /// What the memory was for.
        purpose: &'static str,
        /// Bytes asked for; `None` when their count does not fit in a `usize`.
        bytes: Option<usize>,
    },
    /// An instruction set was asked for that this processor does not have.
    InstructionSet {
        /// Who asked: a function, or the environment variable.
        operation: &'static str,
        /// The name asked for.
        asked: String,
        /// The names that would work.
        present: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { operation, argument, expected, got } => {
                write!(f, "{operation}: {argument}: expected {expected}, got {got}")
            }
            Self::Memory { purpose, bytes: Some(bytes) } => {
                write!(f, "not enough memory for {purpose}: {bytes} bytes were asked for")
            }
            Self::Memory { purpose, bytes: None } => {
                write!(f, "not enough memory for {purpose}: its size does not fit in an address")
            }
            Self::InstructionSet { operation, asked, present } => {
                write!(f, "{operation}: expected one of {present}, got {asked:?}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
