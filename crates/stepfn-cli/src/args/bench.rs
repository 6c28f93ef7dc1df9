//! Options of `stepfn bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{count, length, name, seconds};
use super::{BatchArgs, DestinationArgs, ModelArgs};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Shapes of models, separated by commas: gpt2-small, smollm2-135m, opus-mt-base, t5-small, mixture, mixture-as-dense, tiny; default: the first four
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name, conflicts_with = "model")]
    pub(crate) shape: Vec<String>,
    /// What to measure, separated by commas: forward, step_scores, mc_dropout_prob_avg, saliency, input_x_gradient, integrated_gradients, occlusion, attention, generate; default: all but input_x_gradient and attention
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name)]
    pub(crate) work: Vec<String>,
    /// Tokens per text, including prompt or source; default: 32,128; with --quick: 16
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = length, allow_negative_numbers = true)]
    pub(crate) length: Vec<usize>,
    /// Texts per call; default: 1,8; with --quick: 1,2
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = count, allow_negative_numbers = true)]
    pub(crate) batch: Vec<usize>,
    /// Maximum number of timed calls, after the first call; default: 5; with --quick: 2
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) repeats: Option<usize>,
    /// Time limit per row: at least two calls are made, and no further call starts after it; work that would not fit twice, even at the machine's peak, is left out; default: 2; with --quick: 1
    #[arg(long, value_name = "N", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) seconds: Option<f64>,
    /// Check in a few seconds whether everything runs: a tiny shape, short texts, a rough peak
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) place: ModelArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    /// Measure nothing; compare reports written by --format json
    #[arg(long, value_name = "FILE", num_args = 2.., conflicts_with_all = [
        "shape", "work", "length", "batch", "repeats", "seconds", "quick",
        "model", "base", "backend", "device", "dtype", "seed", "memory", "batch_tokens",
    ])]
    pub(crate) compare: Vec<PathBuf>,
    /// Format of the results
    #[arg(long, value_enum, default_value_t = BenchFormat::Table)]
    pub(crate) format: BenchFormat,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    /// For people
    Table,
    /// One object, for --compare and for other programs
    Json,
}
