//! The inside of a block, shown on a pass through it: what its attention looks at, and what the block gives without one of the values that
//! attention reads. Only the layer that is shown is held in memory.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::Visible;

use super::Stack;
use super::attention::{Removals, View};
use super::block::{Block, BlockTape, Without};
use super::rows::Rows;
use super::tables::Tables;

/// One of the attentions of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Of a stack's tokens to each other.
    Own,
    /// Of a decoder's tokens to the encoder's.
    Cross,
}

/// A value that is taken away from one query: the block's output is asked for at the query, as if it read zeros at the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// The place that looks.
    pub query: usize,
    /// The place that is looked at.
    pub key: usize,
}

/// What a block is inside, on one pass.
#[derive(Debug)]
pub struct Inside<'a, B: Backend> {
    pub(super) stack: &'a Stack<B>,
    pub(super) layer: usize,
    pub(super) tape: &'a BlockTape<B>,
    pub(super) tables: &'a Tables<B>,
    pub(super) output: &'a Tensor<B, 2>,
}

impl<B: Backend> Inside<'_, B> {
    /// Whether it belongs to a decoder, or to the only stack of a causal model.
    pub fn is_of_decoder(&self) -> bool {
        self.stack.is_decoder
    }

    /// The block's number, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Whether no block follows.
    pub fn is_last(&self) -> bool {
        self.layer + 1 == self.stack.blocks.len()
    }

    /// The residual stream behind the block, `[texts · places, hidden]`.
    pub fn output(&self) -> &Tensor<B, 2> {
        self.output
    }

    /// The stack's final normalization of what this block gives; the same where the stack has none.
    ///
    /// # Shapes
    /// - `x`, result: `[rows, hidden]`
    pub fn finally_normalized(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.stack.final_norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// The keys that a query of a text sees; none of an attention that the block hasn't.
    ///
    /// # Panics
    /// If the pass has no such text or query.
    pub fn seen(&self, kind: AttentionKind, text: usize, query: usize) -> Range<usize> {
        self.visible(self.tables, kind).map_or(0..0, |visible| visible.range(text, query))
    }

    /// The probabilities with which some queries look at keys, before dropout; `None` for an attention that the block hasn't.
    ///
    /// # Shapes
    /// - result: `[texts, heads, queries, keys]`
    ///
    /// # Panics
    /// If the pass has no such query.
    pub fn probabilities(&self, kind: AttentionKind, queries: &[usize]) -> Option<Tensor<B, 4>> {
        let (rows, tables) = self.at(queries);
        let view = self.view(&tables, kind)?;
        self.block().probabilities_at(self.tape, kind, &rows, &view)
    }

    /// The block's output at some queries, each without one value in some heads, or in all: only the attention's output, its projection and
    /// what follows in the block are computed again, from the queries, keys and values of the pass. `None` for an attention that the block
    /// hasn't.
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
        assert_eq!(self.tables.texts(), 1, "values are taken away from one text");
        let mut queries: Vec<usize> = removals.iter().map(|removal| removal.query).collect();
        queries.dedup();
        let (rows, tables) = self.at(&queries);
        let view = self.view(&tables, kind)?;
        let removals = Removals::new(removals, heads, &queries, &self.output.device());
        self.block().without_values(self.tape, kind, &Without { removals, rows, view, memory: tables.memory.as_ref() })
    }

    fn block(&self) -> &Block<B> {
        &self.stack.blocks[self.layer]
    }

    /// Rows and tables of some queries.
    fn at(&self, queries: &[usize]) -> (Rows<B>, Tables<B>) {
        let (texts, width) = (self.tables.texts(), self.tables.places());
        let rows = Rows::new(texts, width, queries, &self.output.device());
        let tables = self.tables.rows(&rows, &self.output.device());
        (rows, tables)
    }

    fn visible<'t>(&self, tables: &'t Tables<B>, kind: AttentionKind) -> Option<&'t Visible<B>> {
        match kind {
            AttentionKind::Own => Some(self.stack.visible(tables, self.layer)),
            AttentionKind::Cross => tables.memory.as_ref(),
        }
    }

    fn view<'t>(&self, tables: &'t Tables<B>, kind: AttentionKind) -> Option<View<'t, B>> {
        let bias = tables.bias.as_ref().filter(|_| kind == AttentionKind::Own);
        Some(View { visible: self.visible(tables, kind)?, bias, rotation: None, dropout: None })
    }
}
