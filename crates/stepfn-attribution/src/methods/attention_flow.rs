//! Attention flow (Abnar & Zuidema 2020, arXiv:2005.00928): the maximum flow from the place that predicts, through all layers, to each token; the
//! capacities between two layers are `½ (A + I)`, `A` the mean over heads.
//!
//! In an encoder–decoder, a place passes ½ of its capacity past cross-attention and `½ A_cross` to the encoder's places, as in
//! [`AttentionRollout`](super::AttentionRollout). Each (step, token) is a separate flow: a text of n tokens costs about n³ edges for each layer and
//! step (50 steps over 100 tokens and 12 layers: two seconds), so this is for sentences, not for books.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_core::Named;
use stepfn_models::transformer::AttentionKind;

use super::inside::{all_at_once, mean_over_heads, rows};
use crate::flow::Network;
use crate::{AttributionError, AttributionMethod, InputScores, Passes};

/// Maximum flow through the network of attention.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionFlow {}

impl Named for AttentionFlow {
    const NAME: &'static str = "attention_flow";
    const SUMMARY: &'static str = "maximum flow through the network that attention makes";
    const ALSO_CALLED: &'static [&'static str] = &["flow"];
}

impl<B: Backend> AttributionMethod<B> for AttentionFlow {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn is_of_function(&self) -> bool {
        false
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let (tokens, sources) = (passes.question().steps().width(), passes.question().source_len());
        let mut maps = Maps { sources, ..Maps::default() };
        let mut device = None;
        passes.look_inside(|inside| {
            device = Some(inside.output().device());
            let places: Vec<usize> = (0..if inside.is_of_decoder() { tokens } else { sources }).collect();
            let map = |kind| {
                let map = mean_over_heads(passes, &inside, kind, &places);
                map.map_or_else(Vec::new, |map| map.into_data().iter::<f32>().collect::<Vec<f32>>())
            };
            if inside.is_of_decoder() {
                maps.decoder.push((map(AttentionKind::Own), map(AttentionKind::Cross)));
            } else {
                maps.encoder.push(map(AttentionKind::Own));
            }
            Ok(())
        })?;
        let steps = passes.question().steps();
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for (done, (step, place)) in steps.positions().zip(steps.places()).enumerate() {
            let mut network = maps.network(tokens, step, place);
            source.extend((0..sources).map(|token| network.flow_from_source(token)));
            let seen = if passes.question().attributes_target() { step } else { 0 };
            target.extend((0..tokens).map(|token| if token < seen { network.flow_from_target(token) } else { 0.0 }));
            passes.question().progress(done + 1, steps.len())?;
        }
        // A model has layers.
        let device = device.unwrap_or_default();
        let source = (sources > 0).then(|| rows(source, 1, &device));
        let target = passes.question().attributes_target().then(|| rows(target, 1, &device));
        Ok(all_at_once(passes, Vec::new(), source, target))
    }
}

/// Attention of all layers, mean over heads, row-major.
#[derive(Default)]
struct Maps {
    sources: usize,
    /// `[source, source]` of each layer.
    encoder: Vec<Vec<f32>>,
    /// `[target, target]` and `[target, source]` of each layer.
    decoder: Vec<(Vec<f32>, Vec<f32>)>,
}

/// The network of one step.
struct OfStep {
    network: Network,
    top: usize,
    /// The first node of the source's tokens.
    source: usize,
}

impl Maps {
    /// The network below the place that predicts a step. Its nodes are the target's tokens, the source's tokens, and one node per place for each
    /// attention.
    fn network(&self, tokens: usize, step: usize, place: usize) -> OfStep {
        let mut edges = Vec::new();
        let sources = self.sources;
        let (mut below, source, mut nodes) = (0, step, step + sources);
        let mut memory = source;
        for map in &self.encoder {
            edges.extend(between(nodes, memory, [sources, sources], (map, sources)));
            edges.extend(past(nodes, memory, sources));
            memory = nodes;
            nodes += sources;
        }
        for (own, across) in &self.decoder {
            edges.extend(between(nodes, below, [step, step], (own, tokens)));
            edges.extend(past(nodes, below, step));
            below = nodes;
            nodes += step;
            if !across.is_empty() {
                edges.extend(between(nodes, memory, [step, sources], (across, sources)));
                edges.extend(past(nodes, below, step));
                below = nodes;
                nodes += step;
            }
        }
        OfStep { network: Network::new(nodes, &edges), top: below + place, source }
    }
}

type Edge = (usize, usize, f64);

/// Edges from places to those that they look at, with half their attention.
fn between(
    upper: usize,
    lower: usize,
    [queries, keys]: [usize; 2],
    (map, width): (&[f32], usize),
) -> impl Iterator<Item = Edge> {
    let capacity = move |query: usize, key: usize| f64::from(map[query * width + key]) / 2.0;
    (0..queries).flat_map(move |query| (0..keys).map(move |key| (upper + query, lower + key, capacity(query, key))))
}

/// Edges from places to themselves, with the other half.
fn past(upper: usize, lower: usize, places: usize) -> impl Iterator<Item = Edge> {
    (0..places).map(move |place| (upper + place, lower + place, 0.5))
}

impl OfStep {
    fn flow_from_source(&mut self, token: usize) -> f32 {
        self.network.greatest(self.top, self.source + token) as f32
    }

    fn flow_from_target(&mut self, token: usize) -> f32 {
        self.network.greatest(self.top, token) as f32
    }
}
