//! What layer methods share: the residual stream behind a block takes the place of the embeddings.

use core::ops::Range;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::AttributionError;
use crate::engine::{Subject, Variants};
use crate::grid::Piece;

/// A stack of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackName {
    /// The encoder.
    Encoder,
    /// The decoder, or the only stack of a causal model.
    #[default]
    Decoder,
}

/// The residual stream behind one block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// Which stack.
    pub stack: StackName,
    /// Which block, counted from 0.
    pub layer: usize,
}

impl Layer {
    /// The text as it is, read from behind the block.
    pub(super) fn here<B: Backend>(
        self,
        subject: &Subject<'_, B>,
        steps: &Range<usize>,
    ) -> Result<Variants<B>, AttributionError> {
        subject.behind(self, &subject.input(steps), steps)
    }

    /// The baseline and the text as it is, read from behind the block. What the other stack reads is the text in both.
    pub(super) fn ends<B: Backend>(
        self,
        subject: &Subject<'_, B>,
        steps: &Range<usize>,
    ) -> Result<(Variants<B>, Variants<B>), AttributionError> {
        let here = self.here(subject, steps)?;
        let mut baseline = subject.behind(self, &subject.baseline(steps)?, steps)?;
        match self.stack {
            StackName::Encoder => baseline.target = here.target.clone(),
            StackName::Decoder => baseline.source = here.source.clone(),
        }
        Ok((baseline, here))
    }

    /// The scores of this stack's tokens.
    pub(super) fn of_stack<B: Backend>(self, piece: Piece<B>) -> Piece<B> {
        match self.stack {
            StackName::Encoder => Piece { target: None, ..piece },
            StackName::Decoder => Piece { source: None, ..piece },
        }
    }
}
