//! Values of a text without some of its tokens, as few passes as they take.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use stepfn_attribution::contexts::Operator;
use stepfn_attribution::{AttributionError, Passes, Perturbation, Perturbed, Side, Steps, Variants};
use stepfn_kernels::widened;

use super::{Asked, Column, Token};

/// Values by column and hidden tokens.
pub(super) type Found = BTreeMap<(usize, Vec<Token>), f64>;

/// A set of hidden tokens, with the columns that ask for it.
type Wanted = (Vec<Token>, BTreeSet<usize>);

/// Runs one text without some of its tokens.
pub(super) struct Games<'g, 'a, B: Backend> {
    passes: &'g Passes<'a, B>,
    perturbation: Perturbation<'g, 'a, B>,
}

impl<'g, 'a, B: Backend> Games<'g, 'a, B> {
    pub(super) fn new(passes: &'g Passes<'a, B>) -> Result<Self, AttributionError> {
        Ok(Self { passes, perturbation: passes.perturb()? })
    }

    /// The function's value for each column without each set of tokens. A set that one column asks for runs up to that column's last step; one that
    /// several ask for runs once for all of them.
    pub(super) fn values(
        &self,
        operator: Operator,
        columns: &[Column],
        asked: &Asked,
    ) -> Result<Found, AttributionError> {
        // By the first and the last column that ask for them. Where nothing moves up, only the last matters: others are scored and not read.
        let mut together: BTreeMap<[usize; 2], Vec<Wanted>> = BTreeMap::new();
        for (set, by) in self.by_set(operator, columns, asked) {
            let (first, last) = (by.first().copied().unwrap_or(0), by.last().copied().unwrap_or(0));
            let moves = operator == Operator::Remove && set.iter().any(|(side, _)| *side == Side::Target);
            let first = if moves || by.len() == 1 { first } else { 0 };
            together.entry([first, last]).or_default().push((set, by));
        }
        let (mut found, all) = (Found::new(), together.len());
        for (done, ([_, last], sets)) in together.into_iter().enumerate() {
            let first = sets.iter().filter_map(|(_, by)| by.first()).copied().min().unwrap_or(0);
            let steps = self.passes.question().steps();
            let steps = steps.part(columns[first].steps.start()..columns[last].steps.positions().end);
            let variants: Vec<Perturbed> =
                sets.iter().map(|(set, _)| self.variant(operator, set, columns[first].steps)).collect();
            let function = self.passes.function().plain();
            let nothing = |_, _| self.passes.question().progress(done, all);
            let values = match operator {
                Operator::Mask | Operator::Baseline => {
                    self.perturbation.values_of(function, &variants, steps, nothing)?
                }
                Operator::Remove => self.perturbation.shortened(function, &variants, steps, nothing)?,
            };
            for ((set, by), values) in sets.into_iter().zip(values) {
                for column in by {
                    let own = columns[column].steps;
                    let sum = self.passes.over_span(own, &values[own.within(steps)]);
                    found.insert((column, set.clone()), sum);
                }
            }
        }
        Ok(found)
    }

    /// Each set with the columns that ask for it. One that leaves nothing before a column is that column's alone: of a later one it may leave something.
    fn by_set(&self, operator: Operator, columns: &[Column], asked: &Asked) -> Vec<Wanted> {
        let mut by_set: BTreeMap<(Vec<Token>, Option<usize>), BTreeSet<usize>> = BTreeMap::new();
        for (&column, sets) in asked {
            for set in sets {
                let of_target = set.iter().filter(|(side, _)| *side == Side::Target).count();
                let empties = operator == Operator::Remove && of_target >= columns[column].steps.start();
                by_set.entry((set.clone(), empties.then_some(column))).or_default().insert(column);
            }
        }
        by_set.into_iter().map(|((set, _), by)| (set, by)).collect()
    }

    /// The text without some tokens. If nothing is left to predict the first of the steps from, the baseline's token is.
    fn variant(&self, operator: Operator, hidden: &[Token], first: Steps) -> Perturbed {
        let mut variant = self.perturbation.text();
        let baseline = self.passes.question().options().baseline.id;
        match operator {
            Operator::Mask => return Perturbed { hidden: hidden.to_vec(), ..variant },
            Operator::Baseline => {
                hidden.iter().for_each(|&(side, token)| variant.ids_mut(side)[token] = baseline);
                return variant;
            }
            Operator::Remove => {}
        }
        let left = |side: Side, ids: &[u32]| -> Vec<u32> {
            let gone: BTreeSet<usize> = hidden.iter().filter(|(of, _)| *of == side).map(|(_, token)| *token).collect();
            let until = if side == Side::Target { first.start() } else { ids.len() };
            let kept = ids.iter().enumerate().filter(|(token, _)| !gone.contains(token)).map(|(_, id)| *id);
            let nothing = gone.len() >= until && !gone.is_empty();
            nothing.then_some(baseline).into_iter().chain(kept).collect()
        };
        variant.source = variant.source.map(|source| left(Side::Source, &source));
        variant.target = left(Side::Target, &variant.target);
        let masked = self.passes.question().masked();
        if !masked.is_empty() {
            let before = hidden.iter().filter(|(side, token)| *side == Side::Target && *token < masked.start).count();
            variant.mask = Some(masked.start - before);
        }
        variant
    }

    /// The Hellinger distance `√(½ Σ (√p − √q)²)` between the predictions of the text, `p`, and of the text with the embeddings of each set of tokens set to
    /// zero, `q`: the mean over the column's steps.
    pub(super) fn distances(&self, columns: &[Column], asked: &Asked) -> Result<Found, AttributionError> {
        let mut found = Found::new();
        for (done, (&column, sets)) in asked.iter().enumerate() {
            let steps = columns[column].steps;
            let input = self.passes.input(steps);
            let whole = self.roots(self.passes.hidden(&input, steps)?);
            let sets: Vec<&Vec<Token>> = sets.iter().collect();
            for chunk in sets.chunks(self.passes.at_once(steps).max(1)) {
                let without = |side: Side, embeddings: &Tensor<B, 2>| {
                    let [tokens, _] = embeddings.dims();
                    let kept = |set: &&Vec<Token>| {
                        let mut kept = vec![1.0_f32; tokens];
                        set.iter().filter(|(of, _)| *of == side).for_each(|&(_, token)| kept[token] = 0.0);
                        kept
                    };
                    let kept: Vec<f32> = chunk.iter().flat_map(kept).collect();
                    let shape = [chunk.len() * tokens, 1];
                    let options = (&embeddings.device(), embeddings.dtype());
                    let kept = Tensor::<B, 2>::from_data(TensorData::new(kept, shape), options);
                    embeddings.clone().repeat(&[chunk.len(), 1]) * kept
                };
                let source = input.source().map(|source| without(Side::Source, source));
                let variants = Variants::new(chunk.len(), source, without(Side::Target, input.target()));
                let hidden = self.passes.hidden(&variants, steps)?;
                let [_, size] = hidden.dims();
                for (number, set) in chunk.iter().enumerate() {
                    let rows = hidden.clone().slice([number * steps.len()..(number + 1) * steps.len(), 0..size]);
                    let apart = (self.roots(rows) - whole.clone()).powi_scalar(2).sum_dim(1);
                    let apart = apart.into_data().iter::<f64>().map(|sum| (sum / 2.0).sqrt()).sum::<f64>();
                    found.insert((column, (*set).clone()), apart / steps.len() as f64);
                }
            }
            self.passes.question().progress(done + 1, asked.len())?;
        }
        Ok(found)
    }

    /// The square roots of predicted probabilities, `[rows, vocab]`.
    fn roots(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let logits = widened(self.passes.model().logits(hidden));
        log_softmax(logits, 1).div_scalar(2.0).exp()
    }
}
