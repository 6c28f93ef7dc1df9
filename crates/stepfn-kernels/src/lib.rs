//! Fused tensor operations for stepfn: each one written once for every burn backend, and once more for the CPU.
//!
//! Every public function takes and returns [`burn::tensor::Tensor`]s and works on any `B: Backend`. By default it composes burn's own
//! operations, differentiates through [`Autodiff`](https://docs.rs/burn-autodiff), and allocates intermediates the size of its input. With
//! the feature `flex`, and for tensors in contiguous `f32` memory of burn-flex, it takes a fused route to the same numbers instead. That
//! route makes one pass over each row while the row is in cache, allocates no intermediates, is vectorized for the machine it runs on
//! (AVX2, AVX-512, NEON, chosen at run time by [`pulp`]), and uses all cores through [`rayon`].
//!
//! The route is chosen by the concrete type behind `B` (`host.rs`), not by a trait bound. Code that is generic over `B: Backend` therefore
//! works with *every* backend, including ones that this crate does not know.
//!
//! | module | what it computes |
//! |---|---|
//! | [`softmax`] | statistics of a softmax that most step functions use: maximum, log-normalizer, entropy |
//! | [`divergence`] | Kullback–Leibler divergence between two softmaxes, over all tokens or only likely ones |
//! | [`mixture`] | entropy and mutual information of an ensemble of softmaxes |
//! | [`nucleus`] | size and threshold of the smallest set of most likely tokens |
//! | [`places`] | the next places of keys and values, written where there is room for them |
//! | [`row`] | log-probabilities and the most likely token of one row of logits in host memory |
//! | [`competitors`] | rank of a token, best other token |
//! | [`power_sum`] | log Σ pᵅ, for Rényi entropies |
//! | [`dropout`] | dropout masks from a counter-based generator |
//! | [`linear`] | `x W + b` without copying transposed weights |
//! | [`weight`] | the same with weights laid out for products, or as files have them, in half precision or in blocks |
//! | [`norm`] | LayerNorm and RMSNorm, and their gradients |
//! | [`activation`] | feed-forward nonlinearities, gated or not, and their gradients |
//! | [`rotary`] | rotary positions, forward and backward |
//! | [`attention`] | attention on packed projections, its probabilities, and its gradients |
//!
//! The last six make up a transformer, forward and backward. A backward pass carries several [`Cotangents`] per text at once; they share
//! the saved activations.

mod cores;
mod cotangents;
mod half;
mod host;
mod interrupt;
mod lanes;
mod panels;
#[cfg(feature = "flex")]
mod product;
mod threefry;
#[cfg(feature = "flex")]
mod watched;

pub mod activation;
pub mod attention;
pub mod competitors;
pub mod divergence;
pub mod dropout;
pub mod linear;
pub mod mixture;
pub mod norm;
pub mod nucleus;
pub mod places;
pub mod power_sum;
pub mod rotary;
pub mod row;
pub mod softmax;
pub mod weight;

pub use cotangents::Cotangents;
pub use half::{is_half, narrowed, widened};
pub use host::is_host;
pub use interrupt::{interruptible, is_interrupted};

#[cfg(test)]
mod testing;
