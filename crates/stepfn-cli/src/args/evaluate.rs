//! Arguments of `stepfn evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stepfn::Ranking;

use super::TargetUnitName;
use super::choices::{MaskingName, OperatorName, evaluation_formats, metrics};
use super::shared::{ContrastArgs, DestinationArgs, GenerationArgs, ModelArgs, TextArgs};
use super::values::{count, name, number, whole};

/// What the command does, with examples.
pub(super) const HELP: &str = "\
Examples:
  stepfn evaluate phonetics attribution evaluation --method saliency,occlusion,lime
  stepfn evaluate --model gpt2 --input texts.jsonl --method integrated_gradients,attention,occlusion --html page.html
  stepfn evaluate --model gpt2 --input texts.jsonl --unit answer --metric comprehensiveness,lds,soft_nc,soft_ns --format json -o faithful.json

A faithful method names the tokens that the model used: hide them, and the prediction is lost; keep nothing else, and it stays. Tokens are hidden by two \
operators: replaced by the baseline's token, or removed (a third, mask, leaves them where no token attends to them). A metric favours methods that hide tokens as it does, so compare both tables. All figures are \
beside random orders and the orders of the text, with intervals by bootstrap over texts.

Metrics:
  comprehensiveness  what is lost without the top 1, 5, 10, 20 and 50 % of the tokens, in the mean
  sufficiency        what is lost with nothing but these
  morf, lerf         the area under what is lost as tokens are hidden, the most or the least important first
  deletion           the area under the probability, the most important tokens hidden first
  insertion          the same, the most important tokens shown first
  log_odds           how the log-odds change without the top 20 %
  infidelity         the squared error of the scores of random sets as what is lost without them
  lds                their rank correlation
  max_sensitivity    how far scores move with a little noise on the embeddings, of their size; not of methods that hide tokens
  soft_nc, soft_ns   how the prediction moves as tokens are hidden or kept at random, by their scores
  auprc              the area under precision over recall of the tokens that people marked, in the field `rationale` of --input
  token_f1, iou      the top tokens, as many as are marked, and the marked ones
  mrr                one over the rank of the first marked token

What is lost is in the unit of the attributed function: nats, for log-probabilities.";

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// Attribution methods by name, separated by commas (see `stepfn list methods`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name, default_value = "saliency,input_x_gradient,integrated_gradients,occlusion")]
    pub(crate) method: Vec<String>,
    /// Step functions to attribute, separated by commas (see `stepfn list step-functions`); default: the log-probability of each token
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name)]
    pub(crate) attributed_fn: Vec<String>,
    /// Metrics, separated by commas; default: comprehensiveness,sufficiency,morf,lerf, which are read off the same passes
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = metrics())]
    pub(crate) metric: Vec<String>,
    /// What becomes of hidden tokens, separated by commas: a table for each
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',', default_value = "baseline,remove")]
    pub(crate) operator: Vec<OperatorName>,
    /// Whether special tokens are among those that are hidden
    #[arg(long, value_enum, value_name = "CHOICE", default_value_t = SpecialName::Both)]
    pub(crate) special: SpecialName,
    /// How scores order tokens
    #[arg(long, value_enum, value_name = "NAME", default_value_t = RankingName::Signed)]
    pub(crate) ranking: RankingName,
    /// What to attribute as one: the sum of the step function over its tokens
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = TargetUnitName::Token)]
    pub(crate) unit: TargetUnitName,
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
    /// What a model of masked tokens (bert, roberta, …) does not see where it predicts a token; default: token
    #[arg(long, value_name = "UNIT", value_enum)]
    pub(crate) masking: Option<MaskingName>,
    /// Random orders that are averaged
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) random_orders: Option<usize>,
    /// Random sets of tokens for infidelity and lds; default: 32
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) random_sets: Option<usize>,
    /// The share of tokens that soft_nc hides and soft_ns keeps, in the mean; default: 0.2
    #[arg(long, value_name = "SHARE", value_parser = number, allow_negative_numbers = true)]
    pub(crate) soft_share: Option<f64>,
    /// Random sets of tokens for soft_nc and soft_ns; default: 8
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) soft_draws: Option<usize>,
    /// Set a parameter of a method or step function: n_steps=50, or lime.n_samples=200 for one of them only
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Also write a web page with tables and curves
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Format of the results
    #[arg(long, value_name = "FORMAT", value_parser = evaluation_formats(), default_value = "table")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) to_file: DestinationArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpecialName {
    /// They are never hidden
    Without,
    /// They are hidden as others are
    With,
    /// A table for each
    Both,
}

impl SpecialName {
    pub(crate) fn choices(self) -> Vec<bool> {
        match self {
            Self::Without => vec![false],
            Self::With => vec![true],
            Self::Both => vec![false, true],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RankingName {
    /// From the greatest to the least, so that what speaks against a prediction comes last
    Signed,
    /// From the greatest magnitude to the least
    Magnitude,
}

impl RankingName {
    pub(crate) fn ranking(self) -> Ranking {
        match self {
            Self::Signed => Ranking::Signed,
            Self::Magnitude => Ranking::Magnitude,
        }
    }
}
