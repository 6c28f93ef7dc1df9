//! Value zeroing (Mohebbi et al. 2023, arXiv:2301.12971): how far a block's output at a place moves when the place reads zeros instead of a token's value
//! vector, `1 − cos(h, h without it)`. Each layer is treated separately, on its unchanged input. Distances below 1e-5 count as 0, and those of a
//! place sum to 1. A source's tokens have the distances of cross-attention.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::Named;
use stepfn_core::catalog::parameters;
use stepfn_kernels::norm::euclidean;
use stepfn_kernels::widened;
use stepfn_models::transformer::{AttentionKind, Inside, Removal};

use super::inside::{Layers, all_at_once, chosen, indices, rows};
use crate::{AttributionError, AttributionMethod, Axis, InputScores, Passes};

/// How much each token's value matters to a block's output; the mean over layers unless raw scores are asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValueZeroing {
    /// The distance of two outputs.
    pub metric: Metric,
    /// The decoder's layers, counted from 0; `None` is all.
    pub layers: Option<Vec<usize>>,
    /// The heads, counted from 0, that read zeros; `None` is all.
    pub heads: Option<Vec<usize>>,
    /// Whether outputs of the last layer are compared after the final normalization.
    pub after_final_norm: bool,
}

/// The distance of two hidden states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// 1 minus the cosine of the angle between them.
    #[default]
    Cosine,
    /// The length of their difference.
    Euclidean,
}

impl Default for ValueZeroing {
    fn default() -> Self {
        Self { metric: Metric::default(), layers: None, heads: None, after_final_norm: true }
    }
}

impl Named for ValueZeroing {
    const NAME: &'static str = "value_zeroing";
    const SUMMARY: &'static str = "how far each layer's output moves without a token's value vector";
    const ALSO_CALLED: &'static [&'static str] = &["vz"];
}

impl<B: Backend> AttributionMethod<B> for ValueZeroing {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn is_of_function(&self) -> bool {
        false
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let config = &passes.model().config().decoder;
        let layers = chosen::<Self>("layers", self.layers.as_ref(), config.n_layers)?;
        chosen::<Self>("heads", self.heads.as_ref(), config.attention.n_heads)?;
        let raw = passes.question().options().raw;
        let (mut source, mut target) = (Layers::new(raw), Layers::new(raw));
        passes.look_inside(|inside| {
            if !inside.is_of_decoder() || !layers.contains(&inside.layer()) {
                return Ok(());
            }
            if passes.question().source_len() > 0 {
                let keys = passes.question().source_len();
                source.push(self.distances(passes, &inside, AttentionKind::Cross, keys));
            }
            if passes.question().attributes_target() {
                let keys = passes.question().steps().width();
                target.push(self.distances(passes, &inside, AttentionKind::Own, keys));
            }
            passes.question().progress(inside.layer() + 1, config.n_layers)
        })?;
        Ok(all_at_once(passes, vec![(Axis::Layer, layers.len())], source.joined(), target.joined()))
    }
}

impl ValueZeroing {
    /// The scores of one attention, `[steps · keys, 1]`.
    fn distances<B: Backend>(
        &self,
        passes: &Passes<'_, B>,
        inside: &Inside<'_, B>,
        kind: AttentionKind,
        keys: usize,
    ) -> Tensor<B, 2> {
        /// Smaller distances count as rounding errors.
        const LEAST: f32 = 1e-5;
        let first = passes.question().steps().places().start;
        let steps = passes.question().steps().len();
        let of_query = |query: usize| inside.seen(kind, 0, query).map(move |key| Removal { query, key });
        let removals: Vec<Removal> = (first..first + steps).flat_map(of_query).collect();
        let at_once = passes.budget().removals(keys);
        let mut distances = vec![0.0; steps * keys];
        for removals in removals.chunks(at_once) {
            let found = self.moved(inside, kind, removals).into_data();
            for (&Removal { query, key }, distance) in removals.iter().zip(found.iter::<f32>()) {
                distances[(query - first) * keys + key] = if distance < LEAST { 0.0 } else { distance };
            }
        }
        for row in distances.chunks_mut(keys.max(1)) {
            let sum: f32 = row.iter().sum();
            if sum > 0.0 {
                row.iter_mut().for_each(|distance| *distance /= sum);
            }
        }
        rows(distances, 1, &inside.output().device())
    }

    /// How far each removal moves the block's output, `[removals]`.
    fn moved<B: Backend>(&self, inside: &Inside<'_, B>, kind: AttentionKind, removals: &[Removal]) -> Tensor<B, 1> {
        let normalized = |x: Tensor<B, 2>| match self.after_final_norm && inside.is_last() {
            true => inside.finally_normalized(x),
            false => x,
        };
        let queries: Vec<usize> = removals.iter().map(|removal| removal.query).collect();
        let here = inside.output().clone().select(0, indices(&queries, &inside.output().device()));
        // Asked for only where the block has such an attention.
        let moved = inside.without_values(kind, removals, self.heads.as_deref()).unwrap_or_else(|| here.clone());
        self.metric.between(normalized(here), normalized(moved))
    }
}

impl Metric {
    /// # Shapes
    /// - `a`, `b`: `[rows, size]`, result: `[rows]`
    fn between<B: Backend>(self, a: Tensor<B, 2>, b: Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, _] = a.dims();
        let (a, b) = (widened(a), widened(b));
        let distance = match self {
            // ½ ‖a/‖a‖ − b/‖b‖‖² is 1 − cos, and accurate even if the two are almost the same.
            Metric::Cosine => {
                let unit = |x: Tensor<B, 2>| x.clone() / euclidean(x).clamp_min(1e-8);
                (unit(a) - unit(b)).powi_scalar(2).sum_dim(1).div_scalar(2)
            }
            Metric::Euclidean => euclidean(a - b),
        };
        distance.reshape([rows])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type B = stepfn_cpu::flex::Backend;

    fn between(metric: Metric, a: [f32; 3], b: [f32; 3]) -> f32 {
        let row = |x: [f32; 3]| rows::<B>(x.to_vec(), 3, &Default::default());
        metric.between(row(a), row(b)).into_scalar()
    }

    #[test]
    fn distances_are_what_they_are_called() {
        let (a, b) = ([1.0, 2.0, 2.0], [2.0, 0.0, 0.0]);
        assert!((between(Metric::Cosine, a, b) - 2.0 / 3.0).abs() < 1e-6);
        assert!((between(Metric::Euclidean, a, b) - 3.0).abs() < 1e-6);
        assert_eq!(between(Metric::Cosine, a, a), 0.0);
    }

    #[test]
    fn small_angles_keep_their_digits() {
        // 1 − cos of an angle of 0.001.
        let found = between(Metric::Cosine, [1.0, 0.0, 0.0], [0.001f32.cos(), 0.001f32.sin(), 0.0]);
        assert!((found - 5e-7).abs() < 1e-11, "{found}");
    }
}
