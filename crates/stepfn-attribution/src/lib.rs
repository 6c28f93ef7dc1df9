//! Which input tokens a generative language model's predictions came from.
//!
//! A [`Text`] is token ids and the steps (predicted tokens) that matter. [`score`] gives the values of step functions at these steps;
//! [`attribute`] gives a score for each (input token, step) by an [`AttributionMethod`]. Most people use the crate `stepfn`, which starts from
//! strings.
//!
//! The path of a text through this crate: [`Question`] holds the text and its options, [`Passes`] runs the model on variants of it and
//! differentiates, a method in [`methods`] turns values and derivatives into scores, and [`ScoreTable`] collects them. Only `budget.rs` decides
//! what fits into memory.

pub mod aggregation;
mod answer;
mod attribute;
mod attributed_fn;
mod batching;
mod budget;
mod completeness;
pub mod contexts;
mod error;
mod features;
mod flow;
pub mod formats;
mod generation;
mod layer;
mod masked;
mod method;
pub mod methods;
mod noise;
mod number;
mod options;
mod output;
pub mod parts;
mod passes;
mod positions;
mod prepare;
mod provenance;
pub mod quadrature;
mod question;
pub mod reliance;
mod score_table;
mod scores;
mod scoring;
mod side;
mod span_target;
mod steps;
mod text;
mod tokens;
pub mod word_alignment;

pub use attribute::{Attributed, StepScores, attribute, over_readings};
pub use attributed_fn::{AttributedFn, Registries};
pub use completeness::Completeness;
pub use error::AttributionError;
pub use features::Features;
pub use generation::GenerationOptions;
pub use layer::{Layer, StackName};
pub use masked::{Masked, Masking};
pub use method::{AttributionMethod, Methods};
pub use noise::Noise;
pub use options::{AttributionOptions, Baseline, OnProgress, Progress};
pub use output::{Alternative, Attribution, Axis, FORMAT, MERGED, Scores};
pub use passes::{Passes, Perturbation, Perturbed, PullBack, Variants};
pub use positions::Positions;
pub use prepare::{Drafts, Generated, Prepared, Preparer, Request};
pub use provenance::Provenance;
pub use question::Question;
pub use score_table::{InputScores, ScoreTable, StepRows};
pub use scores::{Likely, MOST_ALTERNATIVES, ScoredTokens, SequenceScores, TextScores};
pub use scoring::{ScoringOptions, Windows, score};
pub use side::Side;
pub use span_target::SpanTarget;
pub use steps::Steps;
pub use text::{ContrastText, Text};

pub(crate) use stepfn_core::ParameterError;
