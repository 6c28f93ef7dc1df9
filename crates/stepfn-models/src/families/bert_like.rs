//! The common structure of BERT and its relatives: one stack whose tokens see each other, norms after the residual sums, embeddings that are
//! normalized with their positions, biases everywhere, and a head that transforms hidden states before it makes logits.

use super::activation::activation;
use crate::ModelError;
use crate::config::{
    Activation, AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement,
    Positions, Residual, SpecialTokens, StackConfig, TransformConfig, TransformerConfig,
};
use crate::json::Fields;
use crate::names::{Name, exact, whole};

/// What distinguishes the family.
pub(super) struct Variant {
    pub(super) family: &'static str,
    /// Rows of the table of positions before that of position 0.
    pub(super) offset: usize,
    /// The nonlinearity of the head, if it isn't that of the feed-forward.
    pub(super) head_activation: Option<Activation>,
    pub(super) special: SpecialTokens,
}

/// A configuration with the names of fields that BERT's relatives have in common.
pub(super) fn configure(f: &Fields, variant: Variant) -> Result<TransformerConfig, ModelError> {
    f.only_bool("is_decoder", false, "a causal model of this family is not implemented")?;
    let absolute = f.str_or("position_embedding_type", "absolute")? == "absolute";
    f.check(absolute, "position_embedding_type", "absolute: relative positions are not implemented")?;
    let hidden_size = f.usize("hidden_size")?;
    let n_layers = f.layers("num_hidden_layers")?;
    let (n_heads, head_dim) = f.heads("num_attention_heads", hidden_size)?;
    let norm = NormConfig { kind: NormKind::LayerNorm, epsilon: f.positive_or("layer_norm_eps", 1e-12)? };
    let phi = activation(f, "hidden_act", "gelu")?;
    let rows = f.usize("max_position_embeddings")?;
    let expected = format!("more than the {} rows that belong to no position", variant.offset);
    f.check(rows > variant.offset, "max_position_embeddings", expected)?;
    let dropout = f.rate_or("hidden_dropout_prob", 0.1)?;
    Ok(TransformerConfig {
        family: variant.family,
        vocab_size: f.usize("vocab_size")?,
        encoder_vocab_size: None,
        hidden_size,
        encoder: None,
        decoder: StackConfig {
            n_layers,
            bidirectional: true,
            embedding_scale: 1.0,
            embedding_size: None,
            projected_last: false,
            token_types: Some(f.usize_or("type_vocab_size", 2)?),
            embedding_norm: true,
            positions: Positions::Learned { offset: variant.offset, rows },
            norm,
            first_norm: true,
            norm_placement: NormPlacement::Post,
            final_norm: false,
            residual: Residual::Sequential,
            attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
            feed_forward: FeedForwardConfig {
                size: f.usize("intermediate_size")?,
                activation: phi,
                gated: false,
                gate_limit: None,
                bias: true,
            },
            experts: None,
            dropout: DropoutRates {
                embedding: Some(dropout),
                attention: Some(f.rate_or("attention_probs_dropout_prob", 0.1)?),
                residual: Some(dropout),
                ..DropoutRates::default()
            },
        },
        shared_embeddings: false,
        head: HeadConfig {
            transform: Some(TransformConfig { activation: variant.head_activation.unwrap_or(phi), norm, bias: true }),
            tied: f.bool_or("tie_word_embeddings", true)?,
            scale: 1.0,
            bias: true,
            soft_cap: None,
        },
        special: f.special_tokens(variant.special)?,
    })
}

/// Embeddings narrower than the model, which are projected after their norm; the head makes hidden states as narrow.
pub(super) fn narrow(f: &Fields, config: &mut TransformerConfig, always_projected: bool) -> Result<(), ModelError> {
    let size = f.usize_or("embedding_size", 128)?;
    if always_projected || size != config.hidden_size {
        config.decoder.embedding_size = Some(size);
        config.decoder.projected_last = true;
    }
    Ok(())
}

/// Table rows of a normalization, under the names that its parameters have and those that they had in the first files.
macro_rules! norm {
    ($ours:expr, $theirs:expr) => {
        [
            $crate::names::whole($ours, $theirs),
            $crate::names::exact(concat!($ours, ".weight"), concat!($theirs, ".gamma"), $crate::names::Layout::Whole),
            $crate::names::exact(concat!($ours, ".bias"), concat!($theirs, ".beta"), $crate::names::Layout::Whole),
        ]
    };
}

/// Table rows of a stack in tensors whose names start with a base.
macro_rules! stack {
    ($base:literal) => {{
        use $crate::families::bert_like::norm;
        use $crate::names::whole;
        [
            &[
                whole("decoder.embedding", concat!($base, ".embeddings.word_embeddings")),
                whole("decoder.positions", concat!($base, ".embeddings.position_embeddings")),
                whole("decoder.token_types", concat!($base, ".embeddings.token_type_embeddings")),
                whole(
                    "decoder.layers.{}.self_attention.query",
                    concat!($base, ".encoder.layer.{}.attention.self.query"),
                ),
                whole("decoder.layers.{}.self_attention.key", concat!($base, ".encoder.layer.{}.attention.self.key")),
                whole(
                    "decoder.layers.{}.self_attention.value",
                    concat!($base, ".encoder.layer.{}.attention.self.value"),
                ),
                whole(
                    "decoder.layers.{}.self_attention.output",
                    concat!($base, ".encoder.layer.{}.attention.output.dense"),
                ),
                whole("decoder.layers.{}.feed_forward.up", concat!($base, ".encoder.layer.{}.intermediate.dense")),
                whole("decoder.layers.{}.feed_forward.down", concat!($base, ".encoder.layer.{}.output.dense")),
            ][..],
            &norm!("decoder.embedding_norm", concat!($base, ".embeddings.LayerNorm")),
            &norm!(
                "decoder.layers.{}.self_attention_norm",
                concat!($base, ".encoder.layer.{}.attention.output.LayerNorm")
            ),
            &norm!("decoder.layers.{}.feed_forward_norm", concat!($base, ".encoder.layer.{}.output.LayerNorm")),
        ]
        .concat()
    }};
}

pub(super) use {norm, stack};

/// Token embeddings and head, which may be one tensor, and the bias of the logits.
pub(super) fn head_names(
    config: &TransformerConfig,
    embedding: &'static str,
    decoder: &'static str,
    bias: &'static str,
) -> Vec<Name> {
    let mut names = vec![exact("head.bias", bias, crate::names::Layout::Whole), whole("head", decoder)];
    if config.head.tied {
        names.extend([whole("decoder.embedding", decoder), whole("head", embedding)]);
    }
    names
}
