//! What a forward pass makes once for all its layers: which places see which, and what positions add.

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use stepfn_kernels::attention::Visible;
use stepfn_kernels::rotary::Rotation;

use super::TokenBatch;
use super::positions::{self, Buckets};
use super::rows::{First, Places, Rows};
use crate::config::{Positions, StackConfig};

/// The tables of one stack for one batch.
#[derive(Debug, Clone)]
pub(crate) struct Tables<B: Backend> {
    pub(crate) rotation: Option<Rotation<B>>,
    /// What relative positions add to the scores, broadcast over `[texts, heads, queries, keys]`.
    pub(crate) bias: Option<Tensor<B, 4>>,
    /// What self-attention sees through each window that a layer has: layers have few different ones.
    windows: Vec<(Option<usize>, Visible<B>)>,
    /// What cross-attention sees of the encoder's places.
    pub(crate) memory: Option<Visible<B>>,
}

impl<B: Backend> Tables<B> {
    /// The tables for the last `places` of every text as queries.
    pub(crate) fn new(
        config: &StackConfig,
        relative_bias: Option<&Tensor<B, 2>>,
        causal: bool,
        batch: &TokenBatch,
        source: Option<&TokenBatch>,
        (places, dtype, device): (usize, DType, &B::Device),
    ) -> Self {
        let rotation = match &config.positions {
            Positions::Rotary(rotary) => Some(rotary.rotation(batch, places, dtype, device)),
            _ => None,
        };
        let mut windows: Vec<(Option<usize>, Visible<B>)> = Vec::new();
        for &window in &config.attention.windows {
            if windows.iter().all(|(made, _)| *made != window) {
                windows.push((window, own_places(batch, places, causal, window, device)));
            }
        }
        let memory = source.map(|source| {
            let ranges = (0..source.len()).map(|text| text_range(source, text)).collect();
            Visible::new(ranges, source.len(), places, source.width(), device)
        });
        let bias = match (&config.positions, relative_bias) {
            (&Positions::RelativeBias { buckets, max_distance }, Some(table)) => {
                let (heads, width) = (config.attention.n_heads, batch.width());
                let buckets = Buckets { buckets, max_distance, bidirectional: !causal };
                let bias = table.clone().select(0, buckets.table(places, width, device)); // [queries · keys, heads]
                Some(bias.transpose().reshape([1, heads, places, width]))
            }
            (Positions::Alibi, _) => Some(alibi(config.attention.n_heads, batch, dtype, device)),
            _ => None,
        };
        Self { rotation, bias, windows, memory }
    }

    /// What self-attention sees through a window.
    pub(crate) fn own(&self, window: Option<usize>) -> &Visible<B> {
        let found = self.windows.iter().find(|(made, _)| *made == window);
        // Made above for every window that the configuration has; all of them hold it.
        &found.unwrap_or(&self.windows[0]).1
    }

    /// Texts of the batch.
    pub(crate) fn texts(&self) -> usize {
        self.windows[0].1.texts()
    }

    /// Places of each text that look: its queries.
    pub(crate) fn places(&self) -> usize {
        self.windows[0].1.queries()
    }

    /// The tables of single queries.
    pub(crate) fn rows(&self, rows: &Rows<B>, device: &B::Device) -> Self {
        self.at(rows, self.windows[0].1.keys(), device)
    }

    /// The tables of the first places of each text.
    pub(crate) fn first(&self, first: &First<B>, device: &B::Device) -> Self {
        let tables = self.at(first, first.len(), device);
        let narrow = |bias: Tensor<B, 4>| bias.slice_dim(3, 0..first.len());
        Self { bias: tables.bias.map(narrow), ..tables }
    }

    /// The tables of some places as queries, where a text has so many places to look at.
    fn at(&self, rows: &impl Places<B>, width: usize, device: &B::Device) -> Self {
        let visible = |visible: &Visible<B>, keys: usize| {
            let texts = visible.texts();
            let of_text = |text: usize| rows.places().iter().map(move |&place| visible.range(text, place));
            let ranges = (0..texts).flat_map(of_text).map(|range| range.start as u32..range.end as u32).collect();
            Visible::new(ranges, texts, rows.places().len(), keys, device)
        };
        Self {
            rotation: self
                .rotation
                .as_ref()
                .map(|rotation| Rotation { cos: rows.of(&rotation.cos), sin: rows.of(&rotation.sin) }),
            bias: self.bias.clone().map(|bias| rows.of_queries(bias)),
            windows: self.windows.iter().map(|(window, own)| (*window, visible(own, width))).collect(),
            memory: self.memory.as_ref().map(|memory| visible(memory, memory.keys())),
        }
    }
}

/// The places of a text in its batch.
fn text_range(batch: &TokenBatch, text: usize) -> core::ops::Range<u32> {
    let start = batch.start(text);
    start as u32..(start + batch.texts()[text].len()) as u32
}

/// What each query sees of its own text: all of it, or in causal order what stands before it, as far as the window reaches.
fn own_places<B: Backend>(
    batch: &TokenBatch,
    places: usize,
    causal: bool,
    window: Option<usize>,
    device: &B::Device,
) -> Visible<B> {
    let width = batch.width();
    let ranges = if causal {
        let of_query = |text: usize, query: usize| {
            let text = text_range(batch, text);
            let first = window.map_or(0, |window| (query + 1).saturating_sub(window)) as u32;
            let end = text.end.min(query as u32 + 1);
            first.max(text.start).min(end)..end
        };
        batch.map(places, of_query)
    } else {
        (0..batch.len()).map(|text| text_range(batch, text)).collect()
    };
    Visible::new(ranges, batch.len(), places, width, device)
}

/// The bias of ALiBi, `[texts, heads, 1, keys]`: a slope per head times the key's position, which differs from the distance by what is
/// the same for all keys of a query.
fn alibi<B: Backend>(heads: usize, batch: &TokenBatch, dtype: DType, device: &B::Device) -> Tensor<B, 4> {
    let (slopes, width) = (positions::alibi_slopes(heads), batch.width());
    let keys = |text: usize| (0..width).map(move |place| batch.position(text, place).unwrap_or(0) as f32);
    let of_text = |text| slopes.iter().flat_map(move |slope| keys(text).map(move |position| slope * position));
    let values: Vec<f32> = (0..batch.len()).flat_map(of_text).collect();
    let data = TensorData::new(values, [batch.len(), heads, 1, width]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}
