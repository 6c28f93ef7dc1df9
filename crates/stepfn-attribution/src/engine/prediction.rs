//! What the attributed function is given of some rows, what it is compared with, and `d score / d logits`.

use core::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::{Alignment, Contrast, Need, Pass, StepBatch, StepError};
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, Rule};

use super::{Subject, select, token_batch};
use crate::AttributionError;
use crate::quadrature::gauss_legendre;

/// What the steps are compared with.
pub(super) struct Comparison<B: Backend> {
    /// For each step, its partner among the contrast's.
    partners: Vec<Option<usize>>,
    target_ids: Vec<u32>,
    /// The contrast's own hidden states, `[its steps, hidden]`, where its context is read.
    hidden: Option<Tensor<B, 2>>,
}

/// `d score / d logits` of some rows.
pub(super) struct Local<B: Backend> {
    /// `[rows, vocab]`
    pub(super) logits: Tensor<B, 2>,
    /// `[samples · rows, vocab]`
    pub(super) noisy_logits: Option<Tensor<B, 2>>,
}

impl<B: Backend> Subject<'_, B> {
    /// `d score / d logits` of some rows, by automatic differentiation of the step function alone. Against a baseline, the function's gradient is
    /// averaged on the line between the two predictions (Gauss–Legendre), so that its multipliers add up as all others do.
    pub(super) fn local_derivatives(
        &self,
        hidden: &Tensor<B, 2>,
        rule: &Rule<Tensor<B, 2>>,
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
        let Rule::DeepLift { baseline } = rule else {
            return at(logits, noisy.map(|noisy| self.model.logits(noisy.clone())));
        };
        self.between(&self.model.logits(baseline.clone()), &logits, chunk, steps, |between| {
            Ok(at(between, None)?.logits)
        })
    }

    /// The mean of a function's gradient on the line between two predictions, from as many points as make it add up: 16 do for the curvature of most
    /// softmaxes, but not where another token is all but certain at each end.
    pub(super) fn between(
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
            let (nodes, weights) = gauss_legendre(points);
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
    pub(super) fn predictions<C: Backend>(
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
    pub(super) fn partners(
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
    pub(super) fn contrast_logits(
        &self,
        chunk: &Range<usize>,
        steps: &Range<usize>,
    ) -> Result<Option<Tensor<B, 2>>, AttributionError> {
        let Some(comparison) = &self.comparison else { return Ok(None) };
        let (_, partners) = self.partners(comparison, chunk, steps);
        Ok(comparison.hidden.as_ref().map(|hidden| self.model.logits(select(hidden, &partners))))
    }

    pub(super) fn compare(&self) -> Result<Option<Comparison<B>>, AttributionError> {
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

    /// An error of the text, with the step's own number rather than that of its row.
    pub(super) fn located(&self, error: StepError, chunk: &Range<usize>, steps: &Range<usize>) -> AttributionError {
        let step_of = |row: usize| steps.start - self.text.steps.start + (chunk.start + row) % steps.len();
        // Of a contrast, only rows that are compared with were computed, in the order of those that compare.
        let comparing = |row: usize| {
            let (pairs, _) = self.comparison.as_ref().map(|comparison| self.partners(comparison, chunk, steps))?;
            pairs.get(row).map(|(row, _)| *row)
        };
        let (step, error) = match error {
            StepError::NonFinite { pass, row } => {
                let row = step_of(if pass == Pass::Contrast { comparing(row).unwrap_or(row) } else { row });
                (Some(row), StepError::NonFinite { pass, row })
            }
            StepError::NoSpread { function, row, n } => {
                let row = step_of(row);
                (Some(row), StepError::NoSpread { function, row, n })
            }
            other => (None, other),
        };
        AttributionError::StepOfText { text: self.number as usize, step, error }
    }
}
