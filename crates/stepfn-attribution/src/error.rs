//! What can go wrong, said so that it can be mended.

use stepfn_core::StepError;
use stepfn_models::ModelError;

/// Why a text could not be scored or attributed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributionError {
    /// The model could not be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A step function could not be computed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A step function could not be computed for one text.
    #[error("text {text}{}: {error}", step.map_or_else(String::new, |step| format!(", step {step}")))]
    StepOfText {
        /// The text's number, from 0.
        text: usize,
        /// The step, from 0 at the first that is scored, where it is one in particular. The error's own `row` is the same.
        step: Option<usize>,
        /// What went wrong there.
        error: StepError,
    },
    /// What is asked of a text does not fit it.
    #[error("text {text}: expected {expected}, found {found}")]
    Text {
        /// The text's number, from 0.
        text: usize,
        /// What would fit.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A parameter has a value that can't be used.
    #[error("`{parameter}` of {of}: expected {expected}, found {found}")]
    Parameter {
        /// The method or option.
        of: String,
        /// The parameter.
        parameter: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A file holds no attribution that can be read.
    #[error("{what}: expected {expected}, found {found}")]
    Format {
        /// The part of the file.
        what: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The progress callback asked to stop.
    #[error("stopped before it was done, as asked")]
    Cancelled,
    /// There is no method of that name.
    #[error(
        "there is no method `{found}`{}; there are: {}",
        nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)")),
        supported.join(", ")
    )]
    UnknownMethod {
        /// What was asked for.
        found: String,
        /// The name most like it.
        nearest: Option<&'static str>,
        /// All methods.
        supported: Vec<&'static str>,
    },
}
