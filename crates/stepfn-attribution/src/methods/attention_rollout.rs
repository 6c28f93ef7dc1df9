//! Attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928): how much of each token reaches a place of the last layer if every block passes on half of
//! what a place holds and mixes the other half by attention: `R_l = ½ (A_l + I) R_{l−1}`, `A_l` the mean over heads.
//!
//! In an encoder–decoder, cross-attention takes ½ of the place itself and ½ of what it looks at, `A_cross R_encoder`. The shares of source and
//! target sum to 1, or to less where heads have sinks: what goes to a sink reaches no token.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn_core::Named;
use stepfn_models::transformer::{AttentionKind, Inside};

use super::inside::{all_at_once, indices, mean_over_heads, queries, rows};
use crate::{AttributionError, AttributionMethod, InputScores, Passes};

/// Attention multiplied through the layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionRollout {}

impl Named for AttentionRollout {
    const NAME: &'static str = "attention_rollout";
    const SUMMARY: &'static str = "attention multiplied through the layers; sums to 1";
    const ALSO_CALLED: &'static [&'static str] = &["rollout"];
}

impl<B: Backend> AttributionMethod<B> for AttentionRollout {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn is_of_function(&self) -> bool {
        false
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let layers = passes.model().config().decoder.n_layers;
        let mut shares: Option<Shares<B>> = None;
        passes.look_inside(|inside| {
            let (tokens, sources) = (passes.question().steps().width(), passes.question().source_len());
            let shares = shares.get_or_insert_with(|| Shares::new(tokens, sources, &inside.output().device()));
            if !inside.is_of_decoder() {
                shares.through_encoder(passes, &inside);
                return Ok(());
            }
            // Of the last layer, only the places that predict are needed.
            let places = if inside.is_last() { queries(passes) } else { (0..tokens).collect() };
            shares.through_decoder(passes, &inside, &places);
            passes.question().progress(inside.layer() + 1, layers)
        })?;
        let flat = |x: Tensor<B, 2>| {
            let [steps, tokens] = x.dims();
            x.reshape([steps * tokens, 1])
        };
        // A model has layers.
        let (source, target) = shares.map_or((None, None), |shares| (shares.source, Some(shares.target)));
        let target = target.filter(|_| passes.question().attributes_target());
        Ok(all_at_once(passes, Vec::new(), source.map(flat), target.map(flat)))
    }
}

/// How much of each token a place holds.
struct Shares<B: Backend> {
    /// The encoder's places of the source, `[source, source]`.
    memory: Tensor<B, 2>,
    /// The decoder's places of the source, `[places, source]`, where there is one.
    source: Option<Tensor<B, 2>>,
    /// The decoder's places of the target, `[places, target]`.
    target: Tensor<B, 2>,
}

impl<B: Backend> Shares<B> {
    /// Every place holds its own token.
    fn new(target: usize, source: usize, device: &B::Device) -> Self {
        let identity = |size: usize| {
            let one = |index: usize| f32::from(u8::from(index / size == index % size));
            rows((0..size * size).map(one).collect(), size, device)
        };
        let none = (source > 0).then(|| rows(vec![0.0; target * source], source, device));
        Self { memory: identity(source.max(1)), source: none, target: identity(target) }
    }

    fn through_encoder(&mut self, passes: &Passes<'_, B>, inside: &Inside<'_, B>) {
        let places: Vec<usize> = (0..passes.question().source_len()).collect();
        if let Some(attention) = mean_over_heads(passes, inside, AttentionKind::Own, &places) {
            let memory = like(&self.memory, &attention);
            self.memory = half(memory.clone(), attention.matmul(memory));
        }
    }

    fn through_decoder(&mut self, passes: &Passes<'_, B>, inside: &Inside<'_, B>, places: &[usize]) {
        let device = inside.output().device();
        if let Some(own) = mean_over_heads(passes, inside, AttentionKind::Own, places) {
            let mixed = |held: &Tensor<B, 2>| {
                let held = like(held, &own);
                half(held.clone().select(0, indices(places, &device)), own.clone().matmul(held))
            };
            let source = self.source.as_ref().map(mixed);
            self.target = mixed(&self.target);
            self.source = source;
        }
        let across = mean_over_heads(passes, inside, AttentionKind::Cross, places);
        if let (Some(across), Some(source)) = (across, self.source.take()) {
            self.target = self.target.clone().div_scalar(2);
            self.source = Some(half(source, across.clone().matmul(like(&self.memory, &across))));
        }
    }
}

/// Half of each.
fn half<B: Backend>(a: Tensor<B, 2>, b: Tensor<B, 2>) -> Tensor<B, 2> {
    (a + b).div_scalar(2)
}

/// The same numbers in the other's type.
fn like<B: Backend>(x: &Tensor<B, 2>, other: &Tensor<B, 2>) -> Tensor<B, 2> {
    if x.dtype() == other.dtype() { x.clone() } else { x.clone().cast(other.dtype()) }
}
