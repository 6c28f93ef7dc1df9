//! What step functions are given of some rows, what these are compared with, and `d score / d logits`.

use core::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::{Alignment, Contrast, Need, PassKind, StepBatch, StepError, StepScore};
use stepfn_kernels::widened;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, Rule};

use super::{Passes, select, token_batch};
use crate::quadrature::gauss_legendre;
use crate::steps::Steps;
use crate::{AttributionError, Text};

/// Rows of predictions, each compared with a row of a contrast or with none. Only the contrast's rows that are compared with are computed.
pub(crate) struct Pairing {
    /// Rows that are compared, each with one of `partners`.
    pairs: Vec<(usize, usize)>,
    /// Rows of the contrast.
    partners: Vec<usize>,
    rows: usize,
}

impl Pairing {
    /// The pairing of rows with these partners.
    pub(crate) fn new(partners_of_rows: impl Iterator<Item = Option<usize>>) -> Self {
        let (mut pairs, mut partners, mut rows) = (Vec::new(), Vec::new(), 0);
        for partner in partners_of_rows {
            if let Some(partner) = partner {
                pairs.push((rows, partners.len()));
                partners.push(partner);
            }
            rows += 1;
        }
        // A contrast has a row even if nothing is compared with it.
        if partners.is_empty() {
            partners.push(0);
        }
        Self { pairs, partners, rows }
    }

    /// The contrast's rows that are needed.
    pub(crate) fn partners(&self) -> &[usize] {
        &self.partners
    }

    /// Whether any row is compared.
    pub(crate) fn compares(&self) -> bool {
        !self.pairs.is_empty()
    }

    /// The contrast of the rows: its own predictions of the partners, or the rows' own if only targets differ.
    ///
    /// # Shapes
    /// - `logits`: `[partners, vocab]`; `target_ids`: of all of the contrast's rows
    pub(crate) fn contrast<B: Backend>(
        self,
        logits: Option<Tensor<B, 2>>,
        target_ids: &[u32],
        device: &B::Device,
    ) -> Result<Contrast<B>, StepError> {
        let ids: Vec<u32> = self.partners.iter().map(|&partner| target_ids[partner]).collect();
        let alignment = Alignment::Pairs(self.pairs);
        match logits {
            Some(logits) => Contrast::new(logits, &ids, &alignment, self.rows),
            None => Contrast::same_context(&ids, &alignment, self.rows, device),
        }
    }

    /// The row that is compared with a row of the contrast.
    pub(crate) fn compared(&self, contrast_row: usize) -> Option<usize> {
        self.pairs.get(contrast_row).map(|&(row, _)| row)
    }
}

/// The scored row that an error is about, and the same error with the step instead of the row.
pub(crate) fn located(
    error: StepError,
    pairing: impl FnOnce() -> Option<Pairing>,
    step_of_row: impl Fn(usize) -> usize,
) -> (Option<usize>, StepError) {
    match error {
        StepError::NonFinite { pass, row } => {
            let row = match pass {
                PassKind::Contrast => pairing().and_then(|pairing| pairing.compared(row)).unwrap_or(row),
                _ => row,
            };
            (Some(row), StepError::NonFinite { pass, row: step_of_row(row) })
        }
        StepError::NoSpread { function, row, n } => {
            (Some(row), StepError::NoSpread { function, row: step_of_row(row), n })
        }
        other => (None, other),
    }
}

/// What the steps are compared with.
pub(super) struct Comparison<B: Backend> {
    /// For each step, its partner among the contrast's.
    pub(super) partners: Vec<Option<usize>>,
    target_ids: Vec<u32>,
    /// The contrast's own hidden states, `[its steps, hidden]`, if its context is read.
    hidden: Option<Tensor<B, 2>>,
}

/// `d score / d logits` of some rows.
pub(super) struct Local<B: Backend> {
    /// `[rows, vocab]`
    pub(super) logits: Tensor<B, 2>,
    /// `[samples · rows, vocab]`
    pub(super) noisy_logits: Option<Tensor<B, 2>>,
}

impl<B: Backend> Passes<'_, B> {
    /// `d score / d logits` of some rows, as the step function says or by automatic differentiation of it alone. Against a baseline, the function's gradient is
    /// averaged on the line between the two predictions (Gauss–Legendre), so that its multipliers add up as all others do.
    pub(super) fn local_derivatives(
        &self,
        hidden: &Tensor<B, 2>,
        rule: &Rule<Tensor<B, 2>>,
        noisy: Option<&Tensor<B, 2>>,
        chunk: &Range<usize>,
        steps: Steps,
    ) -> Result<Local<B>, AttributionError> {
        let at = |logits: Tensor<B, 2>, noisy: Option<Tensor<B, 2>>| -> Result<Local<B>, AttributionError> {
            if noisy.is_none() && self.needs().contrast == Need::Unused {
                let batch = self.predictions(widened(logits.clone()), None, None, chunk, steps)?;
                if let Some(gradient) = self.function.plain().gradient(&batch) {
                    if rule.baseline().is_none() {
                        let scores = self.function.plain().score(&batch);
                        let scores = scores.map_err(|error| self.located(error, chunk, steps))?;
                        self.check_finite(self.function.name(), &scores, chunk, steps)?;
                    }
                    return Ok(Local { logits: gradient, noisy_logits: None });
                }
            }
            // Derivatives of small probabilities would vanish in half precision.
            let leaf = Tensor::<Autodiff<B>, 2>::from_inner(widened(logits)).require_grad();
            let noisy = noisy.map(|noisy| Tensor::<Autodiff<B>, 2>::from_inner(widened(noisy)).require_grad());
            let contrast = self.contrast_logits(chunk, steps).map(Tensor::from_inner);
            let batch = self.predictions(leaf.clone(), noisy.clone(), contrast, chunk, steps)?;
            let scores = self.function.tracked().score(&batch).map_err(|error| self.located(error, chunk, steps))?;
            if rule.baseline().is_none() {
                self.check_finite(self.function.name(), &scores.clone().inner(), chunk, steps)?;
            }
            let grads = scores.sum().backward();
            let zeros = |leaf: &Tensor<Autodiff<B>, 2>| Tensor::zeros_like(&leaf.clone().inner());
            let grad = |leaf: &Tensor<Autodiff<B>, 2>| leaf.grad(&grads).unwrap_or_else(|| zeros(leaf));
            Ok(Local { logits: grad(&leaf), noisy_logits: noisy.as_ref().map(grad) })
        };
        let logits = self.model.logits(hidden.clone());
        match rule.baseline() {
            None => at(logits, noisy.map(|noisy| self.model.logits(noisy.clone()))),
            Some(baseline) => {
                let there = widened(self.model.logits(baseline.clone()));
                self.between(&there, &widened(logits), chunk, steps, |between| Ok(at(between, None)?.logits))
            }
        }
    }

    /// The mean of a function's gradient on the line between two predictions, from as many points as make it add up: 16 suffice for the curvature of
    /// most softmaxes, but not where another token is all but certain at each end.
    fn between(
        &self,
        there: &Tensor<B, 2>,
        here: &Tensor<B, 2>,
        chunk: &Range<usize>,
        steps: Steps,
        gradient: impl Fn(Tensor<B, 2>) -> Result<Tensor<B, 2>, AttributionError>,
    ) -> Result<Local<B>, AttributionError> {
        const FEWEST: usize = 16;
        const MOST: usize = 256;
        /// Relative to the change that is distributed.
        const TOLERANCE: f64 = 1e-4;
        let values = |logits: &Tensor<B, 2>| -> Result<Tensor<B, 1>, AttributionError> {
            let batch = self.predictions(logits.clone(), None, self.contrast_logits(chunk, steps), chunk, steps)?;
            let scores = self.function.plain().score(&batch).map_err(|error| self.located(error, chunk, steps))?;
            self.check_finite(self.function.name(), &scores, chunk, steps)?;
            Ok(scores)
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
        steps: Steps,
    ) -> Result<StepBatch<C>, AttributionError> {
        let device = logits.device();
        let [rows, vocab] = logits.dims();
        let target = &self.question.text().target;
        let targets: Vec<u32> = chunk.clone().map(|row| target[steps.of_row(row)]).collect();
        let located = |error| self.located(error, chunk, steps);
        let mut batch = StepBatch::new(logits, &targets).map_err(located)?;
        if let Some(comparison) = &self.comparison {
            let pairing = self.pairing(comparison, chunk, steps);
            let contrast = pairing.contrast(contrast, &comparison.target_ids, &device).map_err(located)?;
            batch = batch.with_contrast(contrast).map_err(located)?;
        }
        if let Some(noisy) = noisy {
            let [all, _] = noisy.dims();
            batch = batch.with_noisy(noisy.reshape([all / rows, rows, vocab])).map_err(located)?;
        }
        Ok(batch)
    }

    /// Checks that a function has a finite value at each of some rows; at those without a partner in the contrast it may have none.
    pub(super) fn check_finite<C: Backend>(
        &self,
        function: &str,
        scores: &Tensor<C, 1>,
        chunk: &Range<usize>,
        steps: Steps,
    ) -> Result<(), AttributionError> {
        let first = self.question.steps().start();
        let step = |row: usize| steps.of_row(chunk.start + row) - first;
        let has_value = |step: usize| self.comparison.as_ref().is_none_or(|found| found.partners[step].is_some());
        let scores = scores.to_data();
        let mut rows = scores.iter::<f64>().enumerate();
        match rows.find(|&(row, score)| !score.is_finite() && has_value(step(row))) {
            Some((row, _)) => Err(AttributionError::NoValue { step: step(row), function: function.to_owned() }),
            None => Ok(()),
        }
    }

    /// What some rows are compared with.
    fn pairing(&self, comparison: &Comparison<B>, chunk: &Range<usize>, steps: Steps) -> Pairing {
        let first = self.question.steps().start();
        Pairing::new(chunk.clone().map(|row| comparison.partners[steps.of_row(row) - first]))
    }

    /// The contrast's own predictions for some rows, if its context is read.
    pub(super) fn contrast_logits(&self, chunk: &Range<usize>, steps: Steps) -> Option<Tensor<B, 2>> {
        let comparison = self.comparison.as_ref()?;
        let hidden = comparison.hidden.as_ref()?;
        Some(self.model.logits(select(hidden, self.pairing(comparison, chunk, steps).partners())))
    }

    /// Runs the contrast, if the function reads it.
    pub(super) fn compare(&self) -> Result<Option<Comparison<B>>, AttributionError> {
        let text = self.question.text();
        let contrast = match (&text.contrast, self.needs().contrast) {
            (None, _) | (_, Need::Unused) => return Ok(None),
            (Some(contrast), _) => contrast,
        };
        let target_ids = contrast.target[contrast.steps()].to_vec();
        let partners = text.partners()?;
        let hidden = match self.question.options().contrast_force_inputs {
            false => None,
            true => {
                let read = &contrast.target[..contrast.target.len() - 1];
                let target = token_batch(self.model.decoder(), read, 1)?;
                let source = contrast.source.as_deref().or(text.source.as_deref());
                let encoder = self.model.encoder();
                let source =
                    source.zip(encoder).map(|(source, encoder)| token_batch(encoder, source, 1)).transpose()?;
                let embedded = source.as_ref().zip(encoder);
                let input = ModelInput {
                    source: embedded.map(|(batch, encoder)| StackInput::embedded(batch, encoder.embed(batch))),
                    target: StackInput::embedded(&target, self.model.decoder().embed(&target)),
                    dropout: &Dropout::Off,
                };
                let steps = Steps::new(contrast.first..contrast.target.len());
                let steps = steps.at_mask(self.question.places().map(|places| places.contrast));
                Some(self.model.hidden(input)?.slice(steps.places()))
            }
        };
        Ok(Some(Comparison { partners, target_ids, hidden }))
    }

    /// An error of the text, with the step's own number in place of its row's.
    pub(super) fn located(&self, error: StepError, chunk: &Range<usize>, steps: Steps) -> AttributionError {
        let step_of_row = |row: usize| steps.of_row(chunk.start + row) - self.question.steps().start();
        let pairing = || self.comparison.as_ref().map(|comparison| self.pairing(comparison, chunk, steps));
        let (row, error) = located(error, pairing, step_of_row);
        match row {
            Some(row) => AttributionError::Step { step: Some(step_of_row(row)), error },
            None => error.into(),
        }
    }
}

/// Checks that the contrast of a text can make a difference, if a function reads it and the text's own context is read.
pub(crate) fn check_can_differ(
    text: &Text,
    function: &impl StepScore,
    own_context: bool,
) -> Result<(), AttributionError> {
    let (needs, name) = (function.needs(), function.name());
    let contrast = match &text.contrast {
        Some(contrast) if own_context && needs.contrast != Need::Unused => contrast,
        _ => return Ok(()),
    };
    if needs.of_contexts {
        let what = format!(
            "`{name}` compares what two contexts predict, but the contrast is predicted in the text's own context"
        );
        return Err(AttributionError::SameContext(what));
    }
    let (partners, others) = (text.partners()?, &contrast.target[contrast.steps()]);
    let own = &text.target[text.steps.clone()];
    let differs = |(own, partner): (&u32, Option<usize>)| partner.is_some_and(|partner| others[partner] != *own);
    if needs.contrast == Need::Required && !own.iter().zip(partners).any(differs) {
        let what = format!(
            "in the text's own context the contrast has no other token at any step, so `{name}` does not depend on the input"
        );
        return Err(AttributionError::SameContext(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_row_is_paired_with_its_partner_and_no_other_is_computed(
            partners in prop::collection::vec(prop::option::of(0usize..9), 1..20),
        ) {
            let pairing = Pairing::new(partners.iter().copied());
            let expected: Vec<usize> = partners.iter().flatten().copied().collect();
            prop_assert_eq!(pairing.compares(), !expected.is_empty());
            if pairing.compares() {
                prop_assert_eq!(pairing.partners(), &expected[..]);
            }
            for (number, partner) in expected.iter().enumerate() {
                let row = pairing.compared(number).expect("a partner has a row");
                prop_assert_eq!(partners[row], Some(*partner));
            }
        }
    }
}
