//! The way back through a stack: from its last hidden states to its embeddings, and to the encoder's output.

use std::borrow::Cow;

use burn::tensor::backend::Backend;

use super::tape::{LayerTape, Recorded};
use super::{Entry, Stack, StackTape};
use crate::ModelError;
use crate::check_interrupted;
use crate::transformer::attention::{Show, Watch};
use crate::transformer::front::{Front, Gradients};
use crate::transformer::part::{Part, Streams};
use crate::transformer::rule::{Rule, Saved};

/// What a stack's gradients lead to: what it started with, and the encoder's output.
pub(crate) type ToInputs<B> = Streams<Gradients<B>>;

impl<B: Backend> Stack<B> {
    /// Pulls cotangents of the last hidden states back to what the pass started with, and to the encoder's output. Under [`Rule::DeepLift`]
    /// the baseline is a pass over as many places. `show` is shown the cotangents at each attention.
    ///
    /// # Shapes
    /// - `x` of the result: `[texts · cotangents · places, embedding]`, or the hidden size if the pass started at a block
    /// - `memory` of the result: `[texts · cotangents · source width, hidden]`
    ///
    /// # Errors
    /// [`ModelError::NoRule`] if a part has no such rule.
    ///
    /// # Panics
    /// If shapes don't fit the tape, or a baseline's pass the other.
    pub(crate) fn pull_back(
        &self,
        tape: &StackTape<B>,
        rule: Rule<&StackTape<B>>,
        grad: Gradients<B>,
        show: Option<&Show<'_, B>>,
    ) -> Result<ToInputs<B>, ModelError> {
        let tape = Saved::new(tape, rule);
        let grad = self.leave_backward(tape, grad)?;
        let (grad, memory) = self.blocks_backward(tape, grad, show)?;
        let x = match tape.here.entry {
            Entry::Embeddings => self.enter_backward(tape, grad)?,
            Entry::Layer(_) => grad,
        };
        Ok(Streams { x, memory })
    }

    /// From the last hidden states to what leaves the last block.
    fn leave_backward(&self, tape: Saved<'_, B, StackTape<B>>, grad: Gradients<B>) -> Result<Gradients<B>, ModelError> {
        let grad = match &self.project_out {
            Some(project_out) => grad.map(|grad, _| project_out.pull(grad)),
            None => grad,
        };
        let grad = grad.scaled(tape.here.last_mask.as_ref());
        match &self.final_norm {
            Some(norm) => norm.backward(tape.part(|tape| &tape.unnormalized), &(), grad),
            None => Ok(grad),
        }
    }

    /// From what leaves the last block to what enters the first of the pass, and to the encoder's output.
    fn blocks_backward(
        &self,
        tape: Saved<'_, B, StackTape<B>>,
        mut grad: Gradients<B>,
        show: Option<&Show<'_, B>>,
    ) -> Result<(Gradients<B>, Option<Gradients<B>>), ModelError> {
        let mut to_memory: Option<Gradients<B>> = None;
        for (layer, block) in self.blocks.iter().enumerate().skip(tape.here.entry.layer()).rev() {
            check_interrupted()?;
            let here = self.recorded(tape.here, layer);
            let baseline = tape.rule.map(|baseline| self.recorded(baseline, layer));
            let mut saved = Saved::new(&here.tape, baseline.map(|baseline| &baseline.tape));
            saved.watch = show.map(|show| Watch { show, layer });
            let Streams { x, memory } = block.backward(saved, &here.around, grad)?;
            to_memory = match (to_memory, memory) {
                (Some(sum), Some(memory)) => Some(sum.plus(memory)),
                (sum, memory) => sum.or(memory),
            };
            let (x, front) = x.settled();
            grad = Gradients::new(x, front);
        }
        let (grad, cotangents) = grad.everywhere();
        Ok((Gradients::new(grad, Front::All(cotangents)), to_memory))
    }

    /// From what enters the first block to the embeddings.
    fn enter_backward(&self, tape: Saved<'_, B, StackTape<B>>, grad: Gradients<B>) -> Result<Gradients<B>, ModelError> {
        let projected = |grad: Gradients<B>| match &self.project_in {
            Some(project_in) => grad.map(|grad, _| project_in.pull(grad)),
            None => grad,
        };
        let grad = if self.config.projected_last { projected(grad) } else { grad };
        let grad = grad.scaled(tape.here.embedding_mask.as_ref());
        let grad = match (&self.embedding_norm, tape.optional(|tape| tape.before_norm.as_ref())) {
            (Some(norm), Some(x)) => norm.backward(x, &(), grad)?,
            _ => grad,
        };
        Ok(if self.config.projected_last { grad } else { projected(grad) })
    }

    /// What the way back through a layer reads: kept, or computed again.
    fn recorded<'a>(&self, tape: &'a StackTape<B>, layer: usize) -> Cow<'a, Recorded<B>> {
        match &tape.layers[layer - tape.entry.layer()] {
            LayerTape::Whole(recorded) => Cow::Borrowed(recorded),
            LayerTape::Outline(outline) => {
                let x = outline.input();
                let masks = self.masks(&tape.batch, &tape.dropout, tape.batch.width(), x.dtype());
                let source = tape.memory.as_ref().map(|(_, source)| source);
                let around = self.around(layer, &tape.tables, source, &masks, &x.device());
                let memory = tape.memory.as_ref().map(|(hidden, _)| hidden);
                Cow::Owned(Recorded { tape: self.blocks[layer].completed(outline, memory, &around), around })
            }
        }
    }
}
