//! GPT-2 and DistilGPT-2.
//!
//! Learned positions; projections stored as `[in, out]` (`Conv1D`), with query, key and value side by side in one tensor.

use super::Family;
use super::activation::activation;
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const GPT2: Family = Family {
    name: "gpt2",
    configure: |f| {
        f.only_bool("scale_attn_weights", true, "unscaled attention is not implemented")?;
        f.only_bool("scale_attn_by_inverse_layer_idx", false, "scaling scores by layer index is not implemented")?;
        let hidden_size = f.usize(f.any_of(&["n_embd", "hidden_size"]))?;
        let n_layers = f.layers(f.any_of(&["n_layer", "num_hidden_layers"]))?;
        let (n_heads, head_dim) = f.heads(f.any_of(&["n_head", "num_attention_heads"]), hidden_size)?;
        Ok(TransformerConfig {
            family: "gpt2",
            vocab_size: f.usize("vocab_size")?,
            encoder_vocab_size: None,
            hidden_size,
            encoder: None,
            decoder: StackConfig {
                n_layers,
                embedding_scale: 1.0,
                embedding_size: None,
                embedding_norm: false,
                positions: Positions::Learned {
                    offset: 0,
                    rows: f.usize(f.any_of(&["n_positions", "max_position_embeddings"]))?,
                },
                norm: NormConfig { kind: NormKind::LayerNorm, epsilon: f.positive_or("layer_norm_epsilon", 1e-5)? },
                norm_placement: NormPlacement::Pre,
                final_norm: true,
                residual: Residual::Sequential,
                attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
                feed_forward: FeedForwardConfig {
                    size: f.usize_or("n_inner", 4 * hidden_size)?,
                    activation: activation(f, "activation_function", "gelu_new")?,
                    gated: false,
                    bias: true,
                },
                dropout: DropoutRates {
                    embedding: Some(f.rate_or("embd_pdrop", 0.1)?),
                    attention: Some(f.rate_or("attn_pdrop", 0.1)?),
                    residual: Some(f.rate_or("resid_pdrop", 0.1)?),
                    ..DropoutRates::default()
                },
            },
            shared_embeddings: false,
            head: HeadConfig { tied: f.bool_or("tie_word_embeddings", true)?, scale: 1.0, bias: false, soft_cap: None },
            special: f.special_tokens(SpecialTokens {
                bos: Some(50_256),
                eos: vec![50_256],
                ..SpecialTokens::default()
            })?,
        })
    },
    names: |config| {
        let qkv = "transformer.h.{}.attn.c_attn";
        let mut names = vec![
            whole("decoder.embedding", "transformer.wte"),
            whole("decoder.positions", "transformer.wpe"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_1"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::Columns(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::Columns(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::Columns(Packed::Value)),
            laid_out("decoder.layers.{}.self_attention.output", "transformer.h.{}.attn.c_proj", Layout::Transposed),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.ln_2"),
            laid_out("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.c_fc", Layout::Transposed),
            laid_out("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.c_proj", Layout::Transposed),
            whole("decoder.final_norm", "transformer.ln_f"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.wte")]);
        }
        names
    },
    prefixes: &["transformer."],
    ignored: &[".attn.bias", ".attn.masked_bias"],
};
