//! Arguments with a fixed set of values.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser};
use stepfn::backend::{DType, KNOWN};
use stepfn::writers::{ANSWERS, EVALUATIONS, RECORDS, RELIANCES};
use stepfn::{Masking, Metric, Operator};
use stepfn_corpus::Format;

/// Names of all backends. Those that the program was not built with are accepted here and get an error of their own later.
pub(super) fn backends() -> PossibleValuesParser {
    PossibleValuesParser::new(KNOWN)
}

/// Formats of all kinds of results.
pub(super) fn record_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(RECORDS.map(value))
}

/// Formats of attributions.
pub(super) fn answer_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(ANSWERS.map(value))
}

/// Formats of what depends on context.
pub(super) fn reliance_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(RELIANCES.map(value))
}

/// Formats of evaluations.
pub(super) fn evaluation_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(EVALUATIONS.map(value))
}

/// Metrics of faithfulness.
pub(super) fn metrics() -> PossibleValuesParser {
    PossibleValuesParser::new(Metric::ALL.map(|metric| value((metric.name(), metric.summary()))))
}

/// Formats of scores.
pub(super) fn score_formats() -> PossibleValuesParser {
    let tsv = ("tsv", "tab-separated values, with a column `error`");
    let rows = ("parquet", "a row per text, in columns with types; see also --group-rows");
    PossibleValuesParser::new(RECORDS.into_iter().chain([tsv, rows]).map(value))
}

/// Formats of files with texts.
pub(super) fn input_formats() -> PossibleValuesParser {
    PossibleValuesParser::new(Format::ALL.map(Format::name))
}

fn value((name, summary): (&'static str, &'static str)) -> PossibleValue {
    PossibleValue::new(name).help(summary)
}

/// What becomes of what is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OperatorName {
    /// Its tokens are removed, and what follows moves up
    Remove,
    /// Its tokens stay, and no token attends to them
    Mask,
    /// Its tokens are replaced by the baseline's
    Baseline,
}

impl OperatorName {
    pub(crate) fn operator(self) -> Operator {
        match self {
            Self::Remove => Operator::Remove,
            Self::Mask => Operator::Mask,
            Self::Baseline => Operator::Baseline,
        }
    }
}

/// What is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MaskingName {
    /// The token alone
    Token,
    /// The token, and what follows it in its word
    Word,
}

impl MaskingName {
    pub(crate) fn masking(self) -> Masking {
        match self {
            Self::Token => Masking::Token,
            Self::Word => Masking::Word,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    /// Weights of 8 bits, everything else in f32: for scores and texts, faster and less exact
    Int8,
}

impl ElementType {
    /// The element type of a tensor.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::Int8 => DType::I8,
        }
    }
}
