//! Errors between logits and scores, worded so that the caller can fix them.

use burn::tensor::DType;

use crate::catalog::{CatalogError, ParameterError};

/// Why steps could not be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// There is nothing to score.
    #[error("logits have shape [{rows}, {vocab}]; expected at least one row and two tokens")]
    Empty {
        /// Rows of the logits.
        rows: usize,
        /// Tokens in a row.
        vocab: usize,
    },
    /// No step function works with logits of this type.
    #[error("logits have type {0:?}; expected f16, bf16, f32 or f64")]
    ElementType(DType),
    /// Two sizes that should match differ.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// What was counted.
        what: &'static str,
        /// The expected number.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// A target id is not in the vocabulary.
    #[error(
        "target id {id} in row {row} is outside the vocabulary of {vocab} tokens; does the tokenizer belong to this model?"
    )]
    TargetOutOfRange {
        /// Row of the target.
        row: usize,
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocab: usize,
    },
    /// A row of logits contains NaN or infinity.
    #[error(
        "row {row} of the {pass} logits contains NaN or infinity: a broken checkpoint, or an overflow in half precision"
    )]
    NonFinite {
        /// Which forward pass they come from.
        pass: PassKind,
        /// Row of the logits.
        row: usize,
    },
    /// A pair of an alignment points outside one of the texts.
    #[error(
        "alignment pair {original}:{contrast} is out of range; expected 0..{rows} on the left (scored steps) and \
         0..{contrast_rows} on the right (contrast steps)"
    )]
    PairOutside {
        /// Left side of the pair.
        original: usize,
        /// Right side of the pair.
        contrast: usize,
        /// Steps that are scored.
        rows: usize,
        /// Steps of the contrast.
        contrast_rows: usize,
    },
    /// A step has two partners.
    #[error("alignment pairs step {original} twice; a step is compared with one step of the contrast")]
    PairTwice {
        /// Left side of both pairs.
        original: usize,
    },
    /// An automatic alignment of which no pairs were made.
    #[error("the automatic alignment needs the texts as strings, and here they are token ids; give pairs")]
    NotAligned,
    /// The function needs a contrast, but none was given.
    #[error("`{function}` needs a contrast; pass a contrast source or target")]
    MissingContrast {
        /// The function's name.
        function: String,
    },
    /// The function needs more passes with dropout than were given.
    #[error("`{function}` needs {needed} passes with dropout, found {found}")]
    MissingNoisy {
        /// The function's name.
        function: String,
        /// Passes that it needs.
        needed: usize,
        /// Passes that were given.
        found: usize,
    },
    /// All passes with dropout gave the same prediction.
    #[error(
        "the {n} noisy predictions of row {row} are equal, so `{function}` would divide by 0; is the dropout rate 0?"
    )]
    NoSpread {
        /// The function's name.
        function: String,
        /// Row of the prediction.
        row: usize,
        /// Passes that were compared.
        n: usize,
    },
    /// A function of its user's own failed, or returned something else than its scores.
    #[error("step function `{function}`: {message}")]
    Function {
        /// The function's name.
        function: String,
        /// What happened.
        message: String,
    },
    /// No function has that name, or a parameter can't be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<ParameterError> for StepError {
    fn from(error: ParameterError) -> Self {
        Self::Catalog(error.into())
    }
}

/// The forward pass that logits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassKind {
    /// The pass that is scored.
    Original,
    /// The contrastive pass.
    Contrast,
    /// A pass with dropout.
    Noisy {
        /// Its number.
        sample: usize,
    },
}

impl core::fmt::Display for PassKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PassKind::Original => f.write_str("original"),
            PassKind::Contrast => f.write_str("contrast"),
            PassKind::Noisy { sample } => write!(f, "noisy (sample {sample})"),
        }
    }
}
