//! What fits into memory: how many steps, variants, rows and texts run at once. Pure arithmetic on a model's sizes.
//!
//! These are estimates. They only affect speed and memory: a text has the same scores with any budget.

use stepfn_models::config::TransformerConfig;
use stepfn_models::transformer::Keep;

/// Bytes per number, assuming single precision.
const FLOAT: usize = 4;

/// Tokens of a text that one pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) source: usize,
    pub(crate) target: usize,
}

impl Lengths {
    pub(crate) fn tokens(self) -> usize {
        self.source + self.target
    }
}

/// What a forward pass keeps in memory at a time: one block of one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Activations {
    /// Bytes per token.
    pub(crate) per_token: usize,
    /// Bytes of attention per pair of tokens.
    pub(crate) per_pair: usize,
}

impl Activations {
    fn of(config: &TransformerConfig) -> Self {
        let (mut widest, mut heads) = (0, 0);
        for stack in config.encoder.iter().chain([&config.decoder]) {
            widest = widest.max(stack.widest_size(config.hidden_size));
            heads = heads.max(stack.attention.n_heads);
        }
        Self {
            // Residual stream, queries, keys, values; the feed-forward layer.
            per_token: FLOAT * (8 * config.hidden_size + 3 * widest),
            // Scores, probabilities, and a dropout mask.
            per_pair: FLOAT * 3 * heads,
        }
    }

    /// Bytes for this many tokens of a text.
    pub(crate) fn bytes(self, width: usize) -> usize {
        width * (self.per_token + width * self.per_pair)
    }
}

/// How much runs at once, for one model and one number of passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    memory: usize,
    /// Forward passes per variant: one without dropout, and the noisy ones.
    passes: usize,
    /// Whether the backend computes on the host's CPU.
    on_host: bool,
    activations: Activations,
    hidden: usize,
    vocab: usize,
    heads: usize,
    layers: usize,
    /// Numbers per token that one block holds at once.
    floats_per_token: usize,
    /// Numbers per token that the tape of one block keeps.
    kept_per_token: usize,
    /// The same of a block that is made again on the way back.
    outlined_per_token: usize,
    /// Bytes of the decoder's keys and values per token, over all layers.
    keys_and_values: usize,
}

impl Budget {
    pub(crate) fn new(config: &TransformerConfig, memory: usize, passes: usize, on_host: bool) -> Self {
        let attention = &config.decoder.attention;
        Self {
            memory,
            passes,
            on_host,
            activations: Activations::of(config),
            hidden: config.hidden_size,
            vocab: config.vocab_size,
            heads: attention.n_heads,
            layers: config.decoder.n_layers.max(config.encoder.as_ref().map_or(0, |stack| stack.n_layers)),
            floats_per_token: config.floats_per_token(),
            kept_per_token: config.kept_per_token(),
            outlined_per_token: config.outlined_per_token(),
            keys_and_values: FLOAT * 2 * attention.n_kv_heads * attention.head_dim * config.decoder.n_layers,
        }
    }

    /// Forward passes per variant.
    pub(crate) fn passes(&self) -> usize {
        self.passes
    }

    /// What a forward pass keeps in memory at a time.
    pub(crate) fn activations(&self) -> Activations {
        self.activations
    }

    /// Bytes for the results of passes: half of the budget. The other half is for logits.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.memory / 2
    }

    /// How many variants of a text may run at once.
    pub(crate) fn variants(&self, lengths: Lengths) -> usize {
        let bytes = self.activations.bytes(lengths.source) + self.activations.bytes(lengths.target);
        (self.memory / 4 / (self.passes * bytes).max(1)).clamp(1, 4096)
    }

    /// Whether `copies` of a text may run at once from place `first` on: activations of the places that run, keys and values of all.
    pub(crate) fn fits_from(&self, copies: usize, first: usize, width: usize) -> bool {
        let bytes = copies * (width * self.keys_and_values + (width - first) * FLOAT * self.floats_per_token / 2);
        bytes <= self.memory / 4
    }

    /// How many of these texts, in their order, may be written together: of each, its lengths once it is written, and its hypotheses.
    pub(crate) fn written(&self, texts: impl Iterator<Item = (Lengths, usize)>) -> usize {
        /// Keys and values, and a copy of them where hypotheses change places.
        const KEPT: usize = 2;
        /// Logits, and those that the rules changed.
        const LOGITS: usize = 2;
        let (mut all, mut widths) = (0, [0, 0]);
        let fits = |(lengths, hypotheses): &(Lengths, usize)| {
            all += hypotheses;
            widths = [widths[0].max(lengths.source), widths[1].max(lengths.target)];
            let read: usize =
                widths.map(|width| self.activations.bytes(width) + width * KEPT * self.keys_and_values).iter().sum();
            all.saturating_mul(read + LOGITS * self.vocab * FLOAT) <= self.memory / 2
        };
        texts.take_while(fits).count()
    }

    /// Rows that take as long as one more pass does beside its own rows: rows that need not run may take the place of a pass, but no more than these.
    pub(crate) fn rows_of_pass(&self) -> usize {
        /// On a device, all kernels of a pass are launched for a few rows as for many (an estimate).
        const DEVICE: usize = 1024;
        /// A pass of 32 rows takes as long as 35 to 42 rows of a large one (measured with the shapes of GPT-2 small, SmolLM2 and OPUS-MT).
        const HOST: usize = 16;
        if self.on_host { HOST } else { DEVICE }
    }

    /// Rows that take as long as what variants of a text with `width` places run in vain if they run together: places that all of them share, which run
    /// once, and places that are copied for attention.
    pub(crate) fn in_vain(&self, shared: usize, copied: usize, width: usize) -> usize {
        /// A block has about `12 · hidden²` weights, and attention multiplies `2 · hidden` numbers for each place that it looks at.
        const PLACES_PER_UNIT: usize = 6;
        shared + copied * width / (PLACES_PER_UNIT * self.hidden).max(1)
    }

    /// How many variants may be differentiated at once.
    pub(crate) fn derivatives(&self, lengths: Lengths, columns: usize) -> usize {
        /// Steps that are in a block at the same time, with temporary results of their products.
        const TOGETHER: usize = 4;
        let on_the_way = self.bytes_on_the_way(lengths, TOGETHER);
        let bytes = (on_the_way + columns * self.bytes_per_step(lengths)) * self.passes;
        (self.memory / 2 / bytes.max(1)).clamp(1, 256)
    }

    /// How many steps share a forward pass and keep their scores per hidden unit in memory together.
    pub(crate) fn steps_per_pass(&self, lengths: Lengths) -> usize {
        /// More steps save almost nothing, because the forward pass is a small part of the work, and progress is only reported after each chunk.
        const MOST: usize = 64;
        (self.memory / 4 / self.bytes_per_step(lengths).max(1) / self.passes).clamp(1, MOST)
    }

    /// The cheapest number of steps to pull back together through the tapes of `variants` variants.
    ///
    /// Each step carries half a chunk of places in vain, each of which costs a share `w` of another place. Each chunk costs as much as `c` places, for reading the
    /// weights and for the work per variant (`overhead`, in places). The sum is minimal at `√(2c / w)` steps.
    pub(crate) fn steps_together(&self, lengths: Lengths, variants: usize, overhead: f64) -> usize {
        /// Rows of a product that take as long as reading the weights or, on a device, as launching all kernels of a pass (an estimate).
        const HOST: f64 = 32.0;
        const DEVICE: f64 = 1024.0;
        /// On the CPU, products leave out rows of zeros, and the rest of a block takes a fifth of the time (an estimate).
        const IN_VAIN: f64 = 0.2;
        let (weights, in_vain) = if self.on_host { (HOST, IN_VAIN) } else { (DEVICE, 1.0) };
        let cheapest = (2.0 * (weights / variants as f64 + overhead) / in_vain).sqrt().round() as usize;
        cheapest.min(self.memory / 2 / self.bytes_on_the_way(lengths, variants).max(1)).max(1)
    }

    /// The extra cost of each chunk of steps, in places, for tapes that keep this much.
    pub(crate) fn chunk_overhead(&self, keep: Keep, variants: usize, width: usize) -> f64 {
        /// Places of a tape that can be copied in the time it takes to pull one back.
        const COPIED: f64 = 8.0;
        /// The part of a block that is computed again where its tape was not kept: all but attention and two of the linear layers.
        const AGAIN: f64 = 0.6;
        match keep {
            Keep::Blocks(kept) => {
                let again = self.layers.saturating_sub(kept) as f64 / self.layers.max(1) as f64;
                width as f64 * again * AGAIN
            }
            // The first places of a single text need no copy.
            Keep::Everything if variants == 1 => 0.0,
            Keep::Everything => width as f64 / COPIED,
        }
    }

    /// What the tapes of `variants` variants keep, in all passes, while `columns` cotangents go back through them. The first places of several variants are
    /// copied for steps that see no more, so there may be two copies.
    pub(crate) fn keep(&self, lengths: Lengths, variants: usize, columns: usize) -> Keep {
        let copies = if variants == 1 { 1 } else { 2 };
        let bytes = |per_token: usize| copies * variants * lengths.tokens() * per_token * FLOAT;
        let (of_block, of_outline) = (bytes(self.kept_per_token), bytes(self.outlined_per_token));
        let way_back = columns.saturating_mul(self.bytes_on_the_way(lengths, variants));
        // The derivatives of the logits are gone before the way back begins. Many cotangents go back in chunks that keep to half of the memory.
        let beside = way_back.max(self.logit_rows() * self.bytes_of_derivative()).min(self.memory / 2);
        let free = (self.memory - beside).saturating_sub(self.layers * of_outline);
        match free / (of_block - of_outline).max(1) {
            blocks if blocks < self.layers => Keep::Blocks(blocks),
            _ => Keep::Everything,
        }
    }

    /// Bytes that one cotangent of each of `variants` variants takes in a block, with temporary results.
    fn bytes_on_the_way(&self, lengths: Lengths, variants: usize) -> usize {
        self.floats_per_token * FLOAT * lengths.tokens() * variants
    }

    /// The number of rows whose logits and step-function derivatives fit into a quarter of the memory. More than enough for products are not taken: derivatives of a few
    /// hundred rows take a second, in which nobody could end the work.
    pub(crate) fn logit_rows(&self) -> usize {
        const DEVICE: usize = 1024;
        const HOST: usize = 128;
        let enough = if self.on_host { HOST } else { DEVICE };
        (self.memory / 4 / self.bytes_of_derivative().max(1)).clamp(1, enough)
    }

    /// Bytes that the step function's derivative takes for one row of logits.
    fn bytes_of_derivative(&self) -> usize {
        /// Tensors of the size of the logits at the same time.
        const COPIES: usize = 8;
        self.vocab * FLOAT * COPIES * self.passes
    }

    /// Bytes for the logits of one row in all passes, which are scored together.
    pub(crate) fn bytes_per_row(&self) -> usize {
        self.vocab * FLOAT * self.passes
    }

    /// The number of rows whose logits, in all passes, fit into half of the memory while they are scored.
    pub(crate) fn scored_rows(&self) -> usize {
        /// Logits, their softmax, and a function's temporary results.
        const COPIES: usize = 4;
        /// More rows don't make products faster, and need more memory.
        const ENOUGH: usize = 512;
        (self.memory / 2 / (self.vocab * FLOAT * COPIES * self.passes).max(1)).clamp(1, ENOUGH)
    }

    /// The number of queries whose attention `[heads, queries, keys]` fits, with temporary results.
    pub(crate) fn queries(&self, keys: usize) -> usize {
        const COPIES: usize = 4;
        (self.memory / 4 / (self.heads * keys * FLOAT * COPIES).max(1)).max(1)
    }

    /// The number of value removals that one block computes at once.
    pub(crate) fn removals(&self, keys: usize) -> usize {
        (self.memory / 4 / (self.floats_per_token * FLOAT + self.heads * keys).max(1)).max(1)
    }

    /// Bytes of one step's scores per hidden unit, with temporary results.
    fn bytes_per_step(&self, lengths: Lengths) -> usize {
        const COPIES: usize = 3;
        lengths.tokens() * self.hidden * FLOAT * COPIES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::steps::Steps;

    fn budget(memory: usize, passes: usize) -> Budget {
        Budget {
            memory,
            passes,
            on_host: true,
            activations: Activations { per_token: 1000, per_pair: 10 },
            hidden: 64,
            vocab: 500,
            heads: 4,
            layers: 3,
            floats_per_token: 2000,
            kept_per_token: 1500,
            outlined_per_token: 500,
            keys_and_values: 100,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn something_always_runs_and_more_memory_never_means_less_at_once(
            (memory, passes) in (0usize..1 << 34, 1usize..20),
            (source, start, steps) in (0usize..500, 1usize..500, 1usize..100),
            variants in 1usize..64,
        ) {
            let steps = Steps::new(start..start + steps);
            let lengths = Lengths { source, target: steps.width() };
            let counts = |budget: Budget| [
                budget.variants(lengths),
                budget.derivatives(lengths, steps.len()),
                budget.steps_per_pass(lengths),
                budget.steps_together(lengths, variants, 3.0),
                budget.logit_rows(),
                budget.scored_rows(),
                budget.queries(lengths.tokens()),
                budget.removals(lengths.tokens()),
            ];
            let (less, more) = (counts(budget(memory, passes)), counts(budget(memory.saturating_mul(2), passes)));
            prop_assert!(less.iter().all(|&count| count > 0), "{less:?}");
            prop_assert!(less.iter().zip(more).all(|(&less, more)| less <= more), "{less:?} {more:?}");
        }

        #[test]
        fn variants_that_fit_keep_to_a_quarter_of_the_memory(memory in 1usize..1 << 32, target in 1usize..2000) {
            let budget = budget(memory, 1);
            let variants = budget.variants(Lengths { source: 0, target });
            prop_assert!(variants == 1 || variants * budget.activations.bytes(target) <= memory / 4);
        }
    }

    #[test]
    fn chunks_of_eighteen_steps_are_cheapest_where_only_weights_are_read_again() {
        let lengths = Lengths { source: 0, target: 100 };
        assert_eq!(budget(1 << 30, 1).steps_together(lengths, 1, 0.0), 18);
        assert_eq!(Budget { on_host: false, ..budget(1 << 30, 1) }.steps_together(lengths, 1, 0.0), 45);
    }

    #[test]
    fn tapes_keep_as_many_blocks_as_fit_beside_the_way_back() {
        let lengths = Lengths { source: 0, target: 1000 };
        let bytes = 1000 * 1500 * 3 * FLOAT;
        // Many cotangents take half of the memory.
        assert_eq!(budget(2 * bytes, 1).keep(lengths, 1, 100), Keep::Everything);
        assert_eq!(budget(2 * bytes - 2, 1).keep(lengths, 1, 100), Keep::Blocks(2));
        assert_eq!(budget(2 * bytes, 1).keep(lengths, 2, 100), Keep::Blocks(0));
        // Without two of the three.
        let outlines = 2 * 1000 * 1000 * FLOAT;
        assert_eq!(budget(2 * (bytes - outlines), 1).keep(lengths, 1, 100), Keep::Blocks(1));
        // One takes what a block holds.
        let one = 1000 * 2000 * FLOAT;
        assert_eq!(budget(bytes + one, 1).keep(lengths, 1, 1), Keep::Everything);
        assert_eq!(budget(bytes + one - 1, 1).keep(lengths, 1, 1), Keep::Blocks(2));
    }
}
