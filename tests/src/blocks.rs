//! Random weights in the blocks of GGUF's element types.

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use stepfn_models::checkpoint::Checkpoint;

use crate::gguf::GgufFile;

/// An element type and some of its blocks.
#[derive(Debug)]
pub struct RandomBlocks {
    number: u32,
    /// Elements per block.
    elements: usize,
    blocks: Vec<Vec<u8>>,
}

/// Numbers that depend only on the seed.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        // Xorshift64* (Vigna 2016).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

impl RandomBlocks {
    /// Blocks of the type with this number, of so many elements and bytes: random bytes, of which only those are taken whose values are like
    /// weights, by the size of the largest.
    pub fn new(number: u32, elements: usize, bytes: usize) -> Self {
        /// Enough that some are taken: the random scales of most types are far too large or too small.
        const CANDIDATE_BYTES: usize = 6_000_000;
        let candidates = CANDIDATE_BYTES / bytes;
        let mut next = noise(u64::from(number) + 1);
        let all: Vec<u8> = (0..candidates * bytes).map(|_| next() as u8).collect();
        let mut file = llama(&config(1, true));
        file.tensors.push(("blocks.weight".to_owned(), vec![candidates, elements], number, all.clone()));
        let checkpoint = Checkpoint::from_gguf_bytes("blocks.gguf", file.bytes()).unwrap();
        let values: Vec<f32> = checkpoint.read("blocks.weight").unwrap().iter::<f32>().collect();
        let like_weights = |values: &[f32]| {
            let largest =
                values.iter().fold(0.0_f32, |most, value| if value.is_nan() { *value } else { most.max(value.abs()) });
            (0.02..0.3).contains(&largest) && values.iter().all(|value| value.is_finite())
        };
        let taken = all.chunks(bytes).zip(values.chunks(elements)).filter(|(_, values)| like_weights(values));
        let blocks: Vec<Vec<u8>> = taken.map(|(block, _)| block.to_vec()).collect();
        assert!(blocks.len() > 50, "{} blocks of type {number}", blocks.len());
        Self { number, elements, blocks }
    }

    /// A Llama with all of its matrices in these blocks. It has 256 hidden numbers, and odd numbers of rows in some matrices.
    pub fn llama(&self, tied: bool) -> GgufFile {
        let mut file = llama(&config(2, tied));
        let mut next = noise(7);
        for (_, shape, number, bytes) in &mut file.tensors {
            if let [rows, columns] = **shape {
                *number = self.number;
                let blocks = (0..rows * columns / self.elements).map(|_| next() as usize % self.blocks.len());
                *bytes = blocks.flat_map(|block| self.blocks[block].iter().copied()).collect();
            }
        }
        file
    }
}

fn config(layers: usize, tied: bool) -> Value {
    json!({
        "num_hidden_layers": layers, "max_position_embeddings": 32, "hidden_size": 256, "intermediate_size": 768,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 97, "bos_token_id": 1,
        "eos_token_id": 2, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied,
    })
}

/// A Llama with zeros in all matrices.
fn llama(config: &Value) -> GgufFile {
    let size = |field: &str| config[field].as_u64().unwrap() as usize;
    let (hidden, inner, head_dim) = (size("hidden_size"), size("intermediate_size"), size("head_dim"));
    let [queries, keys] = ["num_attention_heads", "num_key_value_heads"].map(|field| size(field) * head_dim);
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![size("vocab_size"), hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    if !config["tie_word_embeddings"].as_bool().unwrap() {
        shapes.push(("lm_head.weight".to_owned(), vec![size("vocab_size"), hidden]));
    }
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("self_attn.q_proj", vec![queries, hidden]),
            ("self_attn.k_proj", vec![keys, hidden]),
            ("self_attn.v_proj", vec![keys, hidden]),
            ("self_attn.o_proj", vec![hidden, queries]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let (ones, zeros) = (1.0_f32.to_le_bytes().repeat(hidden), vec![0; 4 * hidden * inner]);
    let view = |(name, shape): (String, Vec<usize>)| {
        let len = 4 * shape.iter().product::<usize>();
        let bytes = if shape.len() == 1 { &ones[..len] } else { &zeros[..len] };
        (name, TensorView::new(Dtype::F32, shape, bytes).unwrap())
    };
    let weights = safetensors::serialize(shapes.into_iter().map(view), None).unwrap();
    GgufFile::llama(config, &weights)
}
