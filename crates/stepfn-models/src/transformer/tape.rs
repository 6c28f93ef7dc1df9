//! What a forward pass leaves behind so that any number of cotangents can be pulled back through it.
//!
//! A tape belongs to one batch of texts; the backward rules of the parts read it, and share it between all cotangents. It may keep only what
//! enters each block: then a block is run again when cotangents come to it, which costs one forward more for each time the tape is used.

use burn::tensor::{Tensor, backend::Backend};

use super::block::BlockTape;
use super::rows::{First, Places};
use super::tables::Tables;
use super::{Dropout, TokenBatch};

/// What a pass through a stack begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Entry {
    /// Token embeddings, scaled, before positions.
    #[default]
    Embeddings,
    /// What enters this block, counted from 0: the residual stream.
    Layer(usize),
}

impl Entry {
    /// The first block that the pass goes through.
    pub(crate) fn layer(self) -> usize {
        match self {
            Entry::Embeddings => 0,
            Entry::Layer(layer) => layer,
        }
    }
}

/// How much a tape keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// All that the backward of every block reads.
    #[default]
    Everything,
    /// What enters each block; the rest is computed again.
    Inputs,
}

/// Where cotangents start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Each at a place of its own, the same in all texts: that which predicts its step.
    Places(&'a [usize]),
    /// Each at all places.
    Everywhere {
        /// How many there are for each text.
        cotangents: usize,
    },
}

/// What a pass through one stack leaves behind.
#[derive(Debug, Clone)]
pub struct StackTape<B: Backend> {
    pub(super) batch: TokenBatch,
    pub(super) memory: Option<(Tensor<B, 2>, TokenBatch)>,
    pub(super) dropout: Dropout,
    pub(super) entry: Entry,
    pub(super) tables: Tables<B>,
    /// What the normalization of the embeddings reads.
    pub(super) before_norm: Option<Tensor<B, 2>>,
    pub(super) embedding_mask: Option<Tensor<B, 2>>,
    /// From the first block that the pass went through.
    pub(super) layers: Vec<LayerTape<B>>,
    /// The residual stream behind the last block, which the final normalization reads where there is one.
    pub(super) unnormalized: Tensor<B, 2>,
    pub(super) last_mask: Option<Tensor<B, 2>>,
}

impl<B: Backend> StackTape<B> {
    /// The first places of each text.
    pub(crate) fn places(&self, places: usize) -> First<B> {
        First::new(places, self.batch.len(), self.batch.width(), &self.unnormalized.device())
    }

    /// What a pass over these places alone would have left behind: in causal order they know of no others.
    pub(crate) fn first(&self, first: &First<B>) -> Self {
        let layer = |layer: &LayerTape<B>| match layer {
            LayerTape::Input(x) => LayerTape::Input(first.of(x)),
            LayerTape::Whole(inside) => LayerTape::Whole(Box::new(inside.first(first))),
        };
        Self {
            batch: self.batch.first(first.len()),
            memory: self.memory.clone(),
            dropout: self.dropout.clone(),
            entry: self.entry,
            tables: self.tables.first(first, &self.unnormalized.device()),
            before_norm: first.of_optional(&self.before_norm),
            embedding_mask: first.of_optional(&self.embedding_mask),
            layers: self.layers.iter().map(layer).collect(),
            unnormalized: first.of(&self.unnormalized),
            last_mask: first.of_optional(&self.last_mask),
        }
    }

    /// The residual stream before a block, or behind the last.
    pub(crate) fn residual(&self, layer: usize) -> Tensor<B, 2> {
        match self.layers.get(layer - self.entry.layer()) {
            Some(LayerTape::Input(x)) => x.clone(),
            Some(LayerTape::Whole(inside)) => inside.input().clone(),
            None => self.unnormalized.clone(),
        }
    }
}

/// What is kept of one block.
#[derive(Debug, Clone)]
pub(super) enum LayerTape<B: Backend> {
    /// What enters it, `[texts · places, hidden]`.
    Input(Tensor<B, 2>),
    /// All that its backward reads.
    Whole(Box<BlockTape<B>>),
}
