//! The operations that decide stepfn's speed, each written once for every burn backend and once more for the CPU.
//!
//! Every public function takes and returns [`burn::tensor::Tensor`]s and works on any `B: Backend`: it composes burn's
//! own operations, differentiates through [`Autodiff`](https://docs.rs/burn-autodiff), and materializes intermediates of
//! the size of its input. With the feature `flex`, a call whose tensors live in contiguous `f32` memory of burn-flex takes
//! another route to the same numbers: one pass over each row while it is in cache, nothing materialized, vectorized for the
//! machine that it runs on (AVX2, AVX-512, NEON, chosen at run time by [`pulp`]) and spread over the cores by [`rayon`].
//!
//! The route is chosen by looking at the concrete type behind `B` (`host.rs`), not by a trait bound, so that code
//! generic over `B: Backend` stays generic over *every* backend, including those that this crate has never heard of.
//!
//! | module | what it computes |
//! |---|---|
//! | [`softmax`] | the statistics of a softmax from which most step functions follow: maximum, log-normalizer, entropy |
//! | [`divergence`] | Kullback–Leibler divergence between two softmaxes, over all tokens or the likely ones |
//! | [`mixture`] | entropy and mutual information of an ensemble of softmaxes |
//! | [`nucleus`] | size and threshold of the smallest set of likely tokens |
//! | [`competitors`] | rank of a token, best other token |
//! | [`power_sum`] | log Σ pᵅ, from which Rényi entropies follow |
//! | [`dropout`] | dropout masks from a counter-based generator |
//! | [`linear`] | `x W + b` without a copy of transposed weights |
//! | [`norm`] | LayerNorm and RMSNorm, and their gradients |
//! | [`activation`] | the nonlinearities of feed-forwards, gated or not, and their gradients |
//! | [`rotary`] | rotary positions, there and back |
//! | [`attention`] | attention straight from packed projections, its probabilities, and its gradients |
//!
//! The last five are what a transformer is made of, forward and backward. A backward pass carries several [`Cotangents`] per text at
//! once, which share the saved activations.

mod cotangents;
mod host;
mod lanes;
#[cfg(feature = "flex")]
mod product;
mod threefry;

pub mod activation;
pub mod attention;
pub mod competitors;
pub mod divergence;
pub mod dropout;
pub mod linear;
pub mod mixture;
pub mod norm;
pub mod nucleus;
pub mod power_sum;
pub mod rotary;
pub mod softmax;

pub use cotangents::Cotangents;
pub use host::is_host;

#[cfg(test)]
mod testing;
