//! Arguments of `stepfn context`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shared::{GenerationArgs, LinesArgs, ModelArgs, ViewArgs};
use super::values::{count, name, number, text, variable};
use super::{TargetUnitName, choices};
use stepfn::Json;

#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    /// Files that the answer may come from: each is a source, or is divided with --split; `-` is standard input
    #[arg(value_name = "FILE", conflicts_with = "input")]
    pub(crate) files: Vec<PathBuf>,
    /// A text that the answer may come from; may be given several times
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) source: Vec<String>,
    /// What is asked about the sources
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) question: Option<String>,
    /// The answer; default: the model writes one
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) answer: Option<String>,
    #[command(flatten)]
    pub(crate) lines: LinesArgs,
    /// What to divide each source into
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = SplitName::None)]
    pub(crate) split: SplitName,
    /// What a statement of the answer is: a column for each
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = TargetUnitName::Sentence)]
    pub(crate) statement: TargetUnitName,
    /// How sources are scored
    #[arg(long, value_enum, value_name = "NAME", default_value_t = ContextMethodName::ContextCite)]
    pub(crate) method: ContextMethodName,
    /// What becomes of a source that is left out
    #[arg(long, value_enum, value_name = "NAME", default_value_t = choices::OperatorName::Remove)]
    pub(crate) operator: choices::OperatorName,
    /// Random subsets of sources, for context_cite (default: 64) and kernel_shap (default: 256)
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) ablations: Option<usize>,
    /// The penalty of context_cite's linear model; default: 0.01
    #[arg(long, value_name = "NUMBER", value_parser = number, allow_negative_numbers = true)]
    pub(crate) alpha: Option<f64>,
    /// How many sources `hierarchical` looks into (default: 2): those of --split are left out one by one only in the sources that matter most
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) expand: Option<usize>,
    /// After `gradient`, leave out so many sources of the greatest scores one by one; others get no score
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) prefilter: Option<usize>,
    /// What the model is given, with {sources} and {question}
    #[arg(long, value_name = "TEXT", value_parser = text, allow_hyphen_values = true)]
    pub(crate) template: Option<String>,
    /// What is between two sources; default: an empty line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) separator: Option<String>,
    /// Leave out the model's chat template
    #[arg(long, conflicts_with_all = ["chat_template", "chat_set"])]
    pub(crate) plain: bool,
    /// Which chat template to use, where the model has several; default: the one named `default`
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) chat_template: Option<String>,
    /// Set a variable that the chat template reads, such as enable_thinking=false
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) chat_set: Vec<(String, Json)>,
    /// Measure the scores on so many random subsets: how well they predict the answer's log-odds (lds), and how much it loses without the best sources
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) check: Option<usize>,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitName {
    /// Nothing: each is one
    None,
    /// Paragraphs, which empty lines separate
    Paragraphs,
    /// Lines
    Lines,
    /// Sentences
    Sentences,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum ContextMethodName {
    /// A sparse linear model over random subsets of sources (ContextCite)
    ContextCite,
    /// What the answer loses without each source
    LeaveOneOut,
    /// The same for whole sources first, then inside those that matter most (AttriBoT)
    Hierarchical,
    /// Input × gradient, summed over each source: one backward pass
    Gradient,
    /// Shapley values over subsets of sources
    KernelShap,
}
