//! Arguments of `stepfn attribute-context`. Their names are those of inseq's command, which may also be written with underscores.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stepfn::OutputContext;

use super::choices::reliance_formats;
use super::shared::{AlignerArgs, DestinationArgs, GenerationArgs, LinesArgs, ModelArgs};
use super::values::{count, name, signed, text};

#[derive(Debug, Args)]
pub(crate) struct AttributeContextArgs {
    /// The current text that the model reads: a source, or a causal model's prompt
    #[arg(long, alias = "input_current_text", value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) input_current_text: Option<String>,
    /// Its context
    #[arg(long, alias = "input_context_text", value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) input_context_text: Option<String>,
    /// The current text that the model writes; default: what it writes
    #[arg(long, alias = "output_current_text", value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) output_current_text: Option<String>,
    /// Its context, which the model is taken to have written before
    #[arg(long, alias = "output_context_text", value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) output_context_text: Option<String>,
    #[command(flatten)]
    pub(crate) lines: LinesArgs,
    /// How the context and the current text of the input are put together; default: '{context} {current}', or '{current}' without a context
    #[arg(long, alias = "input_template", value_name = "TEXT", value_parser = text, allow_hyphen_values = true)]
    pub(crate) input_template: Option<String>,
    /// The same of the output
    #[arg(long, alias = "output_template", value_name = "TEXT", value_parser = text, allow_hyphen_values = true)]
    pub(crate) output_template: Option<String>,
    /// What the model reads in the run without context
    #[arg(long, alias = "contextless_input_current_text", value_name = "TEXT", value_parser = text, allow_hyphen_values = true, default_value = "{current}")]
    pub(crate) contextless_input_current_text: String,
    /// What it writes there
    #[arg(long, alias = "contextless_output_current_text", value_name = "TEXT", value_parser = text, allow_hyphen_values = true, default_value = "{current}")]
    pub(crate) contextless_output_current_text: String,
    /// The tokens that the run without context is to prefer, one for each token that depends on context, in their order; an empty one is what the model prefers
    #[arg(long, alias = "contextless_output_next_tokens", value_name = "TOKEN", conflicts_with = "input", num_args = 1.., allow_hyphen_values = false)]
    pub(crate) contextless_output_next_tokens: Vec<String>,
    /// What becomes of an output context that the output template has and nobody gave
    #[arg(long, alias = "handle_output_context_strategy", value_enum, value_name = "NAME", default_value_t = StrategyName::Auto)]
    pub(crate) handle_output_context_strategy: StrategyName,
    /// Special tokens that count as text, such as a mark between context and current text
    #[arg(long, alias = "special_tokens_to_keep", value_name = "TOKEN", num_args = 1.., value_parser = name)]
    pub(crate) special_tokens_to_keep: Vec<String>,
    /// What is between the input and the output of a causal model
    #[arg(
        long,
        alias = "decoder_input_output_separator",
        value_name = "TEXT",
        default_value = " ",
        allow_hyphen_values = true
    )]
    pub(crate) decoder_input_output_separator: String,
    /// The step function that finds tokens that depend on context: one that compares with a contrast
    #[arg(long, alias = "context_sensitivity_metric", value_name = "NAME", value_parser = name, default_value = "kl_divergence")]
    pub(crate) context_sensitivity_metric: String,
    /// Such tokens reach the mean of its values and so many standard deviations; `none` for all tokens
    #[arg(long, alias = "context_sensitivity_std_threshold", value_name = "NUMBER", value_parser = signed, allow_negative_numbers = true, default_value = "1")]
    pub(crate) context_sensitivity_std_threshold: Threshold,
    /// Of these, so many of the greatest values
    #[arg(long, alias = "context_sensitivity_topk", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) context_sensitivity_topk: Option<usize>,
    /// The attribution method that finds what they depend on (see `stepfn list methods`)
    #[arg(long, alias = "attribution_method", value_name = "NAME", value_parser = name, default_value = "saliency")]
    pub(crate) attribution_method: String,
    /// The step function that it attributes (default: contrast_prob_diff); one that compares compares with what the run without context prefers
    #[arg(long, alias = "attributed_fn", value_name = "NAME", value_parser = name)]
    pub(crate) attributed_fn: Option<String>,
    /// Cues that are shown reach the mean of the scores and so many standard deviations; `none` for all. All have scores in JSON
    #[arg(long, alias = "attribution_std_threshold", value_name = "NUMBER", value_parser = signed, allow_negative_numbers = true, default_value = "1")]
    pub(crate) attribution_std_threshold: Threshold,
    /// Of these, so many of the greatest scores
    #[arg(long, alias = "attribution_topk", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) attribution_topk: Option<usize>,
    /// Set a parameter of the step functions or the method: kl_divergence.top_k=20
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// How to aggregate the scores of cues: stages separated by commas (see `stepfn list aggregators`)
    #[arg(long, value_name = "STAGES")]
    pub(crate) aggregate: Option<String>,
    #[command(flatten)]
    pub(crate) aligner: AlignerArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Also write a web page
    #[arg(long, alias = "viz_path", value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Format of the results
    #[arg(long, value_name = "FORMAT", value_parser = reliance_formats(), default_value = "table")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}

/// A number of standard deviations, or none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold(pub(crate) Option<f64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyName {
    /// It is told from what follows it, by the separator, by punctuation, or by what is aligned with the input's context
    Auto,
    /// It must be given
    Pre,
}

impl StrategyName {
    pub(crate) fn strategy(self) -> OutputContext {
        match self {
            Self::Auto => OutputContext::Auto,
            Self::Pre => OutputContext::Pre,
        }
    }
}
