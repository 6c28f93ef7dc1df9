//! What layer methods share: the residual stream after a block takes the place of the embeddings.

use burn::tensor::backend::Backend;

use crate::{AttributionError, Layer, Passes, StackName, StepRows, Steps, Variants};

impl Layer {
    /// The same layer, of a stack that this model has and whose tokens get scores.
    pub(super) fn in_model<B: Backend>(self, passes: &Passes<'_, B>) -> Result<Self, AttributionError> {
        let config = passes.model().config();
        let has_encoder = config.is_encoder_decoder();
        let stack = match self.stack {
            StackName::Auto if has_encoder => StackName::Encoder,
            StackName::Auto => StackName::Decoder,
            // The only stack goes by either name.
            StackName::Encoder if config.is_masked() => StackName::Decoder,
            named => named,
        };
        if has_encoder && stack == StackName::Decoder && !passes.question().options().attribute_target {
            let what = "a layer of the decoder has scores of target tokens, and only source tokens are scored: \
                        score the target side too, or choose stack=encoder";
            return Err(AttributionError::Unsuited(what.to_owned()));
        }
        Ok(Self { stack, ..self })
    }

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
            StackName::Auto | StackName::Decoder => baseline.source = here.source.clone(),
        }
        Ok((baseline, here))
    }

    /// The scores of this stack's tokens.
    pub(super) fn of_stack<B: Backend>(self, piece: StepRows<B>) -> StepRows<B> {
        match self.stack {
            StackName::Encoder => StepRows { target: None, ..piece },
            StackName::Auto | StackName::Decoder => StepRows { source: None, ..piece },
        }
    }
}
