//! What every method stands on: one text, the attributed function's values for variants of its input, and their derivatives.
//!
//! Teacher forcing makes all steps rows of one pass. A *variant* is the text with other embeddings in some places; variants of one text run
//! together, and each is scored at all steps that are asked about. Derivatives start from `d score / d logits`, by automatic differentiation of
//! the step function alone, and go back through the model's tape for all steps of a chunk at once.

mod budget;
mod derivatives;
mod prediction;
mod replaced;
mod variants;

use core::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use stepfn_core::{Passes, StepFunction};
use stepfn_models::Model;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, Entry, Inside, Keep, NoisyPass, PaddingSide, TokenBatch};

use crate::methods::{Layer, StackName};
use crate::{AttributedFn, AttributionError, AttributionOptions, Features, Text};

use prediction::Comparison;

pub(crate) use replaced::{Replaced, Replacing};
pub(crate) use variants::{PullBack, Side, Variants};

/// One text under attribution.
pub(crate) struct Subject<'a, B: Backend> {
    pub(crate) model: &'a Model<B>,
    function: &'a AttributedFn<B>,
    pub(crate) options: &'a AttributionOptions<'a>,
    pub(crate) text: &'a Text,
    /// In the whole run.
    pub(crate) number: u32,
    /// In the call, and how many there are.
    place: (usize, usize),
    source: Option<Tensor<B, 2>>,
    target: Tensor<B, 2>,
    comparison: Option<Comparison<B>>,
}

impl<'a, B: Backend> Subject<'a, B> {
    pub(crate) fn new(
        model: &'a Model<B>,
        function: &'a AttributedFn<B>,
        options: &'a AttributionOptions<'a>,
        text: &'a Text,
        (index, texts): (usize, usize),
    ) -> Result<Self, AttributionError> {
        text.check(index)?;
        let number = options.first_number + index as u32;
        let read = &text.target[..text.steps.end - 1];
        let target = token_batch(model, read, 1)?;
        let source = match (&text.source, model.encoder()) {
            (Some(source), Some(encoder)) => Some(encoder.embed(&token_batch(model, source, 1)?)),
            (None, None) => None,
            (_, encoder) => {
                let (expected, found) = match encoder {
                    Some(_) => ("a source for the encoder", "none"),
                    None => ("no source, for the model is causal", "one"),
                };
                return Err(AttributionError::Text { text: index, expected: expected.into(), found: found.into() });
            }
        };
        let embedded = model.decoder().embed(&target);
        let place = (index, texts);
        let mut subject =
            Self { model, function, options, text, number, place, source, target: embedded, comparison: None };
        subject.comparison = subject.compare()?;
        Ok(subject)
    }

    /// Steps that are asked about.
    pub(crate) fn steps(&self) -> Range<usize> {
        self.text.steps.clone()
    }

    /// Tokens that the last of these steps is predicted from.
    pub(crate) fn width(&self, steps: &Range<usize>) -> usize {
        steps.end - 1
    }

    /// Tokens of the source; 0 without an encoder.
    pub(crate) fn source_width(&self) -> usize {
        self.text.source.as_ref().map_or(0, Vec::len)
    }

    /// Whether the target's tokens get scores and take part in what a method does to its input.
    pub(crate) fn attributes_target(&self) -> bool {
        self.source.is_none() || self.options.attribute_target
    }

    /// The step function that is attributed.
    pub(crate) fn function(&self) -> &dyn StepFunction<B> {
        self.function.plain()
    }

    /// Groups of tokens that are hidden and shown together, if there are any.
    pub(crate) fn features(&self) -> Option<&Features> {
        self.options.features.get(self.place.0)
    }

    /// The text as it is, as far as these steps see it.
    pub(crate) fn input(&self, steps: &Range<usize>) -> Variants<B> {
        let target = self.target.clone().slice(0..self.width(steps));
        Variants { count: 1, source: self.source.clone().map(Side::embedded), target: Side::embedded(target) }
    }

    /// The text with every token that is not kept in its baseline; the target only where it takes part.
    pub(crate) fn baseline(&self, steps: &Range<usize>) -> Result<Variants<B>, AttributionError> {
        let baseline = |ids: &[u32]| -> Vec<u32> {
            let one = |&id: &u32| if self.options.baseline.kept.contains(&id) { id } else { self.options.baseline.id };
            ids.iter().map(one).collect()
        };
        let source = match (&self.text.source, self.model.encoder()) {
            (Some(source), Some(encoder)) => Some(encoder.embed(&token_batch(self.model, &baseline(source), 1)?)),
            _ => None,
        };
        let read = &self.text.target[..self.width(steps)];
        let target = match self.attributes_target() {
            true => baseline(read),
            false => read.to_vec(),
        };
        let target = self.model.decoder().embed(&token_batch(self.model, &target, 1)?);
        Ok(Variants { count: 1, source: source.map(Side::embedded), target: Side::embedded(target) })
    }

    /// The same variant, read from behind a block.
    pub(crate) fn behind(
        &self,
        place: Layer,
        variant: &Variants<B>,
        steps: &Range<usize>,
    ) -> Result<Variants<B>, AttributionError> {
        let config = self.model.config();
        let stack = match place.stack {
            StackName::Encoder => config.encoder.as_ref(),
            StackName::Decoder => Some(&config.decoder),
        };
        let layers = stack.map_or(0, |stack| stack.n_layers);
        if place.layer >= layers {
            return Err(AttributionError::Parameter {
                of: "a layer method".to_owned(),
                parameter: "layer".to_owned(),
                expected: format!("a layer below {layers}, which is how many this model's {:?} has", place.stack),
                found: place.layer.to_string(),
            });
        }
        let batches = self.batches(variant, steps)?;
        let tape = self.model.record(self.model_input(variant, &batches, &Dropout::Off), Keep::Inputs)?;
        let entry = Entry::Layer(place.layer + 1);
        let mut behind = variant.clone();
        match place.stack {
            StackName::Encoder => {
                behind.source = tape.encoder_residual(place.layer + 1).map(|hidden| Side { hidden, entry });
            }
            StackName::Decoder => behind.target = Side { hidden: tape.residual(place.layer + 1), entry },
        }
        Ok(behind)
    }

    /// The attributed function's values for each variant, `[variants, steps]`.
    pub(crate) fn values(
        &self,
        variants: &Variants<B>,
        steps: &Range<usize>,
    ) -> Result<Tensor<B, 2>, AttributionError> {
        let hidden = self.model.hidden(self.model_input(variants, &self.batches(variants, steps)?, &Dropout::Off))?;
        let hidden = self.at_steps(hidden, variants.count, steps);
        let noisy = match self.noise(variants.count) {
            None => None,
            Some((samples, dropout)) => {
                let repeated = variants.repeated(samples);
                let batches = self.batches(&repeated, steps)?;
                let hidden = self.model.hidden(self.model_input(&repeated, &batches, &dropout))?;
                Some(self.at_steps(hidden, samples * variants.count, steps))
            }
        };
        self.scores(self.function.plain(), hidden, noisy, steps)
    }

    /// A function's values, `[variants, steps]`, where hidden states `[variants · steps, hidden]` predict the steps.
    fn scores(
        &self,
        function: &dyn StepFunction<B>,
        hidden: Tensor<B, 2>,
        noisy: Option<Tensor<B, 2>>,
        steps: &Range<usize>,
    ) -> Result<Tensor<B, 2>, AttributionError> {
        let [rows, _] = hidden.dims();
        let mut values = Vec::new();
        for chunk in self.row_chunks(rows) {
            let logits = self.model.logits(hidden.clone().slice(chunk.clone()));
            let noisy = noisy.as_ref().map(|noisy| self.model.logits(of_each_sample(noisy, rows, &chunk)));
            let contrast = self.contrast_logits(&chunk, steps)?;
            let batch = self.predictions(logits, noisy, contrast, &chunk, steps)?;
            values.push(function.score(&batch).map_err(|error| self.located(error, &chunk, steps))?);
        }
        Ok(Tensor::cat(values, 0).reshape([rows / steps.len(), steps.len()]))
    }

    /// Runs the text as it is, and shows the inside of each block until there is an error.
    pub(crate) fn look_inside(
        &self,
        mut each: impl FnMut(Inside<'_, B>) -> Result<(), AttributionError>,
    ) -> Result<(), AttributionError> {
        let steps = self.steps();
        let input = self.input(&steps);
        let batches = self.batches(&input, &steps)?;
        let mut shown = Ok(());
        self.model.look_inside(self.model_input(&input, &batches, &Dropout::Off), &mut |inside| {
            if shown.is_ok() {
                shown = each(inside);
            }
        })?;
        shown
    }

    fn needs(&self) -> Passes {
        self.function.needs()
    }

    /// Noisy passes of so many variants, sample after sample.
    fn noise(&self, variants: usize) -> Option<(usize, Dropout)> {
        let samples = self.needs().noisy_samples;
        let passes = (0..samples as u32)
            .flat_map(|sample| core::iter::repeat_n(NoisyPass { text: self.number, sample }, variants));
        let passes: Vec<NoisyPass> = passes.collect();
        let dropout = Dropout::On { seed: self.options.seed, passes, rates: self.options.rates };
        (samples > 0).then_some((samples, dropout))
    }

    /// Token batches that the variants stand in.
    fn batches(
        &self,
        variants: &Variants<B>,
        steps: &Range<usize>,
    ) -> Result<(Option<TokenBatch>, TokenBatch), AttributionError> {
        let count = variants.count;
        let source = self.text.source.as_ref();
        let source = source.map(|source| token_batch(self.model, source, count)).transpose()?;
        Ok((source, token_batch(self.model, &self.text.target[..self.width(steps)], count)?))
    }

    fn model_input<'v>(
        &self,
        variants: &Variants<B>,
        (source, target): &'v (Option<TokenBatch>, TokenBatch),
        dropout: &'v Dropout,
    ) -> ModelInput<'v, B> {
        let side = |batch: &'v TokenBatch, side: &Side<B>| StackInput {
            batch,
            hidden: side.hidden.clone(),
            entry: side.entry,
        };
        ModelInput {
            source: source.as_ref().zip(variants.source.as_ref()).map(|(batch, source)| side(batch, source)),
            target: side(target, &variants.target),
            dropout,
        }
    }

    /// The hidden states that predict these steps, `[variants · steps, hidden]`.
    fn at_steps(&self, hidden: Tensor<B, 2>, variants: usize, steps: &Range<usize>) -> Tensor<B, 2> {
        let width = self.width(steps);
        if variants == 1 {
            return hidden.slice(steps.start - 1..steps.end - 1);
        }
        let [_, size] = hidden.dims();
        let hidden = hidden.reshape([variants, width, size]).slice([0..variants, steps.start - 1..width]);
        hidden.reshape([variants * steps.len(), size])
    }

    /// Tells how far the text is, and whether to go on.
    pub(crate) fn progress(&self, done: usize, all: usize) -> Result<(), AttributionError> {
        let (text, texts) = self.place;
        let steps = crate::Steps { text, texts, done, all };
        match self.options.progress.map(|progress| progress(steps)) {
            Some(core::ops::ControlFlow::Break(())) => Err(AttributionError::Cancelled),
            _ => Ok(()),
        }
    }
}

/// So many copies of some tokens.
pub(crate) fn token_batch<B: Backend>(
    model: &Model<B>,
    ids: &[u32],
    count: usize,
) -> Result<TokenBatch, AttributionError> {
    Ok(TokenBatch::new(vec![ids.to_vec(); count], model.config().vocab_size, PaddingSide::Right)?)
}

/// Some rows of `x`.
pub(crate) fn select<B: Backend>(x: &Tensor<B, 2>, rows: &[usize]) -> Tensor<B, 2> {
    let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let indices = Tensor::<B, 1, Int>::from_data(TensorData::new(indices, [rows.len()]), &x.device());
    x.clone().select(0, indices)
}

/// Some of `rows` rows, of each sample: `[samples · rows, size]` to `[samples · chunk, size]`.
fn of_each_sample<B: Backend>(x: &Tensor<B, 2>, rows: usize, chunk: &Range<usize>) -> Tensor<B, 2> {
    let [all, size] = x.dims();
    let samples = all / rows;
    let part = x.clone().reshape([samples, rows, size]).slice([0..samples, chunk.clone()]);
    part.reshape([samples * chunk.len(), size])
}

#[cfg(test)]
mod tests;
