//! The tape of a pass through a stack: what any number of cotangents need on their way back.
//!
//! A tape belongs to one batch of texts, and all cotangents share it. It may keep only what enters each branch of a block: then queries, keys, values and
//! the inside of the feed-forward network are computed again when cotangents reach the block, each time the tape is used.

use burn::tensor::{Tensor, backend::Backend};

use crate::transformer::block::{Block, BlockAround, BlockOutline, BlockTape};
use crate::transformer::front::{Front, Gradients, Starts};
use crate::transformer::part::Part;
use crate::transformer::places::Places;
use crate::transformer::tables::Tables;
use crate::transformer::{Dropout, TokenBatch};

/// What a pass through a stack starts with.
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
    /// All that the way back through every block reads.
    #[default]
    Everything,
    /// The same of the last so many blocks of each stack. Of the others, what enters their branches: the rest is computed again on the way back.
    Blocks(usize),
}

/// The tape of one stack.
#[derive(Debug, Clone)]
pub(crate) struct StackTape<B: Backend> {
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
    /// The residual stream after the last block, which the final normalization reads where there is one.
    pub(super) unnormalized: Tensor<B, 2>,
    pub(super) last_mask: Option<Tensor<B, 2>>,
}

impl<B: Backend> StackTape<B> {
    /// The first places of each text.
    pub(crate) fn places(&self, places: usize) -> Places<B> {
        Places::first(places, self.batch.len(), self.batch.width(), &self.unnormalized.device())
    }

    /// Cotangents that start at some places of the last hidden states.
    pub(crate) fn start(&self, grad: Tensor<B, 2>, starts: &Starts) -> Gradients<B> {
        let front = Front::new(starts, self.batch.len(), self.batch.width(), &grad.device());
        Gradients::new(grad, front)
    }

    /// The tape of a pass over the first places of each text: in causal order they know nothing of the others.
    pub(crate) fn first(&self, places: usize) -> Self {
        let places = &self.places(places);
        let tables = self.tables.first(places);
        let layer = |layer: &LayerTape<B>| match layer {
            LayerTape::Outline(outline) => LayerTape::Outline(Box::new(outline.first(places))),
            LayerTape::Whole(recorded) => LayerTape::Whole(Box::new(Recorded {
                tape: Block::first(&recorded.tape, places),
                around: recorded.around.first(places, &tables),
            })),
        };
        Self {
            batch: self.batch.first(places.len()),
            memory: self.memory.clone(),
            dropout: self.dropout.clone(),
            entry: self.entry,
            before_norm: places.of_optional(&self.before_norm),
            embedding_mask: places.of_optional(&self.embedding_mask),
            layers: self.layers.iter().map(layer).collect(),
            unnormalized: places.of(&self.unnormalized),
            last_mask: places.of_optional(&self.last_mask),
            tables,
        }
    }

    /// The residual stream before a block, or after the last.
    pub(crate) fn residual(&self, layer: usize) -> Tensor<B, 2> {
        match self.layers.get(layer - self.entry.layer()) {
            Some(LayerTape::Outline(outline)) => outline.input().clone(),
            Some(LayerTape::Whole(recorded)) => recorded.tape.input().clone(),
            None => self.unnormalized.clone(),
        }
    }
}

/// What is kept of one block.
#[derive(Debug, Clone)]
pub(super) enum LayerTape<B: Backend> {
    /// What enters its branches.
    Outline(Box<BlockOutline<B>>),
    /// All that the way back reads.
    Whole(Box<Recorded<B>>),
}

/// A block's tape, and what surrounded the block.
#[derive(Debug, Clone)]
pub(super) struct Recorded<B: Backend> {
    pub(super) tape: BlockTape<B>,
    pub(super) around: BlockAround<B>,
}
