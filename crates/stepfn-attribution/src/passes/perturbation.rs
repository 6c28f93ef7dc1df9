//! Values of a text with other tokens in some places, or with some that nobody attends to, for perturbation methods.
//!
//! One pass of a variant scores all steps. If the first changed token is token `i` of the target, everything before it is as in the text: keys
//! and values of these places come from a cache, the encoder's output is shared, and only places from `i` on run, for the steps that see them.
//! Variants whose changes begin near each other run together, and what several of them begin with runs once. In a model of masked tokens every place sees all others, and nothing is shared.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::StepFunction;
use stepfn_models::transformer::{Cache, Dropout, TokenBatch};
use stepfn_models::{Context, Model};

use super::{Passes, Variants, at_steps, batch_of, read};
use crate::steps::Steps;
use crate::{AttributionError, Side};

/// The tokens of a variant, as many as in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Perturbed {
    /// What the encoder reads; `None` for a causal model.
    pub source: Option<Vec<u32>>,
    /// The target. The model reads as much of it as the steps need.
    pub target: Vec<u32>,
    /// Tokens that no token attends to. They keep their places, and positions are as in the text.
    pub hidden: Vec<(Side, usize)>,
    /// Where the step of a masked copy is predicted, in a variant that lacks tokens before its mask.
    pub mask: Option<usize>,
}

impl Perturbed {
    /// The tokens of one side; empty if the text does not have that side.
    pub fn ids_mut(&mut self, side: Side) -> &mut [u32] {
        match side {
            Side::Source => self.source.as_deref_mut().unwrap_or_default(),
            Side::Target => &mut self.target,
        }
    }

    /// The hidden tokens of one side.
    fn hidden_of(&self, side: Side) -> impl Iterator<Item = usize> {
        self.hidden.iter().filter(move |(of, _)| *of == side).map(|(_, token)| *token)
    }
}

/// A text that was run, with the results that its variants share.
pub struct Perturbation<'p, 'a, B: Backend> {
    pub(super) passes: &'p Passes<'a, B>,
    /// The decoder's last hidden state at every token that it reads, `[width, hidden]`.
    pub(super) hidden: Tensor<B, 2>,
    pub(super) context: Context<B>,
    pub(super) cache: Cache<B>,
}

/// Variants that run together.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// The first place that may differ; `None` where the source does.
    first: Option<usize>,
    /// The index of each variant, with the first place at which it differs.
    members: Vec<(usize, usize)>,
}

impl<'a, B: Backend> Passes<'a, B> {
    /// Runs the text itself, for variants of it.
    ///
    /// # Errors
    /// If the model fails.
    pub fn perturb(&self) -> Result<Perturbation<'_, 'a, B>, AttributionError> {
        let steps = self.question.steps();
        let input = self.input(steps);
        let batches = self.batches(&input, steps)?;
        let input = input.model_input(&batches, &Dropout::Off);
        let context = self.model.encode(input.source, &Dropout::Off)?;
        let mut cache = self.model.decoder().cache();
        let hidden = self.model.decode(&context, input.target, &Dropout::Off, Some(&mut cache))?;
        Ok(Perturbation { passes: self, hidden, context, cache })
    }
}

impl<B: Backend> Perturbation<'_, '_, B> {
    /// The tokens of the text itself.
    pub fn text(&self) -> Perturbed {
        let text = self.passes.question.text();
        Perturbed { source: text.source.clone(), target: text.target.clone(), ..Perturbed::default() }
    }

    /// The decoder's last hidden state at every token that it reads, `[width, hidden]`.
    pub(crate) fn hidden(&self) -> &Tensor<B, 2> {
        &self.hidden
    }

    /// The attributed function's values for the text itself, then for each variant, one for each [span](crate::Question::spans) of the steps. Reports
    /// progress.
    ///
    /// # Errors
    /// If the model or the function fails, or the call was cancelled.
    pub fn values(&self, variants: &[Perturbed]) -> Result<(Vec<f64>, Vec<Vec<f64>>), AttributionError> {
        let (function, steps) = (self.passes.function.plain(), self.passes.question.steps());
        let clean = self.values_of_text(function, steps)?;
        let values = self.values_of(function, variants, steps, |done, all| self.passes.question.progress(done, all))?;
        let over_spans = |values| self.passes.over_spans(values);
        Ok((over_spans(clean), values.into_iter().map(over_spans).collect()))
    }

    /// A function's values for the text itself.
    pub(crate) fn values_of_text(
        &self,
        function: &dyn StepFunction<B>,
        steps: Steps,
    ) -> Result<Vec<f64>, AttributionError> {
        let values = match function.needs().noisy_samples {
            0 => self.passes.scores(function, self.hidden.clone().slice(steps.places()), None, steps)?,
            _ => self.passes.step_values(&self.passes.input(steps), steps)?,
        };
        Ok(values.into_data().iter::<f64>().collect())
    }

    /// A function's values at these steps, for each variant: no place after those that predict them runs. `progress` is called with how many of
    /// all groups are done.
    ///
    /// # Errors
    /// If the model or the function fails, or `progress` does.
    pub fn values_of(
        &self,
        function: &dyn StepFunction<B>,
        variants: &[Perturbed],
        steps: Steps,
        mut progress: impl FnMut(usize, usize) -> Result<(), AttributionError>,
    ) -> Result<Vec<Vec<f64>>, AttributionError> {
        let mut values = vec![self.values_of_text(function, steps)?; variants.len()];
        // Passes with dropout are separate and start at the first place, and so does what sees all places.
        let whole = function.needs().noisy_samples > 0 || self.passes.model.config().is_masked();
        let groups = self.groups(variants, steps, whole);
        for (done, group) in groups.iter().enumerate() {
            let members: Vec<&Perturbed> = group.members.iter().map(|&(member, _)| &variants[member]).collect();
            let seen = match group.first {
                None => Some((steps, self.whole(function, &members, steps)?)),
                Some(first) => self.from(function, &members, first, steps)?,
            };
            if let Some((seen, scores)) = seen {
                let scores: Vec<f64> = scores.into_data().iter::<f64>().collect();
                for (scores, &(member, first)) in scores.chunks(seen.len()).zip(&group.members) {
                    // A step that does not see a changed token keeps its value exactly.
                    if let Some(own) = seen.from(first + 1) {
                        values[member][own.within(steps)].copy_from_slice(&scores[own.within(seen)]);
                    }
                }
            }
            progress(done + 1, groups.len())?;
        }
        Ok(values)
    }

    /// Which variants run together.
    fn groups(&self, variants: &[Perturbed], steps: Steps, whole: bool) -> Vec<Group> {
        let (text, width) = (self.passes.question.text(), steps.width());
        let budget = self.passes.budget;
        let mut sourced = Vec::new();
        let mut later = Vec::new();
        for (number, variant) in variants.iter().enumerate() {
            let differs = |place: &usize| variant.target[*place] != text.target[*place];
            let hidden = variant.hidden_of(Side::Target).filter(|place| *place < width);
            let first = (0..width).find(differs).into_iter().chain(hidden).min();
            let of_source = variant.source != text.source || variant.hidden_of(Side::Source).next().is_some();
            match first {
                _ if of_source => sourced.push((number, 0)),
                Some(_) if whole => sourced.push((number, 0)),
                Some(first) => later.push((number, first)),
                None => {}
            }
        }
        later.sort_by(|&(one, first), &(other, later)| {
            let (a, b) = (&variants[one].target, &variants[other].target);
            first.cmp(&later).then_with(|| a.cmp(b)).then(one.cmp(&other))
        });
        let at_once = budget.variants(self.passes.question.lengths(steps));
        let whole = |members: &[(usize, usize)]| Group { first: None, members: members.to_vec() };
        let mut groups: Vec<Group> = sourced.chunks(at_once).map(whole).collect();
        let fits = |copies, first| budget.fits_from(copies, first, width);
        let pays = |shared, copied| budget.in_vain(shared, copied, width) <= budget.rows_of_pass();
        groups.extend(nearby(&later, pays, fits));
        groups
    }

    /// Variants that share nothing with the text: `[variants, steps]`.
    fn whole(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&Perturbed],
        steps: Steps,
    ) -> Result<Tensor<B, 2>, AttributionError> {
        let passes = self.passes;
        let (model, count) = (passes.model, members.len());
        let target = targets(model, members, steps.width())?;
        let sources: Option<Vec<Vec<u32>>> = members.iter().map(|variant| variant.source.clone()).collect();
        let source = match (sources, model.encoder()) {
            (Some(sources), Some(encoder)) => Some(encoder.embed(&batch_of(encoder, sources)?)),
            _ => None,
        };
        let hidden = members.iter().map(|variant| variant.hidden.clone()).collect();
        let variants = Variants::new(count, source, model.decoder().embed(&target)).hiding(hidden);
        if function.needs().noisy_samples > 0 {
            return passes.step_values(&variants, steps);
        }
        let batches = passes.batches(&variants, steps)?;
        let hidden = model.hidden(variants.model_input(&batches, &Dropout::Off))?;
        passes.scores(function, at_steps(hidden, count, steps), None, steps)
    }

    /// Variants that are the text itself before `first`: the steps that see more, if there are any, and their values, `[variants, steps]`.
    fn from(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&Perturbed],
        first: usize,
        steps: Steps,
    ) -> Result<Option<(Steps, Tensor<B, 2>)>, AttributionError> {
        let Some(seen) = steps.from(first + 1) else { return Ok(None) };
        let (model, width, count) = (self.passes.model, steps.width(), members.len());
        let batch = targets(model, members, width)?;
        let mut cache = self.cache.prefix(first, count);
        let context = self.context.repeated(count);
        let hidden = model.decode_tokens(&context, &batch, Some(&mut cache), seen.places().start)?;
        Ok(Some((seen, self.passes.scores(function, hidden, None, seen)?)))
    }
}

impl<B: Backend> core::fmt::Debug for Perturbation<'_, '_, B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Perturbation").field("passes", &self.passes).finish_non_exhaustive()
    }
}

/// Groups of variants that differ from a place on, sorted by it: they run from the first of these places. `fits` says whether so many may run from
/// a place on; one always does. A variant joins a group if `pays` says so of the places that run in vain if it does: those of the text that run once for
/// all, and those that attention sees once more.
fn nearby(
    sorted: &[(usize, usize)],
    pays: impl Fn(usize, usize) -> bool,
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for &(number, first) in sorted {
        let open = groups.last_mut().filter(|Group { first: start, members }| {
            let last = members.last().map_or(first, |&(_, last)| last);
            start.is_some_and(|start| fits(members.len() + 1, start) && pays(first - last, first - start))
        });
        match open {
            Some(group) => group.members.push((number, first)),
            None => groups.push(Group { first: Some(first), members: vec![(number, first)] }),
        }
    }
    groups
}

/// The first `width` tokens of the targets of variants.
fn targets<B: Backend>(model: &Model<B>, members: &[&Perturbed], width: usize) -> Result<TokenBatch, AttributionError> {
    let texts = members.iter().map(|variant| variant.target[..width].to_vec()).collect();
    let batch = batch_of(model.decoder(), texts)?.beginning(members.iter().map(|variant| read(&variant.target)));
    Ok(batch.hiding(members.iter().map(|variant| variant.hidden_of(Side::Target).collect()).collect()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use proptest::prelude::*;

    use stepfn_models::{Model, families};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_variant_is_in_one_group_that_begins_no_later_than_it_and_keeps_to_the_budget(
            mut firsts in prop::collection::vec(0usize..40, 0..200),
            most in 40usize..5000,
        ) {
            firsts.sort_unstable();
            let sorted: Vec<(usize, usize)> = firsts.into_iter().enumerate().collect();
            let groups = nearby(&sorted, |shared, copied| shared + copied / 9 <= 16, |copies, first| copies * (40 - first) <= most);
            let members: Vec<(usize, usize)> = groups.iter().flat_map(|group| group.members.clone()).collect();
            prop_assert_eq!(members, sorted);
            for group in &groups {
                let start = group.first.unwrap_or(usize::MAX);
                prop_assert!(group.members.iter().all(|&(_, first)| first >= start));
                prop_assert!(group.members.len() == 1 || group.members.len() * (40 - start) <= most);
            }
        }
    }

    /// Caches, windows and positions of all kinds: the same with the shared places and without.
    #[test]
    fn variants_that_share_places_score_as_those_that_run_whole() {
        for name in families::all().iter().map(|family| family.name) {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models");
            let folder = folder.join(name.replace('-', "_"));
            let model = Model::<stepfn_cpu::Backend>::load(folder, DType::F32, &Default::default()).unwrap();
            let function = crate::Registries::default().attributed("probability", &Default::default()).unwrap();
            if model.config().is_masked() {
                // Nothing is shared.
                continue;
            }
            let source = model.encoder().map(|_| vec![3, 8, 5]);
            let target: Vec<u32> = (0..12).map(|place| 7 + 5 * place).collect();
            let text = crate::Text { source, target, steps: 3..12, contrast: None, masked: None };
            let options = crate::AttributionOptions::new(crate::Baseline::token(0));
            let question = crate::Question::new(&text, &options, 0, 1).unwrap();
            let passes = Passes::new(question, &model, &function).unwrap();
            let (perturbation, steps) = (passes.perturb().unwrap(), question.steps());
            let variant = |place: usize| {
                let mut variant = perturbation.text();
                variant.target[place] = 2;
                variant.target[(place + 4) % 11] = 3;
                variant
            };
            let variants: Vec<Perturbed> = (0..11).map(variant).collect();
            let values = perturbation.values_of(function.plain(), &variants, steps, |_, _| Ok(())).unwrap();
            let whole = perturbation.whole(function.plain(), &variants.iter().collect::<Vec<_>>(), steps).unwrap();
            let whole: Vec<f64> = whole.into_data().iter::<f64>().collect();
            for (ours, whole) in values.concat().iter().zip(&whole) {
                assert!((ours - whole).abs() <= 1e-4 * whole.abs() + 1e-7, "{name}: {ours} and {whole}");
            }
        }
    }

    #[test]
    fn hiding_each_token_of_a_long_text_runs_about_half_the_places() {
        let sorted: Vec<(usize, usize)> = (0..400).map(|place| (place, place)).collect();
        let groups = nearby(&sorted, |shared, copied| shared + copied / 9 <= 16, |_, _| true);
        // The places of the text run once for each group, and those of a variant from its own first on.
        let of_group = |group: &Group| {
            let last = group.members.last().map_or(0, |&(_, last)| last);
            last - group.first.unwrap_or(0) + group.members.iter().map(|&(_, first)| 400 - first).sum::<usize>()
        };
        let rows: usize = groups.iter().map(of_group).sum();
        assert!(rows < 400 * 400 * 51 / 100 && groups.len() < 5, "{rows} in {}", groups.len());
    }
}
