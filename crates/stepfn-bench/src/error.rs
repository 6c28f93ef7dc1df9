//! Why there is no measurement, or no report.

use stepfn_attribution::AttributionError;
use stepfn_models::ModelError;

/// Why there is no measurement, or no report.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The work failed.
    #[error(transparent)]
    Work(#[from] AttributionError),
    /// The device did not finish what it was given.
    #[error("the device failed: {0}")]
    Device(String),
    /// A text is no report at all.
    #[error("expected a report of `stepfn bench`, found something else: {0}")]
    NoReport(String),
    /// A report of another version of the format.
    #[error("expected a report of version {expected}, found version {found}: it is another stepfn's")]
    Version {
        /// The version that can be read.
        expected: u32,
        /// That of the report.
        found: u64,
    },
}

impl From<ModelError> for BenchError {
    fn from(error: ModelError) -> Self {
        Self::Work(error.into())
    }
}
