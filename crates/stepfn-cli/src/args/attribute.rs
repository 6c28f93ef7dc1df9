//! Options of `stepfn attribute`.

use clap::{Args, ValueEnum};
use stepfn::TargetUnit;

use super::values::{name, text, top, whole};
use super::{ContrastArgs, GenerationArgs, ModelArgs, ParameterArgs, ShardArgs, TextArgs, ViewArgs};

#[derive(Debug, Args)]
pub(crate) struct AttributeArgs {
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// Attribution method (see `stepfn list methods`)
    #[arg(long, value_name = "NAME", value_parser = name, default_value = "saliency")]
    pub(crate) method: String,
    /// The step function to attribute (see `stepfn list step-functions`); default: probability. Methods that only look inside the model take none
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) attributed_fn: Option<String>,
    /// Step functions to compute in addition, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name)]
    pub(crate) step_scores: Vec<String>,
    /// Name the K most likely tokens of each step (1 to 100), in JSON and on the page
    #[arg(long, value_name = "K", value_parser = top, allow_negative_numbers = true)]
    pub(crate) top: Option<usize>,
    /// Also score the target prefix (encoder-decoder models; causal models always do)
    #[arg(long)]
    pub(crate) target_side: bool,
    /// What to attribute as one: the sum of the step function over its tokens, a column for each; units in a line of --input take precedence
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = TargetUnitName::Token)]
    pub(crate) unit: TargetUnitName,
    /// Attribute the mean over the tokens of a unit instead of their sum
    #[arg(long)]
    pub(crate) unit_mean: bool,
    /// Score only what comes before the first attributed token: the prompt of a causal model
    #[arg(long)]
    pub(crate) prompt_only: bool,
    /// What to hide together, for methods that hide tokens; spans in a line of --input take precedence
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = UnitName::Tokens)]
    pub(crate) features: UnitName,
    /// What is between documents, with --features documents, where lines of --input have none of their own; default: an empty line
    #[arg(long, value_name = "TEXT", value_parser = text, allow_hyphen_values = true)]
    pub(crate) document_mark: Option<String>,
    /// First token to attribute, counted in the target from 0; default: the first after the prompt
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) from: Option<usize>,
    /// First token after the attributed ones; default: the end of the target
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) to: Option<usize>,
    #[command(flatten)]
    pub(crate) contrast: ContrastArgs,
    /// Let a contrastive function use the contrast's own context, instead of the contrast target in the original context
    #[arg(long)]
    pub(crate) contrast_force_inputs: bool,
    #[command(flatten)]
    pub(crate) parameters: ParameterArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnitName {
    /// Each token separately
    Tokens,
    /// The tokens of a word together
    Words,
    /// The tokens of a sentence together
    Sentences,
    /// The tokens of a line together
    Lines,
    /// The tokens of each message of a chat together
    Messages,
    /// The tokens of each document together: those in the field `documents` of a line of --input, or parts between marks
    Documents,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetUnitName {
    /// Each token separately
    Token,
    /// The tokens of a word together
    Word,
    /// The tokens of a sentence together
    Sentence,
    /// All attributed tokens together
    Answer,
}

impl TargetUnitName {
    pub(crate) fn unit(self) -> TargetUnit {
        match self {
            Self::Token => TargetUnit::Token,
            Self::Word => TargetUnit::Word,
            Self::Sentence => TargetUnit::Sentence,
            Self::Answer => TargetUnit::Answer,
        }
    }
}
