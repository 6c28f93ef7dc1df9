//! Step functions: what a language model predicted at one step, as one number.
//!
//! A language model writes token by token. A step function turns its prediction at one step into a number: how likely was this
//! token ([`probability`](functions::probability()), [`surprisal`](functions::surprisal())), how unsure was the model
//! ([`entropy`](functions::entropy()), [`mc_dropout_mutual_information`](functions::mc_dropout_mutual_information())), how much would
//! another context have changed it ([`kl_divergence`](functions::kl_divergence()), [`pcxmi`](functions::pcxmi())). All work on any
//! backend of [burn](https://burn.dev), for any number of steps at once, and differentiate with respect to the logits unless
//! they count something.
//!
//! Each comes in two forms: a plain function of tensors,
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
//! and a [`StepFunction`] with parameters, found by name in a [`Registry`] that takes one's own functions too. There the logits
//! come as a [`StepBatch`], which has checked them, and which computes the softmax once for all functions that are asked for:
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
//! Notation: at one step `z` are the logits, `p = softmax(z)`, `y` is the target; a prime marks the contrastive pass. Logarithms are
//! natural and their unit nats, unless a function says bits.

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
pub use catalog::{Catalog, CatalogError, Description, Named, ParameterError};
pub use error::{Pass, StepError};
pub use prediction::Prediction;
pub use registry::Registry;
pub use step_function::{Join, Need, Passes, StepFunction, StepScore};

/// The README's example, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
