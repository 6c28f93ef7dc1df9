//! What fits into memory: how many steps, variants and rows run at once.

use core::ops::Range;

use burn::tensor::backend::Backend;
use stepfn_models::transformer::Keep;

use super::{Subject, Variants};

impl<B: Backend> Subject<'_, B> {
    /// Chunks of steps whose derivatives are taken at once. A chunk touches no position behind its last step, but its forward pass is its own:
    /// of `T` steps behind `P` tokens, `T / √(2P + T)` chunks cost least. More only where they would not fit.
    pub(crate) fn chunks(&self) -> Vec<Range<usize>> {
        let (steps, prompt) = (self.text.steps.len(), self.text.steps.start + self.source_width());
        let cheapest = steps as f64 / ((2 * prompt + steps) as f64).sqrt();
        let bytes = self.model.config().floats_per_token() * 4 * (self.text.steps.end + self.source_width());
        let fit = (self.options.memory / 2 / bytes.max(1) / (1 + self.needs().noisy_samples)).max(1);
        let size = steps.div_ceil((cheapest.round() as usize).max(1)).min(fit);
        let Range { start, end } = self.text.steps;
        (start..end).step_by(size).map(|start| start..end.min(start + size)).collect()
    }

    /// How many variants may be differentiated at once at these steps.
    pub(crate) fn derivatives_at_once(&self, steps: &Range<usize>) -> usize {
        let tokens = self.width(steps) + self.source_width();
        let passes = 1 + self.needs().noisy_samples;
        let bytes = self.model.config().floats_per_token() * 4 * tokens * (steps.len() + 2) * passes;
        (self.options.memory / 2 / bytes.max(1)).clamp(1, 256)
    }

    /// How many variants of the text may run at once.
    pub(crate) fn at_once(&self, steps: &Range<usize>) -> usize {
        let passes = 1 + self.needs().noisy_samples;
        let tokens = self.width(steps) + self.source_width();
        let activations = tokens * self.model.config().floats_per_token() / 2;
        (self.options.memory / 4 / (passes * activations * 4).max(1)).clamp(1, 4096)
    }

    /// Rows whose logits, and what step functions make of them, fit into a quarter of the memory.
    pub(super) fn row_chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<B> {
        /// Tensors as large as the logits that the derivative of a step function has at once.
        const COPIES: usize = 8;
        let passes = 1 + self.needs().noisy_samples;
        let bytes = self.model.config().vocab_size * 4 * COPIES * passes;
        let at_once = (self.options.memory / 4 / bytes.max(1)).max(1);
        (0..rows).step_by(at_once).map(move |start| start..rows.min(start + at_once))
    }

    pub(super) fn keep(&self, variants: &Variants<B>, steps: &Range<usize>) -> Keep {
        let config = self.model.config();
        let layers = config.decoder.n_layers.max(config.encoder.as_ref().map_or(0, |stack| stack.n_layers));
        let tokens = variants.count * (self.width(steps) + self.source_width()) * (1 + self.needs().noisy_samples);
        let bytes = tokens * config.floats_per_token() * layers * 4;
        if bytes > self.options.memory / 2 { Keep::Inputs } else { Keep::Everything }
    }
}
