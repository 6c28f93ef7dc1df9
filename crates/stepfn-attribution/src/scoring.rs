//! Step functions of whole texts: each text runs once, and all functions read the same predictions.
//!
//! What the functions [need](StepFunction::needs) decides which passes there are: the text itself, its contrast, and passes with dropout.
//! Texts of like length share a batch; of the hidden states only those of scored steps are kept, and output layer and step functions see a
//! few rows of them at a time, so that memory does not grow with steps × vocabulary. None of that shows in the scores: a text scores the same
//! alone or in company, in any order, with any budget; the masks of a pass with dropout belong to the text's number.

mod forward;

use std::collections::BTreeSet;

use burn::tensor::backend::Backend;
use stepfn_core::{Need, Passes, StepError, StepFunction};
use stepfn_kernels::dropout::DropRate;
use stepfn_models::Model;
use stepfn_models::config::{DropoutRates, TransformerConfig};

use self::forward::{Batch, Member};
use crate::batching::{Budget, Shape, batches};
use crate::{AttributionError, ContrastText, SequenceScores, Text, TextScores};

/// How [`score`] runs.
#[derive(Clone, Copy)]
pub struct ScoringOptions<'a> {
    /// What the randomness of passes with dropout comes from.
    pub seed: u64,
    /// Dropout rates to take instead of the checkpoint's own.
    pub rates: Option<DropoutRates>,
    /// The number of the first text in the whole run. Texts that come in several calls score as in one if each call goes on counting: dropout
    /// masks and errors know a text by its number.
    pub first_number: u32,
    /// Bytes that activations and logits may take, beside the model: an estimate. A single text that needs more runs all the same.
    pub memory: usize,
    /// Most token slots of a batch, padding included.
    pub batch_tokens: usize,
    /// Is told after each batch how far the call is.
    pub progress: Option<&'a (dyn Fn(Progress) + 'a)>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Texts that are done.
    pub texts: usize,
    /// All texts.
    pub all: usize,
}

impl Default for ScoringOptions<'_> {
    fn default() -> Self {
        Self { seed: 0, rates: None, first_number: 0, memory: 1 << 30, batch_tokens: 4096, progress: None }
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
            .finish_non_exhaustive()
    }
}

impl ScoringOptions<'_> {
    fn check(&self) -> Result<(), AttributionError> {
        let wrong = |parameter: &str, expected: &str, found: String| AttributionError::Parameter {
            of: "scoring".to_owned(),
            parameter: parameter.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        for (parameter, value) in [("memory", self.memory), ("batch_tokens", self.batch_tokens)] {
            if value == 0 {
                return Err(wrong(parameter, "1 or more", value.to_string()));
            }
        }
        let rates = self.rates.unwrap_or_default();
        let all = [rates.embedding, rates.attention, rates.residual, rates.activation, rates.last];
        match all.into_iter().find(|&rate| DropRate::new(rate).is_none()) {
            Some(rate) => Err(wrong("rates", "dropout rates in [0, 1)", rate.to_string())),
            None => Ok(()),
        }
    }
}

/// Scores the steps of texts with step functions: one result per text, in their order. A text that can't be scored leaves the others alone.
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
/// Of the call: options out of range, functions of one name, a function that fails for no text in particular, a model that can't be run. Of
/// a text: steps, ids, lengths or a contrast that don't fit the model; a contrast that a function needs and the text lacks; logits that are
/// NaN or infinite, with the step.
pub fn score<B: Backend>(
    model: &Model<B>,
    texts: &[Text],
    functions: &[Box<dyn StepFunction<B>>],
    options: &ScoringOptions<'_>,
) -> Result<Vec<Result<TextScores, AttributionError>>, AttributionError> {
    options.check()?;
    check_names(functions)?;
    let passes = functions.iter().fold(Passes::default(), |passes, function| passes.union(function.needs()));
    let scorer = Scorer { model, functions, passes, options };
    let mut results: Vec<Option<Outcome>> = Vec::new();
    results.resize_with(texts.len(), || None);
    let mut shapes = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match scorer.check(text, scorer.number(index)) {
            Ok(()) => shapes.push((index, scorer.shape(text))),
            Err(error) => results[index] = Some(Err(error)),
        }
    }
    let mut done = texts.len() - shapes.len();
    for batch in batches(&shapes, scorer.budget()) {
        done += batch.len();
        for (&index, result) in batch.iter().zip(scorer.run(texts, &batch)?) {
            results[index] = Some(result);
        }
        if let Some(progress) = options.progress {
            progress(Progress { texts: done, all: texts.len() });
        }
    }
    // Every text was either refused or in a batch.
    Ok(results.into_iter().flatten().collect())
}

/// The model and the question, the same for all batches.
#[derive(Clone, Copy)]
struct Scorer<'a, B: Backend> {
    model: &'a Model<B>,
    functions: &'a [Box<dyn StepFunction<B>>],
    passes: Passes,
    options: &'a ScoringOptions<'a>,
}

impl<'a, B: Backend> Scorer<'a, B> {
    fn number(&self, index: usize) -> usize {
        self.options.first_number as usize + index
    }

    /// The contrast of a text, if a function makes use of it.
    fn contrast<'t>(&self, text: &'t Text) -> Option<&'t ContrastText> {
        text.contrast.as_ref().filter(|_| self.passes.contrast != Need::Unused)
    }

    /// Whether a text can be scored.
    fn check(&self, text: &Text, number: usize) -> Result<(), AttributionError> {
        let fails = |error| AttributionError::StepOfText { text: number, step: None, error };
        text.check(number)?;
        check_fits(self.model.config(), number, "", text.source.as_deref(), &text.target, text.steps.end - 1)?;
        if let Some(contrast) = self.contrast(text) {
            let (source, target) = (contrast.source.as_deref(), &contrast.target);
            check_fits(self.model.config(), number, "contrast ", source, target, target.len() - 1)?;
            contrast.alignment.partners(text.steps.len(), target.len() - contrast.first).map_err(fails)?;
        } else if self.passes.contrast == Need::Required {
            let needing = self.functions.iter().find(|function| function.needs().contrast == Need::Required);
            let function = needing.map_or_else(String::new, |function| function.name().to_owned());
            return Err(fails(StepError::MissingContrast { function }));
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

    fn budget(&self) -> Budget {
        let config = self.model.config();
        let stacks = config.encoder.iter().chain([&config.decoder]);
        let (mut widest, mut heads) = (0, 0);
        for stack in stacks {
            widest = widest.max(stack.feed_forward.size);
            heads = heads.max(stack.attention.n_heads);
        }
        Budget {
            slots: self.options.batch_tokens,
            // The other half is for logits.
            bytes: self.options.memory / 2,
            // What a block has at a time, in single precision: residual, queries, keys, values and their like; the feed-forward.
            per_token: 4 * (8 * config.hidden_size + 3 * widest),
            // Scores, probabilities, and a mask of dropout.
            per_pair: 4 * 3 * heads,
        }
    }

    /// Rows whose logits, with those of all passes, are in memory at one time.
    fn rows_at_once(&self) -> usize {
        /// Logits, their softmax, and what a function makes of them.
        const COPIES: usize = 4;
        /// More rows than these make no product faster, and only wait for memory.
        const ENOUGH: usize = 512;
        let passes = 1 + usize::from(self.passes.contrast != Need::Unused) + self.passes.noisy_samples;
        let row = self.model.config().vocab_size * 4 * COPIES * passes;
        (self.options.memory / 2 / row).clamp(1, ENOUGH)
    }

    /// The scores of one batch, a result for each of its texts.
    fn run(&self, texts: &[Text], batch: &[usize]) -> Result<Vec<Outcome>, AttributionError> {
        let member = |&index: &usize| Member {
            text: &texts[index],
            contrast: self.contrast(&texts[index]),
            number: self.number(index),
        };
        let members: Vec<Member<'_>> = batch.iter().map(member).collect();
        let states = Batch::run(self, &members)?;
        let mut scored: Vec<Scored> = vec![Scored::default(); members.len()];
        let rows: Vec<usize> = (0..states.len()).collect();
        for chunk in rows.chunks(self.rows_at_once()) {
            let mut chunk = chunk.to_vec();
            chunk.retain(|&row| scored[states.member(row)].failure.is_none());
            // Rows of a text that fails leave the chunk, and the others are tried again.
            while !chunk.is_empty() {
                match states.score(self, &chunk)? {
                    Ok(columns) => {
                        for (column, &row) in chunk.iter().enumerate() {
                            scored[states.member(row)].push(&columns, column);
                        }
                        break;
                    }
                    Err((row, error)) => {
                        let member = states.member(row);
                        let (text, step) = (members[member].number, Some(states.step(row)));
                        scored[member].failure = Some(AttributionError::StepOfText { text, step, error });
                        chunk.retain(|&row| states.member(row) != member);
                    }
                }
            }
        }
        let first = members.iter().map(|member| member.text.steps.start);
        Ok(first.zip(scored).map(|(first, scored)| self.outcome(first, scored)).collect())
    }

    fn outcome(&self, first: usize, Scored { mut columns, failure }: Scored) -> Outcome {
        if let Some(failure) = failure {
            return Err(failure);
        }
        let own = columns.split_off(self.functions.len());
        let names = self.functions.iter().map(|function| function.name().to_owned());
        let sequence = SequenceScores::new(&own[0], &own[1]);
        Ok(TextScores { first, scores: names.zip(columns).collect(), sequence })
    }
}

/// The scores of a text, or why it has none.
type Outcome = Result<TextScores, AttributionError>;

/// What is known of a text while its batch runs: a column per function, then log-probabilities and entropies.
#[derive(Debug, Clone, Default)]
struct Scored {
    columns: Vec<Vec<f32>>,
    failure: Option<AttributionError>,
}

impl Scored {
    fn push(&mut self, columns: &[Vec<f32>], row: usize) {
        self.columns.resize(columns.len(), Vec::new());
        for (kept, column) in self.columns.iter_mut().zip(columns) {
            kept.push(column[row]);
        }
    }
}

fn check_names<B: Backend>(functions: &[Box<dyn StepFunction<B>>]) -> Result<(), AttributionError> {
    let mut seen = BTreeSet::new();
    match functions.iter().find(|function| !seen.insert(function.name())) {
        Some(function) => Err(AttributionError::Parameter {
            of: "scoring".to_owned(),
            parameter: "functions".to_owned(),
            expected: "functions of different names: scores are told apart by name".to_owned(),
            found: format!("`{}` twice", function.name()),
        }),
        None => Ok(()),
    }
}

/// Whether a model can read a source and the first `read` tokens of a target, and knows all tokens of both.
pub(crate) fn check_fits(
    config: &TransformerConfig,
    number: usize,
    which: &str,
    source: Option<&[u32]>,
    target: &[u32],
    read: usize,
) -> Result<(), AttributionError> {
    let wrong = |expected: String, found: String| Err(AttributionError::Text { text: number, expected, found });
    match (&config.encoder, source) {
        (Some(_), None) => return wrong(format!("a {which}source for the encoder"), "none".to_owned()),
        (None, Some(_)) => return wrong(format!("no {which}source, for the model is causal"), "one".to_owned()),
        (Some(_), Some([])) => return wrong(format!("a {which}source of one token or more"), "none".to_owned()),
        _ => {}
    }
    for (part, ids) in [("source", source.unwrap_or_default()), ("target", target)] {
        if let Some(position) = ids.iter().position(|&id| id as usize >= config.vocab_size) {
            let expected = format!("token ids below {}, the model's vocabulary size", config.vocab_size);
            return wrong(expected, format!("{} at position {position} of the {which}{part}", ids[position]));
        }
    }
    let encoder = config.encoder.as_ref().map(|stack| ("source", stack, source.map_or(0, <[u32]>::len)));
    for (part, stack, len) in encoder.into_iter().chain([("target", &config.decoder, read)]) {
        if let Some(most) = stack.positions.most().filter(|&most| len > most) {
            let expected = format!("a {which}{part} of {most} tokens at most, for which the model has positions");
            return wrong(expected, len.to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
