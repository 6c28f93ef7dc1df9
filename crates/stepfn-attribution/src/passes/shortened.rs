//! Values of a text with some of its input left out, so that the rest moves up.
//!
//! The steps of all variants are the same tokens, at other places. Variants of a causal model's text are sorted as in a dictionary: each takes keys
//! and values of all places that it shares with the one before it from there, so what several begin with runs once. Variants run together as long as
//! that wastes little.

use core::cmp::Reverse;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use stepfn_core::StepFunction;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Cache, Dropout};

use super::{Perturbation, Perturbed, at_steps, batch_of, read, select};
use crate::AttributionError;
use crate::steps::Steps;

impl<B: Backend> Perturbation<'_, '_, B> {
    /// A function's values at these steps, for each variant, which lacks tokens of the source, or of the target before the first of the steps. `progress`
    /// is called with how many of all groups are done.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a variant with nothing before the first step, or no source where the text has one; those of the model and the
    /// function.
    pub fn shortened(
        &self,
        function: &dyn StepFunction<B>,
        variants: &[Perturbed],
        steps: Steps,
        mut progress: impl FnMut(usize, usize) -> Result<(), AttributionError>,
    ) -> Result<Vec<Vec<f64>>, AttributionError> {
        let passes = self.passes;
        if passes.model.config().is_masked() {
            return self.around_masks(function, variants, steps, progress);
        }
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
            } else if variant.target == text.target {
                values[number] = self.values_of_text(function, steps)?;
            } else {
                later.push(number);
            }
        }
        // The text itself would be the first of them.
        later.sort_by_key(|&number| {
            let ids = &variants[number].target;
            (Reverse(alike(ids, &text.target)), ids)
        });
        let targets: Vec<&[u32]> = later.iter().map(|&number| variants[number].target.as_slice()).collect();
        let beyond = text.target.len() - steps.start();
        let shared = |one: &[u32], other: &[u32]| self.shared(one, other, beyond);
        let budget = &passes.budget;
        let fits = |copies, first, width| budget.fits_from(copies, first, width);
        let pays = |shared, copied, width| budget.in_vain(shared, copied, width) <= budget.rows_of_pass();
        let runs = runs(&targets, &text.target, shared, pays, fits);
        let at_once = budget.variants(passes.question.lengths(steps));
        let all = runs.len() + sourced.len().div_ceil(at_once);
        let mut done = 0;
        for chunk in sourced.chunks(at_once) {
            let members: Vec<&Perturbed> = chunk.iter().map(|&number| &variants[number]).collect();
            let found = self.with_other_sources(function, &members, steps)?;
            chunk.iter().zip(found.chunks(steps.len())).for_each(|(&number, found)| values[number] = found.to_vec());
            done += 1;
            progress(done, all)?;
        }
        let mut before: Option<Cache<B>> = None;
        for Run { members, first } in runs {
            let cache = before.as_ref().unwrap_or(&self.cache).prefix(first, members.len());
            let (found, cache) = self.after(function, &targets[members.clone()], cache, steps)?;
            for (&number, found) in later[members].iter().zip(found.chunks(steps.len())) {
                values[number] = found.to_vec();
            }
            before = Some(cache);
            done += 1;
            progress(done, all)?;
        }
        Ok(values)
    }

    /// Variants of a masked copy: every place sees all others, and nothing is shared.
    fn around_masks(
        &self,
        function: &dyn StepFunction<B>,
        variants: &[Perturbed],
        steps: Steps,
        mut progress: impl FnMut(usize, usize) -> Result<(), AttributionError>,
    ) -> Result<Vec<Vec<f64>>, AttributionError> {
        let model = self.passes.model;
        let at_once = self.passes.budget.variants(self.passes.question.lengths(steps));
        let all = variants.len().div_ceil(at_once);
        let mut values = Vec::with_capacity(variants.len());
        for (done, chunk) in variants.chunks(at_once).enumerate() {
            let texts = chunk.iter().map(|variant| variant.target[..read(&variant.target)].to_vec()).collect();
            let batch = batch_of(model.decoder(), texts)?;
            let target = StackInput::embedded(&batch, model.decoder().embed(&batch));
            let hidden = model.hidden(ModelInput { source: None, target, dropout: &Dropout::Off })?;
            let place = |(number, variant): (usize, &Perturbed)| {
                number * batch.width() + variant.mask.unwrap_or(steps.places().start)
            };
            let rows: Vec<usize> = chunk.iter().enumerate().map(place).collect();
            let found = self.values_at(function, select(&hidden, &rows), steps)?;
            values.extend(found.into_iter().map(|value| vec![value]));
            progress(done + 1, all)?;
        }
        Ok(values)
    }

    /// How many places two targets share whose keys and values are the same. What predicts the first step runs in any case: it has `beyond` tokens
    /// behind it.
    fn shared(&self, one: &[u32], other: &[u32], beyond: usize) -> usize {
        let positions = &self.passes.model.config().decoder.positions;
        match positions.same_in(read(one), read(other)) {
            true => alike(one, other).min(one.len().saturating_sub(beyond + 1)),
            false => 0,
        }
    }

    /// Variants behind the places of `cache`: the values of all steps, one variant after the other, and keys and values of the last variant.
    fn after(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&[u32]],
        mut cache: Cache<B>,
        steps: Steps,
    ) -> Result<(Vec<f64>, Cache<B>), AttributionError> {
        let (model, count) = (self.passes.model, members.len());
        let widths: Vec<usize> = members.iter().map(|target| read(target)).collect();
        // The last step may be before the end of the text.
        let beyond = read(&self.passes.question.text().target) - steps.width();
        let texts = members.iter().zip(&widths).map(|(target, width)| target[..width - beyond].to_vec());
        let batch = batch_of(model.decoder(), texts.collect())?.beginning(widths.iter().copied());
        // The steps are the last places of each variant.
        let first = widths.iter().min().map_or(0, |width| width - beyond - steps.len());
        let hidden = model.decode_tokens(&self.context.repeated(count), &batch, Some(&mut cache), first)?;
        let places = batch.width() - first;
        let of_variant = |(number, width): (usize, &usize)| {
            let end = width - beyond - first;
            (end - steps.len()..end).map(move |place| number * places + place)
        };
        let rows: Vec<usize> = widths.iter().enumerate().flat_map(of_variant).collect();
        let values = self.values_at(function, select(&hidden, &rows), steps)?;
        let last = TensorData::from([count as i32 - 1]);
        cache.select(&Tensor::<B, 1, Int>::from_data(last, &hidden.device()));
        Ok((values, cache))
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

/// How many tokens two texts begin with alike.
fn alike(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Neighbours among sorted variants that run together.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    members: core::ops::Range<usize>,
    /// The places that all of them share with the last variant before them, or the text.
    first: usize,
}

/// Which of these sorted targets run together; the first may share places with `text`. `fits` says whether so many targets may run from a place on, the
/// longest of which has so many places. A target joins others if `pays` says so of the places that then run in vain: those that run once for all, and
/// those that attention sees once more, among as many places as the longest has.
fn runs(
    targets: &[&[u32]],
    text: &[u32],
    shared: impl Fn(&[u32], &[u32]) -> usize,
    pays: impl Fn(usize, usize, usize) -> bool,
    fits: impl Fn(usize, usize, usize) -> bool,
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut longest = 0;
    for (number, target) in targets.iter().enumerate() {
        let before = if number == 0 { text } else { targets[number - 1] };
        let (own, width) = (shared(target, before), read(target));
        let open = runs.last_mut().and_then(|run| {
            let last = run.members.start.checked_sub(1).map_or(text, |last| targets[last]);
            let (first, wider) = (run.first.min(shared(target, last)), longest.max(width));
            let (others, earlier) = (run.members.len(), run.first - first);
            let copied = others * earlier + (own - first);
            (fits(others + 1, first, wider) && pays(earlier, copied, wider)).then_some((run, first, wider))
        });
        match open {
            Some((run, first, wider)) => {
                (run.members.end, run.first) = (number + 1, first);
                longest = wider;
            }
            None => {
                runs.push(Run { members: number..number + 1, first: own });
                longest = width;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Two tokens, sources of `each` tokens, and an answer of six.
    fn target(kept: &[bool], each: u32) -> Vec<u32> {
        let source = |source: usize| (0..each).map(move |token| 100 * source as u32 + token);
        let sources = (0..kept.len()).filter(|&source| kept[source]).flat_map(source);
        [7, 7].into_iter().chain(sources).chain([9; 6]).collect()
    }

    /// The place that predicts the answer runs in any case.
    fn shared(one: &[u32], other: &[u32]) -> usize {
        alike(one, other).min(one.len() - 7)
    }

    fn sorted(subsets: &[Vec<bool>], each: u32) -> (Vec<u32>, Vec<Vec<u32>>) {
        let text = target(&vec![true; subsets[0].len()], each);
        let mut targets: Vec<Vec<u32>> = subsets.iter().map(|kept| target(kept, each)).collect();
        targets.sort_by_key(|ids| (Reverse(alike(ids, &text)), ids.clone()));
        (text, targets)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn runs_cover_all_in_order_and_begin_where_all_are_alike(
            subsets in prop::collection::vec(prop::collection::vec(any::<bool>(), 5), 1..20), of_pass in 0usize..100, most in 1usize..5,
        ) {
            let (text, targets) = sorted(&subsets, 3);
            let targets: Vec<&[u32]> = targets.iter().map(Vec::as_slice).collect();
            let runs = runs(&targets, &text, shared, |earlier, copied, _| earlier + copied / 9 <= of_pass, |copies, _, _| copies <= most);
            let members: Vec<usize> = runs.iter().flat_map(|run| run.members.clone()).collect();
            prop_assert_eq!(members, (0..targets.len()).collect::<Vec<_>>());
            for run in &runs {
                let before = if run.members.start == 0 { &text } else { targets[run.members.start - 1] };
                prop_assert!(targets[run.members.clone()].iter().all(|target| alike(target, before) >= run.first));
                prop_assert!(run.members.len() <= most);
            }
        }
    }

    #[test]
    fn what_many_begin_with_runs_once() {
        // All subsets of five sources of 40 tokens: 31 branches of a tree, five of them in the text itself, and five places of each answer.
        let subsets: Vec<Vec<bool>> =
            (0..32_u32).map(|set| (0..5).map(|source| set >> source & 1 == 1).collect()).collect();
        let (text, targets) = sorted(&subsets, 40);
        let targets: Vec<&[u32]> = targets.iter().map(Vec::as_slice).collect();
        let needed = 26 * 40 + 32 * 5;
        for most in [1, 7, 32] {
            let runs = runs(&targets, &text, shared, |earlier, _, _| earlier == 0, |copies, _, _| copies <= most);
            // What the members of a run have in common runs once.
            let of_run = |run: &Run| {
                let read = |target: &[u32]| {
                    (run.first..read(target)).map(|place| target[..=place].to_vec()).collect::<Vec<_>>()
                };
                targets[run.members.clone()].iter().flat_map(|target| read(target)).collect::<BTreeSet<_>>().len()
            };
            let rows: usize = runs.iter().map(of_run).sum();
            assert!((needed..needed * 10 / 9).contains(&rows), "{rows}, needed {needed}");
        }
    }
}
