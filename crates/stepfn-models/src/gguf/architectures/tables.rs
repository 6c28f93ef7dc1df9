//! The tables of all architectures. Names of keys and tensors are those of the Python package `gguf`.

use super::From::{FlagOr, Float, FloatOr, Has, Lacks, Number, Of, Text};
use super::Moved::{Keys, PlusOne, Queries, QueriesKeysValues, Same, Transposed};
use super::values::{
    activation_of_neox, bloom_positions, decoder_layers, ends, feed_forward_of_t5, head_dim, heads_alone, key_heads,
    logit_cap, no_window, pattern_of_gemma3, rotary_share, scale_of_gemma2, scale_of_gemma3, vocabulary,
    window_of_gemma2, window_of_phi3,
};
use super::{Architecture, From, Moved};
use crate::gguf::rotary;

type Fields = [(&'static str, From)];
type Tensors = [(&'static str, &'static str, Moved)];

pub(super) static ARCHITECTURES: [Architecture; 17] = [
    LLAMA,
    // Its attention depends on the position in some models, which are refused.
    Architecture { name: "mistral3", ..LLAMA },
    Architecture {
        name: "qwen2",
        family: "qwen2",
        only_with: None,
        fields: &[SPECIAL, LLAMA_LIKE, WHOLE_HEADS],
        tensors: &[OUTER, INNER, GATE, QUERY_KEY],
    },
    Architecture {
        name: "qwen3",
        family: "qwen3",
        only_with: None,
        fields: &[SPECIAL, LLAMA_LIKE, WHOLE_HEADS, &[("attention_bias", Has("blk.0.attn_q.bias"))]],
        tensors: &[
            OUTER,
            INNER,
            GATE,
            QUERY_KEY,
            &[
                ("blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", Same),
                ("blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", Same),
            ],
        ],
    },
    Architecture {
        name: "gemma2",
        family: "gemma2",
        only_with: None,
        fields: &[
            SPECIAL,
            LLAMA_LIKE,
            WHOLE_HEADS,
            &[
                ("query_pre_attn_scalar", Of(scale_of_gemma2)),
                ("attn_logit_softcapping", FloatOr("attn_logit_softcapping", 50.0)),
                ("final_logit_softcapping", FloatOr("final_logit_softcapping", 30.0)),
                ("sliding_window", Of(window_of_gemma2)),
                ("hidden_activation", Text("gelu_pytorch_tanh")),
            ],
        ],
        tensors: &[QUERY_KEY, GATE, GEMMA, SANDWICH],
    },
    Architecture {
        name: "gemma",
        family: "gemma",
        only_with: None,
        fields: &[SPECIAL, LLAMA_LIKE, WHOLE_HEADS, &[("hidden_act", Text("gelu_pytorch_tanh"))]],
        tensors: &[QUERY_KEY, GATE, GEMMA, &[("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", PlusOne)]],
    },
    Architecture {
        name: "gemma3",
        family: "gemma3_text",
        only_with: None,
        fields: &[
            SPECIAL,
            LLAMA_LIKE,
            WHOLE_HEADS,
            &[
                ("query_pre_attn_scalar", Of(scale_of_gemma3)),
                ("final_logit_softcapping", Of(logit_cap)),
                ("sliding_window", Number("attention.sliding_window")),
                ("sliding_window_pattern", Of(pattern_of_gemma3)),
                ("rope_theta", FloatOr("rope.freq_base", 1_000_000.0)),
                ("rope_local_base_freq", FloatOr("rope.freq_base_swa", 10_000.0)),
                ("hidden_activation", Text("gelu_pytorch_tanh")),
            ],
        ],
        tensors: &[
            QUERY_KEY,
            GATE,
            GEMMA,
            SANDWICH,
            &[
                ("blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", PlusOne),
                ("blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", PlusOne),
            ],
        ],
    },
    Architecture {
        name: "olmo2",
        family: "olmo2",
        only_with: None,
        // OLMo 3 has windows.
        fields: &[SPECIAL, LLAMA_LIKE, WHOLE_HEADS, &[("sliding_window", Of(no_window))]],
        tensors: &[
            OUTER,
            INNER,
            GATE,
            QUERY_KEY,
            &[
                ("blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", Same),
                ("blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", Same),
                ("blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm", Same),
                ("blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm", Same),
            ],
        ],
    },
    Architecture {
        name: "starcoder2",
        family: "starcoder2",
        only_with: None,
        fields: &[
            SPECIAL,
            WHOLE_HEADS,
            &[
                ("hidden_size", Number("embedding_length")),
                ("num_hidden_layers", Number("block_count")),
                ("num_attention_heads", Number("attention.head_count")),
                ("num_key_value_heads", Of(key_heads)),
                ("intermediate_size", Number("feed_forward_length")),
                ("max_position_embeddings", Number("context_length")),
                ("norm_epsilon", Float("attention.layer_norm_epsilon")),
                ("rope_theta", FloatOr("rope.freq_base", 10_000.0)),
                ("rope_scaling", Of(rotary::scaling)),
                ("use_bias", Has("blk.0.attn_q.bias")),
                ("hidden_act", Text("gelu_pytorch_tanh")),
            ],
        ],
        tensors: &[
            OUTER,
            QUERY_KEY,
            &[
                ("blk.{}.ffn_up", "model.layers.{}.mlp.c_fc", Same),
                ("blk.{}.ffn_down", "model.layers.{}.mlp.c_proj", Same),
            ],
            INNER,
        ],
    },
    Architecture {
        name: "granite",
        family: "granite",
        fields: &[
            SPECIAL,
            LLAMA_LIKE,
            WHOLE_HEADS,
            &[
                ("attention_bias", Has("blk.0.attn_q.bias")),
                ("mlp_bias", Has("blk.0.ffn_up.bias")),
                ("attention_multiplier", Float("attention.scale")),
                ("embedding_multiplier", FloatOr("embedding_scale", 1.0)),
                ("residual_multiplier", FloatOr("residual_scale", 1.0)),
                ("logits_scaling", FloatOr("logit_scale", 1.0)),
            ],
        ],
        ..LLAMA
    },
    // Every fourth layer has no positions, in the family as in llama.cpp.
    Architecture { name: "smollm3", family: "smollm3", ..LLAMA },
    Architecture {
        name: "phi3",
        family: "phi3",
        only_with: None,
        fields: &[
            SPECIAL,
            LLAMA_LIKE,
            &[
                ("partial_rotary_factor", Of(rotary_share)),
                ("original_max_position_embeddings", Of(rotary::original_positions)),
                ("sliding_window", Of(window_of_phi3)),
            ],
        ],
        tensors: &[
            OUTER,
            INNER,
            &[
                ("blk.{}.attn_qkv", "model.layers.{}.self_attn.qkv_proj", Same),
                // Gate and up in one tensor, which is called `ffn_up` alone.
                ("blk.{}.ffn_up", "model.layers.{}.mlp.gate_up_proj", Same),
            ],
        ],
    },
    Architecture {
        name: "gpt2",
        family: "gpt2",
        only_with: None,
        fields: &[
            SPECIAL,
            &[
                ("n_embd", Number("embedding_length")),
                ("n_layer", Number("block_count")),
                ("n_head", Of(heads_alone)),
                ("n_inner", Number("feed_forward_length")),
                ("n_positions", Number("context_length")),
                ("layer_norm_epsilon", Float("attention.layer_norm_epsilon")),
                ("activation_function", Text("gelu_new")),
            ],
        ],
        tensors: &[&[
            ("token_embd", "transformer.wte", Same),
            ("position_embd", "transformer.wpe", Same),
            ("output_norm", "transformer.ln_f", Same),
            ("output", "lm_head", Same),
            ("blk.{}.attn_norm", "transformer.h.{}.ln_1", Same),
            ("blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn", Transposed),
            ("blk.{}.attn_output", "transformer.h.{}.attn.c_proj", Transposed),
            ("blk.{}.ffn_norm", "transformer.h.{}.ln_2", Same),
            ("blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc", Transposed),
            ("blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj", Transposed),
        ]],
    },
    Architecture {
        name: "gptneox",
        family: "gpt_neox",
        only_with: None,
        fields: &[
            SPECIAL,
            &[
                ("hidden_size", Number("embedding_length")),
                ("num_hidden_layers", Number("block_count")),
                ("num_attention_heads", Of(heads_alone)),
                ("intermediate_size", Number("feed_forward_length")),
                ("max_position_embeddings", Number("context_length")),
                ("layer_norm_eps", Float("attention.layer_norm_epsilon")),
                ("use_parallel_residual", FlagOr("use_parallel_residual", true)),
                ("attention_bias", Has("blk.0.attn_qkv.bias")),
                ("rotary_pct", Of(rotary_share)),
                ("rope_theta", FloatOr("rope.freq_base", 10_000.0)),
                ("rope_scaling", Of(rotary::scaling)),
                ("hidden_act", Of(activation_of_neox)),
            ],
        ],
        tensors: &[&[
            ("token_embd", "gpt_neox.embed_in", Same),
            ("output_norm", "gpt_neox.final_layer_norm", Same),
            ("output", "embed_out", Same),
            ("blk.{}.attn_norm", "gpt_neox.layers.{}.input_layernorm", Same),
            ("blk.{}.attn_qkv", "gpt_neox.layers.{}.attention.query_key_value", QueriesKeysValues),
            ("blk.{}.attn_output", "gpt_neox.layers.{}.attention.dense", Same),
            ("blk.{}.ffn_norm", "gpt_neox.layers.{}.post_attention_layernorm", Same),
            ("blk.{}.ffn_up", "gpt_neox.layers.{}.mlp.dense_h_to_4h", Same),
            ("blk.{}.ffn_down", "gpt_neox.layers.{}.mlp.dense_4h_to_h", Same),
        ]],
    },
    Architecture {
        name: "bloom",
        family: "bloom",
        only_with: None,
        fields: &[
            SPECIAL,
            &[
                ("hidden_size", Number("embedding_length")),
                ("n_layer", Number("block_count")),
                ("n_head", Of(heads_alone)),
                ("n_inner", Number("feed_forward_length")),
                ("seq_length", Of(bloom_positions)),
                ("layer_norm_epsilon", Float("attention.layer_norm_epsilon")),
            ],
        ],
        tensors: &[&[
            ("token_embd", "transformer.word_embeddings", Same),
            ("token_embd_norm", "transformer.word_embeddings_layernorm", Same),
            ("output_norm", "transformer.ln_f", Same),
            ("output", "lm_head", Same),
            ("blk.{}.attn_norm", "transformer.h.{}.input_layernorm", Same),
            ("blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value", QueriesKeysValues),
            ("blk.{}.attn_output", "transformer.h.{}.self_attention.dense", Same),
            ("blk.{}.ffn_norm", "transformer.h.{}.post_attention_layernorm", Same),
            ("blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h", Same),
            ("blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h", Same),
        ]],
    },
    Architecture { only_with: Some("enc.blk.0.ffn_gate.weight"), tensors: &[T5_ENCODER, T5_DECODER, T5_GATED], ..T5 },
    T5,
];

/// Llama.
const LLAMA: Architecture = Architecture {
    name: "llama",
    family: "llama",
    only_with: None,
    fields: &[
        SPECIAL,
        LLAMA_LIKE,
        WHOLE_HEADS,
        &[("attention_bias", Has("blk.0.attn_q.bias")), ("mlp_bias", Has("blk.0.ffn_up.bias"))],
    ],
    tensors: &[
        OUTER,
        INNER,
        GATE,
        &[
            ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", Queries),
            ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", Keys),
        ],
    ],
};

/// T5 without a gate.
const T5: Architecture = Architecture {
    name: "t5",
    family: "t5",
    only_with: None,
    fields: &[
        SPECIAL,
        &[
            ("d_model", Number("embedding_length")),
            ("num_layers", Number("block_count")),
            ("num_decoder_layers", Of(decoder_layers)),
            ("num_heads", Of(heads_alone)),
            ("d_kv", Of(head_dim)),
            ("d_ff", Number("feed_forward_length")),
            ("n_positions", Number("context_length")),
            ("relative_attention_num_buckets", Number("attention.relative_buckets_count")),
            ("layer_norm_epsilon", Float("attention.layer_norm_rms_epsilon")),
            ("feed_forward_proj", Of(feed_forward_of_t5)),
            ("decoder_start_token_id", Number("decoder_start_token_id")),
        ],
    ],
    tensors: &[T5_ENCODER, T5_DECODER, T5_UNGATED],
};

/// The vocabulary, and its special tokens.
const SPECIAL: &Fields = &[
    ("vocab_size", Of(vocabulary)),
    ("tie_word_embeddings", Lacks("output.weight")),
    ("bos_token_id", From::Token("tokenizer.ggml.bos_token_id")),
    ("eos_token_id", Of(ends)),
    ("pad_token_id", From::Token("tokenizer.ggml.padding_token_id")),
];

/// What Llama and its descendants have in common.
const LLAMA_LIKE: &Fields = &[
    ("hidden_size", Number("embedding_length")),
    ("num_hidden_layers", Number("block_count")),
    ("num_attention_heads", Number("attention.head_count")),
    ("num_key_value_heads", Of(key_heads)),
    ("intermediate_size", Number("feed_forward_length")),
    ("max_position_embeddings", Number("context_length")),
    ("rms_norm_eps", Float("attention.layer_norm_rms_epsilon")),
    ("rope_theta", FloatOr("rope.freq_base", 10_000.0)),
    ("rope_scaling", Of(rotary::scaling)),
    ("hidden_act", Text("silu")),
];

/// Heads of their own width that are rotated whole.
const WHOLE_HEADS: &Fields = &[("head_dim", Of(head_dim))];

const OUTER: &Tensors =
    &[("token_embd", "model.embed_tokens", Same), ("output_norm", "model.norm", Same), ("output", "lm_head", Same)];

const INNER: &Tensors = &[
    ("blk.{}.attn_norm", "model.layers.{}.input_layernorm", Same),
    ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", Same),
    ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj", Same),
    ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj", Same),
    ("blk.{}.attn_rot_embd", "model.layers.{}.self_attn.rotary_emb.inv_freq", Same),
    ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj", Same),
];

const QUERY_KEY: &Tensors = &[
    ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", Same),
    ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", Same),
];

const GATE: &Tensors = &[
    ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj", Same),
    ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj", Same),
];

const GEMMA: &Tensors = &[
    ("token_embd", "model.embed_tokens", Same),
    ("output_norm", "model.norm", PlusOne),
    ("output", "lm_head", Same),
    ("blk.{}.attn_norm", "model.layers.{}.input_layernorm", PlusOne),
    ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj", Same),
    ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj", Same),
    ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj", Same),
];

/// The norms of Gemma 2 and 3.
const SANDWICH: &Tensors = &[
    ("blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm", PlusOne),
    ("blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm", PlusOne),
    ("blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm", PlusOne),
];

const T5_ENCODER: &Tensors = &[
    ("token_embd", "shared", Same),
    ("output", "lm_head", Same),
    ("enc.output_norm", "encoder.final_layer_norm", Same),
    ("enc.blk.{}.attn_norm", "encoder.block.{}.layer.0.layer_norm", Same),
    ("enc.blk.{}.attn_q", "encoder.block.{}.layer.0.SelfAttention.q", Same),
    ("enc.blk.{}.attn_k", "encoder.block.{}.layer.0.SelfAttention.k", Same),
    ("enc.blk.{}.attn_v", "encoder.block.{}.layer.0.SelfAttention.v", Same),
    ("enc.blk.{}.attn_o", "encoder.block.{}.layer.0.SelfAttention.o", Same),
    ("enc.blk.{}.attn_rel_b", "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias", Same),
    ("enc.blk.{}.ffn_norm", "encoder.block.{}.layer.1.layer_norm", Same),
    ("enc.blk.{}.ffn_down", "encoder.block.{}.layer.1.DenseReluDense.wo", Same),
];

const T5_DECODER: &Tensors = &[
    ("dec.output_norm", "decoder.final_layer_norm", Same),
    ("dec.blk.{}.attn_norm", "decoder.block.{}.layer.0.layer_norm", Same),
    ("dec.blk.{}.attn_q", "decoder.block.{}.layer.0.SelfAttention.q", Same),
    ("dec.blk.{}.attn_k", "decoder.block.{}.layer.0.SelfAttention.k", Same),
    ("dec.blk.{}.attn_v", "decoder.block.{}.layer.0.SelfAttention.v", Same),
    ("dec.blk.{}.attn_o", "decoder.block.{}.layer.0.SelfAttention.o", Same),
    ("dec.blk.{}.attn_rel_b", "decoder.block.{}.layer.0.SelfAttention.relative_attention_bias", Same),
    ("dec.blk.{}.cross_attn_norm", "decoder.block.{}.layer.1.layer_norm", Same),
    ("dec.blk.{}.cross_attn_q", "decoder.block.{}.layer.1.EncDecAttention.q", Same),
    ("dec.blk.{}.cross_attn_k", "decoder.block.{}.layer.1.EncDecAttention.k", Same),
    ("dec.blk.{}.cross_attn_v", "decoder.block.{}.layer.1.EncDecAttention.v", Same),
    ("dec.blk.{}.cross_attn_o", "decoder.block.{}.layer.1.EncDecAttention.o", Same),
    ("dec.blk.{}.cross_attn_rel_b", "decoder.block.{}.layer.1.EncDecAttention.relative_attention_bias", Same),
    ("dec.blk.{}.ffn_norm", "decoder.block.{}.layer.2.layer_norm", Same),
    ("dec.blk.{}.ffn_down", "decoder.block.{}.layer.2.DenseReluDense.wo", Same),
];

const T5_UNGATED: &Tensors = &[
    ("enc.blk.{}.ffn_up", "encoder.block.{}.layer.1.DenseReluDense.wi", Same),
    ("dec.blk.{}.ffn_up", "decoder.block.{}.layer.2.DenseReluDense.wi", Same),
];

const T5_GATED: &Tensors = &[
    ("enc.blk.{}.ffn_gate", "encoder.block.{}.layer.1.DenseReluDense.wi_0", Same),
    ("enc.blk.{}.ffn_up", "encoder.block.{}.layer.1.DenseReluDense.wi_1", Same),
    ("dec.blk.{}.ffn_gate", "decoder.block.{}.layer.2.DenseReluDense.wi_0", Same),
    ("dec.blk.{}.ffn_up", "decoder.block.{}.layer.2.DenseReluDense.wi_1", Same),
];
