//! What can go wrong between logits and scores, said so that it can be mended.

use burn::tensor::DType;

use crate::catalog::{CatalogError, ParameterError};

/// Why steps could not be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// There is nothing to score.
    #[error("the logits have shape [{rows}, {vocab}]: expected at least one row and two tokens")]
    Empty {
        /// Rows of the logits.
        rows: usize,
        /// Tokens in a row.
        vocab: usize,
    },
    /// The logits are of a type that no step function computes in.
    #[error("the logits are of type {0:?}: expected f16, bf16, f32 or f64")]
    ElementType(DType),
    /// Two things that belong together differ in size.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// What was counted.
        what: &'static str,
        /// The number that the logits call for.
        expected: usize,
        /// The number that was given.
        found: usize,
    },
    /// A target is not a token of the vocabulary.
    #[error(
        "target id {id} of row {row} is outside the vocabulary of {vocab} tokens: do model and tokenizer belong together?"
    )]
    TargetOutOfRange {
        /// Row of the target.
        row: usize,
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocab: usize,
    },
    /// A row of logits is not a prediction.
    #[error(
        "the {pass} logits of row {row} hold NaN or infinity: a broken checkpoint, or an overflow in half precision (try f32)"
    )]
    NonFinite {
        /// Which forward pass they come from.
        pass: Pass,
        /// Row of the logits.
        row: usize,
    },
    /// A pair of an alignment points outside one of the texts.
    #[error(
        "pair {original}:{contrast} of the alignment is outside the texts: expected 0..{rows} on the left (scored steps) and \
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
    /// The function compares with a contrastive pass, and there is none.
    #[error("`{function}` compares with a contrast, and none was given: give a contrast source or target")]
    MissingContrast {
        /// The function's name.
        function: String,
    },
    /// The function needs more passes with dropout than there are.
    #[error("`{function}` needs {needed} passes with dropout, found {found}")]
    MissingNoisy {
        /// The function's name.
        function: String,
        /// Passes that it needs.
        needed: usize,
        /// Passes that there are.
        found: usize,
    },
    /// All passes with dropout said exactly the same.
    #[error(
        "the {n} noisy predictions of row {row} are equal, so that `{function}` would divide by 0: is the dropout rate 0?"
    )]
    NoSpread {
        /// The function's name.
        function: String,
        /// Row of the prediction.
        row: usize,
        /// Passes that were compared.
        n: usize,
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

/// Which forward pass logits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pass {
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

impl core::fmt::Display for Pass {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Pass::Original => f.write_str("original"),
            Pass::Contrast => f.write_str("contrast"),
            Pass::Noisy { sample } => write!(f, "noisy (sample {sample})"),
        }
    }
}
