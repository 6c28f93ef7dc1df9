//! Models of published shapes with random weights, so that nothing needs downloading: those of `benches/peers/shapes.py`, and a tiny one.

use burn::tensor::{DType, Distribution, Tensor, backend::Backend};
use serde_json::{Value, json};
use stepfn_models::source::{StoredTensor, Tensors};
use stepfn_models::{Model, ModelError};

/// The sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// GPT-2 small, 124 million parameters.
    Gpt2Small,
    /// SmolLM2, 135 million parameters: a Llama.
    SmolLm2,
    /// OPUS-MT, in the size of published MarianMT models, 77 million parameters: an encoder–decoder.
    OpusMtBase,
    /// T5 small, 60 million parameters: an encoder–decoder.
    T5Small,
    /// A Mixtral with eight experts, two for each token, 288 million parameters of which 118 million are at work.
    Mixture,
    /// A Llama whose feed-forward is as large as two experts of [`Mixture`](Self::Mixture).
    MixtureAsDense,
    /// A GPT-2 with two layers, to check that everything runs.
    Tiny,
}

impl Shape {
    /// The shapes of models in common use.
    pub const PUBLISHED: [Self; 4] = [Self::Gpt2Small, Self::SmolLm2, Self::OpusMtBase, Self::T5Small];
    /// All shapes.
    pub const ALL: [Self; 7] = [
        Self::Gpt2Small,
        Self::SmolLm2,
        Self::OpusMtBase,
        Self::T5Small,
        Self::Mixture,
        Self::MixtureAsDense,
        Self::Tiny,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2Small => "gpt2-small",
            Self::SmolLm2 => "smollm2-135m",
            Self::OpusMtBase => "opus-mt-base",
            Self::T5Small => "t5-small",
            Self::Mixture => "mixture",
            Self::MixtureAsDense => "mixture-as-dense",
            Self::Tiny => "tiny",
        }
    }

    /// The shape with that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// `config.json`, with room for texts of `positions` tokens, even if the published model has fewer positions: random weights work just
    /// as well there.
    pub fn config(self, positions: usize) -> Value {
        let llama_like = |kind: &str, intermediate: usize| {
            json!({
                "model_type": kind, "vocab_size": 32000, "hidden_size": 768, "intermediate_size": intermediate,
                "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
                "max_position_embeddings": positions.max(4096), "rms_norm_eps": 1e-5, "hidden_act": "silu",
                "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
            })
        };
        match self {
            Self::Gpt2Small => json!({
                "model_type": "gpt2", "vocab_size": 50257, "n_positions": positions.max(1024), "n_embd": 768,
                "n_layer": 12, "n_head": 12, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
                "bos_token_id": 50256, "eos_token_id": 50256,
                "embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1
            }),
            Self::SmolLm2 => json!({
                "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
                "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
                "max_position_embeddings": positions.max(8192), "rms_norm_eps": 1e-5, "hidden_act": "silu",
                "tie_word_embeddings": true, "rope_theta": 100000.0, "bos_token_id": 1, "eos_token_id": 2
            }),
            Self::OpusMtBase => json!({
                "model_type": "marian", "vocab_size": 58101, "d_model": 512, "encoder_layers": 6, "decoder_layers": 6,
                "encoder_attention_heads": 8, "decoder_attention_heads": 8, "encoder_ffn_dim": 2048,
                "decoder_ffn_dim": 2048, "max_position_embeddings": positions.max(512),
                "activation_function": "swish", "scale_embedding": true, "static_position_embeddings": true,
                "dropout": 0.1, "attention_dropout": 0.0, "activation_dropout": 0.0, "pad_token_id": 58100,
                "eos_token_id": 0, "bos_token_id": 0, "decoder_start_token_id": 58100, "tie_word_embeddings": true,
                "share_encoder_decoder_embeddings": true
            }),
            Self::T5Small => json!({
                "model_type": "t5", "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
                "num_decoder_layers": 6, "num_heads": 8, "relative_attention_num_buckets": 32,
                "relative_attention_max_distance": 128, "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6,
                "feed_forward_proj": "relu", "tie_word_embeddings": true, "pad_token_id": 0, "eos_token_id": 1,
                "decoder_start_token_id": 0
            }),
            Self::Mixture => {
                let mut config = llama_like("mixtral", 1024);
                config["num_local_experts"] = 8.into();
                config["num_experts_per_tok"] = 2.into();
                config
            }
            Self::MixtureAsDense => llama_like("llama", 2048),
            Self::Tiny => json!({
                "model_type": "gpt2", "vocab_size": 512, "n_positions": positions.max(128), "n_embd": 64, "n_layer": 2,
                "n_head": 4, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 0,
                "eos_token_id": 0, "embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1
            }),
        }
    }

    /// A model of that shape, in `dtype` as in [`Model::load`]: weights close to normal with a standard deviation of 0.02, norms as initialized in training.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub fn model<B: Backend>(self, positions: usize, dtype: DType, device: &B::Device) -> Result<Model<B>, ModelError> {
        let config = self.config(positions);
        let seq2seq = config.get("decoder_start_token_id").is_some();
        // Tied weights are one tensor.
        let stored = |name: &str| !(name.contains("lm_head.weight") || seq2seq && name.contains("embed_tokens"));
        let outline = Model::<B>::outline(&config, stored, device)?;
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let options = (device, if dtype == DType::I8 { DType::F32 } else { dtype });
            let tensor = match *shape {
                [len] if name.ends_with("bias") => StoredTensor::Vector(Tensor::<B, 1>::zeros([len], options)),
                [len] => StoredTensor::Vector(Tensor::<B, 1>::ones([len], options)),
                _ => {
                    let columns = shape.iter().skip(1).product();
                    let normal = Distribution::Normal(0.0, 0.02);
                    StoredTensor::Matrix(Tensor::<B, 2>::random([shape[0], columns], normal, options))
                }
            };
            (name, tensor)
        };
        let tensors: Tensors<B> = outline.into_iter().map(tensor).collect();
        Model::from_source(&config, &tensors, dtype, device)
    }
}

/// Token ids that depend only on the seed; none are special, if the vocabulary is large enough.
pub fn ids(vocab_size: usize, length: usize, seed: u64) -> Vec<u32> {
    // Special tokens are usually at the start or end of a vocabulary.
    let spared = if vocab_size > 40 { 10 } else { 0 };
    let others = (vocab_size - 2 * spared).max(1) as u64;
    let id = |index: usize| spared as u64 + (index as u64 * 7919).wrapping_add(seed.wrapping_mul(104_729)) % others;
    (0..length).map(|index| id(index) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type B = stepfn_cpu::flex::Backend;

    #[test]
    fn every_shape_loads_and_is_found_by_name() {
        for shape in Shape::ALL {
            assert_eq!(Shape::find(shape.name()), Some(shape));
            let outline = Model::<B>::outline(&shape.config(0), |_| true, &Default::default());
            assert!(outline.is_ok(), "{outline:?}");
        }
        assert_eq!(Shape::find("gpt3"), None);
    }

    #[test]
    fn positions_grow_on_request() {
        assert_eq!(Shape::Gpt2Small.config(32)["n_positions"], 1024);
        assert_eq!(Shape::Gpt2Small.config(2048)["n_positions"], 2048);
    }

    #[test]
    fn ids_are_in_the_vocabulary() {
        for vocab in [1, 2, 40, 41, 512] {
            assert!(ids(vocab, 100, 3).into_iter().all(|id| (id as usize) < vocab));
        }
        assert_ne!(ids(512, 9, 1), ids(512, 9, 2));
    }
}
