//! Discretized integrated gradients (Sanyal & Ren 2021, arXiv:2108.13654): integrated gradients on a path through the embeddings of real words
//! rather than on a straight line, `Σ_k ∂f/∂x(x_k) ⊙ (x_{k+1} − x_k)`.
//!
//! The path of a token goes from its embedding to the baseline's. At each point, the next word is one of the nearest neighbours of the last
//! in the vocabulary, not yet on the path; it is made monotonic: in every unit in which it does not lie between the last word and the baseline, it
//! takes the last word's value, moved by `1/n_steps` of what is left. Every token's path is its own, and all move together.

use std::collections::{HashMap, HashSet};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};
use stepfn_kernels::widened;
use stepfn_models::transformer::{Rule, Stack};

use super::gradient::{by_chunks, gradients};
use super::limits::{MOST_TOKENS, MOST_WORDS_ON_A_PATH, check_fit};
use crate::passes::token_batch;
use crate::{AttributionError, AttributionMethod, InputScores, Passes, StepRows, Variants};

/// Gradients along a path of real words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscretizedIntegratedGradients {
    /// Number of points on a path, including both ends.
    pub n_steps: usize,
    /// Number of nearest words that the next one is chosen from.
    pub n_neighbors: usize,
    /// How the next word is chosen.
    pub strategy: PathStrategy,
}

/// Which neighbour comes next on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathStrategy {
    /// The one that needs the smallest change to be monotonic, by Euclidean distance.
    Greedy,
    /// The one that is monotonic in most units.
    MaxCount,
}

impl Default for DiscretizedIntegratedGradients {
    fn default() -> Self {
        Self { n_steps: 50, n_neighbors: 50, strategy: PathStrategy::Greedy }
    }
}

impl Named for DiscretizedIntegratedGradients {
    const NAME: &'static str = "discretized_integrated_gradients";
    const SUMMARY: &'static str = "gradients integrated along a path through the embeddings of real words";
    const ALSO_CALLED: &'static [&'static str] = &["dig"];
    const COUNTS: &'static [Count] =
        &[Count::new("n_steps", 2, MOST_WORDS_ON_A_PATH), Count::new("n_neighbors", 1, MOST_TOKENS)];
}

impl<B: Backend> AttributionMethod<B> for DiscretizedIntegratedGradients {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        /// A number of a path in double precision, and one on the device.
        const NUMBER: usize = 12;
        let (model, question) = (passes.model(), passes.question());
        let tokens = question.lengths(question.steps()).tokens();
        check_fit::<Self>(question, ("n_steps", self.n_steps), tokens * model.config().hidden_size * NUMBER)?;
        let source = match (&passes.question().text().source, model.encoder()) {
            (Some(source), Some(encoder)) => Some(self.paths(passes, encoder, source)?),
            _ => None,
        };
        let read = &passes.question().text().target[..passes.question().steps().width()];
        let target = match passes.question().attributes_target() {
            true => self.paths(passes, model.decoder(), read)?,
            false => {
                let here = passes.input(passes.question().steps()).target().clone();
                let [tokens, size] = here.dims();
                here.unsqueeze_dim::<3>(0).expand([self.n_steps, tokens, size])
            }
        };
        by_chunks(passes, |steps| {
            let [_, _, size] = target.dims();
            let target = target.clone().slice([0..self.n_steps, 0..steps.width(), 0..size]);
            let mut sum = StepRows::none();
            // The last point has no way to go: a left sum.
            let columns = passes.question().columns(steps);
            let at_once = passes.budget().derivatives(passes.question().lengths(steps), columns);
            for start in (0..self.n_steps - 1).step_by(at_once) {
                let count = at_once.min(self.n_steps - 1 - start);
                let points = |path: &Tensor<B, 3>, from: usize| {
                    let [_, tokens, size] = path.dims();
                    path.clone().slice([from..from + count, 0..tokens, 0..size])
                };
                let side = |path: &Tensor<B, 3>| {
                    let [_, tokens, size] = path.dims();
                    points(path, start).reshape([count * tokens, size])
                };
                let variants = Variants::new(count, source.as_ref().map(side), side(&target));
                let found = gradients(passes, &variants, Rule::Gradient, steps)?;
                let walked = |grad: Tensor<B, 2>, path: &Tensor<B, 3>| {
                    let [_, tokens, size] = path.dims();
                    let way = widened(points(path, start + 1)) - widened(points(path, start));
                    let grad = grad.reshape([count, columns, tokens, size]) * way.unsqueeze_dim::<4>(1);
                    grad.sum_dim(0).reshape([columns * tokens, size])
                };
                let more = |sum: Option<Tensor<B, 2>>, more: Tensor<B, 2>| match sum {
                    Some(sum) => sum + more,
                    None => more,
                };
                if let (Some(grad), Some(path)) = (found.source, &source) {
                    sum.source = Some(more(sum.source.take(), walked(grad, path)));
                }
                if let Some(grad) = found.target {
                    sum.target = Some(more(sum.target.take(), walked(grad, &target)));
                }
            }
            Ok(sum)
        })
    }
}

impl DiscretizedIntegratedGradients {
    /// The paths of some tokens, from the baseline to themselves, `[points, tokens, size]`. Kept tokens don't move.
    fn paths<B: Backend>(
        &self,
        passes: &Passes<'_, B>,
        stack: &Stack<B>,
        ids: &[u32],
    ) -> Result<Tensor<B, 3>, AttributionError> {
        let baseline = passes.question().options().baseline.id;
        let mut vocabulary = Vocabulary { stack, neighbors: HashMap::new() };
        let end = vocabulary.embeddings(&[baseline])?.remove(0);
        let mut words: Vec<u32> = ids.to_vec();
        words.sort_unstable();
        words.dedup();
        let starts = vocabulary.embeddings(&words)?;
        let fixed = |word: u32| word == baseline || passes.question().is_kept(word);
        let mut walks: Vec<Walk> = words.iter().zip(starts).map(|(&word, x)| Walk::new(word, x, fixed(word))).collect();
        for _ in 2..self.n_steps {
            self.extend(&mut vocabulary, &mut walks, baseline, &end)?;
        }
        let paths: HashMap<u32, Vec<Vec<f64>>> =
            words.into_iter().zip(walks.into_iter().map(|walk| walk.points(&end, self.n_steps))).collect();
        let values: Vec<f64> = (0..self.n_steps)
            .flat_map(|point| ids.iter().flat_map(|id| paths[id][point].iter().copied()).collect::<Vec<f64>>())
            .collect();
        let like = stack.embed(&token_batch(stack, &ids[..1], 1)?);
        let data = TensorData::new(values, [self.n_steps, ids.len(), end.len()]).convert_dtype(like.dtype());
        Ok(Tensor::from_data(data, (&like.device(), like.dtype())))
    }

    /// One more point of each path.
    fn extend<B: Backend>(
        &self,
        vocabulary: &mut Vocabulary<'_, B>,
        walks: &mut [Walk],
        baseline: u32,
        end: &[f64],
    ) -> Result<(), AttributionError> {
        /// Words whose neighbours' embeddings are in memory at the same time.
        const AT_ONCE: usize = 64;
        let mut open: Vec<&mut Walk> = walks.iter_mut().filter(|walk| !walk.fixed).collect();
        for walks in open.chunks_mut(AT_ONCE) {
            let at: Vec<u32> = walks.iter().map(|walk| walk.at).filter(|&at| at != baseline).collect();
            vocabulary.learn_neighbors(&at, self.n_neighbors)?;
            let candidates: Vec<Vec<u32>> = walks
                .iter()
                .map(|walk| {
                    let near = vocabulary.neighbors.get(&walk.at).filter(|_| walk.at != baseline);
                    near.into_iter()
                        .flatten()
                        .copied()
                        .filter(|id| *id != baseline && !walk.used.contains(id))
                        .collect()
                })
                .collect();
            let mut embeddings = vocabulary.embeddings(&candidates.concat())?.into_iter();
            for (walk, ids) in walks.iter_mut().zip(candidates) {
                let found = ids.into_iter().map(|id| (id, embeddings.next().unwrap_or_default()));
                walk.go(self.strategy, self.n_steps, end, baseline, found);
            }
        }
        Ok(())
    }
}

/// A path under construction, from a word to the baseline.
struct Walk {
    at: u32,
    /// The embedding of `at`.
    x: Vec<f64>,
    used: HashSet<u32>,
    path: Vec<Vec<f64>>,
    fixed: bool,
}

impl Walk {
    fn new(word: u32, x: Vec<f64>, fixed: bool) -> Self {
        Self { at: word, path: vec![x.clone()], x, used: HashSet::from([word]), fixed }
    }

    /// Moves to the best of some words (the first of equals), or to the baseline if there are none.
    fn go(
        &mut self,
        strategy: PathStrategy,
        n_steps: usize,
        end: &[f64],
        baseline: u32,
        candidates: impl Iterator<Item = (u32, Vec<f64>)>,
    ) {
        if self.at != baseline {
            let best = candidates
                .map(|(id, anchor)| (cost(strategy, &anchor, &self.x, end, n_steps), id, anchor))
                .reduce(|best, next| if next.0 < best.0 { next } else { best });
            (self.at, self.x) = best.map_or_else(|| (baseline, end.to_vec()), |(_, id, anchor)| (id, anchor));
            self.used.insert(self.at);
        }
        // A path begins with its word.
        let last = &self.path[self.path.len() - 1];
        let next = mended(&self.x, last, end, n_steps);
        self.path.push(next);
    }

    /// The points from the baseline to the word.
    fn points(self, end: &[f64], n_steps: usize) -> Vec<Vec<f64>> {
        if self.fixed {
            return vec![self.x; n_steps];
        }
        core::iter::once(end.to_vec()).chain(self.path.into_iter().rev()).collect()
    }
}

/// Whether one unit of a word lies between the last point and the end.
fn is_monotonic(anchor: f64, x: f64, end: f64) -> bool {
    (end > x && end >= anchor && anchor >= x)
        || (end < x && end <= anchor && anchor <= x)
        || (end == x && end == anchor && anchor == x)
}

/// A word made monotonic.
fn mended(anchor: &[f64], x: &[f64], end: &[f64], n_steps: usize) -> Vec<f64> {
    let one = |((&anchor, &x), &end): ((&f64, &f64), &f64)| {
        if is_monotonic(anchor, x, end) { anchor } else { x - (x - end) / n_steps as f64 }
    };
    anchor.iter().zip(x).zip(end).map(one).collect()
}

/// The smaller, the better.
fn cost(strategy: PathStrategy, anchor: &[f64], x: &[f64], end: &[f64], n_steps: usize) -> f64 {
    match strategy {
        PathStrategy::Greedy => {
            let mended = mended(anchor, x, end, n_steps);
            anchor.iter().zip(&mended).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        }
        PathStrategy::MaxCount => {
            let monotonic = |((anchor, x), end): &((&f64, &f64), &f64)| is_monotonic(**anchor, **x, **end);
            -(anchor.iter().zip(x).zip(end).filter(monotonic).count() as f64)
        }
    }
}

/// The words of a stack, and their nearest neighbours as far as they were asked for.
struct Vocabulary<'m, B: Backend> {
    stack: &'m Stack<B>,
    neighbors: HashMap<u32, Vec<u32>>,
}

impl<B: Backend> Vocabulary<'_, B> {
    /// Scaled, as the model reads them.
    fn embeddings(&self, ids: &[u32]) -> Result<Vec<Vec<f64>>, AttributionError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let embedded = self.stack.embed(&token_batch(self.stack, ids, 1)?);
        let [_, size] = embedded.dims();
        let values: Vec<f64> = embedded.into_data().iter::<f64>().collect();
        Ok(values.chunks(size).map(<[f64]>::to_vec).collect())
    }

    /// Finds the nearest neighbours of some words by Euclidean distance, the nearest first: by products on the device, as `|v|² − 2 v·w`, and the order
    /// of the best by their differences, which lose nothing to rounding.
    fn learn_neighbors(&mut self, words: &[u32], n: usize) -> Result<(), AttributionError> {
        /// Words of the vocabulary that are compared at the same time.
        const CHUNK: u32 = 8192;
        /// More than needed, in case rounding changes the order of the last ones.
        const SPARE: usize = 8;
        let mut new: Vec<u32> = words.iter().copied().filter(|word| !self.neighbors.contains_key(word)).collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(());
        }
        let queries = widened(self.stack.embed(&token_batch(self.stack, &new, 1)?)).transpose();
        let mut near: Vec<Vec<(f32, u32)>> = vec![Vec::new(); new.len()];
        let all = self.stack.vocab_size() as u32;
        for start in (0..all).step_by(CHUNK as usize) {
            let ids: Vec<u32> = (start..all.min(start + CHUNK)).collect();
            let chunk = widened(self.stack.embed(&token_batch(self.stack, &ids, 1)?));
            let norms = chunk.clone().powi_scalar(2).sum_dim(1);
            let distances = norms - chunk.matmul(queries.clone()).mul_scalar(2);
            let distances: Vec<f32> = distances.into_data().iter::<f32>().collect();
            for (&id, distances) in ids.iter().zip(distances.chunks(new.len())) {
                for ((near, &word), &distance) in near.iter_mut().zip(&new).zip(distances) {
                    if id != word {
                        near.push((distance, id));
                    }
                }
            }
            for near in &mut near {
                if near.len() > n + SPARE {
                    near.select_nth_unstable_by(n + SPARE, |a, b| a.0.total_cmp(&b.0));
                    near.truncate(n + SPARE);
                }
            }
        }
        let here = self.embeddings(&new)?;
        for ((word, here), near) in new.into_iter().zip(here).zip(near) {
            let ids: Vec<u32> = near.into_iter().map(|(_, id)| id).collect();
            let squares = |there: Vec<f64>| here.iter().zip(&there).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            let distances = self.embeddings(&ids)?.into_iter().map(squares);
            let mut sorted: Vec<(f64, u32)> = distances.zip(ids).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            self.neighbors.insert(word, sorted.into_iter().take(n).map(|(_, id)| id).collect());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_point_lies_between_the_last_and_the_end(
            anchor in prop::collection::vec(-1.0..1.0f64, 4),
            x in prop::collection::vec(-1.0..1.0f64, 4),
            end in prop::collection::vec(-1.0..1.0f64, 4),
        ) {
            for ((next, x), end) in mended(&anchor, &x, &end, 5).iter().zip(&x).zip(&end) {
                prop_assert!((next - x) * (end - x) >= 0.0 && (next - x).abs() <= (end - x).abs());
            }
        }

        #[test]
        fn a_word_on_the_way_costs_nothing(x in prop::collection::vec(-1.0..1.0f64, 4), share in 0.0..1.0f64) {
            let end = vec![0.5; 4];
            let between: Vec<f64> = x.iter().map(|x| x + share * (0.5 - x)).collect();
            prop_assert!(cost(PathStrategy::Greedy, &between, &x, &end, 5) < 1e-12);
            prop_assert_eq!(cost(PathStrategy::MaxCount, &x, &x, &end, 5), -4.0);
        }
    }
}
