//! Groups of arguments that several commands have.

use std::path::PathBuf;

use clap::Args;

use super::choices::{ElementType, answer_formats, backends, record_formats};
use super::values::{pair, rate, size};

/// Which texts.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// Texts of a causal model, sources of an encoder-decoder
    pub(crate) text: Vec<String>,
    /// What the encoder reads, or the prompt of a causal model
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
    /// What the model is to have said; for a causal model the full text, which starts with the prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) target: Option<String>,
    /// Read texts from JSON lines with the fields source, target, contrast_source, contrast_target; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "source", "target"])]
    pub(crate) input: Option<PathBuf>,
}

/// What texts are compared with.
#[derive(Debug, Args)]
pub(crate) struct ContrastArgs {
    /// Another source or prompt to compare with
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    pub(crate) contrast_source: Option<String>,
    /// Another target to compare with; for a causal model the full text
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    pub(crate) contrast_target: Option<String>,
    /// Pairs of scored token and contrast token, both counted from the first scored one; default: 0:0,1:1,…
    #[arg(long, value_name = "PAIRS", value_delimiter = ',', value_parser = pair)]
    pub(crate) align: Vec<(usize, usize)>,
}

/// How step functions work.
#[derive(Debug, Args)]
pub(crate) struct ParameterArgs {
    /// A parameter of a step function: top_p=0.9, or kl_divergence.top_k=20 for one function alone
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Dropout rate of the noisy passes, instead of the model's own
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) dropout: Option<f64>,
}

/// How the model writes.
#[derive(Debug, Default, Args)]
pub(crate) struct GenerationArgs {
    /// Most tokens to write
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// A setting of generation_config.json: num_beams=4, do_sample=true, …
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) generation: Vec<String>,
    /// The token that a translation starts with: deu_Latn, de_DE, __de__, …
    #[arg(long, value_name = "TOKEN")]
    pub(crate) target_lang: Option<String>,
}

/// Which model, and where it runs.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: one of `stepfn list models` (default: g2p); a folder with config.json, model.safetensors and tokenizer.json; a GGUF file; a name on a hub, org/name or org/name@revision
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// What it runs on
    #[arg(long, value_name = "NAME", value_parser = backends(), default_value = <stepfn::backend::DefaultDevices as stepfn::backend::Devices>::NAME)]
    pub(crate) backend: String,
    /// Number of the device (see `stepfn list backends`)
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) device: String,
    /// Type of the numbers that it computes with
    #[arg(long, value_enum, default_value_t = ElementType::F32)]
    pub(crate) dtype: ElementType,
    /// Seed of everything random: dropout, sampling
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Memory for what is computed, beside the model: 800MB, 8GiB, …; default: a quarter of what the device has, 4 GiB at most
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<usize>,
    /// Most tokens, padding included, that run at one time
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) batch_tokens: usize,
}

/// Where results go, and what is told beside.
#[derive(Debug, Args)]
pub(crate) struct DestinationArgs {
    /// Write results to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Neither progress nor warnings
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what is done, and how long it takes
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// In what form results are written, and where.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Form of the results
    #[arg(long, value_name = "FORMAT", value_parser = record_formats(), default_value = "table")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}

/// How attributions are shown, and where.
#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// What becomes of the scores: stages with commas between them (see `stepfn list aggregators`)
    #[arg(long, value_name = "STAGES")]
    pub(crate) aggregate: Option<String>,
    /// Keep the scores of hidden units, layers and heads
    #[arg(long)]
    pub(crate) raw: bool,
    /// Write a page for a browser, too
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write a drawing of the heat map, too; of several texts, one each
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Form of the results
    #[arg(long, value_name = "FORMAT", value_parser = answer_formats(), default_value = "table")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}
