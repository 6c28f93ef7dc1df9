//! Attention (Bahdanau et al. 2015, arXiv:1409.0473; as an explanation, and its limits: Jain & Wallace 2019, arXiv:1902.10186): the
//! probabilities with which the place that predicts a step looks at each token. A source's tokens have those of cross-attention.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::Named;
use stepfn_core::catalog::parameters;
use stepfn_models::transformer::AttentionKind;

use super::inside::{Layers, all_at_once, by_queries, chosen, indices, queries};
use crate::{AttributionError, AttributionMethod, Axis, InputScores, Passes};

/// Attention probabilities; their mean over layers and heads unless raw scores are asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attention {
    /// The decoder's layers, counted from 0; `None` is all.
    pub layers: Option<Vec<usize>>,
    /// Heads, counted from 0; `None` is all.
    pub heads: Option<Vec<usize>>,
}

impl Named for Attention {
    const NAME: &'static str = "attention";
    const SUMMARY: &'static str = "attention probabilities of the place that predicts a step";
    const ALSO_CALLED: &'static [&'static str] = &["attn", "attention_weights", "raw_attention"];
}

impl<B: Backend> AttributionMethod<B> for Attention {
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
        let heads = chosen::<Self>("heads", self.heads.as_ref(), config.attention.n_heads)?;
        let raw = passes.question().options().raw;
        let (mut source, mut target) = (Layers::new(raw), Layers::new(raw));
        passes.look_inside(|inside| {
            if !inside.is_of_decoder() || !layers.contains(&inside.layer()) {
                return Ok(());
            }
            let read = |kind| {
                by_queries(passes, &inside, kind, &queries(passes), |probabilities| {
                    let [_, all, queries, keys] = probabilities.dims();
                    let by_head: Tensor<B, 2> = probabilities.reshape([all, queries * keys]);
                    let by_head = by_head.select(0, indices(&heads, &inside.output().device()));
                    let by_token = by_head.transpose();
                    if raw { by_token } else { by_token.mean_dim(1) }
                })
            };
            read(AttentionKind::Cross).into_iter().for_each(|scores| source.push(scores));
            if passes.question().attributes_target() {
                read(AttentionKind::Own).into_iter().for_each(|scores| target.push(scores));
            }
            passes.question().progress(inside.layer() + 1, config.n_layers)
        })?;
        let axes = vec![(Axis::Layer, layers.len()), (Axis::Head, heads.len())];
        Ok(all_at_once(passes, axes, source.joined(), target.joined()))
    }
}
