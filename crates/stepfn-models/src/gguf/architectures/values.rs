//! Values of `config.json` that follow from more than one key.

use serde_json::{Value, json};

use crate::ModelError;
use crate::gguf::metadata::Fields;
use crate::gguf::reader::Metadata;

const HEADS: &str = "attention.head_count";
const KEY_HEADS: &str = "attention.head_count_kv";
const WINDOW: &str = "attention.sliding_window";
const ROTATED: &str = "rope.dimension_count";

/// The embeddings decide the vocabulary size, because they may have more rows than there are tokens.
pub(super) fn vocabulary(f: &Fields) -> Result<Value, ModelError> {
    let rows = f.tensor("token_embd.weight").and_then(|(row, _)| row.shape.first().copied());
    match (rows, f.get("tokenizer.ggml.tokens")) {
        (Some(rows), _) => Ok(json!(rows)),
        (None, Some(Metadata::Texts(tokens))) => Ok(json!(tokens.len())),
        (None, _) => Ok(json!(f.needed("vocab_size")?)),
    }
}

/// The tokens that end a text, a turn of a conversation, or a message: there is no `generation_config.json` that lists them.
pub(super) fn ends(f: &Fields) -> Result<Value, ModelError> {
    let mut ends: Vec<u64> = Vec::new();
    for key in ["eos", "eot", "eom"] {
        ends.extend(f.number(&format!("tokenizer.ggml.{key}_token_id"))?.filter(|id| !ends.contains(id)));
    }
    Ok(match ends[..] {
        [] => Value::Null,
        [only] => json!(only),
        _ => json!(ends),
    })
}

/// The number of heads of an architecture in which keys have as many as queries.
pub(super) fn heads_alone(f: &Fields) -> Result<Value, ModelError> {
    let heads = f.needed(HEADS)?;
    if f.number(KEY_HEADS)?.is_some_and(|keys| keys != heads) {
        return Err(f.error(KEY_HEADS, format!("{heads}, the number of heads")));
    }
    Ok(json!(heads))
}

/// The number of heads of keys and values.
pub(super) fn key_heads(f: &Fields) -> Result<Value, ModelError> {
    match f.number(KEY_HEADS)? {
        Some(heads) => Ok(json!(heads)),
        None => Ok(json!(f.needed(HEADS)?)),
    }
}

/// The width of a head that is rotated whole, if at all.
pub(super) fn head_dim(f: &Fields) -> Result<Value, ModelError> {
    let head_dim = match f.number("attention.key_length")?.or(f.number(ROTATED)?) {
        Some(head_dim) => head_dim,
        None => f.needed("embedding_length")?.checked_div(f.needed(HEADS)?).unwrap_or(0),
    };
    for key in [ROTATED, "attention.value_length"] {
        if f.number(key)?.is_some_and(|found| found != head_dim) {
            return Err(f.error(key, format!("{head_dim}, the width of a head")));
        }
    }
    Ok(json!(head_dim))
}

/// The rotated share of a head.
pub(super) fn rotary_share(f: &Fields) -> Result<Value, ModelError> {
    let head_dim = f.needed("embedding_length")?.checked_div(f.needed(HEADS)?).unwrap_or(0);
    let rotated = f.number(ROTATED)?.unwrap_or(head_dim);
    if rotated == 0 || rotated > head_dim {
        return Err(f.error(ROTATED, format!("a whole number from 1 to {head_dim}, the width of a head")));
    }
    let share = rotated as f64 / head_dim as f64;
    // The number of rotated dimensions is the product, rounded down.
    Ok(json!(if (head_dim as f64 * share) < rotated as f64 { share.next_up() } else { share }))
}

/// The square of the divisor of scores, which Gemma 2 has in no key: llama.cpp knows that the largest one differs.
pub(super) fn scale_of_gemma2(f: &Fields) -> Result<Value, ModelError> {
    const LAYERS_OF_27B: u64 = 46;
    if f.needed("block_count")? == LAYERS_OF_27B {
        return Ok(json!(f.needed("embedding_length")?.checked_div(f.needed(HEADS)?).unwrap_or(0)));
    }
    head_dim(f)
}

/// The same of Gemma 3.
pub(super) fn scale_of_gemma3(f: &Fields) -> Result<Value, ModelError> {
    const LAYERS_OF_27B: u64 = 62;
    if f.needed("block_count")? == LAYERS_OF_27B {
        return Ok(json!(f.needed("embedding_length")?.checked_div(f.needed(HEADS)?).unwrap_or(0)));
    }
    head_dim(f)
}

/// One of so many layers has no window.
pub(super) fn pattern_of_gemma3(f: &Fields) -> Result<Value, ModelError> {
    Ok(json!(f.number("attention.sliding_window_pattern")?.unwrap_or(6)))
}

/// The soft cap of logits, which most models don't have.
pub(super) fn logit_cap(f: &Fields) -> Result<Value, ModelError> {
    Ok(json!(f.float("final_logit_softcapping")?))
}

/// Refuses a window, which another family has.
pub(super) fn no_window(f: &Fields) -> Result<Value, ModelError> {
    match f.number(WINDOW)? {
        None | Some(0) => Ok(Value::Null),
        Some(_) => Err(f.error(WINDOW, "no window: OLMo 3 is not implemented for GGUF files")),
    }
}

pub(super) fn window_of_gemma2(f: &Fields) -> Result<Value, ModelError> {
    Ok(json!(f.number(WINDOW)?.unwrap_or(4096)))
}

/// The window: 0 stands for none. Files from before June 2024 don't say it.
pub(super) fn window_of_phi3(f: &Fields) -> Result<Value, ModelError> {
    let of_old_files = (f.needed("context_length")? == 4096).then_some(2047);
    Ok(json!(f.number(WINDOW)?.or(of_old_files).filter(|window| *window > 0)))
}

/// llama.cpp has one nonlinearity for all; published are GPT-NeoX-20B with the approximation of GELU, and others with GELU itself.
pub(super) fn activation_of_neox(f: &Fields) -> Result<Value, ModelError> {
    let (layers, width) = (f.needed("block_count")?, f.needed("embedding_length")?);
    Ok(json!(if (layers, width) == (44, 6144) { "gelu_fast" } else { "gelu" }))
}

/// Positions that BLOOM was made for. The converter writes the width where it doesn't know them.
pub(super) fn bloom_positions(f: &Fields) -> Result<Value, ModelError> {
    let (positions, width) = (f.needed("context_length")?, f.needed("embedding_length")?);
    Ok(json!(Some(positions).filter(|positions| *positions != width)))
}

pub(super) fn decoder_layers(f: &Fields) -> Result<Value, ModelError> {
    match f.number("decoder_block_count")? {
        Some(layers) => Ok(json!(layers)),
        None => Ok(json!(f.needed("block_count")?)),
    }
}

/// Files don't say the nonlinearity. T5 with a gate has GELU, T5 without has ReLU.
pub(super) fn feed_forward_of_t5(f: &Fields) -> Result<Value, ModelError> {
    Ok(json!(if f.has("enc.blk.0.ffn_gate.weight") { "gated-gelu" } else { "relu" }))
}
