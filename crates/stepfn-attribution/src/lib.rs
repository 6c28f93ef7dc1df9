//! Which input tokens a generative language model's predictions came from.
//!
//! A [`Text`] says what is asked: token ids, and the steps (predicted tokens) that matter. An [`Attribution`] is the answer: a score for
//! each (input token, step), and step scores beside them. [`score`] gives the values of step functions alone.

pub mod aggregation;
mod answer;
mod attribute;
mod attributed_fn;
mod batching;
mod engine;
mod error;
mod features;
mod flow;
pub mod formats;
mod grid;
pub mod methods;
mod options;
mod output;
mod prepare;
pub mod quadrature;
mod scores;
mod scoring;
mod text;

pub use attribute::{Attributed, StepScores, attribute};
pub use attributed_fn::{AttributedFn, Registries};
pub use error::AttributionError;
pub use features::Features;
pub use methods::{AboutMethod, Method, methods};
pub use options::{AttributionOptions, Baseline, Steps};
pub use output::{About, Attribution, Axis, FORMAT, MERGED, Scores};
pub use prepare::{Generated, GenerationOptions, Prepared, Preparer, Request};
pub use scores::{ScoredTokens, SequenceScores, TextScores};
pub use scoring::{Progress, ScoringOptions, score};
pub use text::{ContrastText, Text};
