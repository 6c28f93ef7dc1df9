//! Step functions of texts.

use core::fmt;

use burn::tensor::backend::Backend;
use serde::Serialize;
use serde_json::{Map, Value};
use stepfn_attribution::{Alternative, Prepared, Provenance, ScoredTokens, ScoringOptions, Text, TextScores, score};
use stepfn_core::{StepFunction, StepScore};
use stepfn_models::chat::MessageSpan;
use stepfn_models::config::TransformerConfig;
use stepfn_models::tokenizer::Token;
use stepfn_report::is_invisible;

use crate::chat::Asked;
use crate::texts::{Numbered, Task, Told};
use crate::writers::{Record, aligned, csv_lines, number, number_or_nothing, plain, values};
use crate::{LanguageModel, Outcome, Result, RunOptions, warnings};

/// Some step functions: an array, a vector or a tuple of them.
pub trait StepFunctions<B: Backend> {
    /// Each behind a pointer.
    fn boxed(self) -> Vec<Box<dyn StepFunction<B>>>;
}

impl<B: Backend, F: StepFunction<B> + 'static, const N: usize> StepFunctions<B> for [F; N] {
    fn boxed(self) -> Vec<Box<dyn StepFunction<B>>> {
        self.into_iter().map(|function| Box::new(function) as Box<dyn StepFunction<B>>).collect()
    }
}

impl<B: Backend, F: StepFunction<B> + 'static> StepFunctions<B> for Vec<F> {
    fn boxed(self) -> Vec<Box<dyn StepFunction<B>>> {
        self.into_iter().map(|function| Box::new(function) as Box<dyn StepFunction<B>>).collect()
    }
}

macro_rules! tuples {
    ($(($($name:ident),+)),+) => {
        $(
            impl<B: Backend, $($name: StepFunction<B> + 'static),+> StepFunctions<B> for ($($name,)+) {
                fn boxed(self) -> Vec<Box<dyn StepFunction<B>>> {
                    #[allow(non_snake_case, reason = "a value is named as its type")]
                    let ($($name,)+) = self;
                    vec![$(Box::new($name)),+]
                }
            }
        )+
    };
}

tuples!((F), (F, G), (F, G, H), (F, G, H, I));

/// Step functions to compute, and how. For many texts: [`LanguageModel::score_all`].
pub struct ScoreTask<B: Backend> {
    /// The step functions.
    pub functions: Vec<Box<dyn StepFunction<B>>>,
    /// How many of the most likely tokens of each step to name; 0 for none, [`MOST_ALTERNATIVES`](crate::MOST_ALTERNATIVES) at most.
    pub alternatives: usize,
    /// How they run.
    pub options: RunOptions,
}

impl<B: Backend> ScoreTask<B> {
    /// These step functions.
    pub fn new(functions: impl StepFunctions<B>) -> Self {
        Self { functions: functions.boxed(), alternatives: 0, options: RunOptions::default() }
    }

    /// The function that asks for passes with dropout though the model drops nothing: all these passes are the same, and their mean says nothing.
    pub fn drops_nothing(&self, model: &LanguageModel<B>) -> Option<&str> {
        let noisy = self.functions.iter().find(|function| function.needs().noisy_samples > 0)?;
        let config = model.config();
        let stacks = || config.encoder.iter().chain([&config.decoder]);
        let drops_nothing = match self.options.dropout {
            Some(rate) => rate == 0.0,
            None => stacks().all(|stack| stack.dropout.rates().all(|rate| rate == 0.0)),
        };
        drops_nothing.then(|| noisy.name())
    }

    /// The parameters of all functions, by name.
    fn parameters(&self, config: &TransformerConfig) -> Map<String, Value> {
        let of_functions = self.functions.iter().map(|function| (function.name(), function.parameters().into()));
        let of_functions = of_functions.map(|(name, value)| (name.to_owned(), value));
        of_functions.chain(self.options.parameters(config)).collect()
    }
}

impl<B: Backend> fmt::Debug for ScoreTask<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.functions.iter().map(|function| function.name()).collect();
        f.debug_struct("ScoreTask").field("functions", &names).field("options", &self.options).finish()
    }
}

impl<B: Backend> Task<B> for &ScoreTask<B> {
    type Output = ScoredText;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn windows(&self) -> [usize; 2] {
        // The last has enough texts of like length for full batches.
        [8, 512]
    }

    fn run(&self, model: &LanguageModel<B>, window: Vec<Numbered>, told: Told<'_>) -> Result<Vec<Outcome<ScoredText>>> {
        let preparer = model.preparer_masking(self.options.masking)?;
        let prepare = |Numbered { id, input, .. }: &Numbered| {
            let input = input.as_ref().map_err(Clone::clone)?;
            input.without_spans()?;
            let Asked { request, messages } = model.asked(input)?;
            let mut prepared = preparer.prepare(&request)?;
            crate::room::check(model, &prepared.text)?;
            model.align(&mut prepared)?;
            crate::attribute::narrow(&mut prepared, input)?;
            warnings::of_length(model.config(), &prepared.text).iter().for_each(|length| (told.warning)(id, length));
            Ok((prepared, messages))
        };
        let prepared: Vec<Result<(Prepared, Vec<MessageSpan>)>> = window.iter().map(prepare).collect();
        // A text that could not be prepared keeps its place, because dropout masks belong to a text's number.
        let nothing = Text { source: None, target: Vec::new(), steps: 0..0, contrast: None, masked: None };
        let text = |made: &Result<(Prepared, Vec<MessageSpan>)>| {
            made.as_ref().map_or_else(|_| nothing.clone(), |(made, _)| made.text.clone())
        };
        let texts: Vec<Text> = prepared.iter().map(text).collect();
        let options = ScoringOptions {
            seed: self.options.seed,
            rates: self.options.rates(model.config()),
            first_number: window.first().map_or(0, |numbered| numbered.number as u32),
            memory: model.memory(&self.options),
            batch_tokens: self.options.batch_tokens,
            alternatives: self.alternatives,
            progress: Some(told.progress),
        };
        let scores = score(model.model(), &texts, &self.functions, &options)?;
        let about =
            Provenance { parameters: self.parameters(model.config()), seed: self.options.seed, ..model.provenance() };
        let outcomes = window.into_iter().zip(prepared).zip(scores).map(|((numbered, prepared), scores)| {
            let Numbered { number, id, fields, .. } = numbered;
            let result = prepared.and_then(|(prepared, messages)| {
                let Prepared { text, source_text, target_text, source, target, .. } = prepared;
                let scores = scores?;
                let alternatives = preparer.alternatives(&scores.likely)?;
                let chat = warnings::of_chat(&messages);
                Ok(ScoredText {
                    id: id.clone(),
                    fields: fields.clone(),
                    source_text,
                    target_text,
                    source,
                    target,
                    scores,
                    alternatives,
                    messages,
                    about: Provenance {
                        warnings: warnings::of_length(model.config(), &text).into_iter().chain(chat).collect(),
                        ..about.clone()
                    },
                })
            });
            Outcome { id, number, fields, result }
        });
        Ok(outcomes.collect())
    }
}

/// A text and the scores of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredText {
    /// What you call the text, or its number.
    pub id: Value,
    /// Fields of your own that came with the text.
    pub fields: Map<String, Value>,
    /// What the encoder read, or the prompt.
    pub source_text: Option<String>,
    /// What was scored; for a causal model, prompt included.
    pub target_text: String,
    /// What the encoder read; empty for a causal model.
    pub source: Vec<Token>,
    /// What the decoder read and predicted.
    pub target: Vec<Token>,
    /// The scores, from the first scored token of the target on, and of all scored tokens together.
    pub scores: TextScores,
    /// For each scored token, what the model expected, most likely first; empty where it was not asked for.
    pub alternatives: Vec<Vec<Alternative>>,
    /// Of a chat: where each of its messages stands, in bytes of the target text; empty otherwise.
    pub messages: Vec<MessageSpan>,
    /// How they were made.
    pub about: Provenance,
}

impl ScoredText {
    /// The scored tokens.
    pub fn tokens(&self) -> &[Token] {
        let scored = self.scores.scores.first().map_or(0, |(_, values)| values.len());
        &self.target[self.scores.first..self.scores.first + scored]
    }

    /// A number for each scored token, by the name of the step function. NaN where it has no value.
    pub fn values(&self, function: &str) -> Option<&[f32]> {
        self.scores.scores.iter().find(|(name, _)| name == function).map(|(_, values)| values.as_slice())
    }

    /// A cell per score at a position, in the order of the functions.
    fn cells(&self, position: usize, cell: impl Fn(f32) -> String) -> Vec<String> {
        let step = position.checked_sub(self.scores.first);
        let value = |values: &Vec<f32>| step.and_then(|step| values.get(step)).copied();
        self.scores.scores.iter().map(|(_, values)| value(values).map_or_else(String::new, &cell)).collect()
    }

    /// The alternatives at a position, with their probabilities.
    fn expected(&self, position: usize) -> String {
        let step = position.checked_sub(self.scores.first);
        let alternatives = step.and_then(|step| self.alternatives.get(step)).map_or(&[][..], Vec::as_slice);
        let one = |other: &Alternative| format!("{} {}", visible(&other.surface), number(f64::from(other.probability)));
        alternatives.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.scores.scores.iter().map(|(name, _)| name.clone())
    }
}

impl Record for ScoredText {
    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            id: &'a Value,
            #[serde(skip_serializing_if = "Map::is_empty")]
            fields: &'a Map<String, Value>,
            source_text: &'a Option<String>,
            target_text: &'a str,
            #[serde(flatten)]
            scored: ScoredTokens<'a>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            messages: &'a [MessageSpan],
            about: &'a Provenance,
        }
        let Self { id, fields, source_text, target_text, target, scores, alternatives, messages, about, .. } = self;
        let scored = ScoredTokens { tokens: target, scores, alternatives };
        serde_json::to_string(&Line { id, fields, source_text, target_text, scored, messages, about })
    }

    fn table(&self) -> String {
        let asked = (!self.alternatives.is_empty()).then(|| "expected".to_owned());
        let header = ["#", "token"].map(str::to_owned).into_iter().chain(self.names());
        let header: Vec<String> = header.chain(asked.clone()).collect();
        let row = |position: usize| {
            let token = visible(&self.target[position].surface);
            let scores = self.cells(position, |value| number(f64::from(value)));
            let expected = asked.as_ref().map(|_| self.expected(position));
            [position.to_string(), token].into_iter().chain(scores).chain(expected).collect()
        };
        let rows: Vec<Vec<String>> = (self.scores.first..self.target.len()).map(row).collect();
        let sequence = self.scores.sequence;
        let [logprob, perplexity, entropy] = [sequence.logprob, sequence.perplexity, sequence.mean_entropy].map(number);
        format!("{}logprob {logprob}, perplexity {perplexity}, mean entropy {entropy}\n", aligned(&header, &rows))
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        let fixed = ["id", "position", "token", "token_id", "start", "end"].map(str::to_owned);
        let asked = (!self.alternatives.is_empty()).then(|| "expected".to_owned());
        let header = fixed.into_iter().chain(self.names()).chain(asked.clone()).chain(fields.iter().cloned()).collect();
        let row = |position: usize| {
            let token = &self.target[position];
            let fixed = [
                plain(&self.id),
                position.to_string(),
                token.surface.clone(),
                token.id.to_string(),
                token.span.start.to_string(),
                token.span.end.to_string(),
            ];
            let scores = self.cells(position, number_or_nothing);
            let expected = asked.as_ref().map(|_| self.expected(position));
            fixed.into_iter().chain(scores).chain(expected).chain(values(&self.fields, fields)).collect()
        };
        let rows = (self.scores.first..self.target.len()).map(row);
        csv_lines(with_header.then_some(header).into_iter().chain(rows))
    }
}

/// The scores as a table.
impl fmt::Display for ScoredText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table().trim_end())
    }
}

/// A token on a terminal: spaces can be seen, and nothing moves the cursor or changes the direction of the text.
fn visible(token: &str) -> String {
    let shown = |c: char| match c {
        ' ' => "·".to_owned(),
        c if is_invisible(c) => c.escape_default().to_string(),
        c => c.to_string(),
    };
    token.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_moves_the_cursor_or_turns_the_text_around() {
        assert_eq!(visible(" a\u{1b}[2J"), "·a\\u{1b}[2J");
        assert_eq!(visible("\n\u{202e}\u{200b}é"), "\\n\\u{202e}\\u{200b}é");
    }
}
