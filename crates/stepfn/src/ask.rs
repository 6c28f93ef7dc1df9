//! A question about one text, put together piece by piece.

use core::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use stepfn_attribution::{AttributedFn, AttributionMethod};
use stepfn_core::{Alignment, StepFunction};
use stepfn_models::chat::Json;

use crate::texts::one;
use crate::{
    Answer, AttributeTask, GenerateTask, Input, LanguageModel, Masking, Result, RunOptions, ScoreTask, ScoredText,
    StepFunctions, TargetUnit, Unit, Written,
};

/// A question about one text: made by [`LanguageModel::ask`], answered by [`score`](Self::score), [`attribute`](Self::attribute) or
/// [`generate`](Self::generate).
#[must_use = "a question does nothing until it is answered by `score`, `attribute` or `generate`"]
pub struct Ask<'m, B: Backend> {
    model: &'m LanguageModel<B>,
    input: Input,
    function: Option<AttributedFn<B>>,
    step_scores: Vec<Box<dyn StepFunction<B>>>,
    alternatives: usize,
    target_side: bool,
    features: Unit,
    unit: TargetUnit,
    prompt_only: bool,
    contrast_force_inputs: bool,
    raw: bool,
    options: RunOptions,
}

impl<'m, B: Backend> Ask<'m, B> {
    pub(crate) fn new(model: &'m LanguageModel<B>, input: Input) -> Self {
        Self {
            model,
            input,
            function: None,
            step_scores: Vec::new(),
            alternatives: 0,
            target_side: false,
            features: Unit::default(),
            unit: TargetUnit::default(),
            prompt_only: false,
            contrast_force_inputs: false,
            raw: false,
            options: RunOptions::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Input)) -> Self {
        change(&mut self.input);
        self
    }

    /// What the encoder reads, or the prompt of a causal model.
    pub fn source(self, source: impl Into<String>) -> Self {
        self.with(|input| input.source = Some(source.into()))
    }

    /// What the model should say; for a causal model the full text, prompt included. Without one, the model writes it.
    pub fn target(self, target: impl Into<String>) -> Self {
        self.with(|input| input.target = Some(target.into()))
    }

    /// Which of the model's chat templates writes the messages, where it has several.
    pub fn chat_template(self, name: impl Into<String>) -> Self {
        self.with(|input| input.chat_template = Some(name.into()))
    }

    /// A variable that the chat template reads: `chat_variable("enable_thinking", false)`.
    pub fn chat_variable(self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.with(|input| {
            input.chat_variables.insert(name.into(), value.into());
        })
    }

    /// Another target to compare with; for a causal model the full text.
    pub fn contrast(self, target: impl Into<String>) -> Self {
        self.with(|input| input.contrast_target = Some(target.into()))
    }

    /// Another source or prompt to compare with.
    pub fn contrast_source(self, source: impl Into<String>) -> Self {
        self.with(|input| input.contrast_source = Some(source.into()))
    }

    /// Pairs of scored token and contrast token, both counted from the first scored one. By default they are compared one by one.
    pub fn align(self, pairs: impl Into<Vec<(usize, usize)>>) -> Self {
        self.with(|input| input.alignment = Alignment::Pairs(pairs.into()))
    }

    /// Compares tokens of words that mean the same, as hidden states say: of the model, or of [another](LanguageModel::aligned_by).
    pub fn align_auto(self) -> Self {
        self.with(|input| input.alignment = Alignment::Auto)
    }

    /// The first token that is asked about, counted in the target from 0. By default the first after the prompt.
    pub fn from(self, token: usize) -> Self {
        self.with(|input| input.from = Some(token))
    }

    /// The first token that is no longer asked about.
    pub fn to(self, token: usize) -> Self {
        self.with(|input| input.to = Some(token))
    }

    /// Parts of the source, in bytes, that a perturbation method hides and shows as one.
    pub fn source_spans(self, spans: impl IntoIterator<Item = Range<usize>>) -> Self {
        self.with(|input| input.source_spans = spans.into_iter().collect())
    }

    /// Parts of the target, in bytes, that a perturbation method hides and shows as one.
    pub fn target_spans(self, spans: impl IntoIterator<Item = Range<usize>>) -> Self {
        self.with(|input| input.target_spans = spans.into_iter().collect())
    }

    /// The step function to attribute. By default the probability of each token; of [units](Self::unit) of several tokens, the log-probability.
    pub fn function(self, function: impl StepFunction<B> + StepFunction<Autodiff<B>> + 'static) -> Self {
        Self { function: Some(AttributedFn::new(function)), ..self }
    }

    /// Step functions to compute in addition to the attribution.
    pub fn step_scores(self, functions: impl StepFunctions<B>) -> Self {
        Self { step_scores: functions.boxed(), ..self }
    }

    /// Names the most likely tokens of each step; at most [`MOST_ALTERNATIVES`](crate::MOST_ALTERNATIVES).
    pub fn alternatives(self, most: usize) -> Self {
        Self { alternatives: most, ..self }
    }

    /// Also scores the target prefix of an encoder–decoder. A causal model's text is always scored.
    pub fn target_side(self) -> Self {
        Self { target_side: true, ..self }
    }

    /// Lets a perturbation method hide and show the tokens of a word together.
    pub fn words(self) -> Self {
        Self { features: Unit::Words, ..self }
    }

    /// Lets a perturbation method hide and show each message of a chat as one.
    pub fn messages(self) -> Self {
        Self { features: Unit::Messages, ..self }
    }

    /// Lets a perturbation method hide and show each of these documents as one: parts of the source, or of the prompt of a causal model, in their order.
    pub fn documents<S: Into<String>>(self, documents: impl IntoIterator<Item = S>) -> Self {
        let documents = documents.into_iter().map(Into::into).collect();
        Self { features: Unit::Documents, ..self.with(|input| input.documents = documents) }
    }

    /// What a perturbation method hides and shows as one.
    pub fn features(self, features: Unit) -> Self {
        Self { features, ..self }
    }

    /// What is attributed as one: the sum of the function's values over its tokens, a column of scores for each.
    pub fn unit(self, unit: TargetUnit) -> Self {
        Self { unit, ..self }
    }

    /// Parts of the target, in bytes, that are attributed as one: a column of scores for each.
    pub fn units(self, spans: impl IntoIterator<Item = Range<usize>>) -> Self {
        self.with(|input| input.units = spans.into_iter().collect())
    }

    /// Scores only what comes before the first token that is asked about: the prompt of a causal model.
    pub fn prompt_only(self) -> Self {
        Self { prompt_only: true, ..self }
    }

    /// Lets a contrastive function read the contrast's own context, instead of another target in the original context.
    pub fn contrast_force_inputs(self) -> Self {
        Self { contrast_force_inputs: true, ..self }
    }

    /// Keeps the scores of hidden units, layers and heads.
    pub fn raw(self) -> Self {
        Self { raw: true, ..self }
    }

    /// Seed of everything random.
    pub fn seed(self, seed: u64) -> Self {
        Self { options: RunOptions { seed, ..self.options }, ..self }
    }

    /// Dropout rate of the noisy passes, instead of the model's own rates: at the sites where the published model has dropout.
    pub fn dropout(self, rate: f64) -> Self {
        Self { options: RunOptions { dropout: Some(rate), ..self.options }, ..self }
    }

    /// What is masked where a model of masked tokens predicts a token; [`Masking::Token`] if nothing is said.
    pub fn masking(self, masking: Masking) -> Self {
        Self { options: RunOptions { masking: Some(masking), ..self.options }, ..self }
    }

    /// Bytes for what is computed, in addition to the model.
    pub fn memory(self, bytes: usize) -> Self {
        Self { options: RunOptions { memory: Some(bytes), ..self.options }, ..self }
    }

    /// The values of step functions at each token.
    ///
    /// # Errors
    /// [`ErrorKind::Text`](crate::ErrorKind::Text) for a text that doesn't fit the model, [`ErrorKind::Contrast`](crate::ErrorKind::Contrast) if a
    /// function compares and there is nothing to compare with.
    pub fn score(self, functions: impl StepFunctions<B>) -> Result<ScoredText> {
        let Self { model, input, alternatives, options, .. } = self;
        let task = ScoreTask { alternatives, options, ..ScoreTask::new(functions.boxed()) };
        one(model, &task, input)
    }

    /// A score for each (input token, predicted token).
    ///
    /// # Errors
    /// As [`score`](Self::score), and if the method does not apply to the model or the function.
    pub fn attribute(self, method: impl AttributionMethod<B> + 'static) -> Result<Answer> {
        let Self {
            model,
            input,
            function,
            step_scores,
            alternatives,
            target_side,
            features,
            unit,
            prompt_only,
            contrast_force_inputs,
            raw,
            options,
        } = self;
        let task = AttributeTask {
            function,
            step_scores,
            alternatives,
            target_side,
            features,
            unit,
            prompt_only,
            contrast_force_inputs,
            raw,
            options,
            ..AttributeTask::new(method)
        };
        one(model, &task, input)
    }

    /// What the model writes for the source or after the prompt, best first.
    ///
    /// # Errors
    /// [`ErrorKind::Text`](crate::ErrorKind::Text) for a source or prompt that is missing, empty or too long.
    pub fn generate(self) -> Result<Vec<Written>> {
        one(self.model, GenerateTask::default(), self.input)
    }
}

impl<B: Backend> core::fmt::Debug for Ask<'_, B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ask").field("input", &self.input).field("function", &self.function).finish_non_exhaustive()
    }
}
