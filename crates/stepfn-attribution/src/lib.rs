//! Which input tokens a generative language model's predictions came from.
//!
//! A [`Text`] says what is asked: token ids, and the steps (predicted tokens) that matter. An [`Attribution`] is the answer: a score for
//! each (input token, step), and step scores beside them. [`score`] gives the values of step functions alone.

pub mod aggregation;
mod batching;
mod error;
pub mod formats;
mod output;
mod prepare;
mod scores;
mod scoring;
mod text;

pub use error::AttributionError;
pub use output::{About, Attribution, Axis, FORMAT, MERGED, Scores};
pub use prepare::{Generated, GenerationOptions, Prepared, Preparer, Request};
pub use scores::{ScoredTokens, SequenceScores, TextScores};
pub use scoring::{Progress, ScoringOptions, score};
pub use text::{ContrastText, Text};
