//! A stack of blocks: embeddings and positions, blocks, final normalization; an encoder, or a decoder with or without one.

mod backward;
mod pass;

use burn::tensor::{DType, Tensor, backend::Backend};
use stepfn_kernels::attention::Visible;
use stepfn_kernels::dropout::{DropRate, Site, Stack as MaskedStack};

use super::attention::View;
use super::block::{Block, BlockTape, LayerCache, Surroundings};
use super::dropout::Masks;
use super::inside::Inside;
use super::norm::Norm;
use super::positions;
use super::tables::Tables;
use super::tape::{Entry, Keep, LayerTape, StackTape};
use super::{Dropout, Linear, TokenBatch};
use crate::ModelError;
use crate::config::{Positions, StackConfig};
use crate::parameters::Parameters;

pub use pass::{Cache, Pass, StackOutput, Trace};

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
