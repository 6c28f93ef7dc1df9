//! Arguments of `stepfn compare`.

use clap::{Args, ValueEnum};
use stepfn::{Criterion, Formula};

use super::score::ReadingArgs;
use super::values::name;
use super::{BatchArgs, LinesArgs, ModelArgs, OutputArgs, ParameterArgs};

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The expected text, and one or more that it is compared with
    #[arg(conflicts_with = "input")]
    pub(crate) text: Vec<String>,
    /// What all texts follow: a prompt, or what an encoder reads; in lines the field `source`
    #[arg(long, value_name = "TEXT", conflicts_with = "input", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    /// Fields of --input with the texts, the expected one first; default: good,bad or sentence_good,sentence_bad
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = name, requires = "input", conflicts_with = "text")]
    pub(crate) columns: Vec<String>,
    /// The log-probability that decides
    #[arg(long, value_enum, value_name = "HOW", default_value_t = CriterionName::Sum, conflicts_with_all = ["region", "formula"])]
    pub(crate) criterion: CriterionName,
    /// Compare the log-probability of this region only, by its name or its number from 1
    #[arg(long, value_name = "REGION", value_parser = name, conflicts_with_all = ["formula", "text"], requires = "input")]
    pub(crate) region: Option<String>,
    /// Count as expected where this holds: a condition on surprisals in bits, such as '(bad[verb] > good[verb]) & (bad > good)'
    #[arg(long, value_name = "FORMULA", requires = "input", conflicts_with = "text")]
    pub(crate) formula: Option<String>,
    /// A field of --input that says which group a comparison belongs to
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input", conflicts_with = "text")]
    pub(crate) group_by: Option<String>,
    /// Write only how often the expected text is preferred, by group and in all, with intervals
    #[arg(long)]
    pub(crate) summary: bool,
    /// Step functions whose values each text has in addition, separated by commas (see `stepfn list step-functions`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name)]
    pub(crate) step_fn: Vec<String>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArgs,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) lines: LinesArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CriterionName {
    /// Of the whole text
    Sum,
    /// Of the whole text, by the number of its tokens
    Token,
    /// Of the whole text, by the number of its words
    Word,
}

impl CompareArgs {
    /// What decides.
    ///
    /// # Errors
    /// If the formula can't be read.
    pub(crate) fn criterion(&self) -> stepfn::Result<Criterion> {
        Ok(match (&self.region, &self.formula) {
            (Some(region), _) => Criterion::Region(region.clone()),
            (None, Some(formula)) => Criterion::Formula(formula.parse::<Formula>()?),
            (None, None) => match self.criterion {
                CriterionName::Sum => Criterion::Sum,
                CriterionName::Token => Criterion::Token,
                CriterionName::Word => Criterion::Word,
            },
        })
    }
}
