//! What every method stands on: one text, the attributed function's values for variants of its input, and their derivatives.
//!
//! Teacher forcing makes all steps rows of one pass. A *variant* is the text with other embeddings in some places; variants of one text run
//! together, and each is scored at all steps that are asked about. Derivatives start from `d score / d logits`, by automatic differentiation of
//! the step function alone, and go back through the model's tape for all steps of a chunk at once.

use core::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use stepfn_core::{Alignment, Contrast, Need, Passes, StepBatch, StepError};
use stepfn_models::Model;
use stepfn_models::tape::{InputGradients, ModelInput, StackInput, Tape};
use stepfn_models::transformer::{
    Dropout, Entry, Inside, Keep, NoisyPass, PaddingSide, Rule, TokenBatch, WeightGradients,
};

use crate::methods::{Layer, StackName};
use crate::{AttributedFn, AttributionError, AttributionOptions, Text};

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

/// What the steps are compared with.
struct Comparison<B: Backend> {
    /// For each step, its partner among the contrast's.
    partners: Vec<Option<usize>>,
    target_ids: Vec<u32>,
    /// The contrast's own hidden states, `[its steps, hidden]`, where its context is read.
    hidden: Option<Tensor<B, 2>>,
}

/// Inputs of one text that differ in their embeddings, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Variants<B: Backend> {
    pub(crate) count: usize,
    /// What the encoder reads, `[count · source width, size]`.
    pub(crate) source: Option<Side<B>>,
    /// What the decoder reads, `[count · width, size]`.
    pub(crate) target: Side<B>,
}

/// What one stack reads.
#[derive(Debug, Clone)]
pub(crate) struct Side<B: Backend> {
    pub(crate) hidden: Tensor<B, 2>,
    pub(crate) entry: Entry,
}

impl<B: Backend> Side<B> {
    pub(crate) fn embedded(hidden: Tensor<B, 2>) -> Self {
        Self { hidden, entry: Entry::Embeddings }
    }
}

/// How derivatives are pulled back, with the variants that [`Rule::DeepLift`] compares with.
pub(crate) type PullBack<'v, B> = Rule<&'v Variants<B>>;

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

    /// Chunks of steps whose derivatives are taken at once. A chunk touches no position behind its last step, but its forward pass is its own:
    /// of `T` steps behind `P` tokens, `T / √(2P + T)` chunks cost least. More only where they would not fit.
    pub(crate) fn chunks(&self) -> Vec<Range<usize>> {
        let (steps, prompt) = (self.text.steps.len(), self.text.steps.start + self.source_width());
        let cheapest = steps as f64 / ((2 * prompt + steps) as f64).sqrt();
        let bytes = self.model.config().floats_per_token() * 4 * (self.text.steps.end + self.source_width());
        let fit = (self.options.memory / 2 / bytes.max(1) / (1 + self.needs().noisy_samples)).max(1);
        let size = steps.div_ceil((cheapest.round() as usize).max(1)).min(fit);
        let Range { start, end } = self.text.steps;
        (start..end).step_by(size).map(|start| start..end.min(start + size)).collect()
    }

    /// How many variants may be differentiated at once at these steps.
    pub(crate) fn derivatives_at_once(&self, steps: &Range<usize>) -> usize {
        let tokens = self.width(steps) + self.source_width();
        let passes = 1 + self.needs().noisy_samples;
        let bytes = self.model.config().floats_per_token() * 4 * tokens * (steps.len() + 2) * passes;
        (self.options.memory / 2 / bytes.max(1)).clamp(1, 256)
    }

    /// How many variants of the text may run at once.
    pub(crate) fn at_once(&self, steps: &Range<usize>) -> usize {
        let passes = 1 + self.needs().noisy_samples;
        let tokens = self.width(steps) + self.source_width();
        let activations = tokens * self.model.config().floats_per_token() / 2;
        (self.options.memory / 4 / (passes * activations * 4).max(1)).clamp(1, 4096)
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
        let rows = variants.count * steps.len();
        let mut values = Vec::new();
        for chunk in self.row_chunks(rows) {
            let logits = self.model.logits(hidden.clone().slice(chunk.clone()));
            let noisy = noisy.as_ref().map(|noisy| self.model.logits(of_each_sample(noisy, rows, &chunk)));
            let contrast = self.contrast_logits(&chunk, steps)?;
            let batch = self.predictions(logits, noisy, contrast, &chunk, steps)?;
            values.push(self.function.plain().score(&batch).map_err(|error| self.located(error, &chunk, steps))?);
        }
        Ok(Tensor::cat(values, 0).reshape([variants.count, steps.len()]))
    }

    /// The attributed function's derivatives at these steps with respect to each variant's input: the cotangents are steps, and gradients
    /// `[variants · steps · width, size]`.
    pub(crate) fn differentiate(
        &self,
        variants: &Variants<B>,
        rule: PullBack<'_, B>,
        steps: &Range<usize>,
    ) -> Result<InputGradients<B>, AttributionError> {
        let Start { tape, baseline, grad, noisy } = self.start(variants, rule, steps)?;
        let places: Vec<usize> = steps.clone().map(|step| step - 1).collect();
        let rule = match &baseline {
            Some(tape) => Rule::DeepLift { baseline: tape },
            None if matches!(rule, Rule::AttnLrp) => Rule::AttnLrp,
            None => Rule::Gradient,
        };
        let mut inputs = self.model.pull_back(&tape, rule, grad, &places);
        if let Some((samples, tape, grad)) = noisy {
            let more = self.model.pull_back(&tape, Rule::Gradient, grad, &places);
            inputs.target = inputs.target + over_samples(more.target, samples);
            inputs.source = match (inputs.source, more.source) {
                (Some(sum), Some(more)) => Some(sum + over_samples(more, samples)),
                (sum, _) => sum,
            };
        }
        Ok(inputs)
    }

    /// Shows the attributed function's derivatives at these steps on their way back through each of the decoder's attentions: those of the text
    /// as it is, then those of its passes with dropout, where the function reads any.
    pub(crate) fn weight_gradients(
        &self,
        steps: &Range<usize>,
        each: &mut dyn FnMut(WeightGradients<'_, B>),
    ) -> Result<(), AttributionError> {
        let Start { tape, grad, noisy, .. } = self.start(&self.input(steps), Rule::Gradient, steps)?;
        let places: Vec<usize> = steps.clone().map(|step| step - 1).collect();
        self.model.weight_gradients(&tape, grad, &places, each);
        if let Some((_, tape, grad)) = noisy {
            self.model.weight_gradients(&tape, grad, &places, each);
        }
        Ok(())
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

    /// Runs the variants, and finds the derivatives that go back through them.
    fn start(
        &self,
        variants: &Variants<B>,
        rule: PullBack<'_, B>,
        steps: &Range<usize>,
    ) -> Result<Start<B>, AttributionError> {
        if !self.function.tracked().is_differentiable() {
            return Err(AttributionError::Parameter {
                of: "a gradient method".to_owned(),
                parameter: "attributed_fn".to_owned(),
                expected: "a function that has a gradient".to_owned(),
                found: format!("`{}`, which counts", self.function.name()),
            });
        }
        let keep = self.keep(variants, steps);
        let record = |variants: &Variants<B>, dropout: &Dropout| -> Result<Tape<B>, AttributionError> {
            let batches = self.batches(variants, steps)?;
            Ok(self.model.record(self.model_input(variants, &batches, dropout), keep)?)
        };
        let tape = record(variants, &Dropout::Off)?;
        let hidden = self.at_steps(tape.hidden().clone(), variants.count, steps);
        let baseline = match rule {
            Rule::DeepLift { baseline } => {
                let tape = record(baseline, &Dropout::Off)?;
                let hidden = self.at_steps(tape.hidden().clone(), baseline.count, steps);
                Some((tape, hidden))
            }
            _ => None,
        };
        let noise = self.noise(variants.count);
        if noise.is_some() && !matches!(rule, Rule::Gradient) {
            return Err(AttributionError::Parameter {
                of: "a method with rules of its own".to_owned(),
                parameter: "attributed_fn".to_owned(),
                expected: "a function of one pass".to_owned(),
                found: format!("`{}`, which reads passes with dropout", self.function.name()),
            });
        }
        let noisy = match &noise {
            None => None,
            Some((samples, dropout)) => {
                let tape = record(&variants.repeated(*samples), dropout)?;
                let hidden = self.at_steps(tape.hidden().clone(), samples * variants.count, steps);
                Some((*samples, tape, hidden))
            }
        };

        let rows = variants.count * steps.len();
        let (mut grads, mut noisy_grads) = (Vec::new(), Vec::new());
        for chunk in self.row_chunks(rows) {
            let hidden = hidden.clone().slice(chunk.clone());
            let noisy = noisy.as_ref().map(|(_, _, noisy)| of_each_sample(noisy, rows, &chunk));
            let baseline = baseline.as_ref().map(|(_, hidden)| hidden.clone().slice(chunk.clone()));
            let local = self.local_derivatives(&hidden, baseline.as_ref(), noisy.as_ref(), &chunk, steps)?;
            let head_rule = match &baseline {
                Some(baseline) => Rule::DeepLift { baseline },
                None if matches!(rule, Rule::AttnLrp) => Rule::AttnLrp,
                None => Rule::Gradient,
            };
            grads.push(self.model.logits_backward(&hidden, head_rule, local.logits));
            if let (Some(hidden), Some(grad)) = (&noisy, local.noisy_logits) {
                let grad = self.model.logits_backward(hidden, Rule::Gradient, grad);
                let [all, size] = grad.dims();
                let samples = all / chunk.len();
                noisy_grads.push(grad.reshape([samples, chunk.len(), size]));
            }
        }
        let noisy = noisy.map(|(samples, tape, _)| {
            let grad = Tensor::cat(noisy_grads, 1);
            let [_, _, size] = grad.dims();
            (samples, tape, grad.reshape([samples * rows, size]))
        });
        Ok(Start { tape, baseline: baseline.map(|(tape, _)| tape), grad: Tensor::cat(grads, 0), noisy })
    }

    /// `d score / d logits` of some rows, by automatic differentiation of the step function alone. Against a baseline, the function's gradient is
    /// averaged on the line between the two predictions (Gauss–Legendre), so that its multipliers add up as all others do.
    fn local_derivatives(
        &self,
        hidden: &Tensor<B, 2>,
        baseline: Option<&Tensor<B, 2>>,
        noisy: Option<&Tensor<B, 2>>,
        chunk: &Range<usize>,
        steps: &Range<usize>,
    ) -> Result<Local<B>, AttributionError> {
        let at = |logits: Tensor<B, 2>, noisy: Option<Tensor<B, 2>>| -> Result<Local<B>, AttributionError> {
            let leaf = Tensor::<Autodiff<B>, 2>::from_inner(logits).require_grad();
            let noisy = noisy.map(|noisy| Tensor::<Autodiff<B>, 2>::from_inner(noisy).require_grad());
            let contrast = self.contrast_logits(chunk, steps)?.map(Tensor::from_inner);
            let batch = self.predictions(leaf.clone(), noisy.clone(), contrast, chunk, steps)?;
            let scores = self.function.tracked().score(&batch).map_err(|error| self.located(error, chunk, steps))?;
            let grads = scores.sum().backward();
            let zeros = |leaf: &Tensor<Autodiff<B>, 2>| Tensor::zeros_like(&leaf.clone().inner());
            let grad = |leaf: &Tensor<Autodiff<B>, 2>| leaf.grad(&grads).unwrap_or_else(|| zeros(leaf));
            Ok(Local { logits: grad(&leaf), noisy_logits: noisy.as_ref().map(grad) })
        };
        let logits = self.model.logits(hidden.clone());
        let Some(baseline) = baseline else {
            return at(logits, noisy.map(|noisy| self.model.logits(noisy.clone())));
        };
        self.between(&self.model.logits(baseline.clone()), &logits, chunk, steps, |between| {
            Ok(at(between, None)?.logits)
        })
    }

    /// The mean of a function's gradient on the line between two predictions, from as many points as make it add up: 16 do for the curvature of most
    /// softmaxes, but not where another token is all but certain at each end.
    fn between(
        &self,
        there: &Tensor<B, 2>,
        here: &Tensor<B, 2>,
        chunk: &Range<usize>,
        steps: &Range<usize>,
        gradient: impl Fn(Tensor<B, 2>) -> Result<Tensor<B, 2>, AttributionError>,
    ) -> Result<Local<B>, AttributionError> {
        const FEWEST: usize = 16;
        const MOST: usize = 256;
        /// Of the change that is to be shared out.
        const TOLERANCE: f64 = 1e-4;
        let values = |logits: &Tensor<B, 2>| -> Result<Tensor<B, 1>, AttributionError> {
            let batch = self.predictions(logits.clone(), None, self.contrast_logits(chunk, steps)?, chunk, steps)?;
            self.function.plain().score(&batch).map_err(|error| self.located(error, chunk, steps))
        };
        let change = values(here)? - values(there)?;
        let way = here.clone() - there.clone();
        let mut points = FEWEST;
        loop {
            let (nodes, weights) = crate::quadrature::gauss_legendre(points);
            let mut mean = Tensor::zeros_like(here);
            for (node, weight) in nodes.into_iter().zip(weights) {
                mean = mean + gradient(there.clone() + way.clone().mul_scalar(node))?.mul_scalar(weight);
            }
            let total = (mean.clone() * way.clone()).sum_dim(1).squeeze_dim::<1>(1);
            let off = (total - change.clone()).abs() - change.clone().abs().mul_scalar(TOLERANCE);
            if points >= MOST || off.into_data().iter::<f64>().all(|off| off <= 0.0) {
                return Ok(Local { logits: mean, noisy_logits: None });
            }
            points *= 2;
        }
    }

    /// What a step function is given of some rows, on either backend.
    fn predictions<C: Backend>(
        &self,
        logits: Tensor<C, 2>,
        noisy: Option<Tensor<C, 2>>,
        contrast: Option<Tensor<C, 2>>,
        chunk: &Range<usize>,
        steps: &Range<usize>,
    ) -> Result<StepBatch<C>, AttributionError> {
        let device = logits.device();
        let [rows, vocab] = logits.dims();
        let step_of = |row: usize| steps.start + row % steps.len();
        let targets: Vec<u32> = chunk.clone().map(|row| self.text.target[step_of(row)]).collect();
        let located = |error| self.located(error, chunk, steps);
        let mut batch = StepBatch::new(logits, &targets).map_err(located)?;
        if let Some(comparison) = &self.comparison {
            let (pairs, partners) = self.partners(comparison, chunk, steps);
            let ids: Vec<u32> = partners.iter().map(|&partner| comparison.target_ids[partner]).collect();
            let alignment = Alignment::Pairs(pairs);
            let contrast = match contrast {
                Some(logits) => Contrast::new(logits, &ids, &alignment, rows),
                None => Contrast::same_context(&ids, &alignment, rows, &device),
            };
            batch = batch.with_contrast(contrast.map_err(located)?).map_err(located)?;
        }
        if let Some(noisy) = noisy {
            let [all, _] = noisy.dims();
            batch = batch.with_noisy(noisy.reshape([all / rows, rows, vocab])).map_err(located)?;
        }
        Ok(batch)
    }

    /// Which rows are compared with something, and with which of the contrast's steps. A contrast has a row even if nothing is compared with it.
    fn partners(
        &self,
        comparison: &Comparison<B>,
        chunk: &Range<usize>,
        steps: &Range<usize>,
    ) -> (Vec<(usize, usize)>, Vec<usize>) {
        let (mut pairs, mut partners) = (Vec::new(), Vec::new());
        for (index, row) in chunk.clone().enumerate() {
            let step = steps.start + row % steps.len() - self.text.steps.start;
            if let Some(partner) = comparison.partners[step] {
                pairs.push((index, partners.len()));
                partners.push(partner);
            }
        }
        if partners.is_empty() {
            partners.push(0);
        }
        (pairs, partners)
    }

    /// The contrast's own predictions for some rows, where its context is read.
    fn contrast_logits(
        &self,
        chunk: &Range<usize>,
        steps: &Range<usize>,
    ) -> Result<Option<Tensor<B, 2>>, AttributionError> {
        let Some(comparison) = &self.comparison else { return Ok(None) };
        let (_, partners) = self.partners(comparison, chunk, steps);
        Ok(comparison.hidden.as_ref().map(|hidden| self.model.logits(select(hidden, &partners))))
    }

    fn compare(&self) -> Result<Option<Comparison<B>>, AttributionError> {
        let contrast = match (&self.text.contrast, self.needs().contrast) {
            (None, _) | (_, Need::Unused) => return Ok(None),
            (Some(contrast), _) => contrast,
        };
        let target_ids = contrast.target[contrast.first..].to_vec();
        let partners = contrast.alignment.partners(self.text.steps.len(), target_ids.len())?;
        let hidden = match self.options.contrast_force_inputs {
            false => None,
            true => {
                let read = &contrast.target[..contrast.target.len() - 1];
                let target = token_batch(self.model, read, 1)?;
                let source = contrast.source.as_ref().or(self.text.source.as_ref());
                let source = source.map(|source| token_batch(self.model, source, 1)).transpose()?;
                let embedded = source.as_ref().zip(self.model.encoder());
                let input = ModelInput {
                    source: embedded.map(|(batch, encoder)| StackInput::embedded(batch, encoder.embed(batch))),
                    target: StackInput::embedded(&target, self.model.decoder().embed(&target)),
                    dropout: &Dropout::Off,
                };
                Some(self.model.hidden(input)?.slice(contrast.first - 1..read.len()))
            }
        };
        Ok(Some(Comparison { partners, target_ids, hidden }))
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

    /// Rows whose logits, and what step functions make of them, fit into a quarter of the memory.
    fn row_chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<B> {
        /// Tensors as large as the logits that the derivative of a step function has at once.
        const COPIES: usize = 8;
        let passes = 1 + self.needs().noisy_samples;
        let bytes = self.model.config().vocab_size * 4 * COPIES * passes;
        let at_once = (self.options.memory / 4 / bytes.max(1)).max(1);
        (0..rows).step_by(at_once).map(move |start| start..rows.min(start + at_once))
    }

    fn keep(&self, variants: &Variants<B>, steps: &Range<usize>) -> Keep {
        let config = self.model.config();
        let layers = config.decoder.n_layers.max(config.encoder.as_ref().map_or(0, |stack| stack.n_layers));
        let tokens = variants.count * (self.width(steps) + self.source_width()) * (1 + self.needs().noisy_samples);
        let bytes = tokens * config.floats_per_token() * layers * 4;
        if bytes > self.options.memory / 2 { Keep::Inputs } else { Keep::Everything }
    }

    /// An error with the step's own number rather than that of its row.
    fn located(&self, error: StepError, chunk: &Range<usize>, steps: &Range<usize>) -> AttributionError {
        let step = |row: usize| steps.start - self.text.steps.start + (chunk.start + row) % steps.len();
        match error {
            StepError::NonFinite { pass, row } => StepError::NonFinite { pass, row: step(row) }.into(),
            StepError::NoSpread { function, row, n } => StepError::NoSpread { function, row: step(row), n }.into(),
            other => other.into(),
        }
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

/// Where derivatives start.
struct Start<B: Backend> {
    tape: Tape<B>,
    /// The pass of the baseline that [`Rule::DeepLift`] compares with.
    baseline: Option<Tape<B>>,
    /// With respect to the hidden states that predict the steps, `[variants · steps, hidden]`.
    grad: Tensor<B, 2>,
    /// The number of passes with dropout, where the function reads any, what they left behind, and the derivatives
    /// `[samples · variants · steps, hidden]`.
    noisy: Option<(usize, Tape<B>, Tensor<B, 2>)>,
}

/// `d score / d logits` of some rows.
struct Local<B: Backend> {
    /// `[rows, vocab]`
    logits: Tensor<B, 2>,
    /// `[samples · rows, vocab]`
    noisy_logits: Option<Tensor<B, 2>>,
}

impl<B: Backend> Variants<B> {
    /// All of them `times` over, one round after the other.
    fn repeated(&self, times: usize) -> Self {
        let side = |side: &Side<B>| Side { hidden: side.hidden.clone().repeat(&[times, 1]), entry: side.entry };
        Self { count: self.count * times, source: self.source.as_ref().map(side), target: side(&self.target) }
    }

    /// Both sides, combined with those of another in the same way.
    pub(crate) fn combined(
        &self,
        other: &Self,
        count: usize,
        f: impl Fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>,
    ) -> Self {
        let side = |a: &Side<B>, b: &Side<B>| Side { hidden: f(a.hidden.clone(), b.hidden.clone()), entry: a.entry };
        Self {
            count,
            source: self.source.as_ref().zip(other.source.as_ref()).map(|(a, b)| side(a, b)),
            target: side(&self.target, &other.target),
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

/// The sum over samples of `[samples · rows, size]`.
fn over_samples<B: Backend>(x: Tensor<B, 2>, samples: usize) -> Tensor<B, 2> {
    let [all, size] = x.dims();
    x.reshape([samples, all / samples * size]).sum_dim(0).reshape([all / samples, size])
}

#[cfg(test)]
mod tests;
