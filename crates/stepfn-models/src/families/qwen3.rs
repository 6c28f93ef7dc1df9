//! Qwen 3 without experts.
//!
//! Llama with queries and keys normalized per head before the rotation. Heads are 128 wide by default; `attention_bias` applies to all four
//! projections; windows as in Qwen 2.

use super::{Family, llama_like, qwen2};
use crate::config::{NormOver, SpecialTokens};

pub(super) const QWEN3: Family = Family {
    name: "qwen3",
    configure: |f| {
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(32),
            head_dim: Some(128),
            special: SpecialTokens::default(),
            ..llama_like::Defaults::llama("qwen3")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.attention.windows = qwen2::windows(f, config.decoder.n_layers)?;
        config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
        Ok(config)
    },
    names: |config| {
        let mut names = llama_like::names(config);
        names.extend(llama_like::QUERY_KEY_NORMS);
        names
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
