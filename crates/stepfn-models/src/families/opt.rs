//! OPT, 125M to 66B.
//!
//! Learned positions from row 2; blocks as in BART's decoder without cross-attention. The 350M model normalizes after the residual sums
//! (`do_layer_norm_before` false), has no final norm, and has narrower embeddings that are projected in and out.

use super::activation::activation;
use super::{Family, bart_like};
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Residual,
    SpecialTokens, StackConfig, TransformerConfig,
};
use crate::names::whole;

pub(super) const OPT: Family = Family {
    name: "opt",
    configure: |f| {
        f.only_bool("layer_norm_elementwise_affine", true, "norms without weights are not implemented")?;
        let hidden_size = f.usize("hidden_size")?;
        let n_layers = f.layers("num_hidden_layers")?;
        let (n_heads, head_dim) = f.heads("num_attention_heads", hidden_size)?;
        let bias = f.bool_or("enable_bias", true)?;
        let norm_before = f.bool_or("do_layer_norm_before", true)?;
        let embedding_size = f.usize_or("word_embed_proj_dim", hidden_size)?;
        Ok(TransformerConfig {
            family: "opt",
            vocab_size: f.usize("vocab_size")?,
            encoder_vocab_size: None,
            hidden_size,
            encoder: None,
            decoder: StackConfig {
                n_layers,
                bidirectional: false,
                embedding_scale: 1.0,
                embedding_size: Some(embedding_size).filter(|size| *size != hidden_size),
                projected_last: false,
                token_types: None,
                embedding_norm: false,
                positions: bart_like::learned_positions(f)?,
                norm: NormConfig { kind: NormKind::LayerNorm, epsilon: 1e-5 },
                first_norm: true,
                norm_placement: if norm_before { NormPlacement::Pre } else { NormPlacement::Post },
                final_norm: norm_before && !f.bool_or("_remove_final_layer_norm", false)?,
                residual: Residual::Sequential,
                attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, bias),
                feed_forward: FeedForwardConfig {
                    size: f.usize("ffn_dim")?,
                    activation: activation(f, "activation_function", "relu")?,
                    gated: false,
                    gate_limit: None,
                    bias,
                },
                experts: None,
                dropout: DropoutRates {
                    attention: Some(f.rate_or("attention_dropout", 0.0)?),
                    residual: Some(f.rate_or("dropout", 0.1)?),
                    ..DropoutRates::default()
                },
            },
            shared_embeddings: false,
            head: HeadConfig {
                transform: None,
                tied: f.bool_or("tie_word_embeddings", true)?,
                scale: 1.0,
                bias: false,
                soft_cap: None,
            },
            special: f.special_tokens(SpecialTokens {
                bos: Some(2),
                eos: vec![2],
                pad: Some(1),
                decoder_start: None,
            })?,
        })
    },
    names: |config| {
        let mut names = bart_like::DECODER_BLOCK.to_vec();
        names.extend([
            whole("decoder.embedding", "model.decoder.embed_tokens"),
            whole("decoder.positions", "model.decoder.embed_positions"),
            whole("decoder.project_in", "model.decoder.project_in"),
            whole("decoder.project_out", "model.decoder.project_out"),
            whole("decoder.final_norm", "model.decoder.final_layer_norm"),
            whole("head", "lm_head"),
        ]);
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "model.decoder.embed_tokens")]);
        }
        names
    },
    prefixes: &["model."],
    ignored: &[],
};
