//! Groups of arguments that several commands share.

use std::path::PathBuf;

use clap::Args;
use stepfn::Json;
use stepfn_corpus::Job;

use super::choices::{ElementType, MaskingName, answer_formats, backends, input_formats, record_formats};
use super::values::{Pair, count, name, pair, rate, size, text, tokens, variable, whole};

/// Which texts.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// Texts of a causal model, sources of an encoder-decoder
    #[arg(conflicts_with = "input")]
    pub(crate) text: Vec<String>,
    /// What the encoder reads, or the prompt of a causal model
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    /// What the model should say; for a causal model, the full text, which starts with the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) chat: ChatArgs,
    #[command(flatten)]
    pub(crate) lines: LinesArgs,
    #[command(flatten)]
    pub(crate) columns: ColumnArgs,
}

/// A chat.
#[derive(Debug, Default, Args)]
pub(crate) struct ChatArgs {
    /// What a user says to a causal model, instead of a prompt: the model's chat template makes a prompt of it. --target is then the answer alone
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text", "source", "input"], value_parser = text, allow_hyphen_values = true)]
    pub(crate) chat: Option<String>,
    /// What the model is told before the chat
    #[arg(long, value_name = "TEXT", requires = "chat", value_parser = text, allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Which chat template to use, where the model has several; default: the one named `default`
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) chat_template: Option<String>,
    /// Set a variable that the chat template reads, such as enable_thinking=false
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) chat_set: Vec<(String, Json)>,
}

/// Texts from files.
#[derive(Debug, Args)]
pub(crate) struct LinesArgs {
    /// Read texts from files or patterns such as 'data/*.parquet': JSON lines, CSV, TSV or Parquet with the fields id, text, source, target, messages, contrast_source, contrast_target, source_spans, target_spans, units, rationale, documents, words, regions; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// How --input is written; default: what the ending of each file says, and otherwise jsonl
    #[arg(long, value_name = "FORMAT", value_parser = input_formats(), requires = "input")]
    pub(crate) input_format: Option<String>,
    /// Fields of your own in --input that are written beside the results, separated by commas; `*` keeps all
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = name)]
    pub(crate) keep: Vec<String>,
}

/// Which columns of the files are what.
#[derive(Debug, Default, Args)]
pub(crate) struct ColumnArgs {
    /// The field of --input that is the id; default: id
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input")]
    pub(crate) id_column: Option<String>,
    /// The field of --input that is the text. If any field but the id is named, only named ones are read
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input")]
    pub(crate) text_column: Option<String>,
    /// The field of --input that is the source or prompt
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input")]
    pub(crate) source_column: Option<String>,
    /// The field of --input that is the target
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input")]
    pub(crate) target_column: Option<String>,
    /// The field of --input that is the source to compare with
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input")]
    pub(crate) contrast_source_column: Option<String>,
    /// The field of --input that is the target to compare with
    #[arg(long, value_name = "FIELD", value_parser = name, requires = "input")]
    pub(crate) contrast_target_column: Option<String>,
}

impl ColumnArgs {
    /// The parts of a text that have fields of their own, with these.
    pub(crate) fn parts(&self) -> Vec<(String, String)> {
        let given = [
            ("id", &self.id_column),
            ("text", &self.text_column),
            ("source", &self.source_column),
            ("target", &self.target_column),
            ("contrast_source", &self.contrast_source_column),
            ("contrast_target", &self.contrast_target_column),
        ];
        given.into_iter().filter_map(|(part, field)| Some((part.to_owned(), field.clone()?))).collect()
    }
}

/// Results in shards.
#[derive(Debug, Args)]
pub(crate) struct ShardArgs {
    /// Write results to the folder -o in this many files, which a later run continues if this one is stopped
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, requires_all = ["input", "output"], conflicts_with = "shard_rows")]
    pub(crate) shards: Option<usize>,
    /// The same, in files of this many texts each; needed for standard input
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, requires_all = ["input", "output"])]
    pub(crate) shard_rows: Option<usize>,
    /// Do only part I of N, from 0, of the shards: for several programs that work on one folder. Alone, it means --shards N
    #[arg(long, value_name = "I/N", requires_all = ["input", "output"])]
    pub(crate) shard: Option<Job>,
    /// What the names of shards begin with; default: the name of the command
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) shard_name: Option<String>,
}

impl ShardArgs {
    /// Whether results are written in shards.
    pub(crate) fn is_given(&self) -> bool {
        self.shards.is_some() || self.shard_rows.is_some() || self.shard.is_some()
    }
}

/// What texts are compared with.
#[derive(Debug, Default, Args)]
pub(crate) struct ContrastArgs {
    /// Another source or prompt to compare with
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) contrast_source: Option<String>,
    /// Another target to compare with; for a causal model, the full text
    #[arg(long, value_name = "TEXT", conflicts_with = "input", value_parser = text, allow_hyphen_values = true)]
    pub(crate) contrast_target: Option<String>,
    /// Pairs of scored token and contrast token, both counted from the first scored one; default: 0:0,1:1,…; `auto` finds tokens of words that mean the same
    #[arg(long, value_name = "PAIRS", value_delimiter = ',', value_parser = pair, allow_negative_numbers = true)]
    pub(crate) align: Vec<Pair>,
    #[command(flatten)]
    pub(crate) aligner: AlignerArgs,
}

/// What aligns texts.
#[derive(Debug, Default, Args)]
pub(crate) struct AlignerArgs {
    /// Let this model align texts by its hidden states, such as LaBSE, or a bert that reads both languages; default: the model itself
    #[arg(long, value_name = "MODEL")]
    pub(crate) align_model: Option<String>,
    /// Align by the hidden states behind so many of its blocks; default: two thirds of them
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) align_layer: Option<usize>,
}

/// Parameters of step functions and methods.
#[derive(Debug, Args)]
pub(crate) struct ParameterArgs {
    /// Set a parameter of a step function or method: top_p=0.9, or kl_divergence.top_k=20 for one of them only
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Dropout rate of the noisy passes, instead of the model's own rates: at the sites where the published model has dropout
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    pub(crate) dropout: Option<f64>,
    /// What a model of masked tokens (bert, roberta, …) does not see where it predicts a token; default: token
    #[arg(long, value_name = "UNIT", value_enum)]
    pub(crate) masking: Option<MaskingName>,
}

/// How the model writes.
#[derive(Debug, Default, Args)]
pub(crate) struct GenerationArgs {
    /// Maximum number of tokens to write
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) max_new_tokens: Option<usize>,
    /// Change a field of generation_config.json: num_beams=4, do_sample=true, …
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) generation: Vec<String>,
    /// The language that is read, where a model has several: eng_Latn, en_XX, __en__, …
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) source_lang: Option<String>,
    /// The language that is written, where a model has several: deu_Latn, de_DE, __de__, >>deu<<, …
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) target_lang: Option<String>,
}

/// Which model, and where it runs.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: one of `stepfn list models` (default: g2p); a folder with config.json, weights and a tokenizer; a LoRA adapter; a GGUF file; a name on a hub, org/name or org/name@revision
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Of a LoRA adapter given as --model, the model that it changes; default: the one that it names itself
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<String>,
    /// Backend to run on
    #[arg(long, value_name = "NAME", value_parser = backends(), default_value = <stepfn::backend::DefaultDevices as stepfn::backend::Devices>::NAME)]
    pub(crate) backend: String,
    /// Index of the device (see `stepfn list backends`)
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    pub(crate) device: String,
    /// Element type to compute with
    #[arg(long, value_enum, default_value_t = ElementType::F32)]
    pub(crate) dtype: ElementType,
    /// Seed of all random numbers: dropout, sampling
    #[arg(long, value_name = "N", value_parser = whole::<u64>, allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Memory for computing, in addition to the model: 800MB, 8GiB, …; default: a quarter of the device's memory, at most 4 GiB
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    pub(crate) memory: Option<usize>,
}

/// How many texts run at once.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Maximum number of tokens per batch, including padding
    #[arg(long, value_name = "N", value_parser = tokens, allow_negative_numbers = true, default_value_t = 4096)]
    pub(crate) batch_tokens: usize,
}

/// Where results go, and how much is reported.
#[derive(Debug, Args)]
pub(crate) struct DestinationArgs {
    /// Write results to a file instead of standard output; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Show neither progress nor warnings
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Report what is done and how long it takes
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// The format of results, and where they go.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Format of the results
    #[arg(long, value_name = "FORMAT", value_parser = record_formats(), default_value = "table")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}

/// How attributions are shown, and where.
#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// How to aggregate scores: stages separated by commas (see `stepfn list aggregators`)
    #[arg(long, value_name = "STAGES")]
    pub(crate) aggregate: Option<String>,
    /// Keep the scores of hidden units, layers and heads, in the formats json, jsonl, csv and inseq
    #[arg(long, conflicts_with = "aggregate")]
    pub(crate) raw: bool,
    /// Also write a web page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Also write a drawing of the heat map; for several texts, one file each
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Format of the results (see `stepfn list formats`)
    #[arg(long, value_name = "FORMAT", value_parser = answer_formats(), default_value = "table")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}
