//! The minimum work that a task needs: arithmetic and memory traffic, computed from a model's sizes.
//!
//! This counts the multiply-adds of matrix products, as two operations each. Norms, activations, softmax and step functions are negligible
//! and left out. Each layer and token costs a product with every weight; each layer and pair of a token and one that it sees costs `q · k`
//! and `p v`, each `heads × head width`; each row of logits costs `width × vocabulary`.
//!
//! | work | |
//! |---|---|
//! | `forward` | a pass over a text, logits at every position |
//! | `step_scores` | a pass, logits at every step |
//! | `mc_dropout_prob_avg` | eleven passes, each with logits at every step |
//! | `saliency`, `input_x_gradient` | one pass; per step, a backward pass over the tokens before it (attention costs twice its forward) |
//! | `integrated_gradients` | twenty times `saliency`, plus one pass at each end |
//! | `occlusion` | one pass; per target token, the positions from it on and the steps that see it; per source token, a whole pass |
//! | `attention` | a pass without logits |
//! | `generate` | a pass, logits at every step; the decoder's weights are read again for every new token |
//!
//! Memory traffic counts what no cache holds: every weight is read once per direction (once for all texts if they share a pass, else once
//! per text), and every logit is written and read once.
//!
//! These are the costs of the task, not of the implementation. An implementation that computes more gets a lower share of the peak, as it
//! should.

use stepfn_models::config::{StackConfig, TransformerConfig};

use crate::workload::{Lengths, NOISY_PASSES, POINTS, Work};

/// The minimum work of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Needed {
    /// Floating-point operations.
    pub operations: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl Needed {
    /// The work for texts of these lengths, with elements of `bytes_per_number` bytes.
    pub fn new(config: &TransformerConfig, work: Work, lengths: Lengths, bytes_per_number: usize) -> Self {
        let sizes = Sizes::new(config, lengths);
        let texts = lengths.batch as f64;
        let (steps, read) = (lengths.target as f64, sizes.read as f64);
        let (pass, logits) = (sizes.pass(), sizes.width * sizes.vocab);
        let there = pass + steps * logits;
        let both_ways = there + sizes.back() + steps * logits;
        // Per text: multiply-adds, how many times its pass reads the weights (fractional if shared), and rows of logits.
        let (products, reads, rows) = match work {
            Work::Forward => (pass + read * logits, 1.0, read),
            Work::StepScores => (there, 1.0, steps),
            Work::McDropout => {
                let passes = (1 + NOISY_PASSES) as f64;
                (passes * there, 1.0, passes * steps)
            }
            Work::Saliency | Work::InputXGradient => (both_ways, 2.0 * texts, 2.0 * steps),
            Work::IntegratedGradients => {
                let points = POINTS as f64;
                (points * both_ways + 2.0 * there, 2.0 * texts, (2.0 * points + 2.0) * steps)
            }
            Work::Occlusion => {
                let (variants, rows) = sizes.hidden_in_turn();
                (there + variants + rows * logits, 2.0 * texts, steps + rows)
            }
            Work::Attention => (pass, texts, 0.0),
            Work::Generate => (there, 1.0 + (steps - 1.0) * sizes.per_step() / sizes.weights, steps),
        };
        let numbers = sizes.weights * reads + 2.0 * texts * rows * sizes.vocab;
        Self { operations: 2.0 * texts * products, bytes: numbers * bytes_per_number as f64 }
    }

    /// Seconds on a machine that does `operations` operations and moves `bytes` bytes per second: the slower of the two decides (Williams
    /// et al. 2009, doi:10.1145/1498765.1498785).
    pub fn seconds(self, operations: f64, bytes: f64) -> f64 {
        (self.operations / operations).max(self.bytes / bytes)
    }
}

/// The sizes of a model and a text that determine the products.
struct Sizes<'c> {
    config: &'c TransformerConfig,
    /// Source tokens; 0 without an encoder.
    source: usize,
    /// Tokens that the decoder reads.
    read: usize,
    /// Of these, the ones before the first position that predicts a step.
    given: usize,
    /// Width of a hidden state at the head.
    width: f64,
    vocab: f64,
    /// All weights that are used in matrix products.
    weights: f64,
}

impl<'c> Sizes<'c> {
    fn new(config: &'c TransformerConfig, Lengths { prompt, target, .. }: Lengths) -> Self {
        let (source, read, given) = match config.encoder {
            Some(_) => (prompt, target, 0),
            None => (0, (prompt + target).saturating_sub(1), prompt.saturating_sub(1)),
        };
        let width = config.decoder.embedding_size.unwrap_or(config.hidden_size) as f64;
        let vocab = config.vocab_size as f64;
        let mut sizes = Self { config, source, read, given, width, vocab, weights: 0.0 };
        let encoder = config.encoder.as_ref().map_or(0.0, |encoder| sizes.per_token(encoder));
        let cross = if config.encoder.is_some() { sizes.cross_query() + sizes.cross_key_value() } else { 0.0 };
        sizes.weights = encoder + sizes.per_token(&config.decoder) + cross + width * vocab;
        sizes
    }

    /// Weights of all layers that a token passes through, without cross-attention.
    fn per_token(&self, stack: &StackConfig) -> f64 {
        let (attention, feed_forward) = (&stack.attention, &stack.feed_forward);
        let heads = 2 * (attention.n_heads + attention.n_kv_heads) * attention.head_dim;
        let active: usize = (0..stack.n_layers).map(|layer| stack.active_size(layer)).sum();
        let feed_forward = (2 + usize::from(feed_forward.gated)) * active;
        // Projections to and from the embedding width.
        let projections = 2 * stack.embedding_size.unwrap_or(0);
        ((stack.n_layers * heads + feed_forward + projections) * self.config.hidden_size) as f64
    }

    /// Weights that a new token passes through.
    fn per_step(&self) -> f64 {
        let cross = if self.config.encoder.is_some() { self.cross_query() } else { 0.0 };
        self.per_token(&self.config.decoder) + cross + self.width * self.vocab
    }

    /// Cross-attention weights that a target token passes through.
    fn cross_query(&self) -> f64 {
        let StackConfig { n_layers, attention, .. } = &self.config.decoder;
        (n_layers * 2 * attention.n_heads * attention.head_dim * self.config.hidden_size) as f64
    }

    /// Cross-attention weights that a source token passes through.
    fn cross_key_value(&self) -> f64 {
        let StackConfig { n_layers, attention, .. } = &self.config.decoder;
        (n_layers * 2 * attention.n_kv_heads * attention.head_dim * self.config.hidden_size) as f64
    }

    /// Products with weights, and products of attention, of the encoder, including the keys and values of cross-attention.
    fn encoder(&self) -> (f64, f64) {
        let Some(encoder) = &self.config.encoder else { return (0.0, 0.0) };
        let source = self.source as f64;
        let attention = &encoder.attention;
        let per_pair = (2 * encoder.n_layers * attention.n_heads * attention.head_dim) as f64;
        (source * (self.per_token(encoder) + self.cross_key_value()), source * source * per_pair)
    }

    /// The same for the decoder's positions in `from..to`, with everything that they see.
    fn decoder(&self, from: usize, to: usize) -> (f64, f64) {
        let StackConfig { attention, .. } = &self.config.decoder;
        let places = to.saturating_sub(from) as f64;
        let cross = if self.config.encoder.is_some() { self.cross_query() } else { 0.0 };
        let layers = attention.windows.len() as f64;
        let pairs: f64 = attention.windows.iter().map(|&window| pairs(from, to, window)).sum();
        let seen = pairs + layers * places * self.source as f64;
        let per_pair = (2 * attention.n_heads * attention.head_dim) as f64;
        (places * (self.per_token(&self.config.decoder) + cross), seen * per_pair)
    }

    /// A pass over the text without logits.
    fn pass(&self) -> f64 {
        let (encoder, decoder) = (self.encoder(), self.decoder(0, self.read));
        encoder.0 + encoder.1 + decoder.0 + decoder.1
    }

    /// The backward pass from every step to the tokens that it is predicted from, without logits.
    fn back(&self) -> f64 {
        let encoder = self.encoder();
        let of_step = |read: usize| {
            let decoder = self.decoder(0, read);
            encoder.0 + decoder.0 + 2.0 * (encoder.1 + decoder.1)
        };
        (self.given + 1..=self.read).map(of_step).sum()
    }

    /// The text with each of its tokens hidden in turn: products without logits, and rows of logits.
    fn hidden_in_turn(&self) -> (f64, f64) {
        let of_target = |place: usize| {
            let decoder = self.decoder(place, self.read);
            (decoder.0 + decoder.1, (self.read - place.max(self.given)) as f64)
        };
        let steps = (self.read - self.given) as f64;
        let source = self.source as f64;
        let all = (source * self.pass(), source * steps);
        (0..self.read).map(of_target).fold(all, |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

/// Pairs of a position in `from..to` and one that it sees: itself and earlier ones, as far as a window reaches.
fn pairs(from: usize, to: usize, window: Option<usize>) -> f64 {
    let before = |places: usize| {
        let growing = window.map_or(places, |window| window.min(places)) as f64;
        growing * (growing + 1.0) / 2.0 + (places as f64 - growing) * growing
    };
    before(to.max(from)) - before(from)
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use proptest::prelude::*;
    use serde_json::json;
    use stepfn_models::families;

    use super::*;
    use crate::Shape;

    /// One layer, width 4, two heads of 2, feed-forward 8, vocabulary 10: 4·16 + 2·32 = 128 weights per token, 40 per row of logits, 8 per
    /// pair.
    fn causal() -> TransformerConfig {
        let config = json!({ "model_type": "gpt2", "vocab_size": 10, "n_positions": 16, "n_embd": 4, "n_layer": 1,
            "n_head": 2, "n_inner": 8, "activation_function": "gelu_new", "bos_token_id": 0, "eos_token_id": 0 });
        families::of(&config).unwrap().configure(&config).unwrap()
    }

    fn operations(work: Work, prompt: usize, target: usize, batch: usize) -> f64 {
        Needed::new(&causal(), work, Lengths { prompt, target, batch }, 4).operations / 2.0
    }

    #[test]
    fn operations_of_a_tiny_model_match_a_count_by_hand() {
        // Two tokens given, two predicted: three are read, and they see 1 + 2 + 3 positions.
        let pass = 3.0 * 128.0 + 6.0 * 8.0;
        assert_eq!(operations(Work::Attention, 2, 2, 1), pass);
        assert_eq!(operations(Work::Forward, 2, 2, 1), pass + 3.0 * 40.0);
        let there = pass + 2.0 * 40.0;
        assert_eq!(operations(Work::StepScores, 2, 2, 1), there);
        assert_eq!(operations(Work::McDropout, 2, 2, 1), 11.0 * there);
        // The first step is predicted from two tokens, the second from three.
        let back = (2.0 * 128.0 + 2.0 * 3.0 * 8.0) + (3.0 * 128.0 + 2.0 * 6.0 * 8.0) + 2.0 * 40.0;
        assert_eq!(operations(Work::Saliency, 2, 2, 1), there + back);
        assert_eq!(operations(Work::IntegratedGradients, 2, 2, 1), 20.0 * (there + back) + 2.0 * there);
        // From the first token on, three positions and two steps see it; from the second, two and two; from the third, one and one.
        let hidden = (3.0 + 2.0 + 1.0) * 128.0 + (6.0 + 5.0 + 3.0) * 8.0 + (2.0 + 2.0 + 1.0) * 40.0;
        assert_eq!(operations(Work::Occlusion, 2, 2, 1), there + hidden);
    }

    #[test]
    fn bytes_of_a_tiny_model_match_a_count_by_hand() {
        let bytes = |work| Needed::new(&causal(), work, Lengths { prompt: 2, target: 2, batch: 3 }, 4).bytes / 4.0;
        assert_eq!(bytes(Work::Forward), 168.0 + 2.0 * 9.0 * 10.0);
        assert_eq!(bytes(Work::Saliency), 3.0 * 2.0 * 168.0 + 2.0 * 12.0 * 10.0);
        assert_eq!(bytes(Work::Generate), 2.0 * 168.0 + 2.0 * 6.0 * 10.0);
    }

    #[test]
    fn weights_of_a_shape_match_its_matrices() {
        // Embeddings are a lookup, not a product; if they are also the head, they count once.
        type B = stepfn_cpu::flex::Backend;
        let model = Shape::Tiny.model::<B>(0, DType::F32, &Default::default()).unwrap();
        let stored = |name: &str| !name.contains("lm_head.weight");
        let outline = stepfn_models::Model::<B>::outline(&Shape::Tiny.config(0), stored, &Default::default()).unwrap();
        let matrices = outline.iter().filter(|(name, shape)| shape.len() == 2 && !name.contains("wpe"));
        let weights: usize = matrices.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(Sizes::new(model.config(), Lengths::halves(4, 1)).weights, weights as f64);
    }

    #[test]
    fn a_source_is_read_by_the_encoder_and_by_cross_attention() {
        let config = json!({ "model_type": "marian", "vocab_size": 10, "d_model": 4, "encoder_layers": 1,
            "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8,
            "decoder_ffn_dim": 8, "max_position_embeddings": 16, "activation_function": "relu", "pad_token_id": 9,
            "eos_token_id": 0, "decoder_start_token_id": 9 });
        let config = families::of(&config).unwrap().configure(&config).unwrap();
        let of = |work| Needed::new(&config, work, Lengths { prompt: 3, target: 2, batch: 1 }, 4).operations / 2.0;
        let encoder = 3.0 * (128.0 + 32.0) + 9.0 * 8.0;
        let decoder = |read: f64, pairs: f64| read * (128.0 + 32.0) + (pairs + read * 3.0) * 8.0;
        let pass = encoder + decoder(2.0, 3.0);
        assert_eq!(of(Work::Attention), pass);
        assert_eq!(of(Work::StepScores), pass + 2.0 * 40.0);
        let first = 3.0 * 160.0 + 160.0 + 2.0 * (9.0 + 1.0 + 3.0) * 8.0;
        let second = 3.0 * 160.0 + 2.0 * 160.0 + 2.0 * (9.0 + 3.0 + 6.0) * 8.0;
        assert_eq!(of(Work::Saliency), pass + first + second + 4.0 * 40.0);
        let target = decoder(2.0, 3.0) + decoder(1.0, 2.0) + (2.0 + 1.0) * 40.0;
        assert_eq!(of(Work::Occlusion), pass + 2.0 * 40.0 + 3.0 * (pass + 2.0 * 40.0) + target);
    }

    #[test]
    fn a_window_limits_pairs() {
        assert_eq!(pairs(0, 4, None), 10.0);
        assert_eq!(pairs(0, 4, Some(2)), 7.0);
        assert_eq!(pairs(2, 4, Some(9)), 7.0);
        assert_eq!((pairs(3, 5, Some(2)), pairs(1, 3, Some(2)), pairs(4, 4, None)), (4.0, 4.0, 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn operations_scale_with_texts_and_grow_with_length(
            prompt in 1usize..20, target in 1usize..20, batch in 1usize..9,
        ) {
            for work in Work::ALL {
                let one = operations(work, prompt, target, 1);
                prop_assert!(one > 0.0);
                prop_assert_eq!(operations(work, prompt, target, batch), one * batch as f64);
                prop_assert!(operations(work, prompt + 1, target, 1) > one);
                prop_assert!(operations(work, prompt, target + 1, 1) > one);
            }
        }

        #[test]
        fn the_slower_of_compute_and_memory_decides(operations in 1.0..1e12f64, bytes in 1.0..1e12f64) {
            let needed = Needed { operations, bytes };
            prop_assert_eq!(needed.seconds(1.0, 1.0), operations.max(bytes));
            prop_assert!(needed.seconds(1e9, f64::INFINITY) <= needed.seconds(1e9, 1e9));
        }
    }
}
