//! Values of a text with some of its input left out, so that the rest moves up.
//!
//! The steps of all variants are the same tokens, at other places. Where nothing is left out of a causal model's text, keys and values come from the
//! cache of the text itself; variants that begin alike run together, shorter ones padded behind their last token.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::StepFunction;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::Dropout;

use super::perturbation::nearby;
use super::{Perturbation, Perturbed, at_steps, batch_of, read, select};
use crate::AttributionError;
use crate::steps::Steps;

impl<B: Backend> Perturbation<'_, '_, B> {
    /// A function's values for each variant, which lacks tokens of the source, or of the target before the first step. `progress` is called with how
    /// many of all groups are done.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a variant with nothing before the first step, or no source where the text has one; those of the model and the
    /// function.
    pub(crate) fn shortened(
        &self,
        function: &dyn StepFunction<B>,
        variants: &[Perturbed],
        mut progress: impl FnMut(usize, usize) -> Result<(), AttributionError>,
    ) -> Result<Vec<Vec<f64>>, AttributionError> {
        let (passes, steps) = (self.passes, self.passes.question.steps());
        let text = passes.question.text();
        let mut values = vec![Vec::new(); variants.len()];
        let (mut sourced, mut later) = (Vec::new(), Vec::new());
        for (number, variant) in variants.iter().enumerate() {
            let before = (variant.target.len() + steps.start()).checked_sub(text.target.len());
            if before.is_none_or(|before| before == 0) || variant.source.as_ref().is_some_and(Vec::is_empty) {
                let what = "nothing is left to predict the answer from; keep a part of the prompt that is no source";
                return Err(AttributionError::Text(what.to_owned()));
            }
            if variant.source != text.source {
                sourced.push(number);
                continue;
            }
            let alike = variant.target.iter().zip(&text.target).take_while(|(own, other)| own == other).count();
            match variant.target == text.target {
                true => values[number] = self.values_of_text(function, steps)?,
                // The place that predicts the first step runs in any case.
                false => later.push((number, alike.min(before.unwrap_or(0).saturating_sub(1)))),
            }
        }
        later.sort_by_key(|&(number, first)| (first, number));
        let (budget, width) = (passes.budget(), steps.width());
        let groups = nearby(&later, width, |copies, first| budget.fits_from(copies, first, width));
        let at_once = budget.variants(passes.question.lengths(steps));
        let all = groups.len() + sourced.len().div_ceil(at_once);
        let mut done = 0;
        for chunk in sourced.chunks(at_once) {
            let members: Vec<&Perturbed> = chunk.iter().map(|&number| &variants[number]).collect();
            let found = self.with_other_sources(function, &members, steps)?;
            chunk.iter().zip(found.chunks(steps.len())).for_each(|(&number, found)| values[number] = found.to_vec());
            done += 1;
            progress(done, all)?;
        }
        for group in groups {
            let members: Vec<&Perturbed> = group.members.iter().map(|&(number, _)| &variants[number]).collect();
            let found = self.after(function, &members, group.first.unwrap_or(0), steps)?;
            let of_group = group.members.iter().zip(found.chunks(steps.len()));
            of_group.for_each(|(&(number, _), found)| values[number] = found.to_vec());
            done += 1;
            progress(done, all)?;
        }
        Ok(values)
    }

    /// Variants that are the text itself before `first`: the values of all steps, one variant after the other.
    fn after(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&Perturbed],
        first: usize,
        steps: Steps,
    ) -> Result<Vec<f64>, AttributionError> {
        let (model, count) = (self.passes.model, members.len());
        let widths: Vec<usize> = members.iter().map(|variant| read(&variant.target)).collect();
        // The last step may be before the end of the text.
        let beyond = read(&self.passes.question.text().target) - steps.width();
        let texts = members.iter().zip(&widths).map(|(variant, width)| variant.target[..width - beyond].to_vec());
        let batch = batch_of(model.decoder(), texts.collect())?.beginning(widths.iter().copied());
        let mut cache = self.cache.prefix(first, count);
        let places = batch.width() - first;
        let target = StackInput::embedded(&batch, model.decoder().embed_last(&batch, places));
        let hidden = model.decode(&self.context.repeated(count), target, &Dropout::Off, Some(&mut cache))?;
        let of_variant = |(number, width): (usize, &usize)| {
            let end = width - beyond - first;
            (end - steps.len()..end).map(move |place| number * places + place)
        };
        let rows: Vec<usize> = widths.iter().enumerate().flat_map(of_variant).collect();
        self.values_at(function, select(&hidden, &rows), steps)
    }

    /// Variants that differ in what the encoder reads.
    fn with_other_sources(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&Perturbed],
        steps: Steps,
    ) -> Result<Vec<f64>, AttributionError> {
        let model = self.passes.model;
        let target = batch_of(
            model.decoder(),
            vec![self.passes.question.text().target[..steps.width()].to_vec(); members.len()],
        )?;
        let sources: Vec<Vec<u32>> = members.iter().filter_map(|variant| variant.source.clone()).collect();
        let source = model.encoder().map(|encoder| batch_of(encoder, sources)).transpose()?;
        let embedded = source.as_ref().zip(model.encoder());
        let input = ModelInput {
            source: embedded.map(|(batch, encoder)| StackInput::embedded(batch, encoder.embed(batch))),
            target: StackInput::embedded(&target, model.decoder().embed(&target)),
            dropout: &Dropout::Off,
        };
        let hidden = model.hidden(input)?;
        self.values_at(function, at_steps(hidden, members.len(), steps), steps)
    }

    fn values_at(
        &self,
        function: &dyn StepFunction<B>,
        rows: Tensor<B, 2>,
        steps: Steps,
    ) -> Result<Vec<f64>, AttributionError> {
        Ok(self.passes.scores(function, rows, None, steps)?.into_data().iter::<f64>().collect())
    }
}
