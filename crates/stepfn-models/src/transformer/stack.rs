//! A stack of blocks: embeddings and positions, blocks, final normalization. It is an encoder, or a decoder with or without one.

mod backward;
mod check;
mod pass;
mod run;
mod tape;

use burn::tensor::{DType, Tensor, backend::Backend};
use stepfn_kernels::dropout::{Site, Stack as MaskedStack};
use stepfn_kernels::weight::Weight;

use super::block::{Block, BlockAround, BlockOutline};
use super::branch::BranchAround;
use super::dropout::Masks;
use super::inside::Inside;
use super::norm::Norm;
use super::tables::{Sees, Tables};
use super::{Dropout, Linear, TokenBatch};
use crate::ModelError;
use crate::config::{Positions, StackConfig};
use crate::parameters::Parameters;
use run::Run;
use tape::{LayerTape, Recorded};

pub use pass::{Cache, Pass, StackOutput, Trace};
pub(crate) use tape::StackTape;
pub use tape::{Entry, Keep};

/// An encoder or a decoder.
#[derive(Debug)]
pub struct Stack<B: Backend> {
    config: StackConfig,
    hidden: usize,
    pub(super) is_decoder: bool,
    /// Whether blocks read an encoder's output.
    cross: bool,
    device: B::Device,
    embedding: Weight<B>,
    positions: Option<Tensor<B, 2>>,
    project_in: Option<Linear<B>>,
    project_out: Option<Linear<B>>,
    embedding_norm: Option<Norm<B>>,
    /// None, one for all layers, or one for each.
    relative_bias: Vec<Tensor<B, 2>>,
    pub(super) blocks: Vec<Block<B>>,
    pub(super) final_norm: Option<Norm<B>>,
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
        // Of the embeddings with positions.
        let entering = if config.projected_last { width } else { hidden };
        let norm = |part: &str, present: bool, size: usize| match present {
            true => Norm::load(parameters, &format!("{name}.{part}"), size, config.norm).map(Some),
            false => Ok(None),
        };
        let matrix = |part: &str, shape| parameters.matrix(&format!("{name}.{part}"), shape, None);
        let projection = |part: &str, shape| match config.embedding_size {
            Some(_) => {
                Linear::load(parameters, &format!("{name}.{part}"), shape, config.projected_last, None).map(Some)
            }
            None => Ok(None),
        };
        let mut positions = match config.positions.learned() {
            Some([rows, _]) => Some(matrix("positions", [rows, entering])?),
            None => None,
        };
        if let (Some(positions), Some(types)) = (&mut positions, config.token_types) {
            *positions = positions.clone() + matrix("token_types", [types, entering])?.slice(0..1);
        }
        let blocks = (0..config.n_layers)
            .map(|layer| Block::load(parameters, &format!("{name}.layers.{layer}"), hidden, config, cross, layer))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hidden,
            is_decoder: name == "decoder",
            cross,
            device: parameters.device(),
            embedding: parameters.weight(&format!("{name}.embedding"), [vocab, width], None)?,
            positions,
            project_in: projection("project_in", [width, hidden])?,
            project_out: if config.projected_last { None } else { projection("project_out", [hidden, width])? },
            embedding_norm: norm("embedding_norm", config.embedding_norm, entering)?,
            relative_bias: match config.positions {
                Positions::RelativeBias { buckets, by_layer, .. } => {
                    let table = |part: &str| matrix(part, [buckets, config.attention.n_heads]);
                    match by_layer {
                        true => (0..config.n_layers)
                            .map(|layer| table(&format!("layers.{layer}.relative_bias")))
                            .collect::<Result<_, _>>()?,
                        false => vec![table("relative_bias")?],
                    }
                }
                _ => vec![],
            },
            final_norm: norm("final_norm", config.final_norm, hidden)?,
            blocks,
            config: config.clone(),
        })
    }

    /// Tokens in the vocabulary that it reads.
    pub fn vocab_size(&self) -> usize {
        let [tokens, _] = self.embedding.size();
        tokens
    }

    /// The device of the parameters.
    pub(crate) fn device(&self) -> B::Device {
        self.device.clone()
    }

    /// An empty cache.
    pub fn cache(&self) -> Cache<B> {
        Cache::new(self.blocks.len())
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
        let embedded = self.embedding.select(batch.ids(places), &self.device);
        if self.config.embedding_scale == 1.0 { embedded } else { embedded.mul_scalar(self.config.embedding_scale) }
    }

    /// Runs the stack on embeddings: all places of the batch, or those that are not in the cache.
    ///
    /// # Shapes
    /// - `embedded`: `[texts · places, embedding]`; `[texts · places, hidden]` if the pass starts at a block
    ///
    /// # Errors
    /// [`ModelError::Input`] if a text is longer than the model has positions; if a decoder that reads an encoder's output has none; if there is
    /// not one source, and one noisy pass, for each text; if a rate is outside [0, 1); if the pass starts after the last block; or if the cache
    /// already has all of the batch.
    pub fn forward(&self, embedded: Tensor<B, 2>, pass: Pass<B>) -> Result<StackOutput<B>, ModelError> {
        let trace = pass.trace;
        let mut output =
            StackOutput { last: embedded, hidden_states: vec![], self_attentions: vec![], cross_attentions: vec![] };
        let run = self.run(output.last, pass, |layer, Recorded { tape, around }, _| {
            if trace.hidden_states {
                output.hidden_states.push(tape.input().clone());
            }
            if trace.attentions {
                let [own, memory] = self.blocks[layer].probabilities(&tape, &around);
                output.self_attentions.extend(own);
                output.cross_attentions.extend(memory);
            }
        })?;
        output.last = run.last;
        Ok(output)
    }

    /// Runs the stack and keeps what [`pull_back`](Self::pull_back) needs; also returns the last hidden states.
    ///
    /// # Shapes
    /// - `embedded`: as in [`forward`](Self::forward)
    /// - result: `[texts · places, hidden]`, or the width of the embeddings where they have one of their own
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(crate) fn record(
        &self,
        embedded: Tensor<B, 2>,
        pass: Pass<B>,
        keep: Keep,
    ) -> Result<(Tensor<B, 2>, StackTape<B>), ModelError> {
        let batch = pass.batch.clone();
        let memory = pass.memory.map(|(hidden, source)| (hidden.clone(), source.clone()));
        let (dropout, entry) = (pass.dropout.clone(), pass.entry);
        let mut layers = Vec::with_capacity(self.blocks.len());
        let first = match keep {
            Keep::Everything => 0,
            Keep::Blocks(blocks) => self.blocks.len().saturating_sub(blocks),
        };
        let run = self.run(embedded, pass, |layer, recorded, _| {
            layers.push(match layer < first {
                true => LayerTape::Outline(Box::new(BlockOutline::of(&recorded.tape))),
                false => LayerTape::Whole(Box::new(recorded)),
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

    /// Runs the stack without dropout and shows the inside of each block on the way; the last hidden states are the result.
    ///
    /// # Shapes
    /// - `embedded`: as in [`forward`](Self::forward)
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(crate) fn look_inside(
        &self,
        embedded: Tensor<B, 2>,
        pass: Pass<B>,
        each: &mut dyn FnMut(Inside<'_, B>),
    ) -> Result<Tensor<B, 2>, ModelError> {
        let pass = Pass { dropout: &Dropout::Off, cache: None, ..pass };
        let run = self.run(embedded, pass, |layer, Recorded { tape, around }, output| {
            each(Inside { stack: self, layer, tape: &tape, around: &around, output });
        })?;
        Ok(run.last)
    }

    /// What the layers of a pass over the last `places` of every text see of `keys` places.
    fn tables(&self, batch: &TokenBatch, source: Option<&TokenBatch>, places: [usize; 2], dtype: DType) -> Tables<B> {
        let device = self.device();
        Tables::new(&self.config, &self.relative_bias, batch, source, (places, dtype, &device))
    }

    fn masks<'a>(&self, batch: &'a TokenBatch, dropout: &'a Dropout, places: usize, dtype: DType) -> Masks<'a> {
        let stack = if self.is_decoder { MaskedStack::Decoder } else { MaskedStack::Encoder };
        Masks { dropout, published: self.config.dropout, stack, batch, places, dtype }
    }

    /// What surrounds the block of a layer.
    fn around(
        &self,
        layer: usize,
        tables: &Tables<B>,
        source: Option<&TokenBatch>,
        masks: &Masks<'_>,
        device: &B::Device,
    ) -> BlockAround<B> {
        let (rates, heads) = (masks.rates(), self.config.attention.n_heads);
        let residual = |site, rate| masks.multipliers(layer, site, rate, self.hidden, device);
        let attention = |site, keys: &TokenBatch| masks.attention(layer, site, heads, keys, device);
        // Of experts, one after the other; none that is shared has dropout.
        let size = match self.config.experts.as_ref().filter(|_| self.config.has_experts(layer)) {
            Some(experts) => experts.per_token * experts.size,
            None => self.config.feed_forward.size,
        };
        let window = self.config.attention.windows[layer];
        let sees = Sees { window, layer, rotation: self.config.positions.rotation_of(layer) };
        let cross_attention = source.and_then(|source| {
            let body = tables.memory(attention(Site::CrossAttention, source))?;
            Some(BranchAround { body, mask: residual(Site::CrossAttentionOutput, rates.residual) })
        });
        BlockAround {
            self_attention: BranchAround {
                body: tables.own(sees, attention(Site::SelfAttention, masks.batch)),
                mask: residual(Site::SelfAttentionOutput, rates.residual),
            },
            cross_attention,
            feed_forward: BranchAround {
                body: masks.multipliers(layer, Site::Activation, rates.activation, size, device),
                mask: residual(Site::FeedForwardOutput, rates.residual.or(rates.feed_forward)),
            },
            sees,
        }
    }

    /// The tables of a pass over a batch, and what surrounds the first block in it.
    #[cfg(test)]
    pub(super) fn surroundings(
        &self,
        batch: &TokenBatch,
        source: Option<&TokenBatch>,
        dropout: &Dropout,
        dtype: DType,
    ) -> (Tables<B>, BlockAround<B>) {
        let tables = self.tables(batch, source, [batch.width(); 2], dtype);
        let masks = self.masks(batch, dropout, batch.width(), dtype);
        let around = self.around(0, &tables, source, &masks, &self.device());
        (tables, around)
    }
}
