//! The command line: commands, options and their help.

mod attribute;
mod attribute_context;
mod bench;
mod choices;
mod compare;
mod context;
mod evaluate;
mod score;
mod shared;
mod similarity;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use attribute::{AttributeArgs, TargetUnitName, UnitName};
pub(crate) use attribute_context::{AttributeContextArgs, Threshold};
pub(crate) use bench::{BenchArgs, BenchFormat};
pub(crate) use choices::{MaskingName, OperatorName};
pub(crate) use compare::CompareArgs;
pub(crate) use context::{ContextArgs, ContextMethodName, SplitName};
pub(crate) use evaluate::EvaluateArgs;
use evaluate::HELP as EVALUATE;
pub(crate) use score::ScoreArgs;
pub(crate) use shared::{
    AlignerArgs, BatchArgs, ChatArgs, ColumnArgs, ContrastArgs, DestinationArgs, GenerationArgs, LinesArgs, ModelArgs,
    OutputArgs, ParameterArgs, ShardArgs, TextArgs, ViewArgs,
};
pub(crate) use similarity::SimilarityArgs;
pub(crate) use values::Pair;
use values::text;

/// Scores and attributions of language models.
#[derive(Debug, Parser)]
#[command(name = "stepfn", version, propagate_version = true, max_term_width = 100)]
#[command(about = "Which words did a language model expect, and which input did it base them on?")]
#[command(long_about = "\
stepfn runs a language model and shows what it predicted, and why.

A language model writes a text token by token. A step function turns its prediction at one step into a number: how likely was this \
token, how uncertain was the model, how much would another context have changed it? `stepfn score` computes step functions of texts, \
`stepfn attribute` shows which input tokens a value came from, `stepfn context` which of its sources an answer came from, \
`stepfn attribute-context` which words depend on context, `stepfn evaluate` \
whether attributions are faithful, `stepfn compare` which of several texts a model prefers, `stepfn similarity` how alike two texts are to a model that translates, \
and `stepfn generate` lets a model write.

Models are folders in Hugging Face format (config.json, weights, a tokenizer), GGUF files, or names on a hub. A causal model \
(GPT-2, Llama, …) reads a prompt and continues it; an encoder-decoder (MarianMT, T5, …) reads a source and writes a target.")]
#[command(after_help = "\
Exit codes: 0 success, also if the reader of the output stops reading; 1 something failed (a file, a model, a text; the results of other \
texts are still written); 2 the command line is wrong. Results go to standard output, everything else to standard error. NO_COLOR is \
respected.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show which input tokens predictions came from
    #[command(after_long_help = "\
Examples:
  stepfn attribute phonetics
  stepfn attribute phonetics --method integrated_gradients --set n_steps=auto --step-scores probability,entropy --html page.html
  stepfn attribute --model gpt2 --source 'The capital of France is' --target 'The capital of France is Paris.' --aggregate vnorm,subwords
  stepfn attribute --model gpt2 --target 'The nurse said that she' --contrast-target 'The nurse said that he' --from 4 \
--attributed-fn contrast_prob_diff
  stepfn attribute --model gpt2 --target 'The phenomenal cat sat' --method occlusion --features words
  stepfn attribute --model gpt2 --source 'Once upon a time' --unit answer --prompt-only --method input_x_gradient
  stepfn attribute --model opus-mt-en-de --input pairs.jsonl --method attention --target-side --format jsonl -o attributions.jsonl

If a text has no target, the model writes one first. Scores of hidden units, layers and heads are reduced to one number per token, unless --raw \
keeps them or --aggregate says how to reduce them: a pipeline such as layers=0:4,mean,subwords,normalize (see `stepfn list aggregators`).

--unit attributes words, sentences or the whole answer as one, by their log-probability unless --attributed-fn says otherwise. Lines of --input may have \
units of their own: a list of [start, end] in bytes of the target.

Lines of --input may have source_spans and target_spans: lists of [start, end] in bytes of the text. A method that hides tokens hides the tokens \
of a span together, as it does for words with --features words.")]
    Attribute(Box<AttributeArgs>),
    /// Show which of its sources an answer came from
    #[command(after_long_help = "\
Examples:
  stepfn context report.txt --split sentences --question 'When did the river rise?' --model smollm2-instruct
  stepfn context a.txt b.txt c.txt --question 'Who paid?' --answer 'The city did.' --model gpt2 --method leave_one_out
  stepfn context --source 'Let there be light.' --source 'And it was so.' --answer 'And God saw the light.' --model verse
  stepfn context book.txt --split paragraphs --question 'Why?' --method gradient --prefilter 8 --check 32 --model smollm2-instruct --html page.html
  stepfn context --input questions.jsonl --model smollm2-instruct --format jsonl -o contexts.jsonl

A score says how much a source adds to the log-probability of a statement of the answer (context_cite: to its log-odds), in nats. Without --answer the \
model writes one. Lines of --input are objects with the fields sources (a list of texts), question and target, the answer.

Sources and question are put into a template, and what is left out is left out of it: \
--template 'Context: {sources} Question: {question}'. If the model has a chat template, this is what its user says.

With --check the results have, as `measured`, the correlation lds of predicted and true log-odds on random subsets, and what the answer's log-probability \
loses without the k sources of the highest scores (drop_k), without k random ones (random_drop_k), and without the first k (first_drop_k).")]
    Context(Box<ContextArgs>),
    /// Show which tokens of an output depend on context, and on what in it (PECoRe)
    #[command(
        mut_arg("model", |model| model.alias("model_name_or_path")),
        after_long_help = "\
Examples:
  stepfn attribute-context --model gpt2 --input-context-text 'George was sick yesterday.' --input-current-text 'His colleagues asked him to come' \
--output-current-text 'to the hospital. He said he was fine'
  stepfn attribute-context --model opus-mt-en-fr --input-context-text 'The girls were away.' --input-current-text 'Where are they?' --html page.html
  stepfn attribute-context --model gpt2 --input-current-text 'A dog has' --output-context-text 'four legs, so' --output-current-text 'two dogs have eight.'
  stepfn attribute-context --model context-mt --input-template '{context} <brk> {current}' --special-tokens-to-keep '<brk>' --input texts.jsonl \
--format jsonl -o reliance.jsonl

First each token of the output is compared with and without context, by --context-sensitivity-metric: those of values of at least the mean and \
--context-sensitivity-std-threshold standard deviations depend on context. Then each of them is attributed to the tokens of the contexts: by default the \
difference of its probability to that of the token which the model prefers without context.

Lines of --input are objects with the fields source and target, which are the current texts, input_context, output_context and contextless_output_next_tokens. \
JSON has the fields of inseq's command. Options may be written as there, with underscores."
    )]
    AttributeContext(Box<AttributeContextArgs>),
    /// Measure which attribution methods are faithful, beside random orders
    #[command(after_long_help = EVALUATE)]
    Evaluate(Box<EvaluateArgs>),
    /// Show attributions that were saved in a file
    #[command(after_long_help = "\
Examples:
  stepfn show attributions.json --aggregate subwords,normalize
  stepfn show saved-by-inseq.json --html page.html
  stepfn attribute phonetics --format json | stepfn show - --svg map.svg")]
    Show(ShowArgs),
    /// Score the tokens of texts with step functions
    #[command(mut_arg("format", |format| format.value_parser(choices::score_formats())), after_long_help = "\
Examples:
  stepfn score --model gpt2 'The capital of France is Paris.'
  stepfn score --model gpt2 --source 'The capital of France is' --target 'The capital of France is Paris.' --step-fn rank,entropy
  stepfn score --model opus-mt-en-de --source 'I agree.' --step-fn kl_divergence --contrast-source 'I do not agree.' --set top_k=20
  stepfn score --model opus-mt-en-de 'I agree.' --step-fn mc_dropout_prob_avg --set n_mcd_steps=20 --seed 3
  stepfn score --model gpt2 --input texts.jsonl --format jsonl -o scores.jsonl
  stepfn score --model gpt2 --input 'data/*.parquet' --text-column sentence --keep year --format parquet -o scores --shards 14
  stepfn score --model gpt2 --by word --bow-correction --start-token 'The old man the boat.' --step-fn surprisal --format csv
  stepfn score --model gpt2 --input book.jsonl --long windows:256 --by sentence --step-fn surprisal
  stepfn score --model smollm2-instruct --chat 'What is the capital of France?' --target 'Paris.'

If a text has no target, the model writes one first. Lines of --input are objects with the fields source, target, contrast_source and \
contrast_target, or messages in place of source: a list of {\"role\": …, \"content\": …}. If the last message is the assistant's, it is the answer. A line that fails becomes {\"error\": …} in JSON, and the others are still scored.

JSON of a text:
  {\"tokens\": [{\"token\": \" Paris\", \"id\": 6342, \"start\": 24, \"end\": 30}, …], \"first\": 5,
   \"scores\": {\"probability\": [0.04, …]}, \"sequence\": {\"logprob\": -7.1, \"perplexity\": 34.8, \"mean_entropy\": 2.3}}
With --by, JSON has `units`: a list of {\"text\": …, \"start\": …, \"end\": …, \"tokens\": …, \"scores\": {…}}. Lines of --input may have `words`, a list of all words \
of the text in order, for --by word, and `regions`, a list of parts of the text, for --by region.

Scores have one number per token, starting at the first scored token, `first`; null where there is none. start and end are in bytes of the text.")]
    Score(Box<ScoreArgs>),
    /// Show which of several texts a model prefers
    #[command(after_long_help = "\
Examples:
  stepfn compare --model gpt2 'The keys are here.' 'The keys is here.'
  stepfn compare --model gpt2 --start-token --input blimp.jsonl --group-by UID --summary
  stepfn compare --model gpt2 --input pairs.jsonl --columns match,mismatch --region verb --format csv -o pairs.csv
  stepfn compare --model gpt2 'The keys are here.' 'The keys is here.' --step-fn entropy,mc_dropout_prob_avg
  stepfn compare --model gpt2 --input suite.jsonl --columns match,mismatch --formula 'mismatch[3] > match[3]' --summary --format json

Lines of --input have a text in each of --columns, the expected one first, or good and bad, or sentence_good and sentence_bad as in BLiMP. The conditions of an item of SyntaxGym are such fields. Texts may be lists of regions: \
texts, or {\"name\": …, \"content\": …}, which are joined by spaces. Fields that nothing reads are passed over.

The expected text is preferred if its score is greater than that of all others: its log-probability, or by --criterion that per token or word, or by --region \
that of a part. --formula compares surprisals in bits instead: COLUMN, or COLUMN[REGION] by name or number, with + - < > & | ! and parentheses. A tie counts as not preferred.

Intervals hold the share in 95 of 100 samples of comparisons (bootstrap, see --seed).")]
    Compare(Box<CompareArgs>),
    /// Measure how alike two texts are to a model that translates (NMTScore)
    #[command(
        mut_arg("source_lang", |lang| lang.long("a-lang").required(true).help("The language of A, as the model calls it: en, eng_Latn, en_XX, …")),
        mut_arg("target_lang", |lang| lang.long("b-lang").help("The language of B; default: that of A")),
        after_long_help = similarity::HELP
    )]
    Similarity(Box<SimilarityArgs>),
    /// Let a model write text
    #[command(after_long_help = "\
Examples:
  stepfn generate --model gpt2 'Once upon a time' --max-new-tokens 30
  stepfn generate --model opus-mt-en-de 'I agree.' --generation num_beams=4 --generation num_return_sequences=4 --format json
  stepfn generate --model nllb 'I agree.' --source-lang eng_Latn --target-lang deu_Latn
  stepfn generate --model smollm2-instruct --system 'Answer briefly.' --chat 'What is the capital of France?'
  stepfn generate --model gpt2 'Once' --generation do_sample=true --generation temperature=0.7 --seed 3")]
    Generate(Box<GenerateArgs>),
    /// Measure how fast this machine computes scores and attributions
    #[command(
        mut_arg("model", |model| model.help("Measure this model instead of shapes with random weights; a name or path as in `stepfn score`")),
        after_long_help = "\
Examples:
  stepfn bench
  stepfn bench --quick
  stepfn bench --backend cuda --length 512,2048 --batch 8,32 --seconds 60 --format json -o gpu.json
  stepfn bench --model path/to/gpt2 --work saliency,occlusion --length 64
  stepfn bench --compare cpu.json gpu.json

By default, shapes of published models are measured with random weights, so nothing is downloaded. The first half of each text is prompt or source, \
and the second half is predicted. The first call is reported separately, because a GPU compiles and chooses its kernels in it.

The machine's peak is measured first, with a large matrix product and a large copy. The number of operations of the work and the peak give its \
minimum time; `of peak` is the minimum time divided by the measured time. Work that would not fit twice into --seconds, even at the peak, is \
left out with a message. On a CPU that is most of --length 512,2048, where attributions take minutes to hours.

JSON has a row per measurement, written as soon as it is finished. If a run is stopped, --compare can read the rows so far."
    )]
    Bench(Box<BenchArgs>),
    /// Compare a model with what your own transformers says of it: ids, log-probabilities and a gradient
    #[command(
        mut_arg("model", |model| model
            .short(None)
            .long(None::<&'static str>)
            .index(1)
            .required(true)
            .help("The folder of a model, or its name on a hub")),
        after_long_help = "\
Examples:
  stepfn verify path/to/model
  stepfn verify org/name --python venv/bin/python
  stepfn verify path/to/model --text 'A text of your own.' --format json

Runs a Python that has transformers and torch on the same texts. Exit code 1 if token ids differ, log-probabilities by more than 0.001, or a \
token's share of the last step's gradient by more than 0.001.")]
    Verify(Box<VerifyArgs>),
    /// List models, families, methods, step functions, aggregators, formats or backends
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
pub(crate) struct ShowArgs {
    /// A file written by `stepfn attribute --format json` or by inseq; `-` is standard input
    pub(crate) file: PathBuf,
    /// Another such file of the same texts: shows the first minus this one (stage `pair` of --aggregate)
    #[arg(long, value_name = "FILE")]
    pub(crate) pair: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Prompts of a causal model, sources of an encoder-decoder
    #[arg(conflicts_with = "input")]
    pub(crate) text: Vec<String>,
    /// A prompt or source
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text", "input"], value_parser = text, allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) chat: ChatArgs,
    #[command(flatten)]
    pub(crate) lines: LinesArgs,
    #[command(flatten)]
    pub(crate) columns: ColumnArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The Python to ask
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub(crate) python: String,
    /// A text to compare; default: three with marks, accents and digits
    #[arg(long, value_name = "TEXT", value_parser = text, allow_hyphen_values = true)]
    pub(crate) text: Vec<String>,
    /// The language that is read, where a model has several
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) source_lang: Option<String>,
    /// The language that is written, where a model has several
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) target_lang: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
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
    /// Compiled-in models
    Models,
    /// Supported model families
    Families,
    /// Attribution methods
    Methods,
    /// Step functions, their parameters and units
    StepFunctions,
    /// Ways to aggregate attributions
    Aggregators,
    /// Output formats
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

    /// The words of a line of a shell: quotes keep words together.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        let marked: String =
            parts.map(|(n, part)| if n % 2 == 0 { part.replace(' ', "\0") } else { part.to_owned() }).collect();
        marked.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn the_examples_of_every_command_are_commands() {
        for command in Cli::command().get_subcommands() {
            let (name, help) =
                (command.get_name(), command.get_after_long_help().map(ToString::to_string).unwrap_or_default());
            let examples = help.lines().filter(|line| line.starts_with("  stepfn "));
            let called: Vec<Vec<String>> = examples
                .flat_map(|line| line.split(" | "))
                .map(|call| words(call.split(" > ").next().unwrap_or(call)))
                .collect();
            for call in &called {
                assert!(Cli::try_parse_from(call).is_ok(), "{call:?}: {}", Cli::try_parse_from(call).unwrap_err());
            }
            let has_examples = called.iter().any(|call| call[1] == name);
            assert!(has_examples || ["list", "help"].contains(&name), "the help of {name} has no example of it");
        }
    }
}
