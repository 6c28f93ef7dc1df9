//! Errors of measurements and reports.

use stepfn_attribution::AttributionError;
use stepfn_models::ModelError;

/// Why a measurement or a report failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The work failed.
    #[error(transparent)]
    Work(#[from] AttributionError),
    /// The device did not finish its work.
    #[error("the device failed: {0}")]
    Device(String),
    /// A text is not a report.
    #[error("expected a report of `stepfn bench`: {0}")]
    NoReport(String),
    /// A report in another version of the format.
    #[error(
        "expected a report in format version {expected}, found version {found}, which another version of stepfn wrote"
    )]
    Version {
        /// The version that this build reads.
        expected: u32,
        /// The report's version.
        found: u64,
    },
}

impl From<ModelError> for BenchError {
    fn from(error: ModelError) -> Self {
        Self::Work(error.into())
    }
}
