//! Arguments of `stepfn score`.

use clap::{Args, ValueEnum};
use stepfn::{BowCorrection, LongTexts, ScoreUnit, WordSplit};

use super::values::{count, long, name, passes, top};
use super::{BatchArgs, ContrastArgs, GenerationArgs, ModelArgs, OutputArgs, ParameterArgs, ShardArgs, TextArgs};

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// Step functions by name, separated by commas (see `stepfn list step-functions`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name, default_value = "probability,surprisal,entropy")]
    pub(crate) step_fn: Vec<String>,
    /// Name the K most likely tokens of each step (1 to 100), as the column `expected`
    #[arg(long, value_name = "K", value_parser = top, allow_negative_numbers = true)]
    pub(crate) top: Option<usize>,
    /// Score equal texts once, and give the others the same scores; in shards, texts of one shard
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) joined: JoinedArgs,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) contrast: ContrastArgs,
    #[command(flatten)]
    pub(crate) parameters: ParameterArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
    /// Of --format parquet: rows in a group, which is what readers read at once
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) group_rows: Option<usize>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How texts are read.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// What happens to a text that is longer than the model's positions: error; truncate leaves tokens without a score; windows, or windows:N, reads it in pieces that go on by N tokens (default: half the positions)
    #[arg(long, value_name = "HOW", value_parser = long, default_value = "error")]
    pub(crate) long: LongTexts,
    /// Let a causal model's text begin with its start token, so that the first token has a score
    #[arg(long, conflicts_with = "no_start_token")]
    pub(crate) start_token: bool,
    /// Leave out the start token that the tokenizer adds
    #[arg(long)]
    pub(crate) no_start_token: bool,
}

impl ReadingArgs {
    /// Whether texts begin with the start token, if anything is said.
    pub(crate) fn start(&self) -> Option<bool> {
        (self.start_token || self.no_start_token).then_some(self.start_token)
    }
}

/// What has scores of its own.
#[derive(Debug, Args)]
pub(crate) struct JoinedArgs {
    /// What has scores of its own: surprisals of its tokens add up, probabilities multiply
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = ByName::Token)]
    pub(crate) by: ByName,
    /// Where words are, for --by word; `words` in a line of --input take precedence
    #[arg(long, value_enum, value_name = "HOW", default_value_t = WordSplitName::Whitespace)]
    pub(crate) words: WordSplitName,
    /// Correct probability, surprisal and crossentropy of words, or of the tokens at their ends, for tokenizers that have the space before a word in its first token
    #[arg(long, value_enum, value_name = "VARIANT", num_args = 0..=1, require_equals = true, default_missing_value = "published")]
    pub(crate) bow_correction: Option<BowName>,
    /// For --by text: also measure quality and uncertainty of the whole text, from N passes with dropout
    #[arg(long, value_name = "N", value_parser = passes, allow_negative_numbers = true)]
    pub(crate) uncertainty: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ByName {
    /// Each token
    Token,
    /// The tokens of a word together
    Word,
    /// The tokens of a sentence together
    Sentence,
    /// All scored tokens together
    Text,
    /// The tokens of each of the `regions` of a line together
    Region,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WordSplitName {
    /// Between whitespace; punctuation is part of words
    Whitespace,
    /// As Unicode's annex 29 has them; punctuation marks are words of their own
    Unicode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BowName {
    /// As Pimentel and Meister (2024) and Oh and Schuler (2024) have it
    Published,
    /// As minicons 0.3.39 has it
    Minicons,
}

impl JoinedArgs {
    pub(crate) fn unit(&self) -> ScoreUnit {
        match self.by {
            ByName::Token => ScoreUnit::Token,
            ByName::Word => ScoreUnit::Word,
            ByName::Sentence => ScoreUnit::Sentence,
            ByName::Text => ScoreUnit::Text,
            ByName::Region => ScoreUnit::Region,
        }
    }

    pub(crate) fn split(&self) -> WordSplit {
        match self.words {
            WordSplitName::Whitespace => WordSplit::Whitespace,
            WordSplitName::Unicode => WordSplit::Unicode,
        }
    }

    pub(crate) fn correction(&self) -> Option<BowCorrection> {
        self.bow_correction.map(|name| match name {
            BowName::Published => BowCorrection::Published,
            BowName::Minicons => BowCorrection::Minicons,
        })
    }
}
