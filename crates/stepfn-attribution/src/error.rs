//! What can go wrong.

use stepfn_core::{CatalogError, ParameterError, StepError};
use stepfn_models::ModelError;

/// Why a text could not be scored or attributed. Errors don't say which text; the caller knows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributionError {
    /// The model could not be run.
    #[error(transparent)]
    Model(ModelError),
    /// A step function could not be computed.
    #[error("{}{error}", step.map_or_else(String::new, |step| format!("step {step}: ")))]
    Step {
        /// The step, from 0 at the first that is scored, if it is one in particular. The error's own `row` is the same.
        step: Option<usize>,
        /// What went wrong there.
        error: StepError,
    },
    /// The question does not fit the text or the model.
    #[error("{0}")]
    Text(String),
    /// The method can't be applied to this model, with this step function or these options.
    #[error("{0}")]
    Unsuited(String),
    /// The function compares with a contrast, and whatever the input, both sides are the same.
    #[error("{0}")]
    SameContext(String),
    /// Scores that should be numbers are not.
    #[error("step {step}: the scores by `{method}` are not finite")]
    NotFinite {
        /// The step, from 0 at the first that is scored.
        step: usize,
        /// The method.
        method: String,
    },
    /// A step function whose value is not a number, so that there is nothing to attribute.
    #[error("step {step}: the value of `{function}` is not finite")]
    NoValue {
        /// The step, from 0 at the first that is scored.
        step: usize,
        /// The step function.
        function: String,
    },
    /// There is no method or step function of that name, or a parameter can't be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
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
    #[error("cancelled")]
    Cancelled,
}

impl From<ModelError> for AttributionError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Cancelled => Self::Cancelled,
            error => Self::Model(error),
        }
    }
}

impl From<StepError> for AttributionError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Catalog(error) => Self::Catalog(error),
            error => Self::Step { step: None, error },
        }
    }
}

impl From<ParameterError> for AttributionError {
    fn from(error: ParameterError) -> Self {
        Self::Catalog(error.into())
    }
}
