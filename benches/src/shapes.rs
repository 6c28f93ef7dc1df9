//! Models of published shapes with random weights: those of `peers/shapes.py`.

use burn::tensor::{DType, Distribution, Tensor, backend::Backend};
use serde_json::{Value, json};
use stepfn_models::Model;
use stepfn_models::source::{StoredTensor, Tensors};

/// The names.
pub const SHAPES: [&str; 4] = ["gpt2-small", "smollm2-135m", "opus-mt-base", "t5-small"];

/// `config.json` of a shape.
///
/// # Panics
/// If there is no shape of that name.
pub fn config(shape: &str) -> Value {
    match shape {
        "gpt2-small" => json!({
            "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
            "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 50256, "eos_token_id": 50256,
            "embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1
        }),
        "smollm2-135m" => json!({
            "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true,
            "rope_theta": 100000.0, "bos_token_id": 1, "eos_token_id": 2
        }),
        "opus-mt-base" => json!({
            "model_type": "marian", "vocab_size": 58101, "d_model": 512, "encoder_layers": 6, "decoder_layers": 6,
            "encoder_attention_heads": 8, "decoder_attention_heads": 8, "encoder_ffn_dim": 2048,
            "decoder_ffn_dim": 2048, "max_position_embeddings": 512, "activation_function": "swish",
            "scale_embedding": true, "static_position_embeddings": true, "dropout": 0.1, "attention_dropout": 0.0,
            "activation_dropout": 0.0, "pad_token_id": 58100, "eos_token_id": 0, "bos_token_id": 0,
            "decoder_start_token_id": 58100, "tie_word_embeddings": true, "share_encoder_decoder_embeddings": true
        }),
        "t5-small" => json!({
            "model_type": "t5", "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
            "num_decoder_layers": 6, "num_heads": 8, "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128, "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": "relu", "tie_word_embeddings": true, "pad_token_id": 0, "eos_token_id": 1,
            "decoder_start_token_id": 0
        }),
        other => panic!("unknown shape {other:?}; known: {}", SHAPES.join(", ")),
    }
}

/// A model of that shape: weights nearly normal with a standard deviation of 0.02, norms as they begin.
pub fn model<B: Backend>(shape: &str, device: &B::Device) -> Model<B> {
    let config = config(shape);
    let seq2seq = config.get("decoder_start_token_id").is_some();
    // Tied to each other: one tensor each.
    let stored = |name: &str| !(name.contains("lm_head.weight") || seq2seq && name.contains("embed_tokens"));
    let outline = Model::<B>::outline(&config, stored, device).unwrap();
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let options = (device, DType::F32);
        let tensor = match *shape {
            [len] if name.ends_with("bias") => StoredTensor::Vector(Tensor::<B, 1>::zeros([len], options)),
            [len] => StoredTensor::Vector(Tensor::<B, 1>::ones([len], options)),
            _ => {
                let columns = shape[1..].iter().product();
                let normal = Distribution::Normal(0.0, 0.02);
                StoredTensor::Matrix(Tensor::<B, 2>::random([shape[0], columns], normal, device))
            }
        };
        (name, tensor)
    };
    let tensors: Tensors<B> = outline.into_iter().map(tensor).collect();
    Model::from_tensors(&config, &tensors, device).unwrap()
}

/// Token ids that are no special ones, the same for the same seed.
pub fn ids(shape: &str, length: usize, seed: u64) -> Vec<u32> {
    let vocab = config(shape)["vocab_size"].as_u64().unwrap();
    let id = |index: usize| 10 + (index as u64 * 7919 + seed * 104_729) % (vocab - 20);
    (0..length).map(|index| id(index) as u32).collect()
}
