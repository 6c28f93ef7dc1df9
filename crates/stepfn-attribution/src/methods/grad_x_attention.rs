//! Gradient × attention (Barkan et al. 2021, Grad-SAM, arXiv:2204.11073): `Σ A ⊙ ∂f/∂A` over queries, for each layer, head and key, with positive derivatives
//! only in the paper. A source's tokens have those of cross-attention.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::Named;
use stepfn_core::catalog::parameters;
use stepfn_models::ModelError;
use stepfn_models::transformer::{AttentionKind, WeightGradients};

use super::gradient::collected;
use super::inside::{Layers, chosen, indices};
use crate::{AttributionError, AttributionMethod, Axis, InputScores, Passes, StepRows};

/// Attention probabilities times the attributed function's derivatives with respect to them; their mean over layers and heads unless raw scores are
/// asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GradXAttention {
    /// Whether only positive derivatives count.
    pub positive: bool,
    /// The decoder's layers, counted from 0; `None` is all.
    pub layers: Option<Vec<usize>>,
    /// Heads, counted from 0; `None` is all.
    pub heads: Option<Vec<usize>>,
}

impl Named for GradXAttention {
    const NAME: &'static str = "grad_x_attention";
    const SUMMARY: &'static str = "attention probabilities times the gradient with respect to them";
    const ALSO_CALLED: &'static [&'static str] = &["attention_x_gradient"];
}

impl<B: Backend> AttributionMethod<B> for GradXAttention {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let config = &passes.model().config().decoder;
        let layers = chosen::<Self>("layers", self.layers.as_ref(), config.n_layers)?;
        let heads = chosen::<Self>("heads", self.heads.as_ref(), config.attention.n_heads)?;
        let axes = match passes.question().options().raw {
            true => vec![(Axis::Layer, layers.len()), (Axis::Head, heads.len())],
            false => Vec::new(),
        };
        collected(passes, &passes.chunks_with_own_passes(), |steps| {
            let columns = passes.question().columns(steps);
            let (mut source, mut target) = (BTreeMap::new(), BTreeMap::new());
            let mut failed = Ok(());
            passes.weight_gradients(steps, &mut |gradients: WeightGradients<'_, B>| {
                let found = match gradients.kind() {
                    AttentionKind::Own => &mut target,
                    AttentionKind::Cross => &mut source,
                };
                if failed.is_err() || !layers.contains(&gradients.layer()) {
                    return;
                }
                let scores = match self.scores(&gradients, &heads, columns) {
                    Ok(scores) => scores,
                    Err(error) => {
                        failed = Err(error);
                        return;
                    }
                };
                let sum = match found.remove(&gradients.layer()) {
                    Some(sum) => scores + sum,
                    None => scores,
                };
                found.insert(gradients.layer(), sum);
            })?;
            failed?;
            let joined = |found: BTreeMap<usize, Tensor<B, 2>>| {
                let mut layers = Layers::new(passes.question().options().raw);
                found.into_values().for_each(|scores| layers.push(scores));
                layers.joined()
            };
            let target = joined(target).filter(|_| passes.question().attributes_target());
            Ok((StepRows { source: joined(source), target, completeness: None }, axes.clone()))
        })
    }
}

impl GradXAttention {
    /// The scores of one attention, over all passes, `[steps · keys, heads]`.
    fn scores<B: Backend>(
        &self,
        gradients: &WeightGradients<'_, B>,
        heads: &[usize],
        steps: usize,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let scores = gradients.times_weights(self.positive)?; // [passes · steps, heads, keys]
        let chosen = indices(heads, &scores.device());
        let scores = scores.select(1, chosen);
        let [all, heads, keys] = scores.dims();
        let scores = scores.reshape([all / steps, steps * heads * keys]).sum_dim(0);
        Ok(scores.reshape([steps, heads, keys]).swap_dims(1, 2).reshape([steps * keys, heads]))
    }
}
