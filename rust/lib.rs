//! Recurrent neural networks on CPUs: RNN, LSTM and GRU, forward and exact gradients.
//!
//! The core knows no Python; the feature `python` adds the binding of the package `recurra`.
//!
//! # Vocabulary
//! `B` batch rows, `T` time steps, `I` input features, `H` hidden units, `G` gates (RNN 1, GRU 3,
//! LSTM 4), `P` projection. Arrays are batch first: `x (B, T, I)`, `y (B, T, H)`, states `(B, H)`.
//! Parameters have PyTorch's shapes and gate order: `w_ih (G*H, I)`, `w_hh (G*H, H)`, biases
//! `(G*H,)`; LSTM `i f g o`, GRU `r z n`. `f32` and `f64` run the same code.
//!
//! # Laws
//! 1. A row's outputs and its own gradients have the same bits whatever the batch size, its place
//!    in the batch, the padding behind it, how the sequence is cut, and the number of threads.
//! 2. Weight gradients have the same bits for every number of threads.
//! 3. All instruction sets give the same bits.
//!
//! They hold because a sum is never split: it starts from the bias, takes the terms of `x` and then
//! those of `h` in ascending order, each with one fused multiply-add, in one lane of one register.
//! Parallel are the sums, not their parts; and nothing is read from the machine but how wide its
//! registers are, which changes how many sums run side by side.
//!
//! # Example
//! ```
//! use ndarray::{Array1, Array2, Array3};
//! use recurra::{CellKind, Parameters, Sequence, StateGradients, Weights};
//!
//! let (b, t, i, h) = (2, 5, 3, 4);
//! let fill = |n: usize| (0..n).map(|k| (k % 7) as f64 / 7.0 - 0.4).collect::<Vec<_>>();
//! let w_ih = Array2::from_shape_vec((4 * h, i), fill(4 * h * i))?;
//! let w_hh = Array2::from_shape_vec((4 * h, h), fill(4 * h * h))?;
//! let bias = Array1::from_vec(fill(4 * h));
//! let x = Array3::from_shape_vec((b, t, i), fill(b * t * i))?;
//!
//! let parameters = Parameters {
//!     w_ih: w_ih.view(),
//!     w_hh: w_hh.view(),
//!     b_ih: Some(bias.view()),
//!     b_hh: None,
//!     w_hr: None,
//! };
//! let weights = Weights::pack(CellKind::Lstm, &parameters, true)?;
//! let out = weights.forward(&Sequence { save: true, ..Sequence::new(x.view()) })?;
//! assert_eq!(out.y.dim(), (b, t, h));
//!
//! // The gradient of the sum of all outputs.
//! let dy = Array3::from_elem((b, t, h), 1.0);
//! let upstream = StateGradients { dy: Some(dy.view()), ..StateGradients::default() };
//! let gradients = out.saved.expect("asked for").backward(&upstream, None)?;
//! assert_eq!(gradients.dw_hh.dim(), (4 * h, h));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//! | module | what |
//! |---|---|
//! | `simd` | the only place that knows instruction sets: the trait `Lanes`, one file each |
//! | `math` | exponential, sigmoid, tanh, with error bounds |
//! | `kernel`, `tile`, `panels` | the product, the register tile that it is made of, and packing |
//! | `gemm` | products and sums outside the time loop |
//! | `cells` | one file a cell: equations, forward next to backward |
//! | `sequence` | the time loop and backpropagation through time, written once |
//! | `linear`, `embedding`, `loss`, `optim` | what training needs beside the layers |
//! | `softmax`, `layer_norm`, `batch_norm` | rows normalized |
//! | `additive` | the scores of additive attention; products of the other one are in `linear` |
//! | `lane_sums`, `block_sums` | sums along rows and over them, in an order of their own |
//! | `ctc`, `crf`, `log_space` | losses over all labellings of a sequence, and decoding |
//! | `parallel`, `pool`, `elsewhere`, `chunks` | threads and tasks |
//! | `board`, `team` | rows dealt to threads and handed over, and one row on several threads |
//! | `buffer`, `view`, `dense` | memory, strided arrays |
//! | `indices` | indices checked on a private copy |
//! | `shape`, `error` | every check before any work, and what it says |

pub mod additive;
pub mod batch_norm;
mod block_sums;
mod board;
mod buffer;
mod cells;
mod chunks;
pub mod crf;
pub mod ctc;
mod dense;
mod elsewhere;
pub mod embedding;
mod error;
mod gemm;
mod indices;
#[doc(hidden)]
pub mod kernel;
#[cfg(test)]
mod kernel_tests;
mod lane_sums;
pub mod layer_norm;
pub mod linear;
mod log_space;
pub mod loss;
#[doc(hidden)]
pub mod math;
pub mod optim;
mod panels;
pub mod parallel;
mod pool;
mod sequence;
mod shape;
#[doc(hidden)]
pub mod simd;
pub mod softmax;
mod team;
#[cfg(test)]
mod testing;
mod tile;
mod view;
/// The arrays of every public function, in the version that they take.
pub use ndarray;

pub use error::{Error, Result};
pub use sequence::*;
pub use shape::Sizes;
pub use simd::{Element, Isa};
#[cfg(feature = "python")]
mod py;
