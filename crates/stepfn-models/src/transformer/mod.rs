//! The one transformer: every part once, driven by [`TransformerConfig`](crate::config::TransformerConfig).
//!
//! Hidden states are `[texts · places, hidden]`, two dimensions, so that every linear layer is one large product; only attention looks at texts
//! and heads.
//!
//! # Reading order
//!
//! Forward: `tokens` (texts as a batch) → `positions` → `tables` and `view` (who sees whom, made once per pass) → `stack` → `block` →
//! `branch` → `attention`, `feed_forward` → `norm`, `linear`, `activation` → `head`. Dropout is an argument: `dropout`.
//!
//! Back: `rule` (how cotangents are pulled back) → `front` and `places` (where they are) → `part` (what every part promises, held to it by
//! `laws`) → `stack/tape` → `stack/backward`.
//!
//! Besides: `inside` shows a block's attention on the way forward; `twins` are places of several texts that are computed once.
//!
//! # From the head to the embeddings
//!
//! ```text
//!  forward, with a tape                  back, all cotangents together
//!
//!  logits       [rows, vocab]            d f / d logits, one row per step
//!    ▲ head                                │ Head::backward
//!  last hidden  [texts · places, h]      Front::Rows   [texts · rows, h]: only where cotangents start
//!    ▲ final norm                          │ final norm, the last block's feed-forward and cross-attention
//!  last block                              ▼ self-attention of the last block: every place that was read
//!    ▲                                   Front::All    [texts · cotangents · places, h]
//!  other blocks                            │ Block::backward, last block first
//!    ▲ positions, embedding norm           ▼
//!  embeddings   [texts · places, e]      gradients     [texts · cotangents · places, e]
//! ```
//!
//! Cross-attention also sends gradients to the encoder's output. They are summed over the decoder's layers, and go back through the encoder in
//! the same way, at all places from the start.

mod activation;
mod attention;
mod block;
mod branch;
mod dropout;
mod experts;
mod fed;
mod feed_forward;
mod front;
mod head;
mod in_range;
mod inside;
#[cfg(test)]
mod laws;
mod linear;
mod norm;
mod part;
mod places;
mod positions;
mod rule;
mod soft_cap;
mod stack;
mod tables;
mod tokens;
mod twins;
mod view;

pub use attention::WeightGradients;
pub use dropout::{Dropout, NoisyPass};
pub use front::Starts;
pub use inside::{AttentionKind, Inside, Removal};
pub use rule::Rule;
pub use stack::{Cache, Entry, Keep, Pass, Stack, StackOutput, Trace};
pub use tokens::{PaddingSide, TokenBatch};

pub(crate) use front::Gradients;
pub(crate) use head::Head;
pub(crate) use in_range::InRange;
pub(crate) use linear::Linear;
pub(crate) use part::{Forward, Part};
pub(crate) use rule::Saved;
pub(crate) use stack::StackTape;
