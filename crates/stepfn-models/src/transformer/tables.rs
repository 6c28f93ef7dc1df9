//! What a forward pass makes once for all its layers: which places see which, and what positions add. Layers take their
//! [views](View) from here.

use std::sync::Arc;

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::attention::{Visible, masked};
use stepfn_kernels::rotary::Rotation;

use super::TokenBatch;
use super::places::Places;
use super::positions::{self, Buckets};
use super::twins::Twins;
use super::view::{View, rotation_at, visible_from};
use crate::config::{Positions, StackConfig};

/// What a layer takes from the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sees {
    /// How far back self-attention sees, and in an encoder how far ahead.
    pub(crate) window: Option<usize>,
    /// Its number, where layers have biases of their own.
    pub(crate) layer: usize,
    /// Which rotation queries and keys have.
    pub(crate) rotation: Option<usize>,
}

/// The tables of one stack for one batch.
#[derive(Debug, Clone)]
pub(crate) struct Tables<B: Backend> {
    rotations: Vec<Rotation<B>>,
    /// What queries are multiplied by, `[texts · queries, 1]`.
    growth: Option<Tensor<B, 2>>,
    bias: Bias<B>,
    /// What self-attention sees through each window that a layer has: layers have few different ones.
    windows: Vec<(Option<usize>, Arc<Visible<B>>)>,
    /// What cross-attention sees of the encoder's places.
    memory: Option<Arc<Visible<B>>>,
    /// Single places that self-attention does not see.
    hidden: Option<Hidden<B>>,
    /// The same of the encoder's places, for cross-attention.
    hidden_memory: Option<Hidden<B>>,
    twins: Option<Arc<Twins<B>>>,
}

/// Single keys that no query sees. A query that is left with none reads zeros.
#[derive(Debug, Clone)]
struct Hidden<B: Backend> {
    /// Added to their scores, `[texts, 1, 1, keys]`.
    bias: Tensor<B, 4>,
    /// What probabilities are multiplied by, `[texts, 1, 1, keys]`.
    kept: Tensor<B, 4>,
}

impl<B: Backend> Hidden<B> {
    fn of(batch: &TokenBatch, dtype: DType, device: &B::Device) -> Option<Self> {
        let table = |hidden: f32, seen: f32| {
            let value = |text, place| if batch.is_hidden(text, place) { hidden } else { seen };
            let values = batch.map(batch.width(), value);
            let data = TensorData::new(values, [batch.len(), 1, 1, batch.width()]).convert_dtype(dtype);
            Tensor::from_data(data, (device, dtype))
        };
        batch.hides().then(|| Self { bias: table(masked(dtype), 0.0), kept: table(0.0, 1.0) })
    }

    /// The first `keys` of them.
    fn first(&self, keys: usize) -> Self {
        Self { bias: self.bias.clone().slice_dim(3, 0..keys), kept: self.kept.clone().slice_dim(3, 0..keys) }
    }

    /// A view without them.
    fn from(view: View<B>, hidden: Option<&Self>) -> View<B> {
        let Some(Self { bias, kept }) = hidden else { return view };
        View {
            bias: Some(view.bias.map_or_else(|| bias.clone(), |own| own + bias.clone())),
            dropout: Some(view.dropout.map_or_else(|| kept.clone(), |own| own * kept.clone())),
            ..view
        }
    }
}

/// What relative positions add to the scores, broadcast over `[texts, heads, queries, keys]`.
#[derive(Debug, Clone)]
enum Bias<B: Backend> {
    /// The same in all layers, if anything.
    Same(Option<Tensor<B, 4>>),
    /// Another in each layer, made when it is asked for: the layers' tables `[buckets, heads]`, and the bucket of each pair, `[queries, keys]`.
    ByLayer(Vec<Tensor<B, 2>>, Tensor<B, 2, Int>),
}

impl<B: Backend> Bias<B> {
    fn of(&self, layer: usize) -> Option<Tensor<B, 4>> {
        match self {
            Bias::Same(bias) => bias.clone(),
            Bias::ByLayer(tables, buckets) => tables.get(layer).map(|table| looked_up(table, buckets)),
        }
    }
}

/// The bias of each pair, `[1, heads, queries, keys]`.
fn looked_up<B: Backend>(table: &Tensor<B, 2>, buckets: &Tensor<B, 2, Int>) -> Tensor<B, 4> {
    let ([_, heads], [queries, keys]) = (table.dims(), buckets.dims());
    let bias = table.clone().select(0, buckets.clone().reshape([queries * keys])); // [queries · keys, heads]
    bias.transpose().reshape([1, heads, queries, keys])
}

impl<B: Backend> Tables<B> {
    /// The tables for the last `places` of every text as queries, and `keys` places, of which those after the batch are not filled.
    pub(crate) fn new(
        config: &StackConfig,
        relative_bias: &[Tensor<B, 2>],
        batch: &TokenBatch,
        source: Option<&TokenBatch>,
        ([places, keys], dtype, device): ([usize; 2], DType, &B::Device),
    ) -> Self {
        let causal = !config.bidirectional;
        let rotations = config.positions.rotations().iter();
        let rotations = rotations.map(|rotary| rotary.rotation(batch, places, dtype, device)).collect();
        let mut windows: Vec<(Option<usize>, Arc<Visible<B>>)> = Vec::new();
        for &window in &config.attention.windows {
            if windows.iter().all(|(made, _)| *made != window) {
                windows.push((window, Arc::new(own_places(batch, [places, keys], causal, window, device))));
            }
        }
        let memory = source.map(|source| {
            let ranges = (0..source.len()).map(|text| text_range(source, text)).collect();
            Arc::new(Visible::new(ranges, source.len(), places, source.width(), device))
        });
        let bias = match config.positions {
            Positions::RelativeBias { buckets, max_distance, by_layer, .. } => {
                let buckets = Buckets { buckets, max_distance, bidirectional: !causal };
                let buckets = buckets.table(places, [batch.width(), keys], device);
                match by_layer {
                    true => Bias::ByLayer(relative_bias.to_vec(), buckets),
                    false => Bias::Same(relative_bias.first().map(|table| looked_up(table, &buckets))),
                }
            }
            Positions::Alibi { .. } => Bias::Same(Some(alibi(config.attention.n_heads, batch, keys, dtype, device))),
            _ => Bias::Same(None),
        };
        let growth =
            config.attention.query_growth.map(|growth| positions::growth(growth, batch, (places, dtype, device)));
        let hidden = Hidden::of(batch, dtype, device);
        let hidden_memory = source.and_then(|source| Hidden::of(source, dtype, device));
        Self { rotations, growth, bias, windows, memory, hidden, hidden_memory, twins: None }
    }

    /// The same for a pass that computes these places once.
    pub(crate) fn with_twins(self, twins: Option<Arc<Twins<B>>>) -> Self {
        Self { twins, ..self }
    }

    /// What self-attention of a layer sees, with dropout's multipliers of its probabilities.
    pub(crate) fn own(&self, sees: Sees, dropout: Option<Tensor<B, 4>>) -> View<B> {
        let found = self.windows.iter().find(|(made, _)| *made == sees.window);
        // `new` makes one for every window that the configuration has.
        let (_, visible) = found.unwrap_or(&self.windows[0]);
        let rotation = sees.rotation.and_then(|rotation| self.rotations.get(rotation)).cloned();
        let bias = self.bias.of(sees.layer);
        let (growth, twins) = (self.growth.clone(), self.twins.clone());
        let view = View { visible: visible.clone(), bias, rotation, growth, dropout, twins };
        Hidden::from(view, self.hidden.as_ref())
    }

    /// What cross-attention sees, where there is an encoder.
    pub(crate) fn memory(&self, dropout: Option<Tensor<B, 4>>) -> Option<View<B>> {
        let visible = self.memory.clone()?;
        let twins = self.twins.clone();
        let view = View { visible, bias: None, rotation: None, growth: None, dropout, twins };
        Some(Hidden::from(view, self.hidden_memory.as_ref()))
    }

    /// The tables of a pass over the first places of each text.
    pub(crate) fn first(&self, places: &Places<B>) -> Self {
        let cut = |visible: &Visible<B>, keys| Arc::new(visible_from(visible, places, keys));
        let bias = match &self.bias {
            Bias::Same(bias) => {
                let first = |bias: Tensor<B, 4>| places.of_queries(bias).slice_dim(3, 0..places.len());
                Bias::Same(bias.clone().map(first))
            }
            Bias::ByLayer(tables, buckets) => {
                let first = 0..places.len();
                Bias::ByLayer(tables.clone(), buckets.clone().slice([first.clone(), first]))
            }
        };
        Self {
            rotations: self.rotations.iter().map(|rotation| rotation_at(rotation, places)).collect(),
            growth: places.of_optional(&self.growth),
            bias,
            windows: self.windows.iter().map(|(window, own)| (*window, cut(own, places.len()))).collect(),
            memory: self.memory.as_ref().map(|memory| cut(memory, memory.keys())),
            hidden: self.hidden.as_ref().map(|hidden| hidden.first(places.len())),
            hidden_memory: self.hidden_memory.clone(),
            twins: None,
        }
    }
}

/// The places of a text in its batch.
fn text_range(batch: &TokenBatch, text: usize) -> core::ops::Range<u32> {
    let start = batch.start(text);
    start as u32..(start + batch.texts()[text].len()) as u32
}

/// What each query sees of its own text: all of it, or in causal order itself and what comes before, as far as the window reaches to each side.
fn own_places<B: Backend>(
    batch: &TokenBatch,
    [places, keys]: [usize; 2],
    causal: bool,
    window: Option<usize>,
    device: &B::Device,
) -> Visible<B> {
    let width = batch.width();
    let ranges = if causal || window.is_some() {
        let of_query = |text: usize, query: usize| {
            let text = text_range(batch, text);
            let first = window.map_or(0, |window| (query + 1).saturating_sub(window)) as u32;
            let ahead = if causal { 1 } else { window.unwrap_or(width) };
            let end = text.end.min((query + ahead) as u32);
            first.max(text.start).min(end)..end
        };
        batch.map(places, of_query)
    } else {
        (0..batch.len()).map(|text| text_range(batch, text)).collect()
    };
    Visible::new(ranges, batch.len(), places, keys, device)
}

/// The bias of ALiBi, `[texts, heads, 1, keys]`: a slope per head times the key's position, which differs from the distance by what is
/// the same for all keys of a query.
fn alibi<B: Backend>(heads: usize, batch: &TokenBatch, width: usize, dtype: DType, device: &B::Device) -> Tensor<B, 4> {
    let slopes = positions::alibi_slopes(heads);
    let keys = |text: usize| (0..width).map(move |place| batch.position(text, place).unwrap_or(0) as f32);
    let of_text = |text| slopes.iter().flat_map(move |slope| keys(text).map(move |position| slope * position));
    let values: Vec<f32> = (0..batch.len()).flat_map(of_text).collect();
    let data = TensorData::new(values, [batch.len(), heads, 1, width]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}
