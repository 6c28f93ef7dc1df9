//! Translates GGUF's `llama` architecture to `config.json` and tensor names of the `llama` family.

use std::path::Path;

use serde_json::{Value, json};

use super::reader::{Contents, Metadata, TensorRow};
use super::{Gguf, GgufTensor, Stored};
use crate::ModelError;

/// Names of the tensors outside blocks, and of the parts of a block: GGUF name, published name.
const OUTER: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
const INNER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    (QUERY, "self_attn.q_proj"),
    (KEY, "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const QUERY: &str = "attn_q";
const KEY: &str = "attn_k";
/// Llama 3.1's factors of rotary frequencies.
const FREQUENCIES: &str = "rope_freqs.weight";

pub(super) fn describe(path: &Path, contents: Contents) -> Result<Gguf, ModelError> {
    let reader = Fields { path, contents: &contents };
    let architecture = reader.text("general.architecture")?;
    if architecture != Some("llama") {
        let found = architecture.unwrap_or("none");
        return Err(reader.error("general.architecture", "llama, the only supported GGUF architecture", found));
    }
    let config = reader.config()?;
    let heads = |field: &str| config[field].as_u64().map_or(0, |heads| heads as usize);
    let (queries, keys) = (heads("num_attention_heads"), heads("num_key_value_heads"));
    let tensor = |row: TensorRow| {
        let name = published(&row.name);
        let interleaved_heads = match row.name.split('.').nth(2) {
            Some(QUERY) => Some(queries),
            Some(KEY) => Some(keys),
            _ => None,
        };
        // Other shapes don't match the configuration; loading reports that better.
        let rows = row.shape.first().copied().unwrap_or(0);
        let interleaved_heads = interleaved_heads.filter(|&heads| heads > 0 && rows % (2 * heads) == 0);
        let stored = Stored { blocks: row.blocks, interleaved_heads };
        GgufTensor { name, shape: row.shape, stored, bytes: row.bytes }
    };
    let tensors = contents.tensors.into_iter().map(tensor).collect();
    Ok(Gguf { config, tensors })
}

/// A tensor's name in published checkpoints.
fn published(name: &str) -> String {
    let find = |table: &[(&'static str, &'static str)], stem: &str| {
        table.iter().find(|(theirs, _)| *theirs == stem).map(|(_, ours)| *ours)
    };
    let parts: Vec<&str> = name.split('.').collect();
    let ours = match *parts {
        [stem, suffix] => find(&OUTER, stem).map(|ours| format!("{ours}.{suffix}")),
        ["blk", layer, stem, suffix] => find(&INNER, stem).map(|ours| format!("model.layers.{layer}.{ours}.{suffix}")),
        _ => None,
    };
    ours.unwrap_or_else(|| name.to_owned())
}

/// Reads metadata fields with checks.
struct Fields<'a> {
    path: &'a Path,
    contents: &'a Contents,
}

impl Fields<'_> {
    fn config(&self) -> Result<Value, ModelError> {
        let hidden = self.needed("llama.embedding_length")?;
        let heads = self.needed("llama.attention.head_count")?;
        let head_dim = match self.number("llama.attention.key_length")?.or(self.number("llama.rope.dimension_count")?) {
            Some(head_dim) => head_dim,
            None => hidden.checked_div(heads).unwrap_or(0),
        };
        for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
            if let Some(found) = self.number(key)?.filter(|&found| found != head_dim) {
                return Err(self.error(key, format!("{head_dim}, the head size"), found));
            }
        }
        if let Some(experts) = self.number("llama.expert_count")?.filter(|&experts| experts > 0) {
            return Err(self.error("llama.expert_count", "0: mixtures of experts are not implemented", experts));
        }
        let vocab = match self.contents.metadata.get("tokenizer.ggml.tokens") {
            Some(Metadata::Texts(tokens)) => tokens.len() as u64,
            _ => self.needed("llama.vocab_size")?,
        };
        // The embeddings decide the vocabulary size, because they may have more rows than there are tokens.
        let rows = self.row("token_embd.weight").and_then(|row| row.shape.first().copied());
        Ok(json!({
            "model_type": "llama",
            "vocab_size": rows.map_or(vocab, |rows| rows as u64),
            "hidden_size": hidden,
            "num_hidden_layers": self.needed("llama.block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.number("llama.attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head_dim,
            "intermediate_size": self.needed("llama.feed_forward_length")?,
            "max_position_embeddings": self.needed("llama.context_length")?,
            "rms_norm_eps": self.float("llama.attention.layer_norm_rms_epsilon")?,
            "rope_theta": self.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
            "rope_scaling": self.scaling()?,
            "hidden_act": "silu",
            "attention_bias": self.row("blk.0.attn_q.bias").is_some(),
            "mlp_bias": self.row("blk.0.ffn_up.bias").is_some(),
            "tie_word_embeddings": self.row("output.weight").is_none(),
            "bos_token_id": self.number("tokenizer.ggml.bos_token_id")?,
            "eos_token_id": self.number("tokenizer.ggml.eos_token_id")?,
            "pad_token_id": self.number("tokenizer.ggml.padding_token_id")?,
        }))
    }

    fn scaling(&self) -> Result<Value, ModelError> {
        if self.row(FREQUENCIES).is_some() {
            return Err(ModelError::Tensor {
                path: self.path.to_owned(),
                tensor: FREQUENCIES.to_owned(),
                expected: "no such tensor: Llama 3.1's rotary scaling is only supported in safetensors checkpoints"
                    .to_owned(),
                found: "one".to_owned(),
            });
        }
        const KIND: &str = "llama.rope.scaling.type";
        match self.text(KIND)? {
            None | Some("none") => Ok(Value::Null),
            Some("linear") => {
                let factor = self.float("llama.rope.scaling.factor")?.unwrap_or(1.0);
                Ok(json!({"rope_type": "linear", "factor": factor}))
            }
            Some(other) => Err(self.error(KIND, "none or linear", other)),
        }
    }

    fn row(&self, name: &str) -> Option<&TensorRow> {
        self.contents.tensors.iter().find(|row| row.name == name)
    }

    fn needed(&self, key: &str) -> Result<u64, ModelError> {
        self.number(key)?.ok_or_else(|| self.error(key, "a whole number", "nothing"))
    }

    fn number(&self, key: &str) -> Result<Option<u64>, ModelError> {
        match self.contents.metadata.get(key) {
            None => Ok(None),
            Some(Metadata::Integer(number)) if u64::try_from(*number).is_ok() => Ok(Some(*number as u64)),
            Some(other) => Err(self.error(key, "a whole number", format!("{other:.40?}"))),
        }
    }

    fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.contents.metadata.get(key) {
            None => Ok(None),
            Some(Metadata::Float(number)) if number.is_finite() => Ok(Some(*number)),
            Some(_) => Err(self.error(key, "a finite number", "another value")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.contents.metadata.get(key) {
            None => Ok(None),
            Some(Metadata::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "a string", "another value")),
        }
    }

    fn error(&self, key: &str, expected: impl AsRef<str>, found: impl core::fmt::Display) -> ModelError {
        let message = format!("metadata `{key}`: expected {}, found {found}", expected.as_ref());
        ModelError::File { path: self.path.to_owned(), message }
    }
}
