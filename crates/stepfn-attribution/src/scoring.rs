//! Step functions of whole texts: each text runs once, and all functions read the same predictions.
//!
//! The functions' [needs](stepfn_core::StepScore::needs) decide which passes run: the text itself, its contrast, and passes with dropout. A model of
//! masked tokens reads a copy of the text for each step.
//! Texts of similar length share a batch. Only the hidden states of scored steps are kept, and the output layer and the step functions run on a
//! few rows at a time, so memory does not grow with steps × vocabulary. This affects scores by rounding alone: products of
//! few rows run another way than those of many. Otherwise a text has the same scores alone or in a batch, in any order, with any budget. Dropout masks depend on the text's number.

mod checks;
mod forward;
mod likely;
mod windows;

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use stepfn_core::{Join, Need, Needs, StepError, StepFunction};
use stepfn_kernels::dropout::DropRate;
use stepfn_kernels::is_host;
use stepfn_models::Model;
use stepfn_models::config::DropoutRates;

use self::checks::check_names;
pub(crate) use self::checks::{check_fits, check_kind, check_noise};
use self::forward::{Batch, Member, RowScores};
pub use self::windows::Windows;
use crate::batching::{BatchLimits, Shape, batches};
use crate::budget::Budget;
use crate::masked::Reading;
use crate::{
    AttributionError, ContrastText, Likely, MOST_ALTERNATIVES, OnProgress, ParameterError, Progress, SequenceScores,
    Text, TextScores,
};

/// How [`score`] runs.
#[derive(Clone, Copy)]
pub struct ScoringOptions<'a> {
    /// Seed of passes with dropout.
    pub seed: u64,
    /// Dropout rates to use instead of the checkpoint's own, at whatever sites they are for.
    pub rates: Option<DropoutRates>,
    /// The number of the first text in the whole run. If several calls continue the count, texts have the same scores as in one call, because dropout
    /// masks depend on a text's number.
    pub first_number: u32,
    /// Bytes that activations and logits may take, in addition to the model; an estimate. A single text that needs more runs anyway.
    pub memory: usize,
    /// Maximum number of token slots in a batch, including padding.
    pub batch_tokens: usize,
    /// How many of the most likely tokens of each step to name; 0 for none, [`MOST_ALTERNATIVES`] at most.
    pub alternatives: usize,
    /// How a text is read that is longer than the model's positions. `None`: as a whole, which is an error where the model has a last position.
    pub windows: Option<Windows>,
    /// Called after each batch; [`Break`](core::ops::ControlFlow::Break) ends the call with [`AttributionError::Cancelled`].
    pub progress: Option<&'a OnProgress<'a>>,
}

impl Default for ScoringOptions<'_> {
    fn default() -> Self {
        Self {
            seed: 0,
            rates: None,
            first_number: 0,
            memory: 1 << 30,
            batch_tokens: 4096,
            alternatives: 0,
            windows: None,
            progress: None,
        }
    }
}

impl core::fmt::Debug for ScoringOptions<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ScoringOptions")
            .field("seed", &self.seed)
            .field("rates", &self.rates)
            .field("first_number", &self.first_number)
            .field("memory", &self.memory)
            .field("batch_tokens", &self.batch_tokens)
            .field("alternatives", &self.alternatives)
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}

impl ScoringOptions<'_> {
    fn check(&self) -> Result<(), AttributionError> {
        let wrong = |parameter: &str, expected: &str, found: String| {
            AttributionError::from(ParameterError::new("scoring", parameter.to_owned(), expected.to_owned(), found))
        };
        for (parameter, value) in [("memory", self.memory), ("batch_tokens", self.batch_tokens)] {
            if value == 0 {
                return Err(wrong(parameter, "1 or more", value.to_string()));
            }
        }
        if self.alternatives > MOST_ALTERNATIVES {
            return Err(wrong("alternatives", &format!("{MOST_ALTERNATIVES} or fewer"), self.alternatives.to_string()));
        }
        if let Some(Windows { stride: 0 }) = self.windows {
            return Err(wrong("windows", "a stride of 1 or more", "0".to_owned()));
        }
        match self.rates.unwrap_or_default().rates().find(|&rate| DropRate::new(rate).is_none()) {
            Some(rate) => Err(wrong("rates", "dropout rates in [0, 1)", rate.to_string())),
            None => Ok(()),
        }
    }
}

/// Scores the steps of texts with step functions: one result per text, in order. A text that can't be scored does not affect the others.
///
/// ```
/// use burn::tensor::DType;
/// use stepfn_attribution::{ScoringOptions, Text, score};
/// use stepfn_core::Registry;
/// use stepfn_cpu::{Backend, device};
/// use stepfn_models::Model;
///
/// let model = Model::<Backend>::load("../../tests/goldens/models/gpt2", DType::F32, &device("0")?)?;
/// let registry = Registry::default();
/// let functions = [registry.make("surprisal", &Default::default())?, registry.make("entropy", &Default::default())?];
/// // Five tokens, of which the first two are a prompt.
/// let texts = [Text::causal(vec![12, 5, 40, 7, 99], 2)];
/// let scores = score(&model, &texts, &functions, &ScoringOptions::default())?;
/// let scores = scores[0].as_ref().unwrap();
/// assert_eq!(scores.scores[0].0, "surprisal");
/// assert_eq!(scores.scores[0].1.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// For the call: options out of range, two functions with the same name, a function that fails for all texts, a model that can't run. For
/// a text: steps, ids, lengths or a contrast that don't fit the model; a contrast that a function needs and the text lacks; logits that are
/// NaN or infinite, with the step.
pub fn score<B: Backend>(
    model: &Model<B>,
    texts: &[Text],
    functions: &[Box<dyn StepFunction<B> + '_>],
    options: &ScoringOptions<'_>,
) -> Result<Vec<Result<TextScores, AttributionError>>, AttributionError> {
    options.check()?;
    check_names(functions)?;
    let needs = functions.iter().fold(Needs::default(), |needs, function| needs.union(function.needs()));
    // The noisy passes are run a few at a time, but their logits are scored together.
    let all = 1 + usize::from(needs.contrast != Need::Unused) + needs.noisy_samples;
    let budget = Budget::new(model.config(), options.memory, all, is_host::<B>());
    check_noise(&budget, options.memory, needs.noisy_samples)?;
    let scorer = Scorer { model, functions, needs, options, budget };
    let readings: Vec<Result<Vec<Reading<'_>>, AttributionError>> =
        texts.iter().map(|text| scorer.readings(text)).collect();
    let accepted = readings.iter().enumerate().filter_map(|(number, readings)| Some((number, readings.as_ref().ok()?)));
    let of_text = |(number, readings)| core::iter::repeat(number).zip::<&Vec<Reading<'_>>>(readings);
    let pieces: Vec<(usize, &Reading<'_>)> = accepted.clone().flat_map(of_text).collect();
    let (accepted, rejected) = (accepted.count(), readings.iter().filter(|readings| readings.is_err()).count());
    let shapes: Vec<(usize, Shape)> =
        pieces.iter().map(|(_, reading)| scorer.shape(&reading.text)).enumerate().collect();
    let mut results: Vec<Option<Outcome>> = Vec::new();
    results.resize_with(pieces.len(), || None);
    let mut ready = 0;
    for batch in batches(&shapes, scorer.limits()) {
        ready += batch.len();
        for (&piece, result) in batch.iter().zip(scorer.run(&pieces, &batch)?) {
            results[piece] = Some(result);
        }
        let done = rejected + ready * accepted / pieces.len().max(1);
        let progress = Progress { texts_done: done, texts: texts.len(), pieces_done: 0, pieces: 0 };
        if options.progress.is_some_and(|on_progress| on_progress(progress).is_break()) {
            return Err(AttributionError::Cancelled);
        }
    }
    // Every text was either rejected or all of it was in batches.
    let mut results = results.into_iter().flatten();
    let outcome = |(text, readings): (&Text, Result<Vec<Reading<'_>>, AttributionError>)| {
        let readings = readings?;
        let parts: Vec<Outcome> = results.by_ref().take(readings.len()).collect();
        let mut before = 0;
        let located = |(part, (outcome, reading)): (usize, (Outcome, Reading<'_>))| {
            let first = before;
            before += reading.text.steps.len();
            outcome.map_err(|error| error.at_reading(part, reading.places).after_steps(first, reading.places))
        };
        let parts = parts.into_iter().zip(readings).enumerate().map(located).collect::<Result<Vec<_>, _>>()?;
        text.joined_scores(parts).ok_or_else(|| AttributionError::Text("there is no step".to_owned()))
    };
    Ok(texts.iter().zip(readings).map(outcome).collect())
}

/// What all batches share.
#[derive(Clone, Copy)]
struct Scorer<'a, B: Backend> {
    model: &'a Model<B>,
    functions: &'a [Box<dyn StepFunction<B> + 'a>],
    needs: Needs,
    options: &'a ScoringOptions<'a>,
    budget: Budget,
}

impl<'a, B: Backend> Scorer<'a, B> {
    fn number(&self, index: usize) -> usize {
        self.options.first_number as usize + index
    }

    /// The contrast of a text, if a function uses it.
    fn contrast<'t>(&self, text: &'t Text) -> Option<&'t ContrastText> {
        text.contrast.as_ref().filter(|_| self.needs.contrast != Need::Unused)
    }

    /// What is read of a text, if it can be scored.
    fn readings<'t>(&self, text: &'t Text) -> Result<Vec<Reading<'t>>, AttributionError> {
        check_kind(self.model.config(), text)?;
        let readings = match self.options.windows {
            Some(windows) if self.contrast(text).is_none() => windows.readings(self.model.config(), text)?,
            _ => text.readings()?,
        };
        readings.iter().try_for_each(|reading| self.check(&reading.text))?;
        Ok(readings)
    }

    /// Whether what is read can be.
    fn check(&self, text: &Text) -> Result<(), AttributionError> {
        text.check()?;
        check_fits(self.model.config(), "", text.source.as_deref(), &text.target, text.steps.end - 1)?;
        if let Some(contrast) = self.contrast(text) {
            let (source, target) = (contrast.source.as_deref(), &contrast.target);
            check_fits(self.model.config(), "contrast ", source, target, target.len() - 1)?;
            text.partners()?;
        } else if self.needs.contrast == Need::Required {
            let needing = self.functions.iter().find(|function| function.needs().contrast == Need::Required);
            let function = needing.map_or_else(String::new, |function| function.name().to_owned());
            return Err(StepError::MissingContrast { function }.into());
        }
        Ok(())
    }

    fn shape(&self, text: &Text) -> Shape {
        let len = |source: &Option<Vec<u32>>| source.as_ref().map_or(0, Vec::len);
        let contrast = self.contrast(text);
        let (other_source, other_target) =
            contrast.map_or((0, 0), |contrast| (len(&contrast.source), contrast.target.len() - 1));
        Shape {
            parts: [len(&text.source), text.steps.end - 1, other_source, other_target],
            // An optional contrast means another computation for all rows of a batch.
            kind: contrast.is_some(),
        }
    }

    fn limits(&self) -> BatchLimits {
        let (slots, bytes) = (self.options.batch_tokens, self.budget.batch_bytes());
        BatchLimits { slots, bytes, activations: self.budget.activations() }
    }

    fn joins(&self) -> BTreeMap<String, Join> {
        self.functions.iter().map(|function| (function.name().to_owned(), function.join())).collect()
    }

    /// The scores of one batch, a result for each of its pieces: texts, or masked copies, each with the number of its text in the call.
    fn run(&self, pieces: &[(usize, &Reading<'_>)], batch: &[usize]) -> Result<Vec<Outcome>, AttributionError> {
        let member = |&piece: &usize| {
            let &(text, Reading { text: read, places }) = &pieces[piece];
            Member { text: read, contrast: self.contrast(read), places: *places, number: self.number(text) }
        };
        let members: Vec<Member<'_>> = batch.iter().map(member).collect();
        let states = Batch::run(self, &members)?;
        let mut scored: Vec<Scored> = vec![Scored::default(); members.len()];
        let rows: Vec<usize> = (0..states.len()).collect();
        for chunk in rows.chunks(self.budget.scored_rows()) {
            let mut waiting = vec![chunk.to_vec()];
            while let Some(mut chunk) = waiting.pop() {
                chunk.retain(|&row| scored[states.member(row)].failure.is_none());
                let Some(first) = chunk.first().map(|&row| states.member(row)) else { continue };
                match states.score(self, &chunk) {
                    Ok(Ok(scores)) => {
                        for (column, &row) in chunk.iter().enumerate() {
                            scored[states.member(row)].push(&scores, column);
                        }
                    }
                    // If a text fails, its rows are removed from the chunk and the others run again.
                    Ok(Err((row, error))) => {
                        let failure = AttributionError::Step { step: Some(states.step(row)), error };
                        scored[states.member(row)].failure = Some(failure);
                        waiting.push(chunk);
                    }
                    // Which texts a function fails for is seen when each is scored by itself.
                    Err(error @ AttributionError::Step { error: StepError::Function { .. }, .. }) => {
                        let is_first = |&row: &usize| states.member(row) == first;
                        let (own, others): (Vec<usize>, Vec<usize>) = chunk.into_iter().partition(is_first);
                        if others.is_empty() {
                            scored[first].failure = Some(error);
                        } else {
                            waiting.extend([others, own]);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let first = members.iter().map(|member| member.text.steps.start);
        Ok(first.zip(scored).map(|(first, scored)| self.outcome(first, scored)).collect())
    }

    fn outcome(&self, first: usize, Scored { mut columns, likely, failure }: Scored) -> Outcome {
        if let Some(failure) = failure {
            return Err(failure);
        }
        let own = columns.split_off(self.functions.len());
        let names = self.functions.iter().map(|function| function.name().to_owned());
        let sequence = SequenceScores::new(&own[0], &own[1]);
        let [log_probs, entropies] = [own[0].clone(), own[1].clone()];
        let scores = names.zip(columns).collect();
        Ok(TextScores { first, scores, joins: self.joins(), sequence, log_probs, entropies, likely })
    }
}

/// The scores of a text, or its error.
type Outcome = Result<TextScores, AttributionError>;

/// Intermediate results of a text: a column per function, then log-probabilities and entropies.
#[derive(Debug, Clone, Default)]
struct Scored {
    columns: Vec<Vec<f32>>,
    likely: Vec<Vec<Likely>>,
    failure: Option<AttributionError>,
}

impl Scored {
    fn push(&mut self, scores: &RowScores, row: usize) {
        self.columns.resize(scores.columns.len(), Vec::new());
        for (kept, column) in self.columns.iter_mut().zip(&scores.columns) {
            kept.push(column[row]);
        }
        self.likely.extend(scores.likely.get(row).cloned());
    }
}

#[cfg(test)]
mod tests;
