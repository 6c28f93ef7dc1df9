//! Which methods are faithful: metrics of their scores, on many texts.

mod result;

use core::fmt;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value, json};
use stepfn_attribution::{
    AttributedFn, Attribution, AttributionMethod, AttributionOptions, Features, Noise, Prepared, Progress, Provenance,
    Scores, Side, SpanTarget, attribute,
};
use stepfn_core::functions::Probability;
use stepfn_core::{StepFunction, StepScore};
use stepfn_evaluate::{Candidate, Given, Task as Measures, TextRow, evaluate_text};

use crate::attribute::{check_contrast, narrow};
use crate::chat::Asked;
use crate::room;
use crate::texts::{Numbered, Task, Told, each};
use crate::{
    Error, ErrorKind, Input, IntoInput, LanguageModel, Mark, Outcome, Outcomes, Positions, Result, RunOptions,
    TargetUnit,
};

pub use self::result::Evaluated;

/// Methods, and what is measured of their scores. For many texts: [`LanguageModel::evaluate`].
pub struct EvaluateTask<B: Backend> {
    /// The methods.
    pub methods: Vec<Box<dyn AttributionMethod<B>>>,
    /// The step functions that are attributed, and whose values are lost. If there is none, the log-probability of each token.
    pub functions: Vec<AttributedFn<B>>,
    /// What a column is, in texts that bring no units of their own: the function's value at each token, or its sum over units of several. One unit takes fewer passes than its tokens do.
    pub unit: TargetUnit,
    /// Let contrastive functions use the contrast's own context. Tokens are hidden in the text alone.
    pub contrast_force_inputs: bool,
    /// The metrics, operators and random orders. Its seed is that of the options.
    pub measures: Measures,
    /// How it runs.
    pub options: RunOptions,
}

impl<B: Backend> EvaluateTask<B> {
    /// These methods, attributing the log-probability of each token.
    pub fn new(methods: impl IntoIterator<Item = Box<dyn AttributionMethod<B>>>) -> Self {
        Self {
            methods: methods.into_iter().collect(),
            functions: Vec::new(),
            unit: TargetUnit::default(),
            contrast_force_inputs: false,
            measures: Measures::default(),
            options: RunOptions::default(),
        }
    }

    /// Attributes this step function, too.
    #[must_use]
    pub fn function(mut self, function: impl StepFunction<B> + StepFunction<Autodiff<B>> + 'static) -> Self {
        self.functions.push(AttributedFn::new(function));
        self
    }

    /// The attributed functions, with the names that results call them by.
    fn attributed(&self) -> Vec<(String, AttributedFn<B>)> {
        let default = || AttributedFn::new(Probability { logprob: true });
        let functions = if self.functions.is_empty() { vec![default()] } else { self.functions.clone() };
        let names = functions.iter().map(|function| {
            let of_logarithm = function.parameters().get("logprob").is_some_and(|logprob| logprob == true);
            if of_logarithm { format!("log_{}", function.name()) } else { function.name().to_owned() }
        });
        distinct(names).into_iter().zip(functions).collect()
    }

    /// The names that results call the methods by.
    fn names(&self) -> Vec<String> {
        distinct(self.methods.iter().map(|method| method.name().to_owned()))
    }

    /// Checks what can be checked before a model is there.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for counts and shares that can't be, units of methods that attribute no function, and metrics that no function has.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, hint: &str| Err(Error::new(ErrorKind::Option, what, hint));
        let Measures { metrics, operators, special, sets, orders, soft_share, soft_draws, noises, .. } = &self.measures;
        let lists = [
            ("methods", self.methods.is_empty()),
            ("metrics", metrics.is_empty()),
            ("operators", operators.is_empty()),
            ("choices of special tokens", special.is_empty()),
        ];
        if let Some((name, _)) = lists.into_iter().find(|(_, empty)| *empty) {
            return wrong(format!("there are no {name} to evaluate"), "give at least one");
        }
        let counts = [
            ("random sets", *sets, 3),
            ("random orders", *orders, 1),
            ("random draws", *soft_draws, 1),
            ("noises", *noises, 1),
        ];
        for (name, count, least) in counts {
            if !(least..=10_000).contains(&count) {
                let hint = format!("give a whole number from {least} to 10000");
                return wrong(format!("the number of {name} is {count}"), &hint);
            }
        }
        if !(*soft_share > 0.0 && *soft_share < 1.0) {
            return wrong(
                format!("the share of tokens of the soft metrics is {soft_share}"),
                "give a number between 0 and 1",
            );
        }
        if let Some(method) = self.methods.iter().find(|method| self.unit != TargetUnit::Token && !method.takes_spans())
        {
            let what = format!(
                "{} has no function to add up over a {}: it scores each step by itself",
                method.name(),
                self.unit.name()
            );
            return wrong(what, "leave it out, or evaluate tokens");
        }
        for (name, function) in self.attributed() {
            let needs = function.needs();
            if needs.noisy_samples > 0 {
                let what = format!("`{name}` needs passes with dropout, which evaluation does not hide tokens of");
                return wrong(what, "use a function of one prediction, such as probability or entropy");
            }
            if let Some(metric) = metrics.iter().find(|metric| metric.is_of_log_prob())
                && name != "log_probability"
            {
                let what = format!("{} is of probabilities, and `{name}` is none", metric.name());
                return wrong(what, "leave the metric out, or attribute log-probabilities, as by default");
            }
        }
        Ok(())
    }

    /// Everything that was asked, for the record.
    fn parameters(&self) -> Map<String, Value> {
        let of_methods = self.names().into_iter().zip(&self.methods).map(|(name, method)| (name, method.parameters()));
        let of_functions = self.attributed().into_iter().map(|(name, function)| (name, function.parameters()));
        let given = of_methods.chain(of_functions).filter(|(_, parameters)| !parameters.is_empty());
        let mut parameters: Map<String, Value> = given.map(|(name, own)| (name, Value::Object(own))).collect();
        let Measures { ranking, sets, orders, soft_share, soft_draws, metrics, .. } = &self.measures;
        parameters.insert("ranking".to_owned(), ranking.name().into());
        parameters.insert("unit".to_owned(), self.unit.name().into());
        parameters.insert("random_orders".to_owned(), json!(orders));
        if self.contrast_force_inputs {
            parameters.insert("contrast_force_inputs".to_owned(), true.into());
        }
        if metrics.iter().any(|metric| ["infidelity", "lds"].contains(&metric.name())) {
            parameters.insert("random_sets".to_owned(), json!(sets));
        }
        if metrics.iter().any(|metric| metric.is_soft()) {
            parameters.insert("soft_share".to_owned(), json!(soft_share));
            parameters.insert("soft_draws".to_owned(), json!(soft_draws));
        }
        if metrics.iter().any(|metric| metric.is_of_noise()) {
            let Measures { noises, noise_radius, .. } = &self.measures;
            parameters.insert("noises".to_owned(), json!(noises));
            parameters.insert("noise_radius".to_owned(), json!(noise_radius));
        }
        parameters
    }

    /// Noises on the embeddings of a text, if a metric asks for them.
    fn noises(&self, number: usize) -> impl Iterator<Item = Noise> {
        let Measures { noises, noise_radius: radius, metrics, .. } = &self.measures;
        let count = if metrics.iter().any(|metric| metric.is_of_noise()) { *noises } else { 0 };
        let first = self.options.seed.wrapping_add((number as u64) << 20);
        (0..count as u64).map(move |noise| Noise { radius: *radius, seed: first.wrapping_add(noise) })
    }

    /// The tokens that people marked, where a metric compares with them: those that marked bytes touch.
    fn marked(&self, prepared: &Prepared, input: &Input) -> Result<Vec<(Side, usize)>> {
        let Some(metric) = self.measures.metrics.iter().find(|metric| metric.is_of_marks()) else {
            return Ok(Vec::new());
        };
        let (side, text) = match &prepared.source_text {
            Some(source) if prepared.text.source.is_some() => (Side::Source, source),
            _ => (Side::Target, &prepared.target_text),
        };
        if input.rationale.is_empty() {
            let what = format!("{} compares with what people marked, and the text has no `rationale`", metric.name());
            return Err(Error::new(
                ErrorKind::Text,
                what,
                "give one, a list of words or of [start, end], or leave out the metric",
            ));
        }
        let mut marked = Vec::new();
        for mark in &input.rationale {
            let found = |words: &str| {
                text.match_indices(words).map(|(start, found)| start..start + found.len()).collect::<Vec<_>>()
            };
            let (spans, positions) = match mark {
                Mark::Span(span) => (vec![span.clone()], input.positions),
                Mark::Text(words) => (found(words), Positions::Bytes),
            };
            if let (Mark::Text(words), true) = (mark, spans.is_empty()) {
                let what = format!("the rationale {words:?} is not in the text that the prediction is made from");
                let hint = format!("give words as the text has them, or [start, end] in {}s", input.positions.name());
                return Err(Error::new(ErrorKind::Text, what, hint));
            }
            for span in &spans {
                let span = core::slice::from_ref(span);
                let touched = match side {
                    Side::Source => Features::spans(prepared, span, &[], positions)?.source,
                    Side::Target => Features::spans(prepared, &[], span, positions)?.target,
                };
                marked.extend(touched.into_iter().flatten().map(|token| (side, token)));
            }
        }
        Ok(marked)
    }

    /// Measures all methods on one text.
    fn rows(
        &self,
        model: &LanguageModel<B>,
        input: &Input,
        (number, id): (usize, &Value),
        told: Told<'_>,
    ) -> Result<EvaluatedText> {
        let functions = self.attributed();
        check_contrast(input, self.contrast_force_inputs)?;
        let preparer = model.preparer_masking(self.options.masking)?;
        let Asked { request, .. } = model.asked(input)?;
        let mut prepared = preparer.prepare(&request)?;
        room::check(model, &prepared.text)?;
        model.align(&mut prepared)?;
        narrow(&mut prepared, input)?;
        let length = told.of_length(id, model.config(), &prepared.text);
        if !input.source_spans.is_empty() || !input.target_spans.is_empty() || !input.documents.is_empty() {
            let what = "the text has parts that are to be hidden as one, and evaluation hides token by token";
            return Err(Error::new(ErrorKind::Option, what, "leave out source_spans, target_spans and documents"));
        }
        let marked = self.marked(&prepared, input)?;
        let spans = match input.units.is_empty() {
            true => self.unit.spans(&prepared),
            false => Some(SpanTarget::parts(&prepared, &input.units, input.positions)?),
        };
        let (methods, all) = (self.names(), functions.len() * (self.methods.len() + 1));
        let mut texts = Vec::new();
        for (at, (function_name, function)) in functions.into_iter().enumerate() {
            let stage = |stage: usize| {
                move |progress: Progress| {
                    let pieces = progress.pieces.max(1);
                    let done = (at * (self.methods.len() + 1) + stage) * pieces + progress.pieces_done.min(pieces);
                    (told.progress)(Progress { pieces_done: done, pieces: all * pieces, ..progress })
                }
            };
            let options = AttributionOptions {
                spans: spans.as_slice(),
                contrast_force_inputs: self.contrast_force_inputs,
                ..told.attribution(model, &self.options, number)
            };
            let text = core::slice::from_ref(&prepared.text);
            let mut candidates = Vec::new();
            for (method_number, (name, method)) in methods.iter().zip(&self.methods).enumerate() {
                let progress = stage(method_number);
                let scored = |noise: Option<Noise>| -> Result<Candidate> {
                    let options = AttributionOptions { progress: Some(&progress), noise, ..options.clone() };
                    let scores = attribute(model.model(), text, &**method, &function, &[], &options)
                        .map_err(|error| Error::from(error).at(name))?;
                    let nothing = || Error::new(ErrorKind::Text, "there is no result", "report this as a bug");
                    let attributed =
                        scores.into_iter().next().ok_or_else(nothing)?.map_err(|error| Error::from(error).at(name))?;
                    let answer = preparer.answer(&prepared, attributed, spans.as_ref(), Provenance::default())?;
                    Ok(candidate(name, &answer.per_token()))
                };
                let with_noise = match method.hides_tokens() {
                    // What it hides has no noise.
                    true => Vec::new(),
                    false => self.noises(number).map(|noise| scored(Some(noise))).collect::<Result<_>>()?,
                };
                candidates.push(Candidate { with_noise, ..scored(None)? });
            }
            let progress = stage(self.methods.len());
            let options = AttributionOptions { progress: Some(&progress), ..options.clone() };
            let measures = Measures { seed: self.options.seed, ..self.measures.clone() };
            let given = Given { candidates: &candidates, marked: &marked };
            let rows = evaluate_text(model.model(), &prepared.text, &function, &options, given, &measures)?;
            texts.push((function_name, rows));
        }
        Ok(EvaluatedText { rows: texts, warnings: length.into_iter().collect() })
    }
}

/// Names that are all different: a second `lime` is `lime 2`.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let numbered = (2..).map(|number| format!("{name} {number}"));
        let free = core::iter::once(name.clone()).chain(numbered).find(|name| !all.contains(name));
        all.extend(free);
    }
    all
}

/// The scores of a method, token by token.
fn candidate(name: &str, attribution: &Attribution) -> Candidate {
    let rows = |scores: &Option<Scores>| -> Vec<Vec<f64>> {
        let Some(scores) = scores else { return Vec::new() };
        let row = |token| (0..scores.steps()).map(|step| f64::from(scores.at(token, step)[0])).collect();
        (0..scores.tokens()).map(row).collect()
    };
    Candidate {
        name: name.to_owned(),
        source: rows(&attribution.source_scores),
        target: rows(&attribution.target_scores),
        with_noise: Vec::new(),
    }
}

/// What was measured of one text, for each function.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluatedText {
    /// The attributed functions, with the rows of each.
    pub rows: Vec<(String, Vec<TextRow>)>,
    /// What to know before trusting them.
    pub warnings: Vec<String>,
}

impl<B: Backend> fmt::Debug for EvaluateTask<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvaluateTask")
            .field("methods", &self.names())
            .field("measures", &self.measures)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Task<B> for &EvaluateTask<B> {
    type Output = EvaluatedText;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn run(
        &self,
        model: &LanguageModel<B>,
        window: Vec<Numbered>,
        told: Told<'_>,
    ) -> Result<Vec<Outcome<EvaluatedText>>> {
        self.check()?;
        Ok(each(window, |input, number, id| self.rows(model, input, (number, id), told)))
    }
}

impl<B: Backend> LanguageModel<B> {
    /// How faithful methods are on each of many texts; [`evaluate`](Self::evaluate) puts them together.
    pub fn evaluate_all<'m, I>(
        &'m self,
        inputs: I,
        task: &'m EvaluateTask<B>,
    ) -> Outcomes<'m, B, I::IntoIter, EvaluatedText>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }

    /// How faithful methods are, over all texts: [`Evaluated`] prints as a table.
    ///
    /// ```
    /// use stepfn::{EvaluateTask, LanguageModel, Value};
    ///
    /// let model = LanguageModel::load("g2p")?;
    /// let methods = ["saliency", "occlusion"].map(|name| model.method(name, Value::Null));
    /// let task = EvaluateTask::new(methods.into_iter().collect::<stepfn::Result<Vec<_>>>()?);
    /// let found = model.evaluate(["phonetics", "evaluation"], &task)?;
    /// println!("{found}");
    /// # Ok::<(), stepfn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first text that fails; [`ErrorKind::Option`] for a task that makes no sense; [`ErrorKind::Text`] if there is no text.
    pub fn evaluate<I>(&self, inputs: I, task: &EvaluateTask<B>) -> Result<Evaluated>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        let started = Instant::now();
        let texts = self.evaluate_all(inputs, task).map(|outcome| outcome.result).collect::<Result<Vec<_>>>()?;
        Evaluated::of(self, task, &texts, started.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
