//! Arguments of which each is one of a few words.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser};
use stepfn::backend::{DType, KNOWN};
use stepfn::writers::{ANSWERS, RECORDS};

/// Names of backends; those that the program was not built with get an answer of their own.
pub(super) fn backends() -> PossibleValuesParser {
    PossibleValuesParser::new(KNOWN)
}

/// Forms of all kinds of results.
pub(super) fn record_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(RECORDS.map(value))
}

/// Forms of attributions.
pub(super) fn answer_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(ANSWERS.map(value))
}

fn value((name, summary): (&'static str, &'static str)) -> PossibleValue {
    PossibleValue::new(name).help(summary)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
}

impl ElementType {
    /// The type of numbers in a tensor.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}
