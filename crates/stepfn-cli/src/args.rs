//! What can be typed.

mod choices;
mod shared;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use shared::{
    ContrastArgs, DestinationArgs, GenerationArgs, ModelArgs, OutputArgs, ParameterArgs, TextArgs, ViewArgs,
};
use values::{count, length, seconds};

/// Scores and attributions of language models.
#[derive(Debug, Parser)]
#[command(name = "stepfn", version, propagate_version = true, max_term_width = 100)]
#[command(about = "Which words did a language model expect, and which did it look at?")]
#[command(long_about = "\
stepfn runs language models and says what they expected.

A language model writes a text token by token. A step function turns what it predicted at one step into a number: how likely was this \
token, how unsure was the model, how much would another context have changed it. `stepfn score` computes step functions of texts; \
`stepfn attribute` says which input tokens a number came from; `stepfn generate` lets a model write.

Models are folders as Hugging Face tools write them: config.json, model.safetensors, tokenizer.json. A causal model (GPT-2, Llama, …) \
reads a prompt and goes on; an encoder-decoder (MarianMT, T5, …) reads a source and writes a target.")]
#[command(after_help = "\
Exit codes: 0 success, also when the reader of the output goes away; 1 something failed (a file, a model, a text: the results of the \
others are written all the same); 2 the command line asks for something that there isn't. Results go to standard output, everything else \
to standard error. NO_COLOR is respected.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say which input tokens predictions came from
    #[command(after_long_help = "\
Examples:
  stepfn attribute phonetics
  stepfn attribute phonetics --method integrated_gradients --set n_steps=auto --step-scores probability,entropy --html page.html
  stepfn attribute --model gpt2 --source 'The capital of France is' --target 'The capital of France is Paris.' --aggregate vnorm,subwords
  stepfn attribute --model gpt2 --target 'The nurse said that she' --contrast-target 'The nurse said that he' --from 4 \
--attributed-fn contrast_prob_diff
  stepfn attribute --model gpt2 --target 'The phenomenal cat sat' --method occlusion --features words
  stepfn attribute --model opus-mt-en-de --input pairs.jsonl --method attention --target-side --format jsonl -o attributions.jsonl

A text without a target is written by the model first. Scores of hidden units, layers and heads become one number per token, unless --raw keeps \
them or --aggregate says how: a pipeline such as layers=0:4,mean,subwords,normalize (see `stepfn list aggregators`).

Lines of --input may have source_spans and target_spans: lists of [start, end] in bytes of the text, whose tokens a perturbation method hides \
and shows as one, as --features words does with those of a word.")]
    Attribute(Box<AttributeArgs>),
    /// Show attributions from a file
    #[command(after_long_help = "\
Examples:
  stepfn show attributions.json --aggregate subwords,normalize
  stepfn show saved-by-inseq.json --html page.html
  stepfn attribute phonetics --format json | stepfn show - --svg map.svg")]
    Show(ShowArgs),
    /// Score the tokens of texts with step functions
    #[command(after_long_help = "\
Examples:
  stepfn score --model gpt2 'The capital of France is Paris.'
  stepfn score --model gpt2 --source 'The capital of France is' --target 'The capital of France is Paris.' --step-fn rank,entropy
  stepfn score --model opus-mt-en-de --source 'I agree.' --step-fn kl_divergence --contrast-source 'I do not agree.' --set top_k=20
  stepfn score --model opus-mt-en-de 'I agree.' --step-fn mc_dropout_prob_avg --set n_mcd_steps=20 --seed 3
  stepfn score --model gpt2 --input texts.jsonl --format jsonl -o scores.jsonl

A text without a target is written by the model first. Lines of --input are objects with the fields source, target, contrast_source, \
contrast_target; a line that fails becomes {\"error\": …} in JSON, and the others are scored.

JSON of a text:
  {\"tokens\": [{\"token\": \" Paris\", \"id\": 6342, \"start\": 24, \"end\": 30}, …], \"first\": 5,
   \"scores\": {\"probability\": [0.04, …]}, \"sequence\": {\"logprob\": -7.1, \"perplexity\": 34.8, \"mean_entropy\": 2.3}}
with one number per token from the first scored one, `first`, on; null where there is none; start and end in bytes of the text.")]
    Score(ScoreArgs),
    /// Let a model write
    #[command(after_long_help = "\
Examples:
  stepfn generate --model gpt2 'Once upon a time' --max-new-tokens 30
  stepfn generate --model opus-mt-en-de 'I agree.' --generation num_beams=4 --generation num_return_sequences=4 --format json
  stepfn generate --model nllb 'I agree.' --target-lang deu_Latn
  stepfn generate --model gpt2 'Once' --generation do_sample=true --generation temperature=0.7 --seed 3")]
    Generate(GenerateArgs),
    /// Measure how fast this machine is at scores and attributions
    #[command(
        mut_arg("model", |model| model.help("Measure this model instead of random weights; a name or path as in `stepfn score`")),
        after_long_help = "\
Examples:
  stepfn bench
  stepfn bench --quick
  stepfn bench --backend cuda --length 512,2048 --batch 8,32 --seconds 60 --format json -o gpu.json
  stepfn bench --model path/to/gpt2 --work saliency,occlusion --length 64
  stepfn bench --compare cpu.json gpu.json

Measured are shapes of published models with random weights, so nothing is downloaded. Texts have the given length, of which the first half is a \
prompt or source, and the second is predicted. The first call is reported apart: a GPU compiles and chooses its kernels in it.

The least time that work could take follows from its count of operations and the machine's peak, which is measured first: a large product, and a \
large copy. `of peak` is that time as a part of the time it took. Work that would not fit twice into --seconds even at the peak is left out, and says \
so: on a CPU that is most of --length 512,2048, of which attributions take minutes to hours.

JSON has a row per measurement, written as soon as it is there; a run that is ended leaves those that are done, which --compare reads."
    )]
    Bench(Box<BenchArgs>),
    /// List what there is
    List(ListArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = "\
Example:
  stepfn completions bash > ~/.local/share/bash-completion/completions/stepfn")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// Step functions by name, with commas between them (see `stepfn list step-functions`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "probability,surprisal,entropy")]
    pub(crate) step_fn: Vec<String>,
    #[command(flatten)]
    pub(crate) contrast: ContrastArgs,
    #[command(flatten)]
    pub(crate) parameters: ParameterArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AttributeArgs {
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// How to attribute (see `stepfn list methods`)
    #[arg(long, value_name = "NAME", default_value = "saliency")]
    pub(crate) method: String,
    /// The step function to attribute (see `stepfn list step-functions`)
    #[arg(long, value_name = "NAME", default_value = "probability")]
    pub(crate) attributed_fn: String,
    /// Step functions to compute beside, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) step_scores: Vec<String>,
    /// Attribute to the target so far too, of an encoder-decoder; a causal model's text always is
    #[arg(long)]
    pub(crate) target_side: bool,
    /// What perturbation methods hide and show as one; spans that a line of --input has come first
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = UnitName::Tokens)]
    pub(crate) features: UnitName,
    /// The first token that is attributed, counted in the target from 0; default: the first after the prompt
    #[arg(long, value_name = "N")]
    pub(crate) from: Option<usize>,
    /// The first token that is no longer attributed
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<usize>,
    #[command(flatten)]
    pub(crate) contrast: ContrastArgs,
    /// Let a contrastive function read the contrast's own context, rather than another target in the original one
    #[arg(long)]
    pub(crate) contrast_force_inputs: bool,
    #[command(flatten)]
    pub(crate) parameters: ParameterArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnitName {
    /// Each token by itself
    Tokens,
    /// The tokens of a word together
    Words,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A file that `stepfn attribute --format json` or inseq wrote; `-` is standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Prompts of a causal model, sources of an encoder-decoder
    pub(crate) text: Vec<String>,
    /// A prompt or source
    #[arg(long, value_name = "TEXT", conflicts_with = "text")]
    pub(crate) source: Option<String>,
    /// Read prompts or sources from the field `source` of JSON lines; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "source"])]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Shapes of models, with commas between them: gpt2-small, smollm2-135m, opus-mt-base, t5-small, tiny; default: all but tiny
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "model")]
    pub(crate) shape: Vec<String>,
    /// What is done: forward, step_scores, mc_dropout_prob_avg, saliency, input_x_gradient, integrated_gradients, occlusion, attention; default: all but input_x_gradient and attention
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) work: Vec<String>,
    /// Tokens of a text, prompt or source included; default: 32,128, with --quick 16
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = length)]
    pub(crate) length: Vec<usize>,
    /// Texts of a call; default: 1,8, with --quick 1,2
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = count)]
    pub(crate) batch: Vec<usize>,
    /// Most calls that are timed, behind the first; default: 5, with --quick 2
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) repeats: Option<usize>,
    /// Time for each row: after two calls, which are made in any case, no other begins behind it; work that would not fit twice even at the machine's peak is left out; default: 2, with --quick 1
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// See in a few seconds whether everything runs: a tiny shape, short texts, a rough peak
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) place: ModelArgs,
    /// Measure nothing, and put reports that --format json wrote side by side
    #[arg(long, value_name = "FILE", num_args = 2.., conflicts_with_all = [
        "shape", "work", "length", "batch", "repeats", "seconds", "quick",
        "model", "backend", "device", "dtype", "seed", "memory", "batch_tokens",
    ])]
    pub(crate) compare: Vec<PathBuf>,
    /// Form of the results
    #[arg(long, value_enum, default_value_t = BenchFormat::Table)]
    pub(crate) format: BenchFormat,
    #[command(flatten)]
    pub(crate) to: DestinationArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    /// For people
    Table,
    /// One object, for --compare and for programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What to list
    pub(crate) what: Listing,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    /// Models that are compiled in
    Models,
    /// Families of models that can be read
    Families,
    /// Attribution methods
    Methods,
    /// Step functions, their parameters and units
    StepFunctions,
    /// Ways to aggregate attributions
    Aggregators,
    /// Forms of results
    Formats,
    /// Backends and their devices
    Backends,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
