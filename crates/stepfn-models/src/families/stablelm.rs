//! StableLM 2 and StableLM 3B.
//!
//! Llama with LayerNorm, a quarter of each head rotated, biases on queries, keys and values where the file says so, and in some models parallel
//! branches that read one norm. Norms of queries and keys (`qk_layernorm`, in the 12B) are refused, and so is dropout of the feed-forward alone.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::{NormKind, Residual, SpecialTokens};

pub(super) const STABLELM: Family = Family {
    name: "stablelm",
    configure: |f| {
        f.only_bool("qk_layernorm", false, "norms of single heads in tensors of their own are not implemented")?;
        let rate = f.rate_or("hidden_dropout", 0.0)?;
        f.check(rate == 0.0, "hidden_dropout", "0: dropout of the feed-forward alone is not implemented")?;
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(32),
            rotary: RotaryFields { share: Some((&["partial_rotary_factor"], 0.25)), ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(0), eos: vec![0], ..SpecialTokens::default() },
            ..llama_like::Defaults::llama("stablelm")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::layer_norm(f, &mut config, NormKind::LayerNorm, "layer_norm_eps")?;
        config.decoder.attention.qkv_bias = f.bool_or("use_qkv_bias", false)?;
        if f.bool_or("use_parallel_residual", false)? {
            config.decoder.residual = Residual::Parallel;
        }
        Ok(config)
    },
    names: |config| match config.decoder.residual {
        Residual::Parallel => {
            let names = llama_like::names(config);
            let kept = names.len() - llama_like::PRE_NORMS.len();
            [&names[..kept], &llama_like::SHARED_NORM].concat()
        }
        _ => llama_like::names(config),
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
