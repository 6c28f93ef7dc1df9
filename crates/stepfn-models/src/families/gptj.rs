//! GPT-J, and (`codegen`) CodeGen 1.
//!
//! GPT-2 with parallel branches that read one norm, interleaved rotary positions in the first `rotary_dim` of each head, attention without
//! biases, and a bias on the logits. CodeGen stores queries, values and keys in one tensor, a quarter of the heads after the other.

use super::Family;
use super::gpt_like::{self, Names};
use crate::ModelError;
use crate::config::{Positions, Residual, RotaryConfig, RotaryScaling, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::{Layout, Name, Packed, laid_out, whole};

pub(super) const GPTJ: Family = Family {
    name: "gptj",
    configure: |f| configure(f, "gptj"),
    names: |config| {
        let own = [
            whole("decoder.layers.{}.self_attention.query", "transformer.h.{}.attn.q_proj"),
            whole("decoder.layers.{}.self_attention.key", "transformer.h.{}.attn.k_proj"),
            whole("decoder.layers.{}.self_attention.value", "transformer.h.{}.attn.v_proj"),
        ];
        [&names(config)[..], &own].concat()
    },
    prefixes: &["transformer."],
    ignored: &[".attn.bias", ".attn.masked_bias", ".attn.embed_positions"],
};

pub(super) const CODEGEN: Family = Family {
    name: "codegen",
    configure: |f| {
        let config = configure(f, "codegen")?;
        let heads = config.decoder.attention.n_heads;
        f.check(heads % 4 == 0, f.any_of(gpt_like::GPT2.heads), "a multiple of 4")?;
        Ok(config)
    },
    names: |config| {
        let qkv = "transformer.h.{}.attn.qkv_proj";
        let own = [
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::Quarters(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::Quarters(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::Quarters(Packed::Value)),
        ];
        [&names(config)[..], &own].concat()
    },
    prefixes: &["transformer."],
    ignored: &[".attn.causal_mask", ".attn.bias", ".attn.masked_bias", ".attn.embed_positions"],
};

fn configure(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    let dropout = [Some(("embd_pdrop", 0.0)), Some(("attn_pdrop", 0.0)), Some(("resid_pdrop", 0.0)), None];
    let special = SpecialTokens { bos: Some(50_256), eos: vec![50_256], ..SpecialTokens::default() };
    let mut config = gpt_like::configure(f, family, &Names { dropout, ..gpt_like::GPT2 }, 0, special)?;
    config.head.tied = f.bool_or("tie_word_embeddings", false)?;
    config.head.bias = true;
    let stack = &mut config.decoder;
    stack.residual = Residual::Parallel;
    stack.attention.qkv_bias = false;
    stack.attention.output_bias = false;
    stack.positions = Positions::Rotary(RotaryConfig {
        dim: f.usize_or("rotary_dim", 64)?,
        theta: 10_000.0,
        interleaved: true,
        scaling: RotaryScaling::None,
        attention_factor: 1.0,
        max_positions: f.usize(f.any_of(gpt_like::GPT2.positions))?,
    });
    Ok(config)
}

fn names(config: &TransformerConfig) -> Vec<Name> {
    let mut names = vec![
        whole("decoder.embedding", "transformer.wte"),
        whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_1"),
        whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.ln_1"),
        whole("decoder.layers.{}.self_attention.output", "transformer.h.{}.attn.out_proj"),
        whole("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.fc_in"),
        whole("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.fc_out"),
        whole("decoder.final_norm", "transformer.ln_f"),
        whole("head", "lm_head"),
    ];
    if config.head.tied {
        names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.wte")]);
    }
    names
}
