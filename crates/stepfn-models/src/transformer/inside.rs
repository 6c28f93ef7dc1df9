//! The inside of a block on a pass through it: what its attention looks at, and what the block would compute without one of the values that
//! attention reads. Only one layer is in memory at a time.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use super::Stack;
use super::attention::Removals;
use super::block::{Block, BlockAround, BlockTape, Without};
use super::places::Places;
use super::view::View;

/// One of the attentions of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Of a stack's tokens to each other.
    Own,
    /// Of a decoder's tokens to the encoder's.
    Cross,
}

/// A value removed from one query: the block's output at the query, as if it read zeros at the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// The place that looks.
    pub query: usize,
    /// The place that is looked at.
    pub key: usize,
}

/// The inside of one block on one pass.
#[derive(Debug)]
pub struct Inside<'a, B: Backend> {
    pub(super) stack: &'a Stack<B>,
    pub(super) layer: usize,
    pub(super) tape: &'a BlockTape<B>,
    pub(super) around: &'a BlockAround<B>,
    pub(super) output: &'a Tensor<B, 2>,
}

impl<B: Backend> Inside<'_, B> {
    /// Whether the block belongs to a decoder, or to the only stack of a causal model.
    pub fn is_of_decoder(&self) -> bool {
        self.stack.is_decoder
    }

    /// The block's number, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Whether this is the last block of its stack.
    pub fn is_last(&self) -> bool {
        self.layer + 1 == self.stack.blocks.len()
    }

    /// The residual stream after the block, `[texts · places, hidden]`.
    pub fn output(&self) -> &Tensor<B, 2> {
        self.output
    }

    /// The stack's final normalization, if it has one, of what this block computes.
    ///
    /// # Shapes
    /// - `x`, result: `[rows, hidden]`
    pub fn finally_normalized(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.stack.final_norm {
            Some(norm) => norm.apply(x),
            None => x,
        }
    }

    /// The keys that a query of a text sees; none if the block lacks this attention.
    ///
    /// # Panics
    /// If the pass has no such text or query.
    pub fn seen(&self, kind: AttentionKind, text: usize, query: usize) -> Range<usize> {
        self.around.view(kind).map_or(0..0, |view| view.visible.range(text, query))
    }

    /// The probabilities with which some queries look at keys, before dropout; `None` if the block lacks this attention.
    ///
    /// # Shapes
    /// - result: `[texts, heads, queries, keys]`
    ///
    /// # Panics
    /// If the pass has no such query.
    pub fn probabilities(&self, kind: AttentionKind, queries: &[usize]) -> Option<Tensor<B, 4>> {
        let places = self.places(queries);
        let view = self.around.view(kind)?.rows(&places);
        self.block().probabilities_at(self.tape, kind, &places, &view)
    }

    /// The block's output at some queries, each without one value in some heads, or in all: only the attention's output, its projection and
    /// what follows in the block are computed again, from the queries, keys and values of the pass. `None` if the block lacks this attention.
    ///
    /// # Shapes
    /// - result: `[removals, hidden]`
    ///
    /// # Panics
    /// If the pass has other than one text, or no such query, key or head.
    pub fn without_values(
        &self,
        kind: AttentionKind,
        removals: &[Removal],
        heads: Option<&[usize]>,
    ) -> Option<Tensor<B, 2>> {
        assert_eq!(self.own().visible.texts(), 1, "values are removed from one text");
        let mut queries: Vec<usize> = removals.iter().map(|removal| removal.query).collect();
        queries.dedup();
        let places = self.places(&queries);
        let view = self.around.view(kind)?.rows(&places);
        let removals = Removals::new(removals, heads, &queries, &self.output.device());
        let memory = self.around.view(AttentionKind::Cross);
        self.block().without_values(self.tape, kind, &Without { removals, places, view, memory })
    }

    fn block(&self) -> &Block<B> {
        &self.stack.blocks[self.layer]
    }

    fn own(&self) -> &View<B> {
        &self.around.self_attention.body
    }

    fn places(&self, queries: &[usize]) -> Places<B> {
        let visible = &self.own().visible;
        Places::new(queries, visible.texts(), visible.queries(), &self.output.device())
    }
}
