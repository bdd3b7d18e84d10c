//! wip
#![allow(missing_docs)]
mod buffer;
mod cells;
mod error;
mod gemm;
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod math;
mod panels;
pub mod parallel;
mod sequence;
mod shape;
#[doc(hidden)]
pub mod simd;
mod view;
pub use error::{Error, Result};
pub use sequence::*;
pub use shape::Sizes;
pub use simd::{Element, Isa};
#[cfg(feature = "python")]
mod py;
