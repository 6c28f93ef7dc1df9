//! DistilBERT.
//!
//! BERT without types of tokens, by other names.

use super::Family;
use super::activation::activation;
use super::bert_like;
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformConfig, TransformerConfig,
};
use crate::names::{Name, whole};

pub(super) const DISTILBERT: Family = Family {
    name: "distilbert",
    configure: |f| {
        let hidden_size = f.usize("dim")?;
        let n_layers = f.layers("n_layers")?;
        let (n_heads, head_dim) = f.heads("n_heads", hidden_size)?;
        let norm = NormConfig { kind: NormKind::LayerNorm, epsilon: 1e-12 };
        let phi = activation(f, "activation", "gelu")?;
        let dropout = f.rate_or("dropout", 0.1)?;
        // Tables of sinusoids are stored as others are.
        f.bool_or("sinusoidal_pos_embds", false)?;
        Ok(TransformerConfig {
            family: "distilbert",
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
                token_types: None,
                embedding_norm: true,
                positions: Positions::Learned { offset: 0, rows: f.usize("max_position_embeddings")? },
                norm,
                first_norm: true,
                norm_placement: NormPlacement::Post,
                final_norm: false,
                residual: Residual::Sequential,
                attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
                feed_forward: FeedForwardConfig {
                    size: f.usize("hidden_dim")?,
                    activation: phi,
                    gated: false,
                    gate_limit: None,
                    bias: true,
                },
                experts: None,
                dropout: DropoutRates {
                    embedding: Some(dropout),
                    attention: Some(f.rate_or("attention_dropout", 0.1)?),
                    feed_forward: Some(dropout),
                    ..DropoutRates::default()
                },
            },
            shared_embeddings: false,
            head: HeadConfig {
                transform: Some(TransformConfig { activation: phi, norm, bias: true }),
                tied: f.bool_or("tie_word_embeddings", true)?,
                scale: 1.0,
                bias: true,
                soft_cap: None,
            },
            special: f.special_tokens(SpecialTokens { pad: Some(0), ..SpecialTokens::default() })?,
        })
    },
    names: |config| {
        let mut names = vec![
            whole("decoder.embedding", "distilbert.embeddings.word_embeddings"),
            whole("decoder.positions", "distilbert.embeddings.position_embeddings"),
            whole("decoder.embedding_norm", "distilbert.embeddings.LayerNorm"),
            whole("head.transform", "vocab_transform"),
            whole("head.norm", "vocab_layer_norm"),
        ];
        names.extend(LAYERS);
        names.extend(bert_like::head_names(
            config,
            "distilbert.embeddings.word_embeddings",
            "vocab_projector",
            "vocab_projector.bias",
        ));
        names
    },
    prefixes: &["distilbert."],
    ignored: &["position_ids"],
};

/// Table rows of a layer.
macro_rules! layers {
    ($($ours:literal = $theirs:literal),*) => {
        [$(whole(concat!("decoder.layers.{}.", $ours), concat!("distilbert.transformer.layer.{}.", $theirs))),*]
    };
}

const LAYERS: [Name; 8] = layers!(
    "self_attention.query" = "attention.q_lin",
    "self_attention.key" = "attention.k_lin",
    "self_attention.value" = "attention.v_lin",
    "self_attention.output" = "attention.out_lin",
    "self_attention_norm" = "sa_layer_norm",
    "feed_forward.up" = "ffn.lin1",
    "feed_forward.down" = "ffn.lin2",
    "feed_forward_norm" = "output_layer_norm"
);
