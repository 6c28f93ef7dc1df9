//! Which input tokens a generative language model's predictions came from.
//!
//! A [`Text`] says what is asked: token ids, and the steps (predicted tokens) that matter. An [`Attribution`] is the answer: a score for
//! each (input token, step), and step scores beside them.

pub mod aggregation;
mod error;
pub mod formats;
mod output;
mod text;

pub use error::AttributionError;
pub use output::{About, Attribution, Axis, FORMAT, MERGED, Scores};
pub use text::{ContrastText, Text};
