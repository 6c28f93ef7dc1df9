//! A stack of blocks: embeddings and positions, blocks, final normalization; an encoder, or a decoder with or without one.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::dropout::{DropRate, Site, Stack as MaskedStack};

use super::attention::View;
use super::block::{Block, LayerCache, Surroundings};
use super::dropout::Masks;
use super::norm::Norm;
use super::positions::{self, Buckets, Rotation};
use super::{Dropout, Linear, TokenBatch};
use crate::ModelError;
use crate::config::{Positions, StackConfig};
use crate::parameters::Parameters;

/// What masks add to a score: low enough that its exponential is 0, not so low that a row of nothing else overflows.
fn masked(dtype: DType) -> f32 {
    if dtype == DType::F16 { -3e4 } else { -1e30 }
}

/// An encoder or a decoder.
#[derive(Debug)]
pub struct Stack<B: Backend> {
    config: StackConfig,
    hidden: usize,
    is_decoder: bool,
    /// Whether blocks read an encoder's output.
    cross: bool,
    embedding: Tensor<B, 2>,
    positions: Option<Tensor<B, 2>>,
    project_in: Option<Linear<B>>,
    project_out: Option<Linear<B>>,
    embedding_norm: Option<Norm<B>>,
    relative_bias: Option<Tensor<B, 2>>,
    blocks: Vec<Block<B>>,
    final_norm: Option<Norm<B>>,
}

/// What a forward pass is given beside embeddings.
#[derive(Debug)]
pub struct Pass<'a, B: Backend> {
    /// The tokens.
    pub batch: &'a TokenBatch,
    /// An encoder's output, `[texts · source width, hidden]`, and its tokens.
    pub memory: Option<(&'a Tensor<B, 2>, &'a TokenBatch)>,
    /// Whether neurons are dropped.
    pub dropout: &'a Dropout,
    /// What to keep.
    pub trace: Trace,
    /// What was computed of the places before: with it, only the places after are.
    pub cache: Option<&'a mut Cache<B>>,
}

impl<'a, B: Backend> Pass<'a, B> {
    /// A plain pass over all tokens.
    pub fn new(batch: &'a TokenBatch) -> Self {
        Self { batch, memory: None, dropout: &Dropout::Off, trace: Trace::default(), cache: None }
    }

    /// The same, reading an encoder's output.
    pub fn with_memory(self, hidden: &'a Tensor<B, 2>, source: &'a TokenBatch) -> Self {
        Self { memory: Some((hidden, source)), ..self }
    }

    /// The same with dropout.
    pub fn with_dropout(self, dropout: &'a Dropout) -> Self {
        Self { dropout, ..self }
    }

    /// The same, keeping what `trace` asks for.
    pub fn with_trace(self, trace: Trace) -> Self {
        Self { trace, ..self }
    }
}

/// Keys and values of what was computed, for a text that is being written.
#[derive(Debug, Clone)]
pub struct Cache<B: Backend> {
    layers: Vec<LayerCache<B>>,
    /// Places that are in it.
    width: usize,
}

impl<B: Backend> Cache<B> {
    /// Places of every text that are in it.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Text `i` becomes text `parents[i]`.
    pub fn select(&mut self, parents: &Tensor<B, 1, Int>) {
        for layer in &mut self.layers {
            for kept in [&mut layer.own, &mut layer.memory].into_iter().flatten() {
                *kept = kept.select(parents);
            }
        }
    }
}

/// What to keep of a forward pass beside its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace {
    /// The hidden states that enter every block.
    pub hidden_states: bool,
    /// The attention probabilities of every block.
    pub attentions: bool,
}

/// What a stack computes.
#[derive(Debug, Clone)]
pub struct StackOutput<B: Backend> {
    /// Behind the last block and its normalization, `[texts · places, hidden]`.
    pub last: Tensor<B, 2>,
    /// What enters each block, `[texts · places, hidden]`, if asked for.
    pub hidden_states: Vec<Tensor<B, 2>>,
    /// Self-attention of each block, `[texts, heads, queries, keys]`, if asked for.
    pub self_attentions: Vec<Tensor<B, 4>>,
    /// Cross-attention of each block, `[texts, heads, queries, keys]`, if asked for.
    pub cross_attentions: Vec<Tensor<B, 4>>,
}

impl<B: Backend> Stack<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        [vocab, hidden]: [usize; 2],
        config: &StackConfig,
        cross: bool,
    ) -> Result<Self, ModelError> {
        let width = config.embedding_size.unwrap_or(hidden);
        let norm = |part: &str, present: bool| match present {
            true => Norm::load(parameters, &format!("{name}.{part}"), hidden, config.norm).map(Some),
            false => Ok(None),
        };
        let matrix = |part: &str, shape| parameters.matrix(&format!("{name}.{part}"), shape, None);
        let projection = |part: &str, shape| match config.embedding_size {
            Some(_) => Linear::load(parameters, &format!("{name}.{part}"), shape, false, None).map(Some),
            None => Ok(None),
        };
        let blocks = (0..config.n_layers)
            .map(|layer| Block::load(parameters, (name, layer), hidden, config, cross))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hidden,
            is_decoder: name == "decoder",
            cross,
            embedding: matrix("embedding", [vocab, width])?,
            positions: match config.positions {
                Positions::Learned { rows, .. } => Some(matrix("positions", [rows, hidden])?),
                _ => None,
            },
            project_in: projection("project_in", [width, hidden])?,
            project_out: projection("project_out", [hidden, width])?,
            embedding_norm: norm("embedding_norm", config.embedding_norm)?,
            relative_bias: match config.positions {
                Positions::RelativeBias { buckets, .. } => {
                    Some(matrix("relative_bias", [buckets, config.attention.n_heads])?)
                }
                _ => None,
            },
            final_norm: norm("final_norm", config.final_norm)?,
            blocks,
            config: config.clone(),
        })
    }

    /// The device of the parameters.
    pub(crate) fn device(&self) -> B::Device {
        self.embedding.device()
    }

    /// A cache that has nothing yet.
    pub fn cache(&self) -> Cache<B> {
        Cache { layers: vec![LayerCache { own: None, memory: None }; self.blocks.len()], width: 0 }
    }

    /// Embeddings of the tokens, scaled, before positions: what attribution starts from.
    ///
    /// # Shapes
    /// - result: `[texts · width, embedding]`
    pub fn embed(&self, batch: &TokenBatch) -> Tensor<B, 2> {
        self.embed_last(batch, batch.width())
    }

    /// Embeddings of the last `places` of every text, scaled, before positions.
    ///
    /// # Shapes
    /// - result: `[texts · places, embedding]`
    pub fn embed_last(&self, batch: &TokenBatch, places: usize) -> Tensor<B, 2> {
        let embedded = self.embedding.clone().select(0, batch.ids(places, &self.device()));
        if self.config.embedding_scale == 1.0 { embedded } else { embedded.mul_scalar(self.config.embedding_scale) }
    }

    /// Runs the stack on embeddings: all places of the batch, or those that are not in the cache.
    ///
    /// # Shapes
    /// - `embedded`: `[texts · places, embedding]`
    ///
    /// # Errors
    /// [`ModelError::Input`] for a text longer than the model has positions, a decoder without the encoder's output that it reads, sources or
    /// noisy passes that are not one per text, rates outside [0, 1), or a cache that has all of the batch.
    pub fn forward(&self, embedded: Tensor<B, 2>, pass: Pass<B>) -> Result<StackOutput<B>, ModelError> {
        let Pass { batch, memory, dropout, trace, mut cache } = pass;
        let cached = cache.as_ref().map_or(0, |cache| cache.width);
        self.check(batch, memory.map(|(_, source)| source), dropout, cached)?;
        let places = batch.width() - cached;
        let (device, dtype) = (embedded.device(), embedded.dtype());
        let stack = if self.is_decoder { MaskedStack::Decoder } else { MaskedStack::Encoder };
        let masks = Masks { dropout, published: self.config.dropout, stack, batch, places };

        let mut x = match &self.project_in {
            Some(project_in) => project_in.forward(embedded),
            None => embedded,
        };
        if let (Some(table), Positions::Learned { offset, .. }) = (&self.positions, &self.config.positions) {
            x = x + table.clone().select(0, positions::learned_rows(batch, places, *offset, &device));
        }
        if let Some(sinusoids) = self.config.positions.sinusoids(batch, places, self.hidden, dtype, &device) {
            x = x + sinusoids;
        }
        if let Some(norm) = &self.embedding_norm {
            x = norm.forward(x);
        }
        x = masks.apply(x, 0, Site::Embedding, masks.rates().embedding);

        let rotation = match &self.config.positions {
            Positions::Rotary(rotary) => Some(Rotation::new(rotary, batch, places, dtype, &device)),
            _ => None,
        };
        let positions_bias = self.positions_bias(batch, places, dtype, &device);
        let mut seen: Vec<(Option<usize>, Tensor<B, 4>)> = Vec::new();
        let memory = memory.map(|(hidden, source)| (hidden, source, mask(source, 1, false, None, dtype, &device)));
        let heads = self.config.attention.n_heads;
        let mut output =
            StackOutput { last: x, hidden_states: vec![], self_attentions: vec![], cross_attentions: vec![] };
        for (layer, (block, window)) in self.blocks.iter().zip(&self.config.attention.windows).enumerate() {
            if trace.hidden_states {
                output.hidden_states.push(output.last.clone());
            }
            // Layers see through few different windows: one mask for each.
            let index = seen.iter().position(|(made, _)| made == window).unwrap_or_else(|| {
                let mask = mask(batch, places, self.is_decoder, *window, dtype, &device);
                seen.push((*window, positions_bias.iter().cloned().fold(mask, |mask, bias| mask + bias)));
                seen.len() - 1
            });
            let view = |bias, site, keys| View {
                texts: batch.len(),
                bias,
                rotation: None,
                dropout: masks.attention(layer, site, heads, keys, &device),
            };
            let own = View { rotation: rotation.as_ref(), ..view(&seen[index].1, Site::SelfAttention, batch) };
            let around = Surroundings {
                view: own,
                memory: memory
                    .as_ref()
                    .map(|(hidden, source, bias)| (*hidden, view(bias, Site::CrossAttention, source))),
                masks: &masks,
                cache: cache.as_mut().map(|cache| &mut cache.layers[layer]),
            };
            let done = block.forward(output.last, around);
            output.last = done.hidden;
            if trace.attentions {
                output.self_attentions.push(done.self_attention);
                output.cross_attentions.extend(done.cross_attention);
            }
        }
        if let Some(cache) = cache {
            cache.width = batch.width();
        }
        if let Some(norm) = &self.final_norm {
            output.last = norm.forward(output.last);
        }
        output.last = masks.apply(output.last, 0, Site::Final, masks.rates().last);
        if let Some(project_out) = &self.project_out {
            output.last = project_out.forward(output.last);
        }
        Ok(output)
    }

    /// What positions add to the scores of self-attention, broadcast over `[texts, heads, queries, keys]`.
    fn positions_bias(
        &self,
        batch: &TokenBatch,
        places: usize,
        dtype: DType,
        device: &B::Device,
    ) -> Option<Tensor<B, 4>> {
        let (heads, width) = (self.config.attention.n_heads, batch.width());
        match (&self.config.positions, &self.relative_bias) {
            (&Positions::RelativeBias { buckets, max_distance }, Some(table)) => {
                let buckets = Buckets { buckets, max_distance, bidirectional: !self.is_decoder };
                let bias = table.clone().select(0, buckets.table(places, width, device)); // [queries · keys, heads]
                Some(bias.transpose().reshape([1, heads, places, width]))
            }
            (Positions::Alibi, _) => {
                let slopes = positions::alibi_slopes(heads);
                let keys = |text: usize| (0..width).map(move |place| batch.position(text, place).unwrap_or(0) as f32);
                let of_text =
                    |text| slopes.iter().flat_map(move |slope| keys(text).map(move |position| slope * position));
                let values: Vec<f32> = (0..batch.len()).flat_map(of_text).collect();
                let data = TensorData::new(values, [batch.len(), heads, 1, width]).convert_dtype(dtype);
                Some(Tensor::from_data(data, (device, dtype)))
            }
            _ => None,
        }
    }

    /// Whether what a pass is given fits together, and the model.
    fn check(
        &self,
        batch: &TokenBatch,
        source: Option<&TokenBatch>,
        dropout: &Dropout,
        cached: usize,
    ) -> Result<(), ModelError> {
        let wrong = |expected: String, found: String| Err(ModelError::Input { text: 0, expected, found });
        if cached >= batch.width() {
            let expected = format!("more than the {cached} tokens that were read");
            return wrong(expected, format!("{}", batch.width()));
        }
        match source {
            None if self.cross => return wrong("an encoder's output to read".to_owned(), "none".to_owned()),
            Some(source) if source.len() != batch.len() => {
                return wrong(format!("one source for each of the {} texts", batch.len()), source.len().to_string());
            }
            _ => {}
        }
        if let Dropout::On { passes, rates, .. } = dropout {
            if passes.len() != batch.len() {
                let expected = format!("one noisy pass for each of the {} texts", batch.len());
                return wrong(expected, passes.len().to_string());
            }
            let rates = rates.unwrap_or(self.config.dropout);
            let all = [rates.embedding, rates.attention, rates.residual, rates.activation, rates.last];
            if let Some(rate) = all.into_iter().find(|&rate| DropRate::new(rate).is_none()) {
                return wrong("dropout rates in [0, 1)".to_owned(), rate.to_string());
            }
        }
        let Some(most) = self.config.positions.most() else { return Ok(()) };
        match batch.texts().iter().position(|text| text.len() > most) {
            Some(text) => Err(ModelError::Input {
                text,
                expected: format!("at most {most} tokens, for which the model has positions"),
                found: format!("{}", batch.texts()[text].len()),
            }),
            None => Ok(()),
        }
    }
}

/// What masks add to scores, `[texts, 1, queries, keys]`: nothing for what a query sees, [`masked`] for the rest. Keys are the places of
/// `keys`; causal queries are the last of these, others all see the same, so that one stands for them.
fn mask<B: Backend>(
    keys: &TokenBatch,
    places: usize,
    causal: bool,
    window: Option<usize>,
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, 4> {
    let (width, queries) = (keys.width(), if causal { places } else { 1 });
    let masked = masked(dtype);
    let sees = |text: usize, query: usize, key: usize| {
        let in_text = keys.position(text, key).is_some();
        let in_order = !causal || (key <= query && window.is_none_or(|window| query - key < window));
        in_text && in_order
    };
    let mut values = Vec::with_capacity(keys.len() * queries * width);
    for text in 0..keys.len() {
        for query in width - queries..width {
            values.extend((0..width).map(|key| if sees(text, query, key) { 0.0 } else { masked }));
        }
    }
    let data = TensorData::new(values, [keys.len(), 1, queries, width]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}
