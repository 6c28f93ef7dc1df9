//! Values of a text with other tokens in some places: what perturbation methods stand on.
//!
//! One pass of a variant scores all steps. A variant whose first replaced token is the target's `i`th is the text itself before it: keys and values
//! of these places come from a cache of the text, the encoder's output is shared, and only places from `i` on run, for the steps that see them.
//! Variants run together with others that begin to differ nearby.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::StepFunction;
use stepfn_models::Model;
use stepfn_models::transformer::{Cache, Dropout, PaddingSide, Pass, TokenBatch};

use super::{Side, Subject, Variants, token_batch};
use crate::AttributionError;

/// The tokens of a variant: as many as the text has, of which the model reads as many as it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) source: Option<Vec<u32>>,
    pub(crate) target: Vec<u32>,
}

/// A text, and what its variants share with it.
pub(crate) struct Replacing<'s, 'a, B: Backend> {
    subject: &'s Subject<'a, B>,
    /// What the decoder says of every token that it reads, `[width, hidden]`.
    hidden: Tensor<B, 2>,
    /// The encoder's output.
    memory: Option<Tensor<B, 2>>,
    cache: Cache<B>,
}

/// Variants that run together.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// The first place that may differ; `None` where the source does.
    first: Option<usize>,
    /// By number, with the first place at which each differs.
    members: Vec<(usize, usize)>,
}

impl<'s, 'a, B: Backend> Replacing<'s, 'a, B> {
    /// Runs the text itself.
    pub(crate) fn new(subject: &'s Subject<'a, B>) -> Result<Self, AttributionError> {
        let steps = subject.steps();
        let input = subject.input(&steps);
        let (source_batch, batch) = subject.batches(&input, &steps)?;
        let Variants { source, target, .. } = input;
        let memory = match (subject.model.encoder(), source, &source_batch) {
            (Some(encoder), Some(Side { hidden, .. }), Some(source)) => {
                Some(encoder.forward(hidden, Pass::new(source))?.last)
            }
            _ => None,
        };
        let decoder = subject.model.decoder();
        let mut cache = decoder.cache();
        let mut pass = Pass::new(&batch);
        if let (Some(memory), Some(source)) = (&memory, &source_batch) {
            pass = pass.with_memory(memory, source);
        }
        let hidden = decoder.forward(target.hidden, Pass { cache: Some(&mut cache), ..pass })?.last;
        Ok(Self { subject, hidden, memory, cache })
    }

    /// The tokens of the text itself.
    pub(crate) fn text(&self) -> Replaced {
        Replaced { source: self.subject.text.source.clone(), target: self.subject.text.target.clone() }
    }

    /// What the decoder says of every token that it reads, `[width, hidden]`.
    pub(crate) fn hidden(&self) -> &Tensor<B, 2> {
        &self.hidden
    }

    /// The attributed function's values for the text itself, then for each variant, at all steps. Tells how far it is.
    pub(crate) fn values(&self, variants: &[Replaced]) -> Result<(Vec<f64>, Vec<Vec<f64>>), AttributionError> {
        let (function, steps) = (self.subject.function(), self.subject.steps());
        let clean = self.clean(function, &steps)?;
        let values = self.of(function, variants, &steps, |done, all| self.subject.progress(done, all))?;
        Ok((clean, values))
    }

    /// A function's values for the text itself.
    pub(crate) fn clean(
        &self,
        function: &dyn StepFunction<B>,
        steps: &Range<usize>,
    ) -> Result<Vec<f64>, AttributionError> {
        let values = match function.needs().noisy_samples {
            0 => {
                let hidden = self.hidden.clone().slice(steps.start - 1..steps.end - 1);
                self.subject.scores(function, hidden, None, steps)?
            }
            _ => self.subject.values(&self.subject.input(steps), steps)?,
        };
        Ok(values.into_data().iter::<f64>().collect())
    }

    /// A function's values for each variant. `progress` is told how many of all groups are done.
    pub(crate) fn of(
        &self,
        function: &dyn StepFunction<B>,
        variants: &[Replaced],
        steps: &Range<usize>,
        mut progress: impl FnMut(usize, usize) -> Result<(), AttributionError>,
    ) -> Result<Vec<Vec<f64>>, AttributionError> {
        let mut values = vec![self.clean(function, steps)?; variants.len()];
        // Dropout has passes of its own, which begin at the first place.
        let whole = function.needs().noisy_samples > 0;
        let groups = self.groups(variants, steps, whole);
        for (done, group) in groups.iter().enumerate() {
            let members: Vec<&Replaced> = group.members.iter().map(|&(member, _)| &variants[member]).collect();
            let (from, scores) = match group.first {
                None => (steps.start, self.whole(function, &members, steps)?),
                Some(first) => self.behind(function, &members, first, steps)?,
            };
            let seen = steps.end - from;
            let scores: Vec<f64> = scores.into_data().iter::<f64>().collect();
            for (scores, &(member, first)) in scores.chunks(seen).zip(&group.members) {
                // What does not see a replaced token stays exactly as it was.
                let own = steps.start.max(first + 1).max(from);
                values[member][own - steps.start..].copy_from_slice(&scores[own - from..]);
            }
            progress(done + 1, groups.len())?;
        }
        Ok(values)
    }

    /// Which variants run together.
    fn groups(&self, variants: &[Replaced], steps: &Range<usize>, whole: bool) -> Vec<Group> {
        let (text, width) = (&self.subject.text, self.subject.width(steps));
        let mut sourced = Vec::new();
        let mut later = Vec::new();
        for (number, variant) in variants.iter().enumerate() {
            let differs = |place: &usize| variant.target[*place] != text.target[*place];
            let first = (0..width).find(differs);
            match first {
                _ if variant.source != text.source => sourced.push((number, 0)),
                Some(_) if whole => sourced.push((number, 0)),
                Some(first) => later.push((number, first)),
                None => {}
            }
        }
        later.sort_by_key(|&(number, first)| (first, number));
        let at_once = self.subject.at_once(steps);
        let whole = |members: &[(usize, usize)]| Group { first: None, members: members.to_vec() };
        let mut groups: Vec<Group> = sourced.chunks(at_once).map(whole).collect();
        groups.extend(nearby(&later, width, |copies, first| self.fits(copies, first, width)));
        groups
    }

    /// Whether so many variants that run from `first` on keep to the budget: activations of the places that run, keys and values of all.
    fn fits(&self, copies: usize, first: usize, width: usize) -> bool {
        let config = self.subject.model.config();
        let attention = &config.decoder.attention;
        let kept = 2 * attention.n_kv_heads * attention.head_dim * config.decoder.n_layers;
        let floats = copies * (width * kept + (width - first) * config.floats_per_token() / 2);
        floats * 4 <= self.subject.options.memory / 4
    }

    /// Variants that share nothing with the text: `[variants, steps]`.
    fn whole(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&Replaced],
        steps: &Range<usize>,
    ) -> Result<Tensor<B, 2>, AttributionError> {
        let subject = self.subject;
        let (model, width, count) = (subject.model, subject.width(steps), members.len());
        let target = batch_of(model, members.iter().map(|variant| variant.target[..width].to_vec()).collect())?;
        let sources: Option<Vec<Vec<u32>>> = members.iter().map(|variant| variant.source.clone()).collect();
        let source = match (sources, model.encoder()) {
            (Some(sources), Some(encoder)) => Some(encoder.embed(&batch_of(model, sources)?)),
            _ => None,
        };
        let target = Side::embedded(model.decoder().embed(&target));
        let variants = Variants { count, source: source.map(Side::embedded), target };
        if function.needs().noisy_samples > 0 {
            return subject.values(&variants, steps);
        }
        let batches = subject.batches(&variants, steps)?;
        let hidden = model.hidden(subject.model_input(&variants, &batches, &Dropout::Off))?;
        subject.scores(function, subject.at_steps(hidden, count, steps), None, steps)
    }

    /// Variants that are the text itself before `first`: the first step that sees more, and values from there on, `[variants, steps]`.
    fn behind(
        &self,
        function: &dyn StepFunction<B>,
        members: &[&Replaced],
        first: usize,
        steps: &Range<usize>,
    ) -> Result<(usize, Tensor<B, 2>), AttributionError> {
        let subject = self.subject;
        let (model, width, count) = (subject.model, subject.width(steps), members.len());
        let seen = steps.start.max(first + 1)..steps.end;
        let batch = batch_of(model, members.iter().map(|variant| variant.target[..width].to_vec()).collect())?;
        let source = subject.text.source.as_ref().map(|source| token_batch(model, source, count)).transpose()?;
        let decoder = model.decoder();
        let mut cache = self.cache.prefix(first, count);
        let mut pass = Pass::new(&batch);
        if let (Some(memory), Some(source)) = (&self.memory, &source) {
            pass = pass.with_memory(memory, source);
        }
        let places = width - first;
        let embedded = decoder.embed_last(&batch, places);
        let hidden = decoder.forward(embedded, Pass { cache: Some(&mut cache), ..pass })?.last;
        let [_, size] = hidden.dims();
        let hidden = hidden.reshape([count, places, size]).slice([0..count, seen.start - 1 - first..places]);
        let values = subject.scores(function, hidden.reshape([count * seen.len(), size]), None, &seen)?;
        Ok((seen.start, values))
    }
}

/// Groups of variants that differ from a place on, sorted by it: they run from the first of these places. `fits` says whether so many may run from
/// a place on; one always does.
fn nearby(sorted: &[(usize, usize)], width: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Group> {
    /// From so many rows on, products cost what their rows do: rows that need not run should not.
    const ROWS: usize = 256;
    /// Beyond that, one row in so many may be one that the variant shares with the text.
    const WASTE: usize = 10;
    let mut groups: Vec<Group> = Vec::new();
    let mut wasted = 0;
    for &(number, first) in sorted {
        let open = groups.last_mut().and_then(|group| {
            let start = group.first?;
            let copies = group.members.len() + 1;
            let rows = copies * (width - start);
            let waste = wasted + first - start;
            (fits(copies, start) && (rows <= ROWS || waste * WASTE <= rows)).then_some((group, waste))
        });
        match open {
            Some((group, waste)) => {
                wasted = waste;
                group.members.push((number, first));
            }
            None => {
                wasted = 0;
                groups.push(Group { first: Some(first), members: vec![(number, first)] });
            }
        }
    }
    groups
}

fn batch_of<B: Backend>(model: &Model<B>, texts: Vec<Vec<u32>>) -> Result<TokenBatch, AttributionError> {
    Ok(TokenBatch::new(texts, model.config().vocab_size, PaddingSide::Right)?)
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use proptest::prelude::*;

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
            let groups = nearby(&sorted, 40, |copies, first| copies * (40 - first) <= most);
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
        let models = ["gpt2", "llama", "mistral", "gemma2", "bloom", "opt", "phi3", "qwen3", "marian", "bart", "t5"];
        for name in models {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name);
            let model = Model::<stepfn_cpu::Backend>::load(folder, DType::F32, &Default::default()).unwrap();
            let function = crate::Registries::default().attributed("probability", &Default::default()).unwrap();
            let source = model.encoder().map(|_| vec![3, 8, 5]);
            let target: Vec<u32> = (0..12).map(|place| 7 + 5 * place).collect();
            let text = crate::Text { source, target, steps: 3..12, contrast: None };
            let options = crate::AttributionOptions::default();
            let subject = Subject::new(&model, &function, &options, &text, (0, 1)).unwrap();
            let (replacing, steps) = (Replacing::new(&subject).unwrap(), subject.steps());
            let variant = |place: usize| {
                let mut variant = replacing.text();
                variant.target[place] = 2;
                variant.target[(place + 4) % 11] = 3;
                variant
            };
            let variants: Vec<Replaced> = (0..11).map(variant).collect();
            let values = replacing.of(subject.function(), &variants, &steps, |_, _| Ok(())).unwrap();
            let whole = replacing.whole(subject.function(), &variants.iter().collect::<Vec<_>>(), &steps).unwrap();
            let whole: Vec<f64> = whole.into_data().iter::<f64>().collect();
            for (ours, whole) in values.concat().iter().zip(&whole) {
                assert!((ours - whole).abs() <= 1e-4 * whole.abs() + 1e-7, "{name}: {ours} and {whole}");
            }
        }
    }

    #[test]
    fn hiding_each_token_of_a_long_text_runs_about_half_the_places() {
        let sorted: Vec<(usize, usize)> = (0..400).map(|place| (place, place)).collect();
        let rows: usize = nearby(&sorted, 400, |_, _| true)
            .iter()
            .map(|group| group.members.len() * (400 - group.first.unwrap_or(0)))
            .sum();
        assert!(rows < 400 * 400 * 6 / 10, "{rows}");
    }
}
