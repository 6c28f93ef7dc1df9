//! ModernBERT.
//!
//! Rotary positions, gated feed-forwards, norms before the branches and at the end. In two layers of three, a token sees its neighbours only, with
//! wavelengths of their own. The first layer's attention reads the embeddings, which are normalized, without another norm.

use super::activation::activation;
use super::rotary::{RotaryFields, WHOLE_HEAD, by_window, rotary};
use super::{Family, llama_like};
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformConfig, TransformerConfig,
};
use crate::names::{Layout, Name, Packed, laid_out, whole};

pub(super) const MODERNBERT: Family = Family {
    name: "modernbert",
    configure: |f| {
        const ROTARY: RotaryFields = RotaryFields {
            theta: &["global_rope_theta"],
            default_theta: 160_000.0,
            scalings: &["default"],
            by_layer_type: true,
            ..WHOLE_HEAD
        };
        let hidden_size = f.usize("hidden_size")?;
        let n_layers = f.layers("num_hidden_layers")?;
        let (n_heads, head_dim) = f.heads("num_attention_heads", hidden_size)?;
        let kind = if f.bool_or("norm_bias", false)? { NormKind::LayerNorm } else { NormKind::LayerNormWithoutBias };
        let norm = NormConfig { kind, epsilon: f.positive_or("norm_eps", 1e-5)? };
        let attention_bias = f.bool_or("attention_bias", false)?;
        // It acts on attention's probabilities and its output, and not on that of the feed-forward.
        let dropped = f.rate_or("attention_dropout", 0.0)?;
        f.check(dropped == 0.0, "attention_dropout", "0: dropout of attention's output alone is not implemented")?;
        let local = f.usize_or("local_attention", 128)?;
        f.check(local >= 2, "local_attention", "a whole number, 2 or greater")?;
        let every = f.usize_or("global_attn_every_n_layers", 3)?;
        f.check(every > 0, "global_attn_every_n_layers", "a whole number, 1 or greater")?;
        let window = Some(local / 2 + 1);
        let windows = llama_like::windows_by_layer(f, n_layers, window, |layer| layer % every > 0)?;
        let attention = AttentionConfig::multi_head(n_layers, n_heads, head_dim, attention_bias);
        let mut stack = StackConfig {
            n_layers,
            bidirectional: true,
            embedding_scale: 1.0,
            embedding_size: None,
            projected_last: false,
            token_types: None,
            embedding_norm: true,
            positions: Positions::Rotary(rotary(f, head_dim, &ROTARY)?),
            norm,
            first_norm: false,
            norm_placement: NormPlacement::Pre,
            final_norm: true,
            residual: Residual::Sequential,
            attention: AttentionConfig { windows, ..attention },
            feed_forward: FeedForwardConfig {
                size: f.usize("intermediate_size")?,
                activation: activation(f, "hidden_activation", "gelu")?,
                gated: true,
                gate_limit: None,
                bias: f.bool_or("mlp_bias", false)?,
            },
            experts: None,
            dropout: DropoutRates {
                embedding: Some(f.rate_or("embedding_dropout", 0.0)?),
                activation: Some(f.rate_or("mlp_dropout", 0.0)?),
                ..DropoutRates::default()
            },
        };
        by_window(f, &mut stack, &ROTARY, ("local_rope_theta", 10_000.0))?;
        Ok(TransformerConfig {
            family: "modernbert",
            vocab_size: f.usize("vocab_size")?,
            encoder_vocab_size: None,
            hidden_size,
            encoder: None,
            decoder: stack,
            shared_embeddings: false,
            head: HeadConfig {
                transform: Some(TransformConfig {
                    activation: activation(f, "classifier_activation", "gelu")?,
                    norm,
                    bias: f.bool_or("classifier_bias", false)?,
                }),
                tied: f.bool_or("tie_word_embeddings", true)?,
                scale: 1.0,
                bias: f.bool_or("decoder_bias", true)?,
                soft_cap: None,
            },
            special: f.special_tokens(SpecialTokens {
                bos: Some(50281),
                eos: vec![50282],
                pad: Some(50283),
                decoder_start: None,
            })?,
        })
    },
    names: |config| {
        let mut names = vec![
            whole("decoder.embedding", "model.embeddings.tok_embeddings"),
            whole("decoder.embedding_norm", "model.embeddings.norm"),
            whole("decoder.final_norm", "model.final_norm"),
            whole("head.transform", "head.dense"),
            whole("head.norm", "head.norm"),
            whole("head", "decoder"),
        ];
        names.extend(LAYERS);
        if config.head.tied {
            names.extend([whole("decoder.embedding", "decoder"), whole("head", "model.embeddings.tok_embeddings")]);
        }
        names
    },
    prefixes: &["model."],
    ignored: &[],
};

const QKV: &str = "model.layers.{}.attn.Wqkv";
const GATE_UP: &str = "model.layers.{}.mlp.Wi";

const LAYERS: [Name; 9] = [
    laid_out("decoder.layers.{}.self_attention.query", QKV, Layout::Rows(Packed::Query)),
    laid_out("decoder.layers.{}.self_attention.key", QKV, Layout::Rows(Packed::Key)),
    laid_out("decoder.layers.{}.self_attention.value", QKV, Layout::Rows(Packed::Value)),
    whole("decoder.layers.{}.self_attention.output", "model.layers.{}.attn.Wo"),
    whole("decoder.layers.{}.self_attention_norm", "model.layers.{}.attn_norm"),
    laid_out("decoder.layers.{}.feed_forward.gate", GATE_UP, Layout::Rows(Packed::Gate)),
    laid_out("decoder.layers.{}.feed_forward.up", GATE_UP, Layout::Rows(Packed::Up)),
    whole("decoder.layers.{}.feed_forward.down", "model.layers.{}.mlp.Wo"),
    whole("decoder.layers.{}.feed_forward_norm", "model.layers.{}.mlp_norm"),
];
