//! How published transformers differ, as data.
//!
//! One implementation is driven by a [`TransformerConfig`]; each family translates its `config.json` into one. Sizes are checked against
//! [limits](TransformerConfig::validate) before anything is allocated.

mod attention;
mod feed_forward;
mod positions;

pub use stepfn_kernels::activation::{Activation, Xielu};

pub use self::attention::{AttentionConfig, NormOver, QueryGrowth, QueryKeyNorm};
pub use self::feed_forward::{ExpertsConfig, FeedForwardConfig, SharedExpert, Weighing};
pub use self::positions::{Positions, RotaryConfig, RotaryScaling};

use crate::ModelError;

/// The maximum number of layers; no published model has as many.
pub(crate) const MOST_LAYERS: usize = 4096;

/// A transformer language model: an encoder–decoder, or one stack, which is causal or predicts masked tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// The family's name, `model_type` in `config.json`.
    pub family: &'static str,
    /// Tokens in the vocabulary; of an encoder–decoder with two of them, in the decoder's.
    pub vocab_size: usize,
    /// Tokens in the encoder's vocabulary, where that is another one.
    pub encoder_vocab_size: Option<usize>,
    /// Width of the residual stream, `d`.
    pub hidden_size: usize,
    /// The encoder of an encoder–decoder.
    pub encoder: Option<StackConfig>,
    /// The decoder, or the only stack.
    pub decoder: StackConfig,
    /// Whether the encoder and the decoder share one embedding tensor; false without an encoder.
    pub shared_embeddings: bool,
    /// Maps hidden states to logits.
    pub head: HeadConfig,
    /// Tokens with a special role.
    pub special: SpecialTokens,
}

/// A stack of blocks, with its input embeddings and final norm.
#[derive(Debug, Clone, PartialEq)]
pub struct StackConfig {
    /// Number of blocks.
    pub n_layers: usize,
    /// Whether a token also sees what comes after it: in an encoder, and in a model of masked tokens.
    pub bidirectional: bool,
    /// Token embeddings are multiplied by this.
    pub embedding_scale: f64,
    /// Width of the token embeddings, if they are projected to and from the hidden size.
    pub embedding_size: Option<usize>,
    /// Whether such embeddings are projected, with a bias, only after positions and norm (ELECTRA). Then the head narrows hidden states itself.
    pub projected_last: bool,
    /// Rows of a table of the types that tokens have (BERT). All tokens of a text are of the first, whose row is added to every position.
    pub token_types: Option<usize>,
    /// Whether embeddings (including added positions) are normalized before the first block.
    pub embedding_norm: bool,
    /// How positions are encoded.
    pub positions: Positions,
    /// The normalization used everywhere in the stack.
    pub norm: NormConfig,
    /// Where blocks normalize.
    pub norm_placement: NormPlacement,
    /// Whether the first block's attention has a normalization before it, as those of the other blocks: not so in ModernBERT, whose embeddings have one.
    pub first_norm: bool,
    /// Whether the output of the last block is normalized.
    pub final_norm: bool,
    /// How a block's two branches join the residual stream.
    pub residual: Residual,
    /// Self-attention, and the sizes of cross-attention.
    pub attention: AttentionConfig,
    /// The feed-forward.
    pub feed_forward: FeedForwardConfig,
    /// The mixture of experts that some layers have in its place.
    pub experts: Option<ExpertsConfig>,
    /// The published dropout rates.
    pub dropout: DropoutRates,
}

impl StackConfig {
    /// Whether a layer has experts.
    pub fn has_experts(&self, layer: usize) -> bool {
        self.experts.as_ref().is_some_and(|experts| experts.layers.get(layer) == Some(&true))
    }

    /// The most tokens that a text may have; `None` if there is no limit. Beyond what it was trained for a model gets worse, but stays defined.
    pub fn most_tokens(&self) -> Option<usize> {
        let capacity = self.experts.as_ref().and_then(|experts| experts.capacity);
        self.positions.most().into_iter().chain(capacity).min()
    }

    /// The number of tokens in the longest texts that the model was made for, if that is known.
    pub fn made_for(&self) -> Option<usize> {
        self.positions.made_for().into_iter().chain(self.most_tokens()).min()
    }

    /// Width of the hidden activations that a token has in a layer, together with those of all experts that it goes to.
    pub fn active_size(&self, layer: usize) -> usize {
        match self.experts.as_ref().filter(|_| self.has_experts(layer)) {
            Some(experts) => experts.per_token * experts.size + experts.shared.as_ref().map_or(0, |shared| shared.size),
            None => self.feed_forward.size,
        }
    }

    /// The same of the widest layer, for plans of memory. What each expert says is kept apart, and counts too.
    pub fn widest_size(&self, hidden: usize) -> usize {
        let said =
            |layer| if self.has_experts(layer) { self.experts.as_ref().map_or(0, |e| e.per_token * hidden) } else { 0 };
        (0..self.n_layers).map(|layer| self.active_size(layer) + said(layer)).max().unwrap_or(0)
    }
}

/// A normalization and its ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormConfig {
    /// The formula.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The formula of a normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormKind {
    /// `(x − mean) / √(var + ε) · weight + bias` (Ba et al. 2016).
    LayerNorm,
    /// `x / √(mean x² + ε) · weight` (Zhang & Sennrich 2019).
    RmsNorm,
    /// `x / √(mean x² + ε) · (1 + weight)` (Gemma).
    RmsNormPlusOne,
    /// `(x − mean) / √(var + ε) · weight` (Cohere, MPT).
    LayerNormWithoutBias,
    /// `(x − mean) / √(var + ε) · (1 + weight) + bias` (Nemotron).
    LayerNormPlusOne,
    /// `(x − mean) / √(var + ε)` (OLMo).
    LayerNormWithoutWeight,
}

/// Where a block normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormPlacement {
    /// Before each branch.
    Pre,
    /// After each residual sum.
    Post,
    /// Before each branch, and on its output before the residual sum (Gemma 2).
    Sandwich,
    /// On the output of each branch before the residual sum (OLMo 2).
    Output,
}

/// How a block's attention and feed-forward join the residual stream.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Residual {
    /// `y = x + attention(x)`, then `y + feed_forward(y)`.
    Sequential,
    /// `x + attention(x) + feed_forward(x)` (GPT-NeoX).
    Parallel,
    /// `y = x + s · attention(x)`, then `y + s · feed_forward(y)` (Granite).
    Scaled(f64),
}

/// Dropout rates by site: those of the checkpoint, `None` at sites where the published model has no dropout; or others in their place, `None` to
/// drop nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DropoutRates {
    /// Embeddings.
    pub embedding: Option<f64>,
    /// Attention probabilities.
    pub attention: Option<f64>,
    /// Outputs that are added to the residual stream.
    pub residual: Option<f64>,
    /// Those of the feed-forward alone, where attention's are not dropped (DistilBERT).
    pub feed_forward: Option<f64>,
    /// Hidden activations of the feed-forward.
    pub activation: Option<f64>,
    /// After the final normalization (T5).
    pub last: Option<f64>,
}

impl DropoutRates {
    /// One rate at the sites that have any.
    pub fn at_rate(self, rate: f64) -> Self {
        let at_rate = |site: Option<f64>| site.map(|_| rate);
        Self {
            embedding: at_rate(self.embedding),
            attention: at_rate(self.attention),
            residual: at_rate(self.residual),
            feed_forward: at_rate(self.feed_forward),
            activation: at_rate(self.activation),
            last: at_rate(self.last),
        }
    }

    /// The rates that there are.
    pub fn rates(self) -> impl Iterator<Item = f64> {
        let Self { embedding, attention, residual, feed_forward, activation, last } = self;
        [embedding, attention, residual, feed_forward, activation, last].into_iter().flatten()
    }
}

/// Maps hidden states to logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadConfig {
    /// What hidden states go through first.
    pub transform: Option<TransformConfig>,
    /// Whether the decoder's embedding serves as the weight if the checkpoint has no separate one.
    pub tied: bool,
    /// Hidden states are multiplied by this.
    pub scale: f64,
    /// Whether a bias is added to the logits.
    pub bias: bool,
    /// `c` in `c · tanh(logit / c)`.
    pub soft_cap: Option<f64>,
}

/// `norm(φ(x W + b))`, before logits are made (BERT).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransformConfig {
    /// φ.
    pub activation: Activation,
    /// The normalization.
    pub norm: NormConfig,
    /// Whether there is a bias b.
    pub bias: bool,
}

/// Tokens with a special role, from `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Starts a text.
    pub bos: Option<u32>,
    /// Any of these ends a text.
    pub eos: Vec<u32>,
    /// Pads batches.
    pub pad: Option<u32>,
    /// Starts the target of an encoder–decoder.
    pub decoder_start: Option<u32>,
}

impl TransformerConfig {
    /// Checks that all sizes are possible and plausible.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the field, what was expected and what was found.
    pub fn validate(&self) -> Result<(), ModelError> {
        /// Larger than any model that fits on one machine.
        const LARGEST: usize = 1 << 24;
        let check = |field: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(ModelError::config(field, format!("a whole number from 1 to {most}"), value))
            }
        };
        // Beyond, numbers in single precision are 0 or infinite.
        let within = |field: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => {
                Err(ModelError::config(field, format!("a number from {least:e} to {most:e}"), format!("{value:e}")))
            }
        };
        check("vocab_size", self.vocab_size, LARGEST)?;
        check("vocab_size", self.source_vocab_size(), LARGEST)?;
        check("hidden_size", self.hidden_size, 1 << 20)?;
        for stack in self.encoder.iter().chain([&self.decoder]) {
            let attention = &stack.attention;
            within("rms_norm_eps", stack.norm.epsilon, 1e-30, 1.0)?;
            check("num_hidden_layers", stack.n_layers, MOST_LAYERS)?;
            check("num_attention_heads", attention.n_heads, 4096)?;
            check("num_key_value_heads", attention.n_kv_heads, attention.n_heads)?;
            if attention.n_heads % attention.n_kv_heads != 0 {
                let expected = format!("a divisor of the {} heads", attention.n_heads);
                return Err(ModelError::config("num_key_value_heads", expected, attention.n_kv_heads));
            }
            check("head_dim", attention.head_dim, 1 << 16)?;
            check("intermediate_size", stack.feed_forward.size, LARGEST)?;
            if let Some(limit) = stack.feed_forward.gate_limit {
                within("swiglu_limit", limit, 1e-6, 1e6)?;
            }
            if let Some(size) = stack.embedding_size {
                check(if stack.projected_last { "embedding_size" } else { "word_embed_proj_dim" }, size, 1 << 20)?;
            }
            if let Some(rows) = stack.token_types {
                check("type_vocab_size", rows, 1 << 16)?;
            }
            match &stack.positions {
                Positions::Learned { rows, .. } | Positions::LearnedAfterNorm { rows, .. } => {
                    check("max_position_embeddings", *rows, LARGEST)?;
                }
                Positions::RelativeBias { buckets, .. } => check("relative_attention_num_buckets", *buckets, 1 << 20)?,
                Positions::SinusoidalHalves { .. } | Positions::SinusoidalFairseq { .. } | Positions::Alibi { .. } => {}
                Positions::Rotary(_) | Positions::RotaryByLayer { .. } => {}
            }
            for rotary in stack.positions.rotations() {
                within("rope_theta", rotary.theta, 1.0, 1e12)?;
                if !(1..=attention.head_dim).contains(&rotary.dim) {
                    let expected = format!("a share that rotates 1 to {} dimensions of a head", attention.head_dim);
                    return Err(ModelError::config("partial_rotary_factor", expected, rotary.dim));
                }
                if rotary.dim % 2 != 0 {
                    return Err(ModelError::config("head_dim", "an even number of dimensions to rotate", rotary.dim));
                }
            }
            if let Some(experts) = &stack.experts {
                check("num_experts", experts.count, 1 << 16)?;
                check("num_experts_per_tok", experts.per_token, experts.count)?;
                check("moe_intermediate_size", experts.size, LARGEST)?;
                if let Some(shared) = &experts.shared {
                    check("shared_expert_intermediate_size", shared.size, LARGEST)?;
                }
            }
            if attention.windows.len() != stack.n_layers {
                let expected = format!("{} attention windows, one per layer", stack.n_layers);
                return Err(ModelError::config("layer_types", expected, attention.windows.len()));
            }
        }
        Ok(())
    }

    /// Approximate number of floats per token that the widest block holds at once; used to plan memory.
    pub fn floats_per_token(&self) -> usize {
        let of_stack = |stack: &StackConfig| {
            let AttentionConfig { n_heads, n_kv_heads, head_dim, .. } = stack.attention;
            let (size, gated) = (stack.widest_size(self.hidden_size), stack.feed_forward.gated);
            8 * self.hidden_size + 2 * (n_heads + 2 * n_kv_heads) * head_dim + size * if gated { 4 } else { 2 }
        };
        self.encoder.iter().chain([&self.decoder]).map(of_stack).max().unwrap_or(0)
    }

    /// Floats per token that the tape of the largest block keeps for the way back; used to plan memory.
    pub fn kept_per_token(&self) -> usize {
        let of_stack = |stack: &StackConfig| {
            let AttentionConfig { n_heads, n_kv_heads, head_dim, query_key_norm, .. } = stack.attention;
            let attentions = if self.encoder.is_some() { 2 } else { 1 };
            let of_attention = (n_heads + 2 * n_kv_heads) * head_dim * (1 + usize::from(query_key_norm.is_some()));
            let of_feed_forward = stack.widest_size(self.hidden_size) * (1 + usize::from(stack.feed_forward.gated));
            self.outlined_by(stack) + attentions * of_attention + of_feed_forward
        };
        self.encoder.iter().chain([&self.decoder]).map(of_stack).max().unwrap_or(0)
    }

    /// The same of a block whose tape is made again on the way back: what enters its branches.
    pub fn outlined_per_token(&self) -> usize {
        self.encoder.iter().chain([&self.decoder]).map(|stack| self.outlined_by(stack)).max().unwrap_or(0)
    }

    fn outlined_by(&self, stack: &StackConfig) -> usize {
        let branches = if self.encoder.is_some() { 3 } else { 2 };
        let norms = 1 + usize::from(stack.norm_placement != NormPlacement::Pre);
        branches * norms * self.hidden_size
    }

    /// Tokens in the vocabulary that sources are read with.
    pub fn source_vocab_size(&self) -> usize {
        self.encoder_vocab_size.unwrap_or(self.vocab_size)
    }

    /// Whether every part has rules besides the gradient, so that DeepLIFT and AttnLRP apply: mixtures of experts and clamped gates have none.
    pub fn has_every_rule(&self) -> bool {
        let has_rules = |stack: &StackConfig| stack.experts.is_none() && stack.feed_forward.gate_limit.is_none();
        self.encoder.iter().chain([&self.decoder]).all(has_rules)
    }

    /// Whether the model predicts masked tokens: its only stack sees the text on both sides of them.
    pub fn is_masked(&self) -> bool {
        self.encoder.is_none() && self.decoder.bidirectional
    }

    /// Whether the model has an encoder.
    pub fn is_encoder_decoder(&self) -> bool {
        self.encoder.is_some()
    }
}
