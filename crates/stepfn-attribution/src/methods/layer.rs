//! What layer methods share: the residual stream after a block takes the place of the embeddings.

use burn::tensor::backend::Backend;

use crate::{AttributionError, Layer, Passes, StackName, StepRows, Steps, Variants};

impl Layer {
    /// The unchanged text, as the output of the block.
    pub(super) fn here<B: Backend>(
        self,
        passes: &Passes<'_, B>,
        steps: Steps,
    ) -> Result<Variants<B>, AttributionError> {
        passes.after(self, &passes.input(steps), steps)
    }

    /// The baseline and the unchanged text, as outputs of the block. The other stack reads the text in both.
    pub(super) fn ends<B: Backend>(
        self,
        passes: &Passes<'_, B>,
        steps: Steps,
    ) -> Result<(Variants<B>, Variants<B>), AttributionError> {
        let here = self.here(passes, steps)?;
        let mut baseline = passes.after(self, &passes.baseline(steps)?, steps)?;
        match self.stack {
            StackName::Encoder => baseline.target = here.target.clone(),
            StackName::Decoder => baseline.source = here.source.clone(),
        }
        Ok((baseline, here))
    }

    /// The scores of this stack's tokens.
    pub(super) fn of_stack<B: Backend>(self, piece: StepRows<B>) -> StepRows<B> {
        match self.stack {
            StackName::Encoder => StepRows { target: None, ..piece },
            StackName::Decoder => StepRows { source: None, ..piece },
        }
    }
}
