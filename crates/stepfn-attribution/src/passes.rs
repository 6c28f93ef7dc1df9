//! The model's passes over one text: the attributed function's values for variants of its input, and their derivatives. All methods are built on
//! this.
//!
//! With teacher forcing, all steps are rows of one pass. A *variant* is the text with other embeddings in some places. Variants of one text run
//! together, and each is scored at all steps. Derivatives start from `d score / d logits`, by automatic differentiation of the step function
//! only, and are pulled back through the model's tape for several steps at once.

mod derivatives;
mod perturbation;
pub(crate) mod prediction;
mod shortened;
mod spans;
mod variants;

use core::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use stepfn_core::{Needs, StepFunction, StepScore};
use stepfn_kernels::is_host;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, Entry, Inside, Keep, NoisyPass, PaddingSide, Stack, TokenBatch};
use stepfn_models::{Model, check_interrupted};

use crate::budget::Budget;
use crate::question::Question;
use crate::steps::Steps;
use crate::{AttributedFn, AttributionError, Layer, ParameterError, Side, StackName};

use prediction::Comparison;

pub use perturbation::{Perturbation, Perturbed};
pub use variants::{PullBack, Variants};

pub(crate) use variants::Embedded;

/// One text, the model that reads it, and the step function that is attributed.
pub struct Passes<'a, B: Backend> {
    question: Question<'a>,
    model: &'a Model<B>,
    function: &'a AttributedFn<B>,
    budget: Budget,
    source: Option<Tensor<B, 2>>,
    target: Tensor<B, 2>,
    comparison: Option<Comparison<B>>,
}

impl<'a, B: Backend> Passes<'a, B> {
    /// Passes over the question's text, for this function.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a text that the model can't read.
    pub fn new(
        question: Question<'a>,
        model: &'a Model<B>,
        function: &'a AttributedFn<B>,
    ) -> Result<Self, AttributionError> {
        let config = model.config();
        let text = question.text();
        crate::scoring::check_fits(config, "", text.source.as_deref(), &text.target, question.steps().width())?;
        let passes = 1 + function.needs().noisy_samples;
        let budget = Budget::new(config, question.options().memory, passes, is_host::<B>());
        crate::scoring::check_noise(&budget, question.options().memory, function.needs().noisy_samples)?;
        let noise = question.options().noise;
        let embedded = |side: Side, ids: &[u32]| {
            let embeddings = embedded(model, side, ids)?;
            Ok::<_, AttributionError>(match noise {
                None => embeddings,
                Some(noise) => noise.on(embeddings, side),
            })
        };
        let source = text.source.as_deref().map(|source| embedded(Side::Source, source)).transpose()?;
        let target = embedded(Side::Target, &text.target[..question.steps().width()])?;
        let mut passes = Self { question, model, function, budget, source, target, comparison: None };
        passes.comparison = passes.compare()?;
        Ok(passes)
    }

    /// The text and its options.
    pub fn question(&self) -> &Question<'a> {
        &self.question
    }

    /// The model.
    pub fn model(&self) -> &'a Model<B> {
        self.model
    }

    /// The step function that is attributed.
    pub fn function(&self) -> &'a AttributedFn<B> {
        self.function
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The unchanged text, up to the last place that these steps see.
    pub fn input(&self, steps: Steps) -> Variants<B> {
        let target = self.target.clone().slice(0..steps.width());
        Variants::new(1, self.source.clone(), target)
    }

    /// The text with its tokens replaced by the baseline, except for kept tokens. The target is only replaced if it is attributed.
    ///
    /// # Errors
    /// If the baseline is not a token of the model.
    pub fn baseline(&self, steps: Steps) -> Result<Variants<B>, AttributionError> {
        let text = self.question.text();
        let baseline = |side: Side, ids: &[u32]| embedded(self.model, side, &self.question.baseline_ids(side, ids));
        let source = text.source.as_deref().map(|source| baseline(Side::Source, source)).transpose()?;
        Ok(Variants::new(1, source, baseline(Side::Target, &text.target[..steps.width()])?))
    }

    /// The same variant as the output of a block.
    pub(crate) fn after(
        &self,
        place: Layer,
        variant: &Variants<B>,
        steps: Steps,
    ) -> Result<Variants<B>, AttributionError> {
        let config = self.model.config();
        let stack = match place.stack {
            StackName::Encoder => config.encoder.as_ref(),
            StackName::Auto | StackName::Decoder => Some(&config.decoder),
        };
        let layers = stack.map_or(0, |stack| stack.n_layers);
        if place.layer >= layers {
            let expected = format!("a layer below {layers}, the number of layers of the {}", place.stack.name());
            return Err(ParameterError::new("a layer method", "layer", expected, place.layer).into());
        }
        let batches = self.batches(variant, steps)?;
        let tape = self.model.record(variant.model_input(&batches, &Dropout::Off), Keep::Blocks(0), None)?;
        let entry = Entry::Layer(place.layer + 1);
        let mut after = variant.clone();
        match place.stack {
            StackName::Encoder => {
                after.source = tape.encoder_residual(place.layer + 1).map(|hidden| Embedded { hidden, entry });
            }
            StackName::Auto | StackName::Decoder => {
                after.target = Embedded { hidden: tape.residual(place.layer + 1), entry }
            }
        }
        Ok(after)
    }

    /// The attributed function's values for each variant: those of the steps, or their sums over [spans](Question::spans).
    ///
    /// # Shapes
    /// - result: `[variants, columns]`, with [`Question::columns`]
    ///
    /// # Errors
    /// If the model or the function fails.
    pub fn values(&self, variants: &Variants<B>, steps: Steps) -> Result<Tensor<B, 2>, AttributionError> {
        let values = self.step_values(variants, steps)?;
        if self.question.span_target().is_none() {
            return Ok(values);
        }
        let of_span = |span: Steps| {
            let counted: Vec<i32> =
                self.counted(span).into_iter().map(|position| (position - steps.start()) as i32).collect();
            let (count, device) = (counted.len(), values.device());
            let counted = Tensor::<B, 1, Int>::from_data(TensorData::new(counted, [count]), &device);
            values.clone().select(1, counted).sum_dim(1).mul_scalar(self.weight(count))
        };
        Ok(Tensor::cat(self.question.spans(steps).into_iter().map(of_span).collect(), 1))
    }

    /// How many variants fit into memory together.
    pub fn at_once(&self, steps: Steps) -> usize {
        self.budget.variants(self.question.lengths(steps))
    }

    /// The last hidden states that predict these steps, for each variant; [`Model::logits`] makes predictions of them.
    ///
    /// # Shapes
    /// - result: `[variants · steps, hidden]`
    ///
    /// # Errors
    /// If the model fails.
    pub fn hidden(&self, variants: &Variants<B>, steps: Steps) -> Result<Tensor<B, 2>, AttributionError> {
        let batches = self.batches(variants, steps)?;
        Ok(at_steps(self.model.hidden(variants.model_input(&batches, &Dropout::Off))?, variants.count, steps))
    }

    /// The attributed function's values for each variant at each step, `[variants, steps]`.
    fn step_values(&self, variants: &Variants<B>, steps: Steps) -> Result<Tensor<B, 2>, AttributionError> {
        let hidden = self.hidden(variants, steps)?;
        let noisy = match self.noise(variants.count) {
            None => None,
            Some((samples, dropout)) => {
                let repeated = variants.repeated(samples);
                let batches = self.batches(&repeated, steps)?;
                let hidden = self.model.hidden(repeated.model_input(&batches, &dropout))?;
                Some(at_steps(hidden, samples * variants.count, steps))
            }
        };
        self.scores(self.function.plain(), hidden, noisy, steps)
    }

    /// A function's values, `[variants, steps]`, from the hidden states `[variants · steps, hidden]` that predict the steps.
    fn scores(
        &self,
        function: &dyn StepFunction<B>,
        hidden: Tensor<B, 2>,
        noisy: Option<Tensor<B, 2>>,
        steps: Steps,
    ) -> Result<Tensor<B, 2>, AttributionError> {
        let [rows, _] = hidden.dims();
        let mut values = Vec::new();
        for chunk in self.logit_chunks(rows) {
            check_interrupted()?;
            let logits = self.model.logits(hidden.clone().slice(chunk.clone()));
            let noisy = noisy.as_ref().map(|noisy| self.model.logits(of_each_sample(noisy, rows, &chunk)));
            let contrast = self.contrast_logits(&chunk, steps);
            let batch = self.predictions(logits, noisy, contrast, &chunk, steps)?;
            let scores = function.score(&batch).map_err(|error| self.located(error, &chunk, steps))?;
            self.check_finite(function.name(), &scores, &chunk, steps)?;
            values.push(scores);
        }
        Ok(Tensor::cat(values, 0).reshape([rows / steps.len(), steps.len()]))
    }

    /// Runs the unchanged text and calls `each` with the inside of each block, until there is an error.
    ///
    /// # Errors
    /// Those of the model and of `each`.
    pub fn look_inside(
        &self,
        mut each: impl FnMut(Inside<'_, B>) -> Result<(), AttributionError>,
    ) -> Result<(), AttributionError> {
        let steps = self.question.steps();
        let input = self.input(steps);
        let batches = self.batches(&input, steps)?;
        let mut shown = Ok(());
        self.model.look_inside(input.model_input(&batches, &Dropout::Off), &mut |inside| {
            if shown.is_ok() {
                shown = each(inside);
            }
        })?;
        shown
    }

    fn needs(&self) -> Needs {
        self.function.needs()
    }

    /// Rows whose logits are in memory together.
    fn logit_chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<B> {
        let at_once = self.budget.logit_rows();
        (0..rows).step_by(at_once).map(move |start| start..rows.min(start + at_once))
    }

    /// The noisy passes of this many variants, sample by sample.
    fn noise(&self, variants: usize) -> Option<(usize, Dropout)> {
        let samples = self.needs().noisy_samples;
        let pass = |sample| NoisyPass { text: self.question.number(), sample };
        let passes: Vec<NoisyPass> =
            (0..samples as u32).flat_map(|sample| core::iter::repeat_n(pass(sample), variants)).collect();
        let options = self.question.options();
        let dropout = Dropout::On { seed: options.seed, passes, rates: options.rates };
        (samples > 0).then_some((samples, dropout))
    }

    /// Token batches for the variants.
    fn batches(&self, variants: &Variants<B>, steps: Steps) -> Result<Batches, AttributionError> {
        let (text, count) = (self.question.text(), variants.count);
        let source = text.source.as_deref().zip(self.model.encoder());
        let source = source.map(|(source, encoder)| token_batch(encoder, source, count)).transpose()?;
        let target = token_batch(self.model.decoder(), &text.target[..steps.width()], count)?;
        let target = target.beginning(core::iter::repeat_n(read(&text.target), count));
        let source = source.map(|source| source.hiding(variants.hidden_of(Side::Source)));
        Ok(Batches { source, target: target.hiding(variants.hidden_of(Side::Target)) })
    }
}

impl<B: Backend> core::fmt::Debug for Passes<'_, B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Passes").field("question", &self.question).field("function", &self.function).finish()
    }
}

/// Token batches of both sides.
pub(crate) struct Batches {
    source: Option<TokenBatch>,
    target: TokenBatch,
}

impl<B: Backend> Variants<B> {
    /// The model's input.
    fn model_input<'v>(&self, batches: &'v Batches, dropout: &'v Dropout) -> ModelInput<'v, B> {
        let input = |batch: &'v TokenBatch, side: &Embedded<B>| StackInput {
            batch,
            hidden: side.hidden.clone(),
            entry: side.entry,
        };
        ModelInput {
            source: batches.source.as_ref().zip(self.source.as_ref()).map(|(batch, source)| input(batch, source)),
            target: input(&batches.target, &self.target),
            dropout,
        }
    }
}

/// The embeddings of some tokens, `[tokens, size]`.
fn embedded<B: Backend>(model: &Model<B>, side: Side, ids: &[u32]) -> Result<Tensor<B, 2>, AttributionError> {
    let stack = match (side, model.encoder()) {
        (Side::Source, Some(encoder)) => encoder,
        _ => model.decoder(),
    };
    Ok(stack.embed(&token_batch(stack, ids, 1)?))
}

/// Tokens of a target that are read: nothing comes after the last.
pub(crate) fn read(target: &[u32]) -> usize {
    target.len().saturating_sub(1)
}

/// A batch of `count` copies of some tokens, for a stack to read.
pub(crate) fn token_batch<B: Backend>(
    stack: &Stack<B>,
    ids: &[u32],
    count: usize,
) -> Result<TokenBatch, AttributionError> {
    batch_of(stack, vec![ids.to_vec(); count])
}

/// A batch of texts.
pub(crate) fn batch_of<B: Backend>(stack: &Stack<B>, texts: Vec<Vec<u32>>) -> Result<TokenBatch, AttributionError> {
    Ok(TokenBatch::new(texts, stack.vocab_size(), PaddingSide::Right)?)
}

/// The hidden states that predict these steps, `[variants · steps, hidden]`.
fn at_steps<B: Backend>(hidden: Tensor<B, 2>, variants: usize, steps: Steps) -> Tensor<B, 2> {
    if variants == 1 {
        return hidden.slice(steps.places());
    }
    let [_, size] = hidden.dims();
    let hidden = hidden.reshape([variants, steps.width(), size]).slice([0..variants, steps.places()]);
    hidden.reshape([variants * steps.len(), size])
}

/// Some rows of `x`.
pub(crate) fn select<B: Backend>(x: &Tensor<B, 2>, rows: &[usize]) -> Tensor<B, 2> {
    let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let indices = Tensor::<B, 1, Int>::from_data(TensorData::new(indices, [rows.len()]), &x.device());
    x.clone().select(0, indices)
}

/// A chunk of `rows` rows from each sample: `[samples · rows, size]` to `[samples · chunk, size]`.
fn of_each_sample<B: Backend>(x: &Tensor<B, 2>, rows: usize, chunk: &Range<usize>) -> Tensor<B, 2> {
    let [all, size] = x.dims();
    let samples = all / rows;
    let part = x.clone().reshape([samples, rows, size]).slice([0..samples, chunk.clone()]);
    part.reshape([samples * chunk.len(), size])
}

#[cfg(test)]
mod hiding;
#[cfg(test)]
mod tests;
