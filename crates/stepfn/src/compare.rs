//! Pairs and tuples of texts: which one the model prefers.

mod accuracy;
mod columns;
mod comparison;
mod formula;

use core::fmt;
use std::sync::Arc;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::Provenance;
use stepfn_core::StepFunction;

use crate::backend::DefaultBackend;
use crate::step_functions::Borrowed;
use crate::texts::{Numbered, Task, Told};
use crate::{
    Error, ErrorKind, Input, LanguageModel, LongTexts, Outcome, Region, Result, RunOptions, ScoreTask, ScoreUnit,
    ScoredText, StepFunctions, functions::Surprisal,
};

pub use accuracy::{Accuracy, comparisons};
pub use columns::comparison;
pub use comparison::{Compared, Comparison};
pub use formula::Formula;

/// The name of the function that regions are compared by.
const SURPRISAL: &str = "surprisal";

/// One of the texts that are compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variant {
    /// What it is called, as a column of a table: `good`.
    pub name: String,
    /// The text, or what follows the input's source: a prompt that all variants share, or what an encoder reads.
    pub text: String,
    /// Parts of it that a criterion is about.
    pub regions: Vec<Region>,
}

impl Variant {
    /// A text without regions.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), regions: Vec::new() }
    }
}

/// By what the first text is preferred to the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Criterion {
    /// Its log-probability is greater.
    #[default]
    Sum,
    /// Its log-probability per token is greater.
    Token,
    /// Its log-probability per word is greater; words are between whitespace.
    Word,
    /// The log-probability of its region of this name, or of this number from 1, is greater.
    Region(String),
    /// The formula holds.
    Formula(Formula),
}

impl Criterion {
    /// What it is called: `sum`, `token`, `word`, `region NAME`, or the formula.
    pub fn name(&self) -> String {
        match self {
            Self::Sum => "sum".to_owned(),
            Self::Token => "token".to_owned(),
            Self::Word => "word".to_owned(),
            Self::Region(region) => format!("region {region}"),
            Self::Formula(formula) => formula.to_string(),
        }
    }
}

/// How texts are compared. Each input has its [variants](Input::variants), the expected one first. For many inputs:
/// [`LanguageModel::compare_all`].
#[derive(Clone)]
pub struct CompareTask<B: Backend = DefaultBackend> {
    /// What decides.
    pub criterion: Criterion,
    /// Step functions that each text has a value of in addition: those of its tokens, joined as each function [says](crate::extend::StepScore::join).
    pub functions: Vec<Arc<dyn StepFunction<B>>>,
    /// The field of the input that says which group a comparison belongs to.
    pub group_by: Option<String>,
    /// What happens to a text that is longer than the model's positions.
    pub long: LongTexts,
    /// Whether a causal model's text begins with the model's start token; by default as the tokenizer has it.
    pub start_token: Option<bool>,
    /// How they run; the seed is that of the intervals.
    pub options: RunOptions,
}

impl<B: Backend> Default for CompareTask<B> {
    fn default() -> Self {
        Self {
            criterion: Criterion::default(),
            functions: Vec::new(),
            group_by: None,
            long: LongTexts::default(),
            start_token: None,
            options: RunOptions::default(),
        }
    }
}

impl<B: Backend> fmt::Debug for CompareTask<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.functions.iter().map(|function| function.name()).collect();
        let fields = (&self.criterion, &self.options);
        f.debug_struct("CompareTask")
            .field("criterion", fields.0)
            .field("functions", &names)
            .field("options", fields.1)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> CompareTask<B> {
    /// With these step functions in addition.
    #[must_use]
    pub fn with(self, functions: impl StepFunctions<B>) -> Self {
        Self { functions: functions.boxed().into_iter().map(Arc::from).collect(), ..self }
    }

    /// What is computed of each text: surprisal, which regions are compared by, and the functions.
    fn scored(&self) -> Vec<Box<dyn StepFunction<B>>> {
        let shared =
            |function: &Arc<dyn StepFunction<B>>| Box::new(Borrowed(function.clone())) as Box<dyn StepFunction<B>>;
        let others = self.functions.iter().filter(|function| function.name() != SURPRISAL).map(shared);
        core::iter::once(Box::new(Surprisal::default()) as Box<dyn StepFunction<B>>).chain(others).collect()
    }

    /// Whether regions of variants matter.
    fn reads_regions(&self) -> bool {
        match &self.criterion {
            Criterion::Region(_) => true,
            Criterion::Formula(formula) => formula.columns().iter().any(|(_, region)| *region),
            Criterion::Sum | Criterion::Token | Criterion::Word => false,
        }
    }

    /// What is scored of each input: its variants as texts of their own.
    fn texts(&self, model: &LanguageModel<B>, input: &Input) -> Result<Vec<Input>> {
        let wrong = |what: String, hint: &str| Error::new(ErrorKind::Text, what, hint);
        if input.variants.len() < 2 {
            return Err(wrong(
                "there are fewer than two texts to compare".to_owned(),
                "give a text in each of two columns or more",
            ));
        }
        if input.text.is_some() || input.target.is_some() || !input.messages.is_empty() {
            return Err(wrong(
                "a text, a target or messages were given besides the texts to compare".to_owned(),
                "leave them out",
            ));
        }
        if let Criterion::Formula(formula) = &self.criterion {
            let known = |column: &str| input.variants.iter().any(|variant| variant.name == column);
            if let Some((unknown, _)) = formula.columns().into_iter().find(|(column, _)| !known(column)) {
                return Err(wrong(
                    format!("the formula is about `{unknown}`, and no text is called so"),
                    "name the columns of the texts",
                ));
            }
        }
        let reads_regions = self.reads_regions();
        let text = |Variant { name, text, regions }: &Variant| {
            if reads_regions && regions.is_empty() {
                return Err(wrong(
                    format!("`{name}` has no regions, and the criterion is about one"),
                    "give the text as a list of its regions",
                ));
            }
            let regions = if reads_regions { regions.clone() } else { Vec::new() };
            let text = match &input.source {
                Some(source) if !model.is_encoder_decoder() => {
                    let joint = !source.ends_with(char::is_whitespace) && !text.starts_with(char::is_whitespace);
                    format!("{source}{}{text}", if joint { " " } else { "" })
                }
                None if model.is_encoder_decoder() => {
                    return Err(wrong(
                        "this model has an encoder, and there is no source for it to read".to_owned(),
                        "give the field `source`",
                    ));
                }
                _ => text.clone(),
            };
            Ok(Input { source: input.source.clone(), target: Some(text), regions, ..Input::default() })
        };
        input.variants.iter().map(text).collect()
    }

    fn comparison(&self, input: &Input, id: Value, scored: Vec<ScoredText>) -> Result<Comparison> {
        let names: Vec<&str> = self.functions.iter().map(|function| function.name()).collect();
        let texts: Vec<Compared> = input
            .variants
            .iter()
            .zip(&scored)
            .map(|(variant, scored)| Compared::new(variant, scored, &names))
            .collect();
        let score = |text: &Compared| match &self.criterion {
            Criterion::Sum => Ok(Some(text.logprob)),
            Criterion::Token => Ok(Some(text.logprob / text.tokens as f64)),
            Criterion::Word => Ok(Some(text.logprob / text.words.max(1) as f64)),
            Criterion::Region(region) => text.region(region).map(|bits| Some(-bits * core::f64::consts::LN_2)),
            Criterion::Formula(_) => Ok(None),
        };
        let scores = texts.iter().map(score).collect::<Result<Vec<Option<f64>>>>()?;
        let difference = scores.split_first().and_then(|(first, others)| {
            let best = others.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            first.map(|first| first - best)
        });
        let prefers = match &self.criterion {
            Criterion::Formula(formula) => formula.holds(&|column, region| {
                let text = texts.iter().find(|text| text.name == column);
                match (text, region) {
                    (Some(text), Some(region)) => text.region(region),
                    (Some(text), None) => Ok(-text.logprob / core::f64::consts::LN_2),
                    (None, _) => Ok(f64::NAN),
                }
            })?,
            // Not where they are equal.
            _ => difference.is_some_and(|difference| difference > 0.0),
        };
        let group = self.group_by.as_ref().map(|field| {
            input.fields.get(field).cloned().ok_or_else(|| {
                let what = format!("there is no field `{field}` to group by");
                Error::new(ErrorKind::Text, what, "give each line one, or leave out the groups")
            })
        });
        let about = scored.into_iter().next().map(|scored| scored.about).unwrap_or_default();
        let mut parameters = Map::new();
        parameters.insert("criterion".to_owned(), self.criterion.name().into());
        parameters.extend(
            about
                .parameters
                .into_iter()
                .filter(|(name, _)| name != "by" && (name != SURPRISAL || names.contains(&SURPRISAL))),
        );
        let about = Provenance { parameters, seed: self.options.seed, ..about };
        let texts = texts.into_iter().zip(scores).map(|(text, score)| Compared { score, ..text }).collect();
        let (fields, source, group) = (input.fields.clone(), input.source.clone(), group.transpose()?);
        Ok(Comparison { id, fields, group, source, texts, prefers, difference, about })
    }
}

impl<B: Backend> Task<B> for &CompareTask<B> {
    type Output = Comparison;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn windows(&self) -> [usize; 2] {
        [4, 256]
    }

    fn run(&self, model: &LanguageModel<B>, window: Vec<Numbered>, told: Told<'_>) -> Result<Vec<Outcome<Comparison>>> {
        let by = if self.reads_regions() { ScoreUnit::Region } else { ScoreUnit::Token };
        let task = ScoreTask {
            by,
            long: self.long,
            start_token: self.start_token,
            options: self.options,
            ..ScoreTask::new(self.scored())
        };
        let prepared: Vec<Result<Vec<Input>>> = window
            .iter()
            .map(|numbered| numbered.input.as_ref().map_err(Clone::clone).and_then(|input| self.texts(model, input)))
            .collect();
        let of_each = |(numbered, texts): (&Numbered, &Result<Vec<Input>>)| -> Vec<Numbered> {
            let texts = texts.as_ref().map_or(&[][..], Vec::as_slice);
            texts.iter().map(|text| Numbered::new(numbered.number, numbered.id.clone(), text.clone())).collect()
        };
        let all = window.iter().zip(&prepared).flat_map(of_each).collect();
        let mut scored = (&task).run(model, all, told)?.into_iter();
        let outcome = |(Numbered { number, id, fields, input, .. }, texts): (Numbered, Result<Vec<Input>>)| {
            let result = texts.and_then(|texts| {
                let own: Vec<Outcome<ScoredText>> = scored.by_ref().take(texts.len()).collect();
                let input = input?;
                let named = |(outcome, variant): (Outcome<ScoredText>, &Variant)| {
                    outcome.result.map_err(|error| error.at(format!("`{}`", variant.name)))
                };
                let own = own.into_iter().zip(&input.variants).map(named).collect::<Result<Vec<_>>>()?;
                self.comparison(&input, id.clone(), own)
            });
            Outcome { id, number, fields, result }
        };
        Ok(window.into_iter().zip(prepared).map(outcome).collect())
    }
}
