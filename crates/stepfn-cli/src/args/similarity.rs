//! Arguments of `stepfn similarity`.

use clap::{Args, ValueEnum};
use stepfn::SimilarityMeasure;

use super::values::{base, name};
use super::{BatchArgs, GenerationArgs, LinesArgs, ModelArgs, OutputArgs};

/// What is said below the options.
pub(super) const HELP: &str = "\
Examples:
  stepfn similarity --model facebook/m2m100_418M --a-lang en 'The cat sat.' 'A cat was sitting.'
  stepfn similarity --model facebook/m2m100_418M --a-lang en --b-lang de 'The cat sat.' 'Die Katze saß.' --measure direct
  stepfn similarity --model nllb --a-lang eng_Latn --via deu_Latn --input pairs.jsonl --format csv -o similarities.csv
  stepfn similarity --model facebook/m2m100_418M --a-lang en --input pairs.tsv --columns reference,hypothesis --exp-base 2

The measures of NMTScore (Vamvas & Sennrich 2022). With H the mean cross-entropy of tokens and t(B) the model's translation of B: \
direct is e^(H(A | A) − H(A | B)), cross-likelihood e^(H(t(B) | B) − H(t(B) | A)), and pivot e^(H(A | t(A)) − H(A | t(B))); the similarity is the mean of this and of the same with A and B \
exchanged. A text is 1 to itself. nmtscore takes 2 in place of e.

Lines of --input have a text in each of --columns. Fields that nothing reads are passed over. The model translates as its generation_config.json says; --generation num_beams=5 changes that.";

#[derive(Debug, Args)]
pub(crate) struct SimilarityArgs {
    /// The two texts, A and B
    #[arg(num_args = 2, value_names = ["A", "B"], conflicts_with = "input")]
    pub(crate) text: Vec<String>,
    /// Fields of --input with A and with B; default: a,b
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = name, requires = "input", conflicts_with = "text")]
    pub(crate) columns: Vec<String>,
    /// What is measured
    #[arg(long, value_enum, value_name = "MEASURE", default_value_t = MeasureName::CrossLikelihood)]
    pub(crate) measure: MeasureName,
    /// The language of the model's translations, for the measures that have any; default: en
    #[arg(long, value_name = "LANGUAGE", value_parser = name)]
    pub(crate) via: Option<String>,
    /// Do not divide by the measure of the text with itself
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Measure only how likely A is, not the mean of both directions
    #[arg(long)]
    pub(crate) one_direction: bool,
    /// What is raised to the power of cross-entropies in nats; default: e; nmtscore takes 2
    #[arg(long, value_name = "NUMBER", value_parser = base, allow_negative_numbers = true)]
    pub(crate) exp_base: Option<f64>,
    #[command(flatten)]
    pub(crate) lines: LinesArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeasureName {
    /// How likely the model is to translate B into A
    Direct,
    /// How likely the model is to translate A into what it translates B into
    #[value(alias = "cross_likelihood")]
    CrossLikelihood,
    /// How likely the model is to translate what it translates B into, into A
    Pivot,
}

impl MeasureName {
    /// The measure.
    pub(crate) const fn measure(self) -> SimilarityMeasure {
        match self {
            Self::Direct => SimilarityMeasure::Direct,
            Self::CrossLikelihood => SimilarityMeasure::CrossLikelihood,
            Self::Pivot => SimilarityMeasure::Pivot,
        }
    }
}
