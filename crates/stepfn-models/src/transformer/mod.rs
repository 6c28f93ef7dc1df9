//! The one transformer: every part once, driven by [`TransformerConfig`](crate::config::TransformerConfig).
//!
//! Hidden states travel as `[texts · positions, hidden]`, two dimensions, so that every linear layer is one large product; attention
//! alone looks at texts and heads.

mod attention;
mod block;
mod dropout;
mod feed_forward;
mod inside;
mod linear;
mod norm;
mod positions;
mod rows;
mod rules;
mod stack;
mod tables;
mod tape;
mod tokens;

pub use attention::WeightGradients;
pub use dropout::{Dropout, NoisyPass};
pub use inside::{AttentionKind, Inside, Removal};
pub use rules::Rule;
pub use stack::{Cache, Pass, Stack, StackOutput, Trace};
pub use tape::{Entry, Keep, Origin, StackTape};
pub use tokens::{PaddingSide, TokenBatch};

pub(crate) use linear::Linear;
pub(crate) use rows::Places;
pub(crate) use rules::slope;
