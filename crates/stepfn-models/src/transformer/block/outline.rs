//! The residual stream at each branch of a block: enough to make the block's tape again without its attention, which costs about half a forward pass.

use burn::tensor::{Tensor, backend::Backend};

use super::{Block, BlockAround, BlockTape};
use crate::transformer::branch::BranchTape;
use crate::transformer::places::Places;

/// What is kept of a block whose tape is made again.
#[derive(Debug, Clone)]
pub(crate) struct BlockOutline<B: Backend> {
    self_attention: BranchTape<B, ()>,
    cross_attention: Option<BranchTape<B, ()>>,
    feed_forward: BranchTape<B, ()>,
}

impl<B: Backend> BlockOutline<B> {
    /// The outline of a tape.
    pub(crate) fn of(tape: &BlockTape<B>) -> Self {
        Self {
            self_attention: tape.self_attention.outline(),
            cross_attention: tape.cross_attention.as_ref().map(BranchTape::outline),
            feed_forward: tape.feed_forward.outline(),
        }
    }

    /// What enters the block, `[texts · places, hidden]`.
    pub(crate) fn input(&self) -> &Tensor<B, 2> {
        &self.self_attention.x
    }

    /// The outline of a pass over the first places of each text.
    pub(crate) fn first(&self, places: &Places<B>) -> Self {
        Self {
            self_attention: self.self_attention.first(places, ()),
            cross_attention: self.cross_attention.as_ref().map(|cross| cross.first(places, ())),
            feed_forward: self.feed_forward.first(places, ()),
        }
    }
}

impl<B: Backend> Block<B> {
    /// The tape that an outline is of. `memory` is the encoder's output, if there is an encoder.
    pub(crate) fn completed(
        &self,
        outline: &BlockOutline<B>,
        memory: Option<&Tensor<B, 2>>,
        around: &BlockAround<B>,
    ) -> BlockTape<B> {
        let cross = self.cross_attention.as_ref().zip(outline.cross_attention.as_ref());
        BlockTape {
            self_attention: self.self_attention.completed(&outline.self_attention, None, &around.self_attention.body),
            cross_attention: cross
                .zip(around.cross_attention.as_ref())
                .map(|((cross, outline), around)| cross.completed(outline, memory, &around.body)),
            feed_forward: self.feed_forward.completed(&outline.feed_forward, None, &around.feed_forward.body),
        }
    }
}
