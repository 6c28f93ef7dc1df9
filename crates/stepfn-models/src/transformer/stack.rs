//! A stack of blocks: embeddings and positions, blocks, final normalization; an encoder, or a decoder with or without one.

use std::borrow::Cow;

use burn::tensor::{DType, Int, Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::attention::Visible;
use stepfn_kernels::dropout::{DropRate, Site, Stack as MaskedStack};

use super::attention::{Sight, View, Watch, Watched};
use super::block::{Block, BlockTape, LayerCache, Sights, Surroundings};
use super::dropout::Masks;
use super::inside::{AttentionKind, Inside};
use super::norm::Norm;
use super::positions;
use super::rows::Rows;
use super::rules::{Rule, Saved, scaled};
use super::tables::Tables;
use super::tape::{Entry, Keep, LayerTape, Origin, StackTape};
use super::{Dropout, Linear, TokenBatch};
use crate::ModelError;
use crate::config::{Positions, StackConfig};
use crate::parameters::Parameters;

/// An encoder or a decoder.
#[derive(Debug)]
pub struct Stack<B: Backend> {
    config: StackConfig,
    hidden: usize,
    pub(super) is_decoder: bool,
    /// Whether blocks read an encoder's output.
    cross: bool,
    embedding: Tensor<B, 2>,
    positions: Option<Tensor<B, 2>>,
    project_in: Option<Linear<B>>,
    project_out: Option<Linear<B>>,
    embedding_norm: Option<Norm<B>>,
    relative_bias: Option<Tensor<B, 2>>,
    pub(super) blocks: Vec<Block<B>>,
    pub(super) final_norm: Option<Norm<B>>,
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
    /// What the pass begins with.
    pub entry: Entry,
    /// What was computed of the places before: with it, only the places after are.
    pub cache: Option<&'a mut Cache<B>>,
}

impl<'a, B: Backend> Pass<'a, B> {
    /// A plain pass over all tokens.
    pub fn new(batch: &'a TokenBatch) -> Self {
        Self {
            batch,
            memory: None,
            dropout: &Dropout::Off,
            trace: Trace::default(),
            entry: Entry::Embeddings,
            cache: None,
        }
    }

    /// The same, reading an encoder's output.
    pub fn with_memory(self, hidden: &'a Tensor<B, 2>, source: &'a TokenBatch) -> Self {
        Self { memory: Some((hidden, source)), ..self }
    }

    /// The same with dropout.
    pub fn with_dropout(self, dropout: &'a Dropout) -> Self {
        Self { dropout, ..self }
    }

    /// The same, beginning with what enters a block.
    pub fn from(self, entry: Entry) -> Self {
        Self { entry, ..self }
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

    /// Of a cache of one text, the first `places` of it, so many times: what copies begin with that differ behind them.
    pub fn prefix(&self, places: usize, copies: usize) -> Self {
        let of_layer = |LayerCache { own, memory }: &LayerCache<B>| LayerCache {
            own: own.as_ref().filter(|_| places > 0).map(|own| own.prefix(places, copies)),
            memory: memory.as_ref().map(|memory| memory.prefix(memory.width(), copies)),
        };
        Self { layers: self.layers.iter().map(of_layer).collect(), width: places }
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

/// A forward pass under way, and what was made on it.
struct Run<B: Backend> {
    last: Tensor<B, 2>,
    tables: Tables<B>,
    before_norm: Option<Tensor<B, 2>>,
    embedding_mask: Option<Tensor<B, 2>>,
    unnormalized: Tensor<B, 2>,
    last_mask: Option<Tensor<B, 2>>,
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
    /// - `embedded`: `[texts · places, embedding]`; what enters a block, `[texts · places, hidden]`, if the pass begins there
    ///
    /// # Errors
    /// [`ModelError::Input`] for a text longer than the model has positions, a decoder without the encoder's output that it reads, sources or
    /// noisy passes that are not one per text, rates outside [0, 1), a layer that the model hasn't, or a cache that has all of the batch.
    pub fn forward(&self, embedded: Tensor<B, 2>, pass: Pass<B>) -> Result<StackOutput<B>, ModelError> {
        let trace = pass.trace;
        let mut output =
            StackOutput { last: embedded, hidden_states: vec![], self_attentions: vec![], cross_attentions: vec![] };
        let run = self.run(output.last, pass, |layer, tape, tables, _| {
            if trace.hidden_states {
                output.hidden_states.push(tape.input().clone());
            }
            if trace.attentions {
                let [own, memory] = self.blocks[layer].probabilities(&tape, self.visible(tables, layer), tables);
                output.self_attentions.extend(own);
                output.cross_attentions.extend(memory);
            }
        })?;
        output.last = run.last;
        Ok(output)
    }

    /// Runs the stack and keeps what [`pull_back`](Self::pull_back) needs; the last hidden states with it.
    ///
    /// # Shapes
    /// - `embedded`: as in [`forward`](Self::forward)
    /// - result: `[texts · places, hidden]`, or the embeddings' own width
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn record(
        &self,
        embedded: Tensor<B, 2>,
        pass: Pass<B>,
        keep: Keep,
    ) -> Result<(Tensor<B, 2>, StackTape<B>), ModelError> {
        let batch = pass.batch.clone();
        let memory = pass.memory.map(|(hidden, source)| (hidden.clone(), source.clone()));
        let (dropout, entry) = (pass.dropout.clone(), pass.entry);
        let mut layers = Vec::with_capacity(self.blocks.len());
        let run = self.run(embedded, pass, |_, tape, _, _| {
            layers.push(match keep {
                Keep::Inputs => LayerTape::Input(tape.input().clone()),
                Keep::Everything => LayerTape::Whole(Box::new(tape)),
            });
        })?;
        let Run { last, tables, before_norm, embedding_mask, unnormalized, last_mask } = run;
        let tape = StackTape {
            batch,
            memory,
            dropout,
            entry,
            tables,
            before_norm,
            embedding_mask,
            layers,
            unnormalized,
            last_mask,
        };
        Ok((last, tape))
    }

    /// Runs the stack without dropout and shows each block's inside on the way; the last hidden states are the result.
    ///
    /// # Shapes
    /// - `embedded`: as in [`forward`](Self::forward)
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn look_inside(
        &self,
        embedded: Tensor<B, 2>,
        pass: Pass<B>,
        each: &mut dyn FnMut(Inside<'_, B>),
    ) -> Result<Tensor<B, 2>, ModelError> {
        let pass = Pass { dropout: &Dropout::Off, cache: None, ..pass };
        let run = self.run(embedded, pass, |layer, tape, tables, output| {
            each(Inside { stack: self, layer, tape: &tape, tables, output });
        })?;
        Ok(run.last)
    }

    fn run(
        &self,
        embedded: Tensor<B, 2>,
        pass: Pass<B>,
        mut each: impl FnMut(usize, BlockTape<B>, &Tables<B>, &Tensor<B, 2>),
    ) -> Result<Run<B>, ModelError> {
        let Pass { batch, memory, dropout, entry, mut cache, .. } = pass;
        let cached = cache.as_ref().map_or(0, |cache| cache.width);
        let source = memory.map(|(_, source)| source);
        self.check(batch, source, dropout, entry, cached)?;
        let places = batch.width() - cached;
        let (device, dtype) = (embedded.device(), embedded.dtype());
        let masks = self.masks(batch, dropout, places, dtype);
        let mut run = Run {
            unnormalized: embedded.clone(),
            last: embedded,
            tables: Tables::new(
                &self.config,
                self.relative_bias.as_ref(),
                self.is_decoder,
                batch,
                source,
                (places, dtype, &device),
            ),
            before_norm: None,
            embedding_mask: None,
            last_mask: None,
        };
        if entry == Entry::Embeddings {
            self.enter(&mut run, batch, &masks);
        }
        for layer in entry.layer()..self.blocks.len() {
            let around = Surroundings {
                cache: cache.as_mut().map(|cache| &mut cache.layers[layer]),
                ..self.surroundings(layer, &run.tables, memory, &masks, &device)
            };
            let tape;
            (run.last, tape) = self.blocks[layer].forward(run.last, around);
            each(layer, tape, &run.tables, &run.last);
        }
        if let Some(cache) = cache {
            cache.width = batch.width();
        }
        run.unnormalized = run.last.clone();
        if let Some(norm) = &self.final_norm {
            run.last = norm.forward(run.last);
        }
        run.last_mask = masks.multipliers(0, Site::Final, masks.rates().last, self.hidden, &device);
        if let Some(mask) = &run.last_mask {
            run.last = run.last * mask.clone();
        }
        if let Some(project_out) = &self.project_out {
            run.last = project_out.forward(run.last);
        }
        Ok(run)
    }

    /// From embeddings to what enters the first block.
    fn enter(&self, run: &mut Run<B>, batch: &TokenBatch, masks: &Masks) {
        let mut x = run.last.clone();
        let (places, dtype, device) = (masks.places, x.dtype(), x.device());
        if let Some(project_in) = &self.project_in {
            x = project_in.forward(x);
        }
        if let (Some(table), Positions::Learned { offset, .. }) = (&self.positions, &self.config.positions) {
            x = x + table.clone().select(0, positions::learned_rows(batch, places, *offset, &device));
        }
        if let Some(sinusoids) = self.config.positions.sinusoids(batch, places, self.hidden, dtype, &device) {
            x = x + sinusoids;
        }
        if let Some(norm) = &self.embedding_norm {
            run.before_norm = Some(x.clone());
            x = norm.forward(x);
        }
        run.embedding_mask = masks.multipliers(0, Site::Embedding, masks.rates().embedding, self.hidden, &device);
        if let Some(mask) = &run.embedding_mask {
            x = x * mask.clone();
        }
        run.last = x;
    }

    /// Pulls cotangents of the last hidden states back to what the pass began with, and to the encoder's output. Under
    /// [`Rule::DeepLift`] the baseline is a pass over as many places.
    ///
    /// # Shapes
    /// - `grad`: `[texts · cotangents, hidden]` if each has a place of its own, the same in all texts; else `[texts · cotangents · places, hidden]`
    /// - result: `[texts · cotangents · places, embedding]`, or hidden size where the pass began at a block; `[texts · cotangents · source width,
    ///   hidden]`
    ///
    /// # Panics
    /// If shapes don't fit the tape, or a baseline's pass the other.
    pub fn pull_back(
        &self,
        tape: &StackTape<B>,
        rule: Rule<&StackTape<B>>,
        grad: Tensor<B, 2>,
        origin: Origin,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        self.pull_back_watched(tape, rule, grad, origin, None)
    }

    /// [`pull_back`](Self::pull_back) that shows what passes through attention.
    pub(crate) fn pull_back_watched(
        &self,
        tape: &StackTape<B>,
        rule: Rule<&StackTape<B>>,
        grad: Tensor<B, 2>,
        origin: Origin,
        watch: Option<&Watch<'_, B>>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        let texts = tape.batch.len();
        let (width, device) = (tape.batch.width(), grad.device());
        let per_text = match origin {
            Origin::Places(places) => places.len(),
            Origin::Everywhere { cotangents } => cotangents,
        };
        let cotangents = Cotangents { texts, per_text };
        let mut rows = match origin {
            Origin::Places(places) => Some(Rows::new(texts, width, places, &device)),
            Origin::Everywhere { .. } => None,
        };
        let tape = Saved { here: tape, rule };
        let mut grad = match &self.project_out {
            Some(project_out) => project_out.backward(grad),
            None => grad,
        };
        let at = |x: &Tensor<B, 2>| rows.as_ref().map_or_else(|| x.clone(), |rows| rows.of(x));
        let over = if rows.is_some() { Cotangents::one_each(1) } else { cotangents };
        if let Some(mask) = &tape.here.last_mask {
            grad = scaled(grad, at(mask), over);
        }
        if let Some(norm) = &self.final_norm {
            let x = tape.part(|tape| &tape.unnormalized);
            grad = x.made(at, |x| norm.backward(x, grad, over));
        }
        if let (Rule::DeepLift { .. }, Some(single)) =
            (tape.rule, rows.take_if(|_| matches!(tape.rule, Rule::DeepLift { .. })))
        {
            // Multipliers compare passes place by place.
            grad = single.spread(grad);
        }
        let mut single = rows.as_ref().map(|rows| tape.here.tables.rows(rows, &device));

        let mut to_memory: Option<Tensor<B, 2>> = None;
        for (layer, block) in self.blocks.iter().enumerate().skip(tape.here.entry.layer()).rev() {
            let tables = &tape.here.tables;
            let queries = single.as_ref().unwrap_or(tables);
            let sight = Sight {
                visible: self.visible(queries, layer),
                bias: queries.bias.as_ref(),
                rotation: tables.rotation.as_ref(),
                query_rotation: queries.rotation.as_ref(),
                cotangents,
                own: rows.is_some(),
                watched: watch.map(|watch| Watched { watch, kind: AttentionKind::Own, layer }),
            };
            let memory = queries.memory.as_ref().map(|visible| Sight {
                visible,
                bias: None,
                rotation: None,
                query_rotation: None,
                watched: watch.map(|watch| Watched { watch, kind: AttentionKind::Cross, layer }),
                ..sight
            });
            let sights = Sights { own: sight, memory, rows: rows.as_ref() };
            let to;
            (grad, to) = tape.made(
                |tape| self.inside(tape, layer),
                |inside| block.backward(inside.part(|inside| &**inside), grad, sights),
            );
            to_memory = match (to_memory, to) {
                (Some(sum), Some(to)) => Some(sum + to),
                (sum, to) => sum.or(to),
            };
            // Below the last block, every place has cotangents.
            (rows, single) = (None, None);
        }
        if let Some(rows) = rows {
            grad = rows.spread(grad);
        }
        if tape.here.entry != Entry::Embeddings {
            return (grad, to_memory);
        }
        if let Some(mask) = &tape.here.embedding_mask {
            grad = scaled(grad, mask.clone(), cotangents);
        }
        if let (Some(norm), Some(x)) = (&self.embedding_norm, tape.optional(|tape| tape.before_norm.as_ref())) {
            grad = norm.backward(x, grad, cotangents);
        }
        if let Some(project_in) = &self.project_in {
            grad = project_in.backward(grad);
        }
        (grad, to_memory)
    }

    /// What a layer's backward reads: kept, or computed again.
    fn inside<'a>(&self, tape: &'a StackTape<B>, layer: usize) -> Cow<'a, BlockTape<B>> {
        match &tape.layers[layer - tape.entry.layer()] {
            LayerTape::Whole(inside) => Cow::Borrowed(inside),
            LayerTape::Input(x) => {
                let masks = self.masks(&tape.batch, &tape.dropout, tape.batch.width(), x.dtype());
                let memory = tape.memory.as_ref().map(|(hidden, source)| (hidden, source));
                let around = self.surroundings(layer, &tape.tables, memory, &masks, &x.device());
                Cow::Owned(self.blocks[layer].forward(x.clone(), around).1)
            }
        }
    }

    fn masks<'a>(&self, batch: &'a TokenBatch, dropout: &'a Dropout, places: usize, dtype: DType) -> Masks<'a> {
        let stack = if self.is_decoder { MaskedStack::Decoder } else { MaskedStack::Encoder };
        Masks { dropout, published: self.config.dropout, stack, batch, places, dtype }
    }

    /// What self-attention of a layer sees.
    pub(super) fn visible<'a>(&self, tables: &'a Tables<B>, layer: usize) -> &'a Visible<B> {
        tables.own(self.config.attention.windows[layer])
    }

    fn surroundings<'a>(
        &self,
        layer: usize,
        tables: &'a Tables<B>,
        memory: Option<(&'a Tensor<B, 2>, &TokenBatch)>,
        masks: &'a Masks<'a>,
        device: &B::Device,
    ) -> Surroundings<'a, B> {
        let heads = self.config.attention.n_heads;
        let dropout = |site, keys| masks.attention(layer, site, heads, keys, device);
        let memory = memory.zip(tables.memory.as_ref()).map(|((hidden, source), visible)| {
            let dropout = dropout(Site::CrossAttention, source);
            (hidden, View { visible, bias: None, rotation: None, dropout })
        });
        let view = View {
            visible: self.visible(tables, layer),
            bias: tables.bias.as_ref(),
            rotation: tables.rotation.as_ref(),
            dropout: dropout(Site::SelfAttention, masks.batch),
        };
        Surroundings { view, memory, masks, cache: None }
    }

    /// Whether what a pass is given fits together, and the model.
    fn check(
        &self,
        batch: &TokenBatch,
        source: Option<&TokenBatch>,
        dropout: &Dropout,
        entry: Entry,
        cached: usize,
    ) -> Result<(), ModelError> {
        let wrong = |expected: String, found: String| Err(ModelError::Input { text: 0, expected, found });
        if cached >= batch.width() {
            let expected = format!("more than the {cached} tokens that were read");
            return wrong(expected, format!("{}", batch.width()));
        }
        if entry.layer() > self.blocks.len() {
            return wrong(format!("a layer up to {}", self.blocks.len()), entry.layer().to_string());
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
