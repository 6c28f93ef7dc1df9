//! Whether attributions are faithful: metrics of scores, beside random orders and orders by position. Whether they are plausible, by what people marked, is
//! measured apart.
//!
//! A metric is a function of the scores of features and of a game, [`Values`]: the value `f` of a step (or a span of steps) without some features. It
//! knows nothing of models, so that it can be tested on games whose answer is known. [`evaluate`] plays the games on a text and a model: all orders are
//! asked first which sets of tokens they hide, and every set is computed once. [`Evaluation`] is the mean over texts, with intervals.

mod curves;
mod evaluation;
mod interval;
mod linear;
mod metric;
mod order;
mod plausibility;
mod runner;
mod soft;

use stepfn_attribution::AttributionError;

pub use curves::{Curves, SHARES, TOP, hidden_count};
pub use evaluation::{Evaluation, Row};
pub use interval::{Interval, intervals};
pub use linear::{infidelity, linear_score, max_sensitivity, random_sets};
pub use metric::{Measured, Metric, Settings, measure};
pub use order::{Ranking, ordered};
pub use plausibility::Plausibility;
pub use runner::{Candidate, FIRST, Given, LAST, RANDOM, Task, TextRow, evaluate, evaluate_text};
pub use soft::{SoftSettings, inclusion, soft};

/// The values of a step, or of a span of steps, without some features: one for each set, in which `true` is a feature that is hidden.
pub type Values<'v> = dyn FnMut(&[Vec<bool>]) -> Result<Vec<f64>, AttributionError> + 'v;

#[cfg(test)]
mod games;
#[cfg(test)]
mod laws;
