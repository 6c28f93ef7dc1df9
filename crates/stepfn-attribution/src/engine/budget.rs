//! What fits into memory: how many steps, variants and rows run at once.

use core::ops::Range;

use burn::tensor::backend::Backend;
use stepfn_kernels::is_host;
use stepfn_models::transformer::Keep;

use super::Subject;

impl<B: Backend> Subject<'_, B> {
    /// Chunks of steps that have a forward pass in common, and whose scores per hidden unit are in memory together.
    pub(crate) fn chunks(&self) -> Vec<Range<usize>> {
        /// More steps in common save next to nothing, for the pass is a small part of the work; and nobody hears of a chunk before its end.
        const MOST: usize = 64;
        let all = self.steps();
        let size = self.options.memory / 4 / self.bytes_per_step(&all).max(1) / self.passes();
        in_chunks(all, size.clamp(1, MOST))
    }

    /// Chunks of steps that have forward passes of their own.
    pub(crate) fn chunks_of_their_own(&self) -> Vec<Range<usize>> {
        let all = self.steps();
        let width = self.width(&all);
        self.cheapest_chunks(self.passes(), &all, width as f64)
    }

    /// Chunks of these steps whose cotangents go back together, through what passes of so many variants left behind.
    pub(super) fn steps_together(&self, variants: usize, keep: Keep, steps: &Range<usize>) -> Vec<Range<usize>> {
        /// Places of a tape that are cut out in the time that one goes back.
        const CUT_OUT: f64 = 8.0;
        let width = self.width(steps) as f64;
        let cutting = match keep {
            // Blocks run again.
            Keep::Inputs => width,
            // The first places of the only text are already where they should be.
            Keep::Everything if variants == 1 => 0.0,
            Keep::Everything => width / CUT_OUT,
        };
        self.cheapest_chunks(variants, steps, cutting)
    }

    /// Chunks of `√(2c)` steps if they fit: each step carries half a chunk of places in vain, and a chunk costs what `c` places do, for reading the
    /// weights and for what comes with a chunk, `own`, of each variant.
    fn cheapest_chunks(&self, variants: usize, steps: &Range<usize>, own: f64) -> Vec<Range<usize>> {
        /// Rows of a product that take as long as reading the weights; on a device, as starting all kernels of a pass (an estimate).
        const HOST: f64 = 32.0;
        const DEVICE: f64 = 1024.0;
        let weights = if is_host::<B>() { HOST } else { DEVICE };
        let cheapest = (2.0 * (weights / variants as f64 + own)).sqrt().round() as usize;
        let bytes = self.model.config().floats_per_token() * 4 * (self.width(steps) + self.source_width()) * variants;
        let fit = self.options.memory / 2 / bytes.max(1);
        in_chunks(steps.clone(), cheapest.min(fit).max(1))
    }

    /// How many variants may be differentiated at once at these steps.
    pub(crate) fn derivatives_at_once(&self, steps: &Range<usize>) -> usize {
        /// Steps on their way through a block, and what their products leave behind.
        const TOGETHER: usize = 4;
        let tokens = self.width(steps) + self.source_width();
        let on_the_way = self.model.config().floats_per_token() * 4 * tokens * TOGETHER;
        let bytes = (on_the_way + steps.len() * self.bytes_per_step(steps)) * self.passes();
        (self.options.memory / 2 / bytes.max(1)).clamp(1, 256)
    }

    /// What one step's scores per hidden unit take, and what is made of them.
    fn bytes_per_step(&self, steps: &Range<usize>) -> usize {
        const COPIES: usize = 3;
        (self.width(steps) + self.source_width()) * self.model.config().hidden_size * 4 * COPIES
    }

    /// Passes of a variant: the one without dropout, and those with.
    pub(super) fn passes(&self) -> usize {
        1 + self.needs().noisy_samples
    }

    /// How many variants of the text may run at once.
    pub(crate) fn at_once(&self, steps: &Range<usize>) -> usize {
        let tokens = self.width(steps) + self.source_width();
        let activations = tokens * self.model.config().floats_per_token() / 2;
        (self.options.memory / 4 / (self.passes() * activations * 4).max(1)).clamp(1, 4096)
    }

    /// Rows whose logits, and what step functions make of them, fit into a quarter of the memory.
    pub(super) fn row_chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<B> {
        /// Tensors as large as the logits that the derivative of a step function has at once.
        const COPIES: usize = 8;
        let bytes = self.model.config().vocab_size * 4 * COPIES * self.passes();
        let at_once = (self.options.memory / 4 / bytes.max(1)).max(1);
        (0..rows).step_by(at_once).map(move |start| start..rows.min(start + at_once))
    }

    /// What tapes keep of so many variants, in all passes. The first places of several are copied for the steps that see no more, so that there may be
    /// two of everything.
    pub(super) fn keep(&self, variants: usize, steps: &Range<usize>) -> Keep {
        let config = self.model.config();
        let layers = config.decoder.n_layers.max(config.encoder.as_ref().map_or(0, |stack| stack.n_layers));
        let copies = if variants == 1 { 1 } else { 2 };
        let tokens = variants * (self.width(steps) + self.source_width());
        let bytes = copies * tokens * config.floats_per_token() * layers * 4;
        if bytes > self.options.memory / 2 { Keep::Inputs } else { Keep::Everything }
    }
}

/// `steps`, so many at a time.
fn in_chunks(steps: Range<usize>, size: usize) -> Vec<Range<usize>> {
    let Range { start, end } = steps;
    (start..end).step_by(size).map(|start| start..end.min(start + size)).collect()
}
