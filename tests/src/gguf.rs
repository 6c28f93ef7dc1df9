//! A minimal writer of GGUF files.

use safetensors::SafeTensors;
use serde_json::Value;

/// A metadata value.
#[derive(Debug, Clone)]
pub enum Metadata {
    /// A 32-bit integer.
    Number(u32),
    /// A float.
    Float(f32),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// A list of strings.
    Texts(Vec<String>),
    /// A list of integers.
    Numbers(Vec<i32>),
    /// A list of floats.
    Floats(Vec<f32>),
}

/// A tensor: name, shape (rows first), type number, bytes.
pub type StoredTensor = (String, Vec<usize>, u32, Vec<u8>);

/// The contents of a file.
#[derive(Debug, Clone, Default)]
pub struct GgufFile {
    /// Metadata by key.
    pub metadata: Vec<(String, Metadata)>,
    /// Tensors in order.
    pub tensors: Vec<StoredTensor>,
}

impl GgufFile {
    /// Sets a metadata value.
    pub fn set(&mut self, key: &str, value: Metadata) {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.push((key.to_owned(), value));
    }

    /// The encoded file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut bytes, key);
            write_value(&mut bytes, value);
        }
        let mut offset = 0_usize;
        for (name, shape, kind, elements) in &self.tensors {
            text(&mut bytes, name);
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset = (offset + elements.len()).next_multiple_of(32);
        }
        for (_, _, _, elements) in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(elements);
        }
        bytes
    }

    /// A Llama checkpoint's `config.json` and `model.safetensors` (f32) in llama.cpp's layout: in each head's queries and keys, rows of the
    /// two halves alternate.
    pub fn llama(config: &Value, weights: &[u8]) -> Self {
        let mut file = Self::default();
        let number = |field: &str| Metadata::Number(config[field].as_u64().unwrap() as u32);
        file.set("general.architecture", Metadata::Text("llama".to_owned()));
        for (key, field) in [
            ("llama.block_count", "num_hidden_layers"),
            ("llama.context_length", "max_position_embeddings"),
            ("llama.embedding_length", "hidden_size"),
            ("llama.feed_forward_length", "intermediate_size"),
            ("llama.attention.head_count", "num_attention_heads"),
            ("llama.attention.head_count_kv", "num_key_value_heads"),
            ("llama.attention.key_length", "head_dim"),
            ("llama.rope.dimension_count", "head_dim"),
            ("llama.vocab_size", "vocab_size"),
            ("tokenizer.ggml.bos_token_id", "bos_token_id"),
            ("tokenizer.ggml.eos_token_id", "eos_token_id"),
        ] {
            file.set(key, number(field));
        }
        file.set(
            "llama.attention.layer_norm_rms_epsilon",
            Metadata::Float(config["rms_norm_eps"].as_f64().unwrap() as f32),
        );
        file.set("llama.rope.freq_base", Metadata::Float(10_000.0));
        let head_dim = config["head_dim"].as_u64().unwrap() as usize;
        let mut tensors: Vec<StoredTensor> = SafeTensors::deserialize(weights)
            .unwrap()
            .iter()
            .map(|(name, view)| {
                let name = llama_cpp_name(name);
                let turned = name.contains("attn_q") || name.contains("attn_k");
                let bytes = if turned { in_turn(view.data(), view.shape()[0], head_dim) } else { view.data().to_vec() };
                (name, view.shape().to_vec(), 0, bytes)
            })
            .collect();
        tensors.sort();
        file.tensors = tensors;
        file
    }

    /// The vocabulary of a GPT-2-style `tokenizer.json`.
    pub fn byte_level(tokenizer: &Value) -> Self {
        let mut file = Self::vocabulary(tokenizer);
        let merges = merges(tokenizer).iter().map(|pair| pair.join(" ")).collect();
        file.set("tokenizer.ggml.model", Metadata::Text("gpt2".to_owned()));
        file.set("tokenizer.ggml.pre", Metadata::Text("gpt-2".to_owned()));
        file.set("tokenizer.ggml.merges", Metadata::Texts(merges));
        file.set("tokenizer.ggml.eos_token_id", Metadata::Number(0));
        file
    }

    /// The vocabulary of a Llama-style `tokenizer.json`. The earlier a token is merged, the better its score.
    pub fn sentence_piece(tokenizer: &Value) -> Self {
        let mut file = Self::vocabulary(tokenizer);
        let merged: Vec<String> = merges(tokenizer).iter().map(|pair| pair.concat()).collect();
        let score = |token: &String| -(merged.iter().position(|other| other == token).unwrap_or(1000) as f32);
        let scores = tokens(tokenizer).iter().map(score).collect();
        file.set("tokenizer.ggml.model", Metadata::Text("llama".to_owned()));
        file.set("tokenizer.ggml.scores", Metadata::Floats(scores));
        for (key, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
            file.set(&format!("tokenizer.ggml.{key}_token_id"), Metadata::Number(id));
        }
        file.set("tokenizer.ggml.add_bos_token", Metadata::Bool(true));
        file
    }

    /// Tokens and their types.
    fn vocabulary(tokenizer: &Value) -> Self {
        let added = tokenizer["added_tokens"].as_array().unwrap();
        let special: Vec<&str> = added.iter().map(|token| token["content"].as_str().unwrap()).collect();
        let kind = |token: &String| match token.as_str() {
            "<unk>" => 2,
            token if special.contains(&token) => 3,
            token if token.starts_with("<0x") => 6,
            _ => 1,
        };
        let tokens = tokens(tokenizer);
        let mut file = Self::default();
        file.set("tokenizer.ggml.token_type", Metadata::Numbers(tokens.iter().map(kind).collect()));
        file.set("tokenizer.ggml.tokens", Metadata::Texts(tokens));
        file
    }
}

/// Tokens in the order of their ids.
fn tokens(tokenizer: &Value) -> Vec<String> {
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(u64, String)> =
        vocabulary.iter().map(|(token, id)| (id.as_u64().unwrap(), token.clone())).collect();
    tokens.sort();
    tokens.into_iter().map(|(_, token)| token).collect()
}

fn merges(tokenizer: &Value) -> Vec<[String; 2]> {
    serde_json::from_value(tokenizer["model"]["merges"].clone()).unwrap()
}

/// Reorders the rows of each head: 0, half, 1, half + 1, …
fn in_turn(bytes: &[u8], rows: usize, head_dim: usize) -> Vec<u8> {
    let row = bytes.len() / rows;
    let of_head =
        |head: usize| (0..head_dim / 2).flat_map(move |i| [0, head_dim / 2].map(|half| head * head_dim + half + i));
    let order = (0..rows / head_dim).flat_map(of_head);
    order.flat_map(|at| bytes[at * row..(at + 1) * row].to_vec()).collect()
}

fn llama_cpp_name(name: &str) -> String {
    let pairs = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    pairs.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn write_value(bytes: &mut Vec<u8>, value: &Metadata) {
    let kind = |bytes: &mut Vec<u8>, kind: u32| bytes.extend(kind.to_le_bytes());
    let list = |bytes: &mut Vec<u8>, of: u32, len: usize| {
        kind(bytes, 9);
        kind(bytes, of);
        bytes.extend((len as u64).to_le_bytes());
    };
    match value {
        Metadata::Number(number) => {
            kind(bytes, 4);
            bytes.extend(number.to_le_bytes());
        }
        Metadata::Float(number) => {
            kind(bytes, 6);
            bytes.extend(number.to_le_bytes());
        }
        Metadata::Bool(flag) => {
            kind(bytes, 7);
            bytes.push(u8::from(*flag));
        }
        Metadata::Text(value) => {
            kind(bytes, 8);
            text(bytes, value);
        }
        Metadata::Texts(values) => {
            list(bytes, 8, values.len());
            values.iter().for_each(|value| text(bytes, value));
        }
        Metadata::Numbers(values) => {
            list(bytes, 5, values.len());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
        Metadata::Floats(values) => {
            list(bytes, 6, values.len());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
    }
}
