//! Step functions: one number for what a language model predicted at one step.
//!
//! A language model writes token by token. A step function turns its prediction at one step into a number: how likely was this token
//! ([`probability`](functions::probability()), [`surprisal`](functions::surprisal())), how uncertain was the model
//! ([`entropy`](functions::entropy()), [`mc_dropout_mutual_information`](functions::mc_dropout_mutual_information())), how much would
//! another context have changed it ([`kl_divergence`](functions::kl_divergence()), [`pcxmi`](functions::pcxmi())). All of them work on any
//! backend of [burn](https://burn.dev) and on any number of steps at once. All are differentiable with respect to the logits, except those
//! that count tokens.
//!
//! Each comes in two forms. One is a plain function of tensors:
//!
//! ```
//! use burn::tensor::{Int, Tensor};
//! use stepfn_core::functions::{entropy, probability};
//! use stepfn_cpu::Backend;
//!
//! let device = stepfn_cpu::device("0")?;
//! let logits = Tensor::<Backend, 2>::from_data([[0.0, 3f32.ln()], [1.0, 1.0]], &device);
//! let target_ids = Tensor::<Backend, 1, Int>::from_data([1, 0], &device);
//! assert_eq!(probability(logits.clone(), target_ids).into_data().to_vec::<f32>().unwrap(), [0.75, 0.5]);
//! assert!((entropy(logits).into_data().to_vec::<f32>().unwrap()[1] - 2f32.ln()).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The other is a [`StepFunction`] with parameters, found by name in a [`Registry`] to which you can add your own. It takes a
//! [`StepBatch`], which checks the logits and computes their softmax once for all functions:
//!
//! ```
//! use burn::tensor::Tensor;
//! use stepfn_core::{Registry, StepBatch};
//! use stepfn_cpu::Backend;
//!
//! let device = stepfn_cpu::device("0")?;
//! let steps = StepBatch::new(Tensor::<Backend, 2>::from_data([[0.0, 0.0, 0.0, 0.0]], &device), &[2])?;
//! let registry = Registry::default();
//! for (name, value) in [("probability", 0.25), ("perplexity", 4.0), ("surprisal", 2.0)] {
//!     let score = registry.make(name, &Default::default())?.score(&steps)?;
//!     assert!((score.into_scalar() - value).abs() < 1e-5);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Notation: at one step, `z` are the logits, `p = softmax(z)`, and `y` is the target; a prime marks the contrastive pass. Logarithms are
//! natural and units are nats, unless a function says bits.

pub mod catalog;
pub mod device;
pub mod functions;

mod alignment;
mod batch;
mod error;
mod prediction;
mod registry;
mod step_function;

pub use alignment::Alignment;
pub use batch::{Contrast, ContrastView, NoisyPredictions, StepBatch};
pub use catalog::{Catalog, CatalogError, Count, Description, Named, ParameterError};
pub use error::{PassKind, StepError};
pub use prediction::Prediction;
pub use registry::Registry;
pub use step_function::{Join, Need, Needs, StepFunction, StepScore};

/// Compiles the example of this crate's README as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
