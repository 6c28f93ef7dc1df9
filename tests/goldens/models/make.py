#!/usr/bin/env python3
"""Writes the tiny checkpoints, their reference outputs and the tiny tokenizers that the model tests read.

    pip install -r requirements.txt
    python make.py            # everything, about a minute on one core
    python make.py gpt2 t5    # some of it

README.md says what each file holds.
"""

import os

# Before any import that reads them: one thread, so that sums are added in one order.
os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")

import argparse
import collections
import contextlib
import copy
import functools
import json
import math
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import safetensors
import safetensors.torch
import tokenizers
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from transformers.models.fsmt import modeling_fsmt

PINS = {
    "torch": (torch, "2.15.0"),
    "transformers": (transformers, "5.23.0"),
    "tokenizers": (tokenizers, "0.23.3"),
    "safetensors": (safetensors, "0.8.0"),
    "numpy": (numpy, "2.4.6"),
}

CAUSAL_LENGTHS = (11, 7, 4)
SOURCE_LENGTHS = (9, 6, 4)
TARGET_LENGTHS = (8, 5, 3)
GENERATED = 2  # the texts that are continued
NEW_TOKENS = 12
RUNS = {
    "greedy": dict(num_beams=1),
    "repetition": dict(num_beams=1, repetition_penalty=1.3),
    "beam": dict(num_beams=4, length_penalty=1.0, early_stopping=False),
    "beam_early": dict(num_beams=4, length_penalty=0.6, early_stopping=True, num_return_sequences=3),
}
# Of families with bad words.
BAD_WORDS_RUNS = {"bad_words": "greedy", "bad_words_beam": "beam"}
# A run is kept only if noise of this size on the logits leaves its ids as they are: another implementation
# rounds differently, and a tie would make its test fail for no fault of its own.
NOISE = 2e-4
# ... and only if float32 itself is this near to float64, with the tests' tolerance of 2e-5 in mind.
ROUNDING = 8e-6
END_ROW = 1.6
PAD_ROW = 0.3


@dataclass
class Family:
    """A folder: a configuration, how wide its weights are, and which options must be seen in its outputs."""

    config: dict
    embedding_std: float = 1.0
    gain: float = 1.2  # a matrix is normal(0, gain / sqrt(fan in))
    gains: dict = field(default_factory=dict)  # by the end of a parameter's name; a norm's is its mean
    final_norm: str = "-"  # the end of its name, where the head is tied: see fill()
    # Changes of the configuration that must change the logits, or a test could pass with the option ignored.
    matters: list = field(default_factory=list)
    generation: dict = field(default_factory=dict)  # into generation_config.json
    call: dict = field(default_factory=dict)  # arguments of generate() that real use passes by hand
    bad_words: list = field(default_factory=list)  # of two runs more
    untied_head: bool = False
    # Of a model of masked tokens: what a text starts and ends with, and what masks a token.
    masked: tuple = ()
    by_length: bool = False  # what a text gives depends on its length, and in a batch on the longest one's
    v4: object = None  # config.json as version 4 wrote it, which is what most folders on disk have


def rope_v4(config):
    """`rope_parameters` is new in version 5; before, `rope_theta` and `rope_scaling` stood apart."""
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_scaling"] = None if kind == "default" else {"rope_type": kind, **rope}
    config.pop("layer_types", None)
    return config


def longrope_v4(config):
    """With the original number of positions beside the factors and not among them."""
    config = rope_v4(config)
    kept = ("rope_type", "short_factor", "long_factor")
    config["rope_scaling"] = {key: config["rope_scaling"][key] for key in kept}
    return config


def linear_v4(config):
    """The oldest spelling: `type`, not `rope_type`."""
    config = rope_v4(config)
    config["rope_scaling"] = {"type": config["rope_scaling"].pop("rope_type"), **config["rope_scaling"]}
    return config


def neox_v4(config):
    rope = config.pop("rope_parameters")
    config["rotary_emb_base"] = rope["rope_theta"]
    config["rotary_pct"] = rope["partial_rotary_factor"]
    return config


def qwen_v4(config):
    """Published Qwen folders name a window that `use_sliding_window` switches off."""
    return rope_v4(config) | {"sliding_window": 3, "use_sliding_window": False, "max_window_layers": 1}


def typed_v4(config):
    """With the types of layers, which these files have always had."""
    return {"layer_types": config.get("layer_types")} | rope_v4(dict(config)) | {"layer_types": config["layer_types"]}


def gpt_oss_v4(config):
    """Published folders say the experts of a token and the original positions twice, and no gain of the gate."""
    config = typed_v4(config)
    config.pop("swiglu_alpha", None)
    original = config["rope_scaling"]["original_max_position_embeddings"]
    return config | {"experts_per_token": config["num_experts_per_tok"], "initial_context_length": original}


def pattern_v4(pattern):
    """A number instead of the types of layers."""
    return lambda config: rope_v4(config) | {"sliding_window_pattern": pattern}


def local_v4(pattern):
    """Before version 5, `rope_scaling` was of the layers with full attention, and the other base a field of its own."""

    def v4(config):
        rope = config.pop("rope_parameters")
        local = rope["sliding_attention"]["rope_theta"]
        config = rope_v4(config | {"rope_parameters": rope["full_attention"]})
        return config | {"rope_local_base_freq": local, "sliding_window_pattern": pattern}

    return v4


def gemma3_v4(config):
    return config | {"text_config": local_v4(3)(config["text_config"])}


def intern_v4(config):
    config["qkv_bias"], config["bias"] = config.pop("attention_bias"), config.pop("mlp_bias")
    return rope_v4(config)


def smollm_v4(config):
    config.pop("no_rope_layers")
    return rope_v4(config)


def modernbert_v4(config):
    """A number instead of the types of layers, and bases as fields of their own."""
    rope = config.pop("rope_parameters")
    config.pop("layer_types")
    return config | {
        "global_attn_every_n_layers": 3,
        "global_rope_theta": rope["full_attention"]["rope_theta"],
        "local_rope_theta": rope["sliding_attention"]["rope_theta"],
    }


def bloom_v4(config):
    config["n_embed"] = config.pop("hidden_size")
    config["num_attention_heads"] = config.pop("n_head")
    return config


def t5_v4(config):
    for key in ("scale_decoder_outputs", "is_gated_act", "dense_act_fn", "is_decoder"):
        config.pop(key, None)
    return config | {"decoder_start_token_id": 0}


def switch_v4(config):
    return config | {"decoder_start_token_id": 0}


def umt5_v4(config):
    for key in ("is_gated_act", "dense_act_fn", "is_decoder"):
        config.pop(key, None)
    return config


def t5_untied_v4(config):
    return t5_v4(config) | {"tie_word_embeddings": False}


DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

LLAMA = dict(
    model_type="llama", vocab_size=97, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, attention_dropout=0.1,
    rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, rope_parameters=DEFAULT_ROPE,
)

# What most decoders have in common.
DENSE = dict(
    vocab_size=97, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, attention_dropout=0.1, bos_token_id=1, eos_token_id=2,
    pad_token_id=None, rope_parameters=DEFAULT_ROPE,
)

# The rotated share that these families have where files don't say it, and another.
HALF, WHOLE = ({**DEFAULT_ROPE, "partial_rotary_factor": share} for share in (0.5, 1.0))

# Texts are longer than the original positions.
GPT_OSS_ROPE = {
    "rope_type": "yarn", "rope_theta": 100.0, "factor": 8.0, "original_max_position_embeddings": 8, "beta_fast": 1.0,
    "beta_slow": 0.1, "truncate": False,
}

# Full attention is scaled, and the layers with a window have another base.
LOCAL_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}

MINISTRAL_ROPE = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4, "beta_fast": 32.0,
    "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.7,
}

GEMMA3 = dict(
    vocab_size=109, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=12, max_position_embeddings=64, sliding_window=4, query_pre_attn_scalar=7,
    attention_dropout=0.1, pad_token_id=0, eos_token_id=1, bos_token_id=2, rope_parameters=LOCAL_ROPE,
    layer_types=["sliding_attention", "sliding_attention", "full_attention"],
)

NEOX = dict(
    model_type="gpt_neox", vocab_size=103, hidden_size=32, intermediate_size=72, num_hidden_layers=2,
    num_attention_heads=2, max_position_embeddings=64, attention_dropout=0.1, hidden_dropout=0.1,
    bos_token_id=0, eos_token_id=0,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
)

# A norm after every sublayer dilutes the token that came in; shorter sublayers leave some of it.
POST_NORM = {"out_proj.weight": 0.6, "fc2.weight": 0.6}

# Embeddings that are multiplied by sqrt(d_model) are kept short, and the final norm makes up for it.
SCALED = 0.3

# Encoder and decoder differ in every size that may differ, so that neither can be mistaken for the other.
BART = dict(
    d_model=32, max_position_embeddings=64, encoder_layers=2, encoder_ffn_dim=56, encoder_attention_heads=4,
    decoder_layers=3, decoder_ffn_dim=48, decoder_attention_heads=2, dropout=0.1, attention_dropout=0.1,
    activation_dropout=0.1,
)

# The same, smaller.
SLIM = BART | dict(
    d_model=20, encoder_layers=1, encoder_ffn_dim=28, decoder_layers=2, decoder_ffn_dim=24,
)

T5 = dict(
    model_type="t5", vocab_size=99, d_model=32, d_kv=12, d_ff=56, num_heads=4,
    # Not the other way round: generate() of this version sizes the cache by the encoder's layers.
    num_layers=3, num_decoder_layers=2,
    relative_attention_num_buckets=8, relative_attention_max_distance=20, dropout_rate=0.1,
    pad_token_id=0, eos_token_id=1,
)

SLIM_T5 = T5 | dict(vocab_size=67, d_model=20, d_kv=6, d_ff=28)

T5GEMMA = dict(
    vocab_size=67, hidden_size=20, intermediate_size=28, max_position_embeddings=64, sliding_window=2,
    query_pre_attn_scalar=7, attn_logit_softcapping=4.0, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    rope_parameters=DEFAULT_ROPE,
)

# The score of a T5 query and key is not divided by anything, so they must be small.
T5_GAINS = {".q.weight": 0.6, ".k.weight": 0.6, "relative_attention_bias.weight": 1.5}

FAMILIES = {
    "gpt2": Family(
        dict(
            model_type="gpt2", vocab_size=101, n_positions=64, n_embd=36, n_layer=2, n_head=3,
            bos_token_id=100, eos_token_id=100,
        ),
        final_norm="ln_f.weight",
        # One begins in the prompt, one is a token, one the end token, which may be written all the same.
        bad_words=[[22, 66, 79], [92, 72], [61, 34, 91], [5], [100]],
        matters=[{"activation_function": "gelu"}],
    ),
    "gpt_neox": Family(
        NEOX | dict(use_parallel_residual=True),
        v4=neox_v4,
        matters=[
            {"use_parallel_residual": False},
            {"hidden_act": "gelu_new"},
            {"rope_parameters": DEFAULT_ROPE | {"partial_rotary_factor": 1.0}},
        ],
    ),
    "gpt_neox_sequential": Family(
        NEOX | dict(use_parallel_residual=False),
        v4=neox_v4,
        matters=[{"use_parallel_residual": True}],
    ),
    "opt": Family(
        dict(
            model_type="opt", vocab_size=97, hidden_size=32, num_hidden_layers=2, ffn_dim=56,
            num_attention_heads=4, max_position_embeddings=64, dropout=0.1, attention_dropout=0.1,
            pad_token_id=1, bos_token_id=2, eos_token_id=2,
        ),
        final_norm="decoder.final_layer_norm.weight",
    ),
    # opt-350m alone: norms after the sublayers, no final norm, embeddings narrower than the model.
    "opt_post": Family(
        dict(
            model_type="opt", vocab_size=97, hidden_size=32, word_embed_proj_dim=20, num_hidden_layers=2,
            ffn_dim=56, num_attention_heads=4, max_position_embeddings=64, do_layer_norm_before=False,
            dropout=0.1, attention_dropout=0.1, pad_token_id=1, bos_token_id=2, eos_token_id=2,
        ),
        gains=POST_NORM,
    ),
    # Six heads: ALiBi's slopes have another formula where the number of heads is no power of two.
    "bloom": Family(
        dict(
            model_type="bloom", vocab_size=107, hidden_size=48, n_layer=2, n_head=6, hidden_dropout=0.1,
            attention_dropout=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=3,
        ),
        embedding_std=0.8,
        final_norm="ln_f.weight",
        v4=bloom_v4,
        matters=[{"apply_residual_connection_post_layernorm": True}],
    ),
    "llama": Family(LLAMA, v4=rope_v4, matters=[{"rope_parameters": DEFAULT_ROPE | {"rope_theta": 5000.0}}]),
    # Some wavelengths lie below, some between and some above the two bounds. And a list of end tokens.
    "llama3_rope": Family(
        LLAMA
        | dict(
            head_dim=16, tie_word_embeddings=True, eos_token_id=[2, 5],
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 48,
            },
        ),
        final_norm="model.norm.weight",
        v4=rope_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    "llama_linear": Family(
        LLAMA
        | dict(
            attention_bias=True, mlp_bias=True,
            rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5},
        ),
        v4=linear_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    # The ramp between stretched and unstretched wavelengths lies within the rotated dimensions.
    "llama_yarn": Family(
        LLAMA
        | dict(
            head_dim=16,
            rope_parameters={
                "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
            },
        ),
        v4=rope_v4,
        matters=[
            {"rope_parameters": DEFAULT_ROPE},
            {
                "rope_parameters": {
                    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                    "original_max_position_embeddings": 32, "attention_factor": 1.0,
                }
            },
        ],
    ),
    # The longest text is longer than the positions that the model was made for, and the others grow to be.
    "llama_dynamic": Family(
        LLAMA
        | dict(
            max_position_embeddings=9,
            rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        ),
        by_length=True,
        v4=rope_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    "mistral": Family(
        dict(
            model_type="mistral", vocab_size=97, hidden_size=40, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=64,
            sliding_window=4, attention_dropout=0.1, bos_token_id=1, eos_token_id=2,
            rope_parameters=DEFAULT_ROPE,
        ),
        gain=1.0,
        v4=rope_v4,
        matters=[{"sliding_window": None}, {"sliding_window": 5}],
    ),
    "qwen2": Family(
        dict(
            model_type="qwen2", vocab_size=113, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=64, attention_dropout=0.1,
            tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
        final_norm="model.norm.weight",
        v4=qwen_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    "qwen3": Family(
        dict(
            model_type="qwen3", vocab_size=113, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=64,
            attention_dropout=0.1, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
        v4=qwen_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    "gemma2": Family(
        dict(
            model_type="gemma2", vocab_size=109, hidden_size=32, intermediate_size=56, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=64,
            sliding_window=4, query_pre_attn_scalar=7, attn_logit_softcapping=4.0,
            final_logit_softcapping=12.0, attention_dropout=0.1, pad_token_id=0, eos_token_id=1,
            bos_token_id=2, rope_parameters=DEFAULT_ROPE,
        ),
        embedding_std=SCALED,
        gains={"model.norm.weight": 3.0},
        final_norm="model.norm.weight",
        v4=rope_v4,
        matters=[
            {"sliding_window": 64},
            {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
            {"query_pre_attn_scalar": 12},
            {"attn_logit_softcapping": None},
            {"final_logit_softcapping": None},
            {"hidden_activation": "silu"},
        ],
    ),
    "phi3": Family(
        dict(
            model_type="phi3", vocab_size=97, hidden_size=48, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            original_max_position_embeddings=64, sliding_window=5, resid_pdrop=0.1, embd_pdrop=0.1,
            attention_dropout=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=3,
            rope_parameters=DEFAULT_ROPE | {"partial_rotary_factor": 0.5},
        ),
        gain=1.0,
        embedding_std=0.8,
        v4=rope_v4,
        matters=[
            {"sliding_window": None},
            {"rope_parameters": DEFAULT_ROPE | {"partial_rotary_factor": 1.0}},
        ],
    ),
    # Two texts are longer than the original positions, one is not.
    "phi3_longrope": Family(
        dict(
            model_type="phi3", vocab_size=97, hidden_size=48, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            original_max_position_embeddings=6, sliding_window=64, resid_pdrop=0.1, embd_pdrop=0.1,
            attention_dropout=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=3,
            rope_parameters={
                "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
                "short_factor": [1.0, 1.1, 1.5], "long_factor": [1.2, 3.0, 8.0],
                "original_max_position_embeddings": 6,
            },
        ),
        gain=1.0,
        embedding_std=0.8,
        by_length=True,
        v4=longrope_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE | {"partial_rotary_factor": 0.5}}],
    ),
    "gemma": Family(
        DENSE | dict(model_type="gemma", vocab_size=109, head_dim=12, pad_token_id=0, eos_token_id=1, bos_token_id=2),
        embedding_std=SCALED,
        gains={"model.norm.weight": 3.0},
        final_norm="model.norm.weight",
        v4=lambda config: rope_v4(config) | {"hidden_act": "gelu"},
        matters=[{"hidden_act": "silu"}],
    ),
    "gemma3_text": Family(
        GEMMA3 | dict(model_type="gemma3_text"),
        embedding_std=SCALED,
        gains={"model.norm.weight": 3.0},
        final_norm="model.norm.weight",
        v4=local_v4(3),
        matters=[
            {"sliding_window": 5},
            {"query_pre_attn_scalar": 8},
            {"rope_parameters": LOCAL_ROPE | {"full_attention": DEFAULT_ROPE}},
            {"rope_parameters": LOCAL_ROPE | {"sliding_attention": LOCAL_ROPE["full_attention"]}},
        ],
    ),
    # The text model of one that also sees.
    "gemma3": Family(
        dict(
            model_type="gemma3", text_config=GEMMA3, mm_tokens_per_image=1, eos_token_id=[1, 7], bos_token_id=2, pad_token_id=0,
            image_token_index=108, boi_token_index=107, eoi_token_index=106,
            vision_config=dict(
                model_type="siglip_vision_model", hidden_size=8, intermediate_size=12, num_hidden_layers=1,
                num_attention_heads=2, image_size=8, patch_size=4,
            ),
        ),
        embedding_std=SCALED,
        gains={"language_model.norm.weight": 3.0},
        final_norm="language_model.norm.weight",
        v4=gemma3_v4,
    ),
    "olmo": Family(
        DENSE | dict(model_type="olmo", num_key_value_heads=4, pad_token_id=3),
        v4=rope_v4,
        matters=[{"clip_qkv": 0.5}],
    ),
    "olmo2": Family(DENSE | dict(model_type="olmo2", rms_norm_eps=1e-5), v4=rope_v4),
    "olmo3": Family(
        DENSE
        | dict(
            model_type="olmo3", hidden_size=24, intermediate_size=40, num_hidden_layers=4, sliding_window=4,
            rope_parameters={
                "full_attention": {
                    "rope_type": "yarn", "rope_theta": 500000.0, "factor": 4.0, "original_max_position_embeddings": 32,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
            },
        ),
        v4=local_v4(None),
        matters=[
            {"sliding_window": 5},
            {"layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]},
        ],
    ),
    # With a window for the layers without positions, which published files don't have.
    "smollm3": Family(
        DENSE
        | dict(
            model_type="smollm3", num_hidden_layers=3, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=4,
            attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE | {"rope_theta": 2000000.0},
        ),
        final_norm="model.norm.weight",
        v4=smollm_v4,
        matters=[{"no_rope_layers": [1, 1, 1]}, {"no_rope_layers": [0, 1, 1]}, {"sliding_window": 5}],
    ),
    "granite": Family(
        DENSE
        | dict(
            model_type="granite", embedding_multiplier=1.7, logits_scaling=0.8, residual_multiplier=0.45,
            attention_multiplier=0.27,
        ),
        v4=rope_v4,
        matters=[
            {"embedding_multiplier": 1.0}, {"logits_scaling": 1.0}, {"residual_multiplier": 1.0},
            {"attention_multiplier": 1.0},
        ],
    ),
    "mixtral": Family(
        DENSE
        | dict(
            model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, intermediate_size=20, sliding_window=5,
        ),
        v4=rope_v4,
        matters=[{"num_experts_per_tok": 1}, {"sliding_window": None}],
    ),
    # The matrices of all experts of a layer are one tensor.
    "granitemoe": Family(
        DENSE
        | dict(
            model_type="granitemoe", num_local_experts=5, num_experts_per_tok=2, intermediate_size=20, embedding_multiplier=1.7,
            logits_scaling=0.8, residual_multiplier=0.45, attention_multiplier=0.27,
        ),
        v4=rope_v4,
        matters=[{"num_experts_per_tok": 1}, {"residual_multiplier": 1.0}, {"attention_multiplier": 1.0}],
    ),
    "gpt_oss": Family(
        DENSE
        | dict(
            model_type="gpt_oss", num_hidden_layers=2, head_dim=12, num_local_experts=5, num_experts_per_tok=3,
            intermediate_size=18, sliding_window=4, swiglu_limit=0.9, max_position_embeddings=64,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters=GPT_OSS_ROPE,
        ),
        v4=gpt_oss_v4,
        matters=[
            {"num_experts_per_tok": 2}, {"sliding_window": 6}, {"swiglu_limit": 2.0}, {"swiglu_alpha": 1.0},
            {"layer_types": ["full_attention", "sliding_attention"]}, {"rope_parameters": GPT_OSS_ROPE | {"truncate": True}},
            {"rope_parameters": GPT_OSS_ROPE | {"beta_fast": 32.0, "beta_slow": 1.0}},
        ],
    ),
    "qwen2_moe": Family(
        DENSE
        | dict(
            model_type="qwen2_moe", num_hidden_layers=2, num_experts=5, num_experts_per_tok=3, moe_intermediate_size=12,
            shared_expert_intermediate_size=20, decoder_sparse_step=2, norm_topk_prob=False,
        ),
        gains={"q_proj.weight": 0.8, "k_proj.weight": 0.8},
        gain=1.0,
        v4=qwen_v4,
        matters=[{"num_experts_per_tok": 2}, {"norm_topk_prob": True}],
    ),
    "qwen3_moe": Family(
        DENSE
        | dict(
            model_type="qwen3_moe", head_dim=12, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=16,
            norm_topk_prob=True, mlp_only_layers=[0],
        ),
        v4=qwen_v4,
        matters=[{"num_experts_per_tok": 1}, {"norm_topk_prob": False}],
    ),
    "olmoe": Family(
        DENSE
        | dict(
            model_type="olmoe", num_experts=6, num_experts_per_tok=3, intermediate_size=12, norm_topk_prob=False,
            pad_token_id=None,
        ),
        v4=rope_v4,
        matters=[{"num_experts_per_tok": 2}, {"norm_topk_prob": True}],
    ),
    "starcoder2": Family(
        DENSE
        | dict(
            model_type="starcoder2", sliding_window=5, residual_dropout=0.1, embedding_dropout=0.1, tie_word_embeddings=True,
        ),
        final_norm="model.norm.weight",
        v4=rope_v4,
        matters=[{"sliding_window": None}, {"hidden_act": "gelu"}],
    ),
    "stablelm": Family(
        DENSE | dict(model_type="stablelm", rope_parameters=HALF),
        v4=rope_v4,
        matters=[{"rope_parameters": WHOLE}],
    ),
    "stablelm_parallel": Family(
        DENSE | dict(model_type="stablelm", rope_parameters=HALF, use_parallel_residual=True, use_qkv_bias=True),
        v4=rope_v4,
    ),
    "helium": Family(
        DENSE | dict(model_type="helium", head_dim=8, pad_token_id=3, attention_bias=True, mlp_bias=True),
        v4=rope_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE | {"rope_theta": 5000.0}}],
    ),
    "arcee": Family(
        DENSE | dict(model_type="arcee", attention_bias=True, mlp_bias=True),
        v4=rope_v4,
        matters=[{"hidden_act": "relu"}],
    ),
    "seed_oss": Family(DENSE | dict(model_type="seed_oss", head_dim=12, pad_token_id=3), v4=rope_v4),
    "ernie4_5": Family(
        {key: value for key, value in DENSE.items() if key != "attention_dropout"}
        | dict(model_type="ernie4_5", head_dim=12, use_bias=True, pad_token_id=0),
        final_norm="model.norm.weight",
        v4=rope_v4,
    ),
    "phi": Family(
        DENSE | dict(model_type="phi", rope_parameters=HALF, resid_pdrop=0.1, embd_pdrop=0.1),
        v4=rope_v4,
        matters=[{"rope_parameters": WHOLE}, {"hidden_act": "gelu"}],
    ),
    "phi_norm": Family(
        DENSE | dict(model_type="phi", rope_parameters=HALF, resid_pdrop=0.1, embd_pdrop=0.1, qk_layernorm=True),
        v4=rope_v4,
    ),
    "nemotron": Family(
        DENSE | dict(model_type="nemotron", head_dim=12, rope_parameters=HALF, attention_bias=True, mlp_bias=True),
        v4=rope_v4,
        matters=[{"rope_parameters": WHOLE}, {"hidden_act": "relu"}],
    ),
    "exaone4": Family(
        DENSE | dict(model_type="exaone4", num_hidden_layers=3, sliding_window=4, sliding_window_pattern=2),
        v4=pattern_v4(2),
        matters=[{"sliding_window": 5}, {"layer_types": ["sliding_attention"] * 3}],
    ),
    # As the 1.2B has it: no window, and positions in all layers.
    "exaone4_full": Family(
        DENSE | dict(model_type="exaone4", sliding_window=None, layer_types=["full_attention"] * 2),
        v4=typed_v4,
    ),
    "internlm3": Family(
        DENSE | dict(model_type="internlm3", head_dim=12, pad_token_id=3, attention_bias=True, mlp_bias=True),
        v4=intern_v4,
    ),
    "hunyuan_v1_dense": Family(
        DENSE
        | dict(
            model_type="hunyuan_v1_dense", head_dim=12, pad_token_id=0, attention_bias=True,
            rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 50.0, "factor": 1.0},
        ),
        v4=linear_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    "ministral": Family(
        DENSE | dict(model_type="ministral", head_dim=12, sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
        v4=typed_v4,
        matters=[{"sliding_window": 5}, {"layer_types": ["full_attention", "sliding_attention"]}],
    ),
    # Queries of the longer texts grow.
    "ministral3": Family(
        DENSE | dict(model_type="ministral3", head_dim=12, pad_token_id=3, rope_parameters=MINISTRAL_ROPE),
        v4=linear_v4,
        matters=[
            {"rope_parameters": MINISTRAL_ROPE | {"llama_4_scaling_beta": 0.1}},
            {"rope_parameters": MINISTRAL_ROPE | {"original_max_position_embeddings": 5}},
        ],
    ),
    # The text model of one that also sees.
    "mistral3": Family(
        dict(
            model_type="mistral3", tie_word_embeddings=False, image_token_index=96, bos_token_id=1, eos_token_id=2,
            text_config=DENSE
            | dict(model_type="ministral3", head_dim=12, pad_token_id=3, rope_parameters=MINISTRAL_ROPE),
            vision_config=dict(
                model_type="pixtral", hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
                head_dim=4, image_size=8, patch_size=4,
            ),
        ),
    ),
    "apertus": Family(
        DENSE
        | dict(
            model_type="apertus", pad_token_id=3, attention_bias=True,
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 12000000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 48,
            },
        ),
        v4=rope_v4,
        matters=[{"rope_parameters": DEFAULT_ROPE}],
    ),
    "cohere": Family(
        DENSE | dict(model_type="cohere", pad_token_id=0, logit_scale=1.3, attention_bias=True),
        final_norm="model.norm.weight",
        v4=rope_v4,
        matters=[{"logit_scale": 1.0}],
    ),
    "cohere_norm": Family(
        DENSE | dict(model_type="cohere", pad_token_id=0, logit_scale=1.3, use_qk_norm=True),
        final_norm="model.norm.weight",
        v4=rope_v4,
    ),
    "cohere2": Family(
        DENSE
        | dict(
            model_type="cohere2", num_hidden_layers=3, pad_token_id=0, logit_scale=0.9, sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        final_norm="model.norm.weight",
        v4=pattern_v4(2),
        matters=[{"sliding_window": 5}, {"layer_types": ["sliding_attention"] * 3}, {"logit_scale": 1.0}],
    ),
    "glm": Family(
        DENSE | dict(model_type="glm", head_dim=12, pad_token_id=3, eos_token_id=[2, 5], rope_parameters=HALF),
        v4=rope_v4,
        matters=[{"rope_parameters": WHOLE}],
    ),
    "glm4": Family(
        DENSE | dict(model_type="glm4", head_dim=12, pad_token_id=3, eos_token_id=[2, 5], rope_parameters=HALF),
        v4=rope_v4,
        matters=[{"rope_parameters": WHOLE}],
    ),
    "persimmon": Family(
        {key: value for key, value in DENSE.items() if key != "num_key_value_heads"}
        | dict(model_type="persimmon", rope_parameters=HALF),
        v4=rope_v4,
        matters=[{"rope_parameters": WHOLE}, {"hidden_act": "relu"}],
    ),
    "gptj": Family(
        dict(
            model_type="gptj", vocab_size=101, n_positions=64, n_embd=36, n_layer=2, n_head=3, n_inner=60, rotary_dim=8, attn_pdrop=0.1,
            embd_pdrop=0.1, resid_pdrop=0.1, bos_token_id=100, eos_token_id=100,
        ),
        matters=[{"rotary_dim": 4}, {"activation_function": "gelu"}],
    ),
    # A tied head keeps its bias.
    "codegen": Family(
        dict(
            model_type="codegen", vocab_size=101, n_positions=64, n_embd=32, n_layer=2, n_head=8, n_inner=60, rotary_dim=2, attn_pdrop=0.1,
            embd_pdrop=0.1, resid_pdrop=0.1, bos_token_id=100, eos_token_id=100,
        ),
    ),
    "gpt_neo": Family(
        dict(
            model_type="gpt_neo", vocab_size=101, max_position_embeddings=64, hidden_size=36, num_layers=3, num_heads=3,
            intermediate_size=56,            attention_types=[[["global", "local"], 1], [["global"], 1]], window_size=4, attention_dropout=0.1,
            embed_dropout=0.1, resid_dropout=0.1, bos_token_id=100, eos_token_id=100,
        ),
        gains={"q_proj.weight": 0.6, "k_proj.weight": 0.6},
        final_norm="ln_f.weight",
        matters=[{"window_size": 5}, {"attention_layers": ["local", "global", "global"]}],
    ),
    "gpt_bigcode": Family(
        dict(
            model_type="gpt_bigcode", vocab_size=101, n_positions=64, n_embd=36, n_layer=2, n_head=3, n_inner=60, bos_token_id=100,
            eos_token_id=100,
        ),
        final_norm="ln_f.weight",
    ),
    "gpt_bigcode_multi_head": Family(
        dict(
            model_type="gpt_bigcode", vocab_size=101, n_positions=64, n_embd=36, n_layer=2, n_head=3, n_inner=60, bos_token_id=100,
            eos_token_id=100, multi_query=False,
        ),
        final_norm="ln_f.weight",
    ),
    "openai_gpt": Family(
        dict(model_type="openai-gpt", vocab_size=101, n_positions=64, n_embd=36, n_layer=2, n_head=3, bos_token_id=99, eos_token_id=100),
        gains={"c_proj.weight": 0.6},
        final_norm="h.1.ln_2.weight",
        matters=[{"afn": "silu"}],
    ),
    "xglm": Family(
        dict(
            model_type="xglm", vocab_size=97, max_position_embeddings=64, d_model=32, ffn_dim=56, num_layers=2, attention_heads=4,
            dropout=0.1, attention_dropout=0.1, activation_dropout=0.1, bos_token_id=0, pad_token_id=1, eos_token_id=2,
        ),
        embedding_std=SCALED,
        gains={"model.layer_norm.weight": 3.0},
        final_norm="model.layer_norm.weight",
        matters=[{"scale_embedding": False}],
    ),
    "biogpt": Family(
        dict(
            model_type="biogpt", vocab_size=97, max_position_embeddings=64, hidden_size=32, intermediate_size=56,
            num_hidden_layers=2, num_attention_heads=4, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
            activation_dropout=0.1, bos_token_id=0, pad_token_id=1, eos_token_id=2,
        ),
        embedding_std=SCALED,
        gains={"biogpt.layer_norm.weight": 3.0},
        final_norm="biogpt.layer_norm.weight",
        matters=[{"scale_embedding": False}],
    ),
    # As the 7B: one key and value, and one norm for both branches.
    "falcon": Family(
        dict(
            model_type="falcon", vocab_size=101, hidden_size=36, num_hidden_layers=2, num_attention_heads=3, bias=True,
            max_position_embeddings=64, bos_token_id=99, eos_token_id=100, rope_parameters=DEFAULT_ROPE,
        ),
        final_norm="ln_f.weight",
        v4=rope_v4,
        matters=[{"activation": "relu"}],
    ),
    # As the larger ones: groups of heads share keys and values, and each branch has its norm.
    "falcon_new": Family(
        dict(
            model_type="falcon", vocab_size=101, hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_kv_heads=2,
            ffn_hidden_size=72, new_decoder_architecture=True, max_position_embeddings=64, bos_token_id=99, eos_token_id=100,
            tie_word_embeddings=False, rope_parameters=DEFAULT_ROPE,
        ),
        v4=rope_v4,
    ),
    "mpt": Family(
        dict(
            model_type="mpt", vocab_size=101, max_seq_len=64, d_model=24, n_layers=2, n_heads=3, bos_token_id=99,
            eos_token_id=100, attn_config=dict(softmax_scale=0.3),
        ),
        final_norm="norm_f.weight",
    ),
    "marian": Family(
        BART
        | dict(
            model_type="marian", vocab_size=98, activation_function="swish", scale_embedding=True,
            decoder_start_token_id=97, pad_token_id=97, eos_token_id=0, forced_eos_token_id=0,
        ),
        embedding_std=SCALED,
        gains=POST_NORM | {"decoder.layers.2.final_layer_norm.weight": 3.0},
        final_norm="decoder.layers.2.final_layer_norm.weight",
        # One begins with the start token, one ends with the end token, which may be written elsewhere.
        bad_words=[[44, 0], [92, 12], [97, 92, 44], [45], [0]],
        matters=[{"scale_embedding": False}, {"activation_function": "gelu"}],
    ),
    # A vocabulary for each side, as in models of the Tatoeba challenge.
    "marian_separate": Family(
        BART
        | dict(
            model_type="marian", vocab_size=98, decoder_vocab_size=91, share_encoder_decoder_embeddings=False,
            activation_function="swish", scale_embedding=True, decoder_start_token_id=90, pad_token_id=90,
            eos_token_id=0, forced_eos_token_id=0,
        ),
        embedding_std=SCALED,
        gains=POST_NORM | {"decoder.layers.2.final_layer_norm.weight": 3.0},
        final_norm="decoder.layers.2.final_layer_norm.weight",
        # Bans matter to the scores of beams where what they leave is renormalized, as these models have it.
        generation=dict(renormalize_logits=True),
        bad_words=[[i] for i in range(20, 45)],
        matters=[{"scale_embedding": False}],
    ),
    "bart": Family(
        BART
        | dict(
            model_type="bart", vocab_size=97, activation_function="gelu", bos_token_id=0, pad_token_id=1,
            eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
        ),
        gains=POST_NORM,
        final_norm="decoder.layers.2.final_layer_norm.weight",
        matters=[{"scale_embedding": True}, {"activation_function": "gelu_new"}],
    ),
    # As in mBART-50: generation starts from the end token, and the language tag is forced after it.
    "mbart": Family(
        BART
        | dict(
            model_type="mbart", vocab_size=105, activation_function="gelu", scale_embedding=True,
            bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
        ),
        embedding_std=SCALED,
        gains={"decoder.layer_norm.weight": 3.0},
        final_norm="decoder.layer_norm.weight",
        call=dict(forced_bos_token_id=101),
        matters=[{"scale_embedding": False}],
    ),
    "m2m_100": Family(
        BART
        | dict(
            model_type="m2m_100", vocab_size=106, activation_function="relu", scale_embedding=True,
            bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        ),
        embedding_std=SCALED,
        gains={"decoder.layer_norm.weight": 3.0},
        final_norm="decoder.layer_norm.weight",
        call=dict(forced_bos_token_id=103),
        matters=[{"scale_embedding": False}],
    ),
    "pegasus": Family(
        SLIM
        | dict(
            model_type="pegasus", vocab_size=66, activation_function="relu", scale_embedding=True,
            pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=1,
        ),
        embedding_std=SCALED,
        gains={"decoder.layer_norm.weight": 3.0},
        final_norm="decoder.layer_norm.weight",
        matters=[{"scale_embedding": False}, {"activation_function": "gelu"}],
    ),
    "blenderbot": Family(
        SLIM
        | dict(
            model_type="blenderbot", vocab_size=67, activation_function="gelu", scale_embedding=True,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=2,
            encoder_no_repeat_ngram_size=0,
        ),
        embedding_std=SCALED,
        gains={"decoder.layer_norm.weight": 3.0},
        final_norm="decoder.layer_norm.weight",
        matters=[{"scale_embedding": False}, {"activation_function": "gelu_new"}],
    ),
    "blenderbot_small": Family(
        SLIM
        | dict(
            model_type="blenderbot-small", vocab_size=68, activation_function="gelu", scale_embedding=True,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=2,
        ),
        gains=POST_NORM,
        final_norm="decoder.layers.1.final_layer_norm.weight",
        # The decoder has no scale: its embeddings are normalized before positions are added.
        matters=[{"scale_embedding": False}, {"activation_function": "relu"}],
    ),
    "plbart": Family(
        SLIM
        | dict(
            model_type="plbart", vocab_size=69, activation_function="gelu", scale_embedding=True,
            bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=66, forced_eos_token_id=2,
        ),
        embedding_std=SCALED,
        gains=POST_NORM | {"decoder.layers.1.final_layer_norm.weight": 3.0},
        final_norm="decoder.layers.1.final_layer_norm.weight",
        matters=[{"scale_embedding": False}, {"activation_function": "relu"}],
    ),
    "mvp": Family(
        SLIM
        | dict(
            model_type="mvp", vocab_size=70, activation_function="gelu", bos_token_id=0, pad_token_id=1,
            eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
        ),
        gains=POST_NORM,
        final_norm="decoder.layers.1.final_layer_norm.weight",
        matters=[{"scale_embedding": True}, {"activation_function": "relu"}],
    ),
    # Two vocabularies, and a head that is no embedding: version 4 made it the decoder's, version 5 doesn't.
    "fsmt": Family(
        SLIM
        | dict(
            model_type="fsmt", langs=["en", "de"], src_vocab_size=72, tgt_vocab_size=65, activation_function="relu",
            bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
        ),
        embedding_std=SCALED,
        gains=POST_NORM | {"decoder.layers.1.final_layer_norm.weight": 3.0, "output_projection.weight": 2.0},
        # Counted by whoever calls it, in published files too.
        generation=dict(num_beams=1, length_penalty=1.0, early_stopping=False),
        matters=[{"scale_embedding": False}, {"activation_function": "gelu"}],
    ),
    # The tied head is applied to states divided by sqrt(d_model).
    "t5": Family(
        T5 | dict(feed_forward_proj="relu"),
        gains=T5_GAINS | {"decoder.final_layer_norm.weight": 5.0},
        final_norm="decoder.final_layer_norm.weight",
        generation=dict(decoder_start_token_id=0),
        v4=t5_v4,
        matters=[{"scale_decoder_outputs": False}, {"relative_attention_max_distance": 9}],
    ),
    "t5_gated": Family(
        T5 | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        gain=0.9,
        gains=T5_GAINS,
        generation=dict(decoder_start_token_id=0),
        untied_head=True,
        v4=t5_untied_v4,
        matters=[{"scale_decoder_outputs": True}, {"dense_act_fn": "gelu"}],
    ),
    "mt5": Family(
        T5 | dict(model_type="mt5", feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        gain=0.9,
        gains=T5_GAINS,
        generation=dict(decoder_start_token_id=0),
        untied_head=True,
        v4=t5_untied_v4,
        matters=[{"dense_act_fn": "gelu"}],
    ),
    # A bias in every block. Version 5 ties and scales whatever the file has.
    "umt5": Family(
        SLIM_T5 | dict(model_type="umt5", feed_forward_proj="gated-gelu"),
        gain=0.9,
        gains=T5_GAINS | {"decoder.final_layer_norm.weight": 5.0},
        final_norm="decoder.final_layer_norm.weight",
        v4=umt5_v4,
        matters=[{"relative_attention_max_distance": 5}, {"dense_act_fn": "gelu"}],
    ),
    # A window of two tokens to either side.
    "longt5": Family(
        SLIM_T5
        | dict(
            model_type="longt5", feed_forward_proj="gated-gelu", encoder_attention_type="local", local_radius=2,
            tie_word_embeddings=False, num_layers=2,
        ),
        gain=0.9,
        gains=T5_GAINS,
        generation=dict(decoder_start_token_id=0),
        untied_head=True,
        v4=t5_untied_v4,
        matters=[{"local_radius": 3}, {"local_radius": 1}, {"scale_decoder_outputs": True}, {"dense_act_fn": "gelu"}],
    ),
    # Experts in the second layer of the encoder and in both of the decoder's: no text is longer than what an expert takes.
    "switch_transformers": Family(
        {key: value for key, value in SLIM_T5.items() if key != "model_type"}
        | dict(
            model_type="switch_transformers", num_experts=3, expert_capacity=64, num_sparse_encoder_layers=1,
            num_sparse_decoder_layers=2, num_layers=2, router_bias=True, dense_act_fn="gelu",
        ),
        gains=T5_GAINS | {"decoder.final_layer_norm.weight": 5.0},
        final_norm="decoder.final_layer_norm.weight",
        generation=dict(decoder_start_token_id=0),
        v4=switch_v4,
        matters=[{"dense_act_fn": "relu"}, {"expert_capacity": 2}],
    ),
    # Windows of two tokens to either side, and of four.
    "led": Family(
        {key: value for key, value in SLIM.items() if key != "max_position_embeddings"}
        | dict(
            model_type="led", vocab_size=71, max_encoder_position_embeddings=66, max_decoder_position_embeddings=64,
            attention_window=[4, 8], encoder_layers=2, encoder_ffn_dim=28, decoder_layers=3,
            activation_function="gelu", bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        ),
        gains=POST_NORM,
        final_norm="decoder.layers.2.final_layer_norm.weight",
        matters=[{"attention_window": [8, 8]}, {"attention_window": [4, 4]}, {"activation_function": "relu"}],
    ),
    "t5gemma": Family(
        dict(
            model_type="t5gemma", vocab_size=67, dropout_rate=0.1, attention_dropout=0.1, eos_token_id=1,
            encoder=T5GEMMA | dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=6),
            decoder=T5GEMMA
            | dict(
                num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, head_dim=8, intermediate_size=24,
                query_pre_attn_scalar=5, attn_logit_softcapping=6.0, final_logit_softcapping=12.0,
            ),
        ),
        embedding_std=SCALED,
        gains={"decoder.norm.weight": 3.0},
        final_norm="decoder.norm.weight",
        generation=dict(decoder_start_token_id=2),
        matters=[
            {"encoder.sliding_window": 3},
            {"decoder.sliding_window": 3},
            {"encoder.query_pre_attn_scalar": 6},
            {"decoder.attn_logit_softcapping": None},
            {"decoder.final_logit_softcapping": None},
            {"encoder.hidden_activation": "silu"},
        ],
    ),
}

# Masked tokens.
BERT = dict(
    vocab_size=83, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=56,
    max_position_embeddings=64, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, layer_norm_eps=1e-12,
    pad_token_id=0,
)
ROBERTA = BERT | dict(
    vocab_size=71, hidden_size=20, num_hidden_layers=2, num_attention_heads=2, intermediate_size=28, type_vocab_size=1,
    max_position_embeddings=66, layer_norm_eps=1e-5, bos_token_id=0, pad_token_id=1, eos_token_id=2,
)
MODERNBERT_ROPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}
POST_NORM_BERT = {"output.dense.weight": 0.6}
FAMILIES |= {
    "bert": Family(
        dict(model_type="bert", type_vocab_size=2) | BERT,
        gains=POST_NORM_BERT, final_norm="transform.LayerNorm.weight", masked=(2, 3, 4),
        matters=[{"hidden_act": "relu"}, {"layer_norm_eps": 1e-2}],
    ),
    "roberta": Family(
        dict(model_type="roberta") | ROBERTA, gains=POST_NORM_BERT, final_norm="lm_head.layer_norm.weight", masked=(0, 2, 70),
        matters=[{"hidden_act": "relu"}],
    ),
    "xlm_roberta": Family(
        dict(model_type="xlm-roberta") | ROBERTA, gains=POST_NORM_BERT, final_norm="lm_head.layer_norm.weight",
        masked=(0, 2, 70),
    ),
    "camembert": Family(
        dict(model_type="camembert") | ROBERTA, gains=POST_NORM_BERT, final_norm="lm_head.layer_norm.weight",
        masked=(0, 2, 70),
    ),
    "distilbert": Family(
        dict(
            model_type="distilbert", vocab_size=73, dim=24, n_layers=2, n_heads=3, hidden_dim=36,
            max_position_embeddings=64, dropout=0.1, attention_dropout=0.1, pad_token_id=0,
        ),
        gains={"out_lin.weight": 0.6, "lin2.weight": 0.6}, final_norm="vocab_layer_norm.weight", masked=(2, 3, 4),
        matters=[{"activation": "relu"}],
    ),
    "electra": Family(
        dict(model_type="electra", type_vocab_size=2) | BERT | dict(hidden_size=24, embedding_size=16),
        gains=POST_NORM_BERT, final_norm="generator_predictions.LayerNorm.weight", masked=(2, 3, 4),
        matters=[{"hidden_act": "relu"}],
    ),
    # Both as wide as each other, and nothing is projected.
    "electra_wide": Family(
        dict(model_type="electra", type_vocab_size=2) | BERT | dict(hidden_size=20, embedding_size=20, intermediate_size=28),
        gains=POST_NORM_BERT, final_norm="generator_predictions.LayerNorm.weight", masked=(2, 3, 4),
    ),
    "albert": Family(
        dict(model_type="albert", type_vocab_size=2)
        | BERT
        | dict(
            hidden_size=24, embedding_size=16, num_hidden_layers=3, num_attention_heads=3, hidden_act="gelu_new",
            hidden_dropout_prob=0.0, bos_token_id=2, eos_token_id=3,
        ),
        gains={"attention.dense.weight": 0.6, "ffn_output.weight": 0.6}, final_norm="predictions.LayerNorm.weight",
        masked=(2, 3, 4),
        matters=[{"hidden_act": "relu"}, {"num_hidden_layers": 2}],
    ),
    "modernbert": Family(
        dict(
            model_type="modernbert", vocab_size=79, hidden_size=24, intermediate_size=28, num_hidden_layers=4,
            num_attention_heads=3, max_position_embeddings=64, local_attention=4, bos_token_id=2, cls_token_id=2,
            eos_token_id=3, sep_token_id=3, pad_token_id=0, rope_parameters=MODERNBERT_ROPE,
        ),
        final_norm="head.norm.weight", masked=(2, 3, 4), v4=modernbert_v4,
        matters=[
            {"local_attention": 6}, {"hidden_activation": "relu"}, {"classifier_activation": "relu"},
            {"layer_types": ["full_attention"] * 4},
            {"rope_parameters": MODERNBERT_ROPE | {"sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}},
            {"rope_parameters": MODERNBERT_ROPE | {"full_attention": {"rope_type": "default", "rope_theta": 5000.0}}},
        ],
    ),
}

# What a search from 0 found, to save the search.
SEEDS = {
    "gpt2": 7, "gpt_neox": 11, "gpt_neox_sequential": 22, "opt": 6, "opt_post": 27, "bloom": 42, "llama": 51,
    "llama3_rope": 11, "llama_linear": 91, "mistral": 23, "qwen2": 205, "qwen3": 48, "gemma2": 44, "phi3": 13,
    "marian": 279, "bart": 61, "mbart": 46, "m2m_100": 2, "t5": 43, "t5_gated": 1, "gemma": 13,
    "gemma3_text": 6, "gemma3": 17, "olmo": 11, "olmo2": 43, "olmo3": 79, "smollm3": 213, "granite": 1,
    "starcoder2": 0, "stablelm": 15, "stablelm_parallel": 38, "helium": 45, "arcee": 161, "seed_oss": 41,
    "ernie4_5": 77, "phi": 11, "phi_norm": 5, "nemotron": 21, "exaone4": 15, "exaone4_full": 11,
    "internlm3": 43, "hunyuan_v1_dense": 168, "ministral": 0, "ministral3": 193, "mistral3": 56, "apertus": 0,
    "cohere": 59, "cohere_norm": 73, "cohere2": 26, "glm": 32, "glm4": 33, "persimmon": 4, "gptj": 6,
    "codegen": 2, "gpt_neo": 19, "gpt_bigcode": 19, "gpt_bigcode_multi_head": 6, "openai_gpt": 25, "xglm": 58,
    "biogpt": 6, "falcon": 286, "falcon_new": 65, "mpt": 4,
    "pegasus": 5, "blenderbot": 121, "blenderbot_small": 1, "plbart": 10, "mvp": 183, "fsmt": 88, "umt5": 98,
    "longt5": 5, "switch_transformers": 7, "led": 42, "t5gemma": 36, "mixtral": 9, "qwen2_moe": 88, "qwen3_moe": 10, "olmoe": 0,
    "gpt_oss": 1, "xlm_roberta": 1, "camembert": 2, "modernbert": 514,
}


# Fused mixtures of experts know no double precision.
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}


MASKED = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "modernbert")


def class_for(config, seq2seq):
    if config.model_type in MASKED:
        return AutoModelForMaskedLM
    if config.model_type == "mistral3":
        return AutoModelForImageTextToText
    return AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM


# FSMT makes its mask in float32 whatever it computes in, and that of float64 does not fit.
modeling_fsmt.fill_with_neg_inf = lambda t: torch.full_like(t, torch.finfo(t.dtype).min)


def build(config, seq2seq):
    cls = class_for(config, seq2seq)
    return cls.from_config(config, **EAGER).eval()


def config_of(family):
    kwargs = copy.deepcopy(family.config)
    return transformers.AutoConfig.for_model(kwargs.pop("model_type"), **kwargs)


NO_EMBEDDINGS = ("lm_head.dense", "embeddings_project", "embedding_hidden_mapping_in")


def fill(model, family, seed):
    """Wide weights, so that attention and predictions are peaked; no norm weight of one, no bias of zero."""
    g = torch.Generator().manual_seed(seed)
    if family.untied_head:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    # These norms multiply by 1 + weight.
    plus_one = ("gemma", "gemma2", "gemma3_text", "gemma3", "nemotron", "t5gemma")
    centred = 0.0 if model.config.model_type in plus_one else 1.0
    conv1d = model.config.model_type in ("gpt2", "openai-gpt")  # stored [in, out], not [out, in]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_positions" in name and (not p.requires_grad or model.config.model_type == "fsmt"):
                continue  # the sinusoids of Marian, Pegasus and FSMT: computed, and not trained
            noise = torch.randn(p.shape, generator=g)
            gain = next((v for k, v in family.gains.items() if name.endswith(k)), family.gain)
            if name.endswith("sinks"):
                p.copy_(noise)
            elif p.dim() == 1 or name.endswith(("q_norm.weight", "k_norm.weight")):
                norm = name.endswith("weight")
                mean = next((v for k, v in family.gains.items() if name.endswith(k)), 1.0)
                if name.endswith(family.final_norm):
                    # A tied head finds in the state the very embedding that went in, and the model repeats
                    # its input for ever. Random signs hide it.
                    mean = mean * torch.randint(2, p.shape, generator=g).mul(2).sub(1)
                p.copy_((mean - 1.0 + centred) * norm + 0.2 * noise)
            elif name.endswith(("wpe.weight", "embed_positions.weight", "positions_embed.weight", "position_embeddings.weight")):
                p.copy_(0.7 * family.embedding_std * noise)
            elif "relative_attention_bias" in name:
                p.copy_(gain * noise)
            elif not any(m in name for m in NO_EMBEDDINGS) and any(m in name for m in ("embed", "wte", "shared", "lm_head")):
                p.copy_(family.embedding_std * noise)
            else:
                fan_in = p.shape[0] if conv1d else p.shape[1]
                p.copy_(gain / math.sqrt(fan_in) * noise)
        # A longer row is predicted more often, and some texts should end; padding should not be predicted.
        head, ids = head_of(model).weight, model.config.get_text_config()
        if getattr(ids, "eos_token_id", None) is not None:
            head[ids.eos_token_id] *= END_ROW
        if getattr(ids, "pad_token_id", None) is not None:
            head[ids.pad_token_id] *= PAD_ROW
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(0.7 * torch.randn(model.final_logits_bias.shape, generator=g))
    return model


def head_of(model):
    """What makes logits of states."""
    if model.config.model_type == "fsmt":  # its output embeddings are the decoder's input embeddings
        return model.model.decoder.output_projection
    return model.get_output_embeddings()


def special_ids(model, family):
    c, ids = model.config.get_text_config(), {*family.call.values(), *family.masked}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
        value = getattr(c, key, None)
        ids.update(value if isinstance(value, list) else [value])
    return {i for i in ids if i is not None}


def random_texts(model, family, seed, seq2seq):
    g = torch.Generator().manual_seed(seed + 1_000_003)
    special = special_ids(model, family)
    vocab = model.config.get_text_config().vocab_size
    target = getattr(model.config, "decoder_vocab_size", None) or vocab
    sizes = getattr(model.config, "src_vocab_size", None) or vocab, target
    free = [torch.tensor([i for i in range(size) if i not in special]) for size in sizes]

    def ids(n, side=1):
        return free[side][torch.randint(len(free[side]), (n,), generator=g)]

    if family.masked:
        begin, end = (torch.tensor([token]) for token in family.masked[:2])
        return [dict(input_ids=torch.cat([begin, ids(n - 2), end])) for n in CAUSAL_LENGTHS]
    if not seq2seq:
        return [dict(input_ids=ids(n)) for n in CAUSAL_LENGTHS]
    start = torch.tensor([model.generation_config.decoder_start_token_id])
    forced = torch.tensor(list(family.call.values()), dtype=torch.long)
    texts = []
    for s, t in zip(SOURCE_LENGTHS, TARGET_LENGTHS):
        target = torch.cat([start, forced, ids(t - 1 - len(forced))])
        texts.append(dict(input_ids=ids(s, side=0), decoder_input_ids=target))
    return texts


@torch.no_grad()
def forget(model):
    """Lets a model with dynamic positions forget the longest text that it has seen: a short one does that."""
    if (getattr(model.config, "rope_parameters", None) or {}).get("rope_type") == "dynamic":
        model(input_ids=torch.tensor([[0]]), use_cache=False)


def in_full(model, attention, length):
    """Maps of windows as maps of the text: [1, heads, queries, keys]."""
    kind = model.config.model_type
    if kind == "longt5":  # [1, blocks, heads, block, 3 blocks], the keys from the block before on
        _, blocks, heads, block, _ = attention.shape
        full = torch.zeros(1, heads, (blocks + 2) * block, (blocks + 2) * block)
        for b in range(blocks):
            full[0, :, (b + 1) * block : (b + 2) * block, b * block : (b + 3) * block] = attention[0, b]
        return full[:, :, block : block + length, block : block + length]
    if kind == "led":  # [1, heads, queries, window + 1], the query in the middle
        side = attention.shape[-1] // 2
        full = torch.zeros(1, attention.shape[1], length, length + 2 * side)
        for q in range(length):
            full[0, :, q, q : q + 2 * side + 1] = attention[0, :, q]
        return full[..., side : side + length]
    return attention


@torch.no_grad()
def forward(model, text):
    """Everything that the model says about one text alone, by the names used in the file."""
    forget(model)
    out = model(
        **{k: v[None] for k, v in text.items()},
        output_hidden_states=True,
        output_attentions=True,
        use_cache=False,
    )
    found = {"logits": out.logits[0]}

    def hidden(name, states):
        if states[-1].shape != states[0].shape:  # opt_post narrows its last state again
            found["last_hidden_state"] = states[-1][0]
            states = states[:-1]
        found[name] = torch.stack([s[0] for s in states])

    def maps(name, attentions):
        found[name] = torch.stack([a[0] for a in attentions])

    if "decoder_input_ids" in text:
        hidden("encoder_hidden_states", out.encoder_hidden_states)
        maps("encoder_attentions", [in_full(model, a, len(text["input_ids"])) for a in out.encoder_attentions])
        hidden("decoder_hidden_states", out.decoder_hidden_states)
        maps("decoder_attentions", out.decoder_attentions)
        maps("cross_attentions", out.cross_attentions)
    else:
        hidden("hidden_states", out.hidden_states)
        maps("attentions", out.attentions)
    return found


def words_of(n):
    """Which word each token is part of; what starts and ends the text is of none. Words have 1, 3, 2, 1, 3, 2 … tokens."""
    words = [w for w in range(n) for _ in range((1, 3, 2)[w % 3])]
    return torch.tensor([-1, *words[: n - 2], -1])


def masked_copy(ids, words, step, mask, by_word):
    """The text as the prediction of one of its tokens reads it: without that token, and by word also without what follows it in its word
    (Kauf & Ivanova 2023)."""
    copy = ids.clone()
    for place in range(step, len(ids)):
        if place == step or (by_word and words[place] == words[step]):
            copy[place] = mask
    return copy


def masked_reference(model, family, text):
    """Pseudo-log-likelihoods, and what the predictions of single tokens come from."""
    ids, mask = text["input_ids"], family.masked[2]
    words, steps = words_of(len(ids)), range(1, len(ids) - 1)
    found = {"words": words}
    embedding = model.get_input_embeddings()

    def probability(embedded, step):
        return model(inputs_embeds=embedded[None]).logits[0, step].softmax(-1)[ids[step]]

    for by_word in (False, True):
        copies = [masked_copy(ids, words, step, mask, by_word) for step in steps]
        name = "word" if by_word else "token"
        with torch.no_grad():
            logits = torch.stack([model(input_ids=copy[None]).logits[0, step] for step, copy in zip(steps, copies)])
            found[f"masked.{name}.logits"] = logits
            picked = logits.log_softmax(-1)[range(len(steps)), ids[1:-1]]
            found[f"masked.{name}.logprobs"] = picked
            attention = [model(input_ids=copy[None], output_attentions=True).attentions for copy in copies]
            rows = [torch.stack(maps)[:, 0, :, step].mean((0, 1)) for step, maps in zip(steps, attention)]
            found[f"masked.{name}.attention"] = torch.stack(rows)
        gradients, occluded = [], []
        for step, copy in zip(steps, copies):
            leaf = embedding(copy).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(probability(leaf, step), leaf)
            gradients.append(gradient)
            with torch.no_grad():
                clean, row = probability(embedding(copy), step), torch.zeros(len(ids))
                for place in steps:
                    hidden = copy.clone()
                    hidden[place] = mask
                    row[place] = clean - probability(embedding(hidden), step)
                occluded.append(row)
        found[f"masked.{name}.gradient"] = torch.stack(gradients)
        found[f"masked.{name}.occlusion"] = torch.stack(occluded)
    return found


@torch.no_grad()
def padded_difference(model, texts, alone, side):
    """The largest difference at real tokens between the padded batch and the texts alone."""
    pad = getattr(model.config.get_text_config(), "pad_token_id", None) or 0
    batch, masks = {}, {}
    for key in texts[0]:
        longest = max(len(t[key]) for t in texts)
        batch[key] = torch.full((len(texts), longest), pad)
        masks[key] = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, t in enumerate(texts):
            n = len(t[key])
            here = slice(0, n) if side == "right" else slice(longest - n, longest)
            batch[key][row, here] = t[key]
            masks[key][row, here] = 1
    arguments = dict(batch, attention_mask=masks["input_ids"])
    target = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
    if target == "decoder_input_ids":
        arguments["decoder_attention_mask"] = masks[target]
    elif side == "left" and model.config.model_type not in ("bloom", "mpt"):  # distances need no numbers
        arguments["position_ids"] = (masks["input_ids"].cumsum(-1) - 1).clamp(min=0)
    logits = model(**arguments, use_cache=False).logits
    return max(
        (logits[row][masks[target][row].bool()] - alone[row]["logits"]).abs().max().item()
        for row in range(len(texts))
    )


def runs_of(family):
    """The settings of each run, by its name."""
    more = BAD_WORDS_RUNS if family.bad_words else {}
    return RUNS | {run: RUNS[plain] | {"bad_words_ids": family.bad_words} for run, plain in more.items()}


@torch.no_grad()
def generate(model, family, text, run):
    """Generated ids only, neither prompt nor start token; -1 after the end of a sequence."""
    settings = runs_of(family)[run]
    forget(model)
    out = model.generate(
        text["input_ids"][None],
        attention_mask=torch.ones_like(text["input_ids"])[None],
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        return_dict_in_generate=True,
        output_scores=True,
        **family.call,
        **settings,
    )
    prompt = len(text["input_ids"]) if "decoder_input_ids" not in text else 1
    ids = out.sequences[:, prompt:].clone()
    if settings["num_beams"] == 1:
        return {"ids": ids[0]}
    lengths = (out.beam_indices >= 0).sum(-1)
    for row, n in enumerate(lengths.tolist()):
        ids[row, n:] = -1
    return {"ids": ids, "scores": out.sequences_scores}


def generate_all(model, family, texts):
    return {
        f"text{i}.{run}.{key}": value
        for i in range(GENERATED)
        for run in runs_of(family)
        for key, value in generate(model, family, texts[i], run).items()
    }


def same_ids(a, b):
    return all(a[k].shape == b[k].shape and bool((a[k] == b[k]).all()) for k in a if k.endswith("ids"))


def telling(model, family, texts, made):
    """Do these runs test what they should: some end early, none at once, and the options change something?"""
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    early = {run: [] for run in runs_of(family)}
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    for name, ids in made.items():
        if name.endswith("ids"):
            for row in ids.reshape(-1, ids.shape[-1]).tolist():
                row = [i for i in row if i >= 0]
                early[name.split(".")[1]].append(len(row) < NEW_TOKENS and row[-1] in ends)
                if len(row) < 3 or pad in row:
                    return False
    greedy = [made[f"text{i}.greedy.ids"] for i in range(GENERATED)]
    if not any(early["greedy"]) or all(early["greedy"]):
        return False
    if not any(early["beam"] + early["beam_early"]) or all(early["beam_early"]):
        return False
    if any(len(set(ids.tolist())) < min(len(ids), 5) for ids in greedy):
        return False
    for run, plain in BAD_WORDS_RUNS.items() if family.bad_words else ():
        if any(torch.equal(made[f"text{i}.{run}.ids"], made[f"text{i}.{plain}.ids"]) for i in range(GENERATED)):
            return False
    differ = [not torch.equal(made[f"text{i}.repetition.ids"], greedy[i]) for i in range(GENERATED)]
    return any(differ)


@contextlib.contextmanager
def doubled(model):
    """The model in double precision. XGLM writes the least number of that into a tensor of the default type."""
    if model.config.model_type == "xglm":
        torch.set_default_dtype(torch.float64)
    try:
        yield copy.deepcopy(model).double()
    finally:
        torch.set_default_dtype(torch.float32)


def steady(model, family, texts, made):
    for trial in range(3):
        g = torch.Generator().manual_seed(trial)

        def shake(_module, _args, out):
            out.logits = out.logits + NOISE * (2 * torch.rand(out.logits.shape, generator=g) - 1)
            return out

        hook = model.register_forward_hook(shake)
        shaken = generate_all(model, family, texts)
        hook.remove()
        if not same_ids(made, shaken):
            return False
    with doubled(model) as exact:
        return same_ids(made, generate_all(exact, family, texts))


def rounding(model, texts):
    with doubled(model) as exact:
        found = [forward(exact, t)["logits"] for t in texts]
    return max((forward(model, t)["logits"] - f).abs().max().item() for t, f in zip(texts, found))


def find(name, family):
    """The first seed from the known one on whose generations are worth testing."""
    config = config_of(family)
    seq2seq = bool(getattr(config, "is_encoder_decoder", False))
    for seed in range(SEEDS.get(name, 0), 2000):
        torch.manual_seed(seed)
        model = fill(build(copy.deepcopy(config), seq2seq), family, seed)
        for key, value in family.generation.items():
            setattr(model.generation_config, key, value)
        texts = random_texts(model, family, seed, seq2seq)
        if family.masked:
            if rounding(model, texts) > ROUNDING:
                continue
            return seed, model, texts, {}
        ends = [len(generate(model, family, t, "greedy")["ids"]) < NEW_TOKENS for t in texts[:GENERATED]]
        if not any(ends) or all(ends):
            continue
        if rounding(model, texts) > ROUNDING:
            continue
        made = generate_all(model, family, texts)
        if telling(model, family, texts, made) and steady(model, family, texts, made):
            return seed, model, texts, made
    raise SystemExit(f"no seed is good for {name}")


def check_options(model, family, texts, alone):
    for change in family.matters:
        config = copy.deepcopy(model.config)
        for key, value in change.items():
            *path, name = key.split(".")
            setattr(functools.reduce(getattr, path, config), name, value)
        other = build(config, "decoder_input_ids" in texts[0])
        if family.untied_head:
            other.lm_head.weight = torch.nn.Parameter(other.lm_head.weight.detach().clone())
        other.load_state_dict(model.state_dict())
        difference = (forward(other, texts[0])["logits"] - alone[0]["logits"]).abs().max().item()
        assert difference > 1e-3, f"{change} changes the logits by {difference} only"


def check_reload(folder, config_file, texts, alone):
    """The folder alone, with either form of its configuration, gives the same again."""
    with tempfile.TemporaryDirectory() as temporary:
        copied = Path(temporary)
        shutil.copy(folder / "model.safetensors", copied)
        if (folder / "generation_config.json").exists():
            shutil.copy(folder / "generation_config.json", copied)
        shutil.copy(folder / config_file, copied / "config.json")
        cls = class_for(transformers.AutoConfig.from_pretrained(copied), "decoder_input_ids" in texts[0])
        model = cls.from_pretrained(copied, **EAGER).eval()
        for text, known in zip(texts, alone):
            again = forward(model, text)["logits"]
            # Where tensors lie in memory moves the last bits of Switch Transformers.
            assert (again - known["logits"]).abs().max() < 1e-5, f"{folder.name}/{config_file} gives other logits"


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def make_family(name, root):
    family = FAMILIES[name]
    seed, model, texts, made = find(name, family)
    alone = [forward(model, t) for t in texts]
    check_options(model, family, texts, alone)

    seq2seq = "decoder_input_ids" in texts[0]
    sides = ["right"] if seq2seq or family.masked else ["right", "left"]
    padding = {side: padded_difference(model, texts, alone, side) for side in sides}
    for side, difference in padding.items():
        assert family.by_length or difference < 1e-4, f"{name}: padding on the {side} changes the logits by {difference}"
    # Most encoder-decoders count positions from the start of the row, so that padding on the left moves them:
    # that difference is told, not checked.
    told = f"   left {padded_difference(model, texts, alone, 'left'):.0e}" if seq2seq else ""

    error = rounding(model, texts)
    spread = torch.cat([a["logits"].flatten() for a in alone]).std().item()
    assert 3 <= spread <= 10, f"{name}: the logits' spread is {spread}"

    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    check_reload(folder, "config.json", texts, alone)
    if family.v4:
        config = json.loads((folder / "config.json").read_text())
        config["torch_dtype"] = config.pop("dtype")
        config["transformers_version"] = "4.44.0"
        write_json(folder / "config.v4.json", family.v4(config))
        check_reload(folder, "config.v4.json", texts, alone)

    tensors = dict(made)
    for i, (text, known) in enumerate(zip(texts, alone)):
        masked = masked_reference(model, family, text) if family.masked else {}
        tensors.update({f"text{i}.{k}": v for k, v in (text | known | masked).items()})
    tensors = {k: v.detach().contiguous().clone() for k, v in sorted(tensors.items())}
    safetensors.torch.save_file(tensors, folder / "expected.safetensors")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    runs = {} if family.masked else runs_of(family)
    generation = {run: settings | family.call | {"max_new_tokens": NEW_TOKENS} for run, settings in runs.items()}
    write_json(
        folder / "expected.json",
        {
            "family": name,
            "model_type": model.config.model_type,
            "kind": "masked" if family.masked else "seq2seq" if seq2seq else "causal",
            **({"mask_token_id": family.masked[2]} if family.masked else {}),
            "seed": seed,
            "versions": {k: v for k, (_, v) in PINS.items()},
            "texts": [{k: v.tolist() for k, v in t.items()} for t in texts],
            "generation": generation,
            "generated": {k: v.tolist() for k, v in made.items() if k.endswith("ids")},
            "logits_std": round(spread, 2),
            "float64_max_difference": f"{error:.0e}",
            "padding": {side: f"{difference:.0e}" for side, difference in padding.items()},
        },
    )
    size = sum(f.stat().st_size for f in folder.iterdir()) / 1024
    print(
        f"{name:20} seed {seed:4}   {size:6.1f} KiB   spread {spread:5.2f}   f64 {error:.0e}   "
        f"padding {max(padding.values()):.0e}{told}",
        flush=True,
    )


# ---------------------------------------------------------------------------------------------- tokenizers

SENTENCES = """
The capital of France is Paris, and the capital of Italy is Rome.
She sells sea shells by the sea shore; the shells she sells are surely sea shells.
A language model writes one token at a time, and a step function turns what it predicted into one number.
An attribution says which input tokens that number came from.
Le renard brun rapide saute par-dessus le chien paresseux, déjà fatigué après l'été.
Der schnelle braune Fuchs springt über den faulen Hund. Straße, Größe, Übung.
El veloz murciélago hindú comía feliz cardillo y kiwi. ¿Qué tal, señor?
Быстрая коричневая лиса прыгает через ленивую собаку.
敏捷的棕色狐狸跳过了懒狗。東京は日本の首都です。
It's 2024 already: 1, 2, 3, 10, 100, 1000 and 3.14159; don't you think we'll see?
I can't believe they're here, I've seen it, he'd said so.
def add(a, b): return a + b  # the sum
""".strip().split("\n")

TEXTS = [
    "The capital of France is Paris.",
    " leading and  double   spaces ",
    "déjà vu: l'été à la plage",
    "Größe, Straße, naïve façade, Ångström",
    "東京は日本の首都です。",
    "Быстрая лиса",
    "emoji 😀 and 👩‍👩‍👧 together 🇫🇷!",
    "ﬁne ½ ① ＡＢＣ",  # what NFKC changes, and by that the offsets
    "tabs\tand\nnew lines\r\n",
    "e\u0301 is not é, 한국어 ไทย",
    "I can't, they're 3.14159",
    "a<SPECIAL>b <SPECIAL>",  # the tokenizer's own special token is put in
    "",
]


def byte_bpe():
    """As GPT-2's: every byte is a character, a leading space belongs to its word."""
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    t.train_from_iterator(SENTENCES, trainer)
    return t, "<|endoftext|>"


def unigram():
    """As Marian's and T5's: pieces with scores, spaces written as ▁, an end token after the text."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    # The package's trainer adds up in hash order and learns other pieces every time. Counting does not.
    counts = collections.Counter()
    for sentence in SENTENCES:
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(sentence)):
            for start in range(len(word)):
                for end in range(start + 1, min(len(word), start + 8) + 1):
                    counts[word[start:end]] += 1
    characters = [p for p in counts if len(p) == 1]
    longer = [p for p in counts if len(p) > 1 and counts[p] > 1]
    longer = sorted(longer, key=lambda p: (-counts[p] * (len(p) - 1), p))[: 300 - len(characters)]
    pieces = sorted(characters + longer, key=lambda p: (-counts[p], p))
    total = sum(counts[p] for p in pieces)
    scores = [(p, round(math.log(counts[p] / total), 4)) for p in pieces]
    special = ["<pad>", "</s>", "<unk>"]
    t = tokenizers.Tokenizer(models.Unigram([(s, 0.0) for s in special] + scores, unk_id=2))
    t.normalizer, t.pre_tokenizer = normalizer, pre_tokenizer
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    t.add_special_tokens(special)
    t.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", t.token_to_id("</s>"))]
    )
    return t, "</s>"


def byte_fallback():
    """As Llama's: merges over ▁-words, a character that has no piece becomes its bytes, a start token."""
    from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    # A frequency of two keeps rare characters out: they are what falls back to bytes.
    alphabet_only = [s for s in SENTENCES if s.isascii() or "é" in s]
    learner.train_from_iterator(
        alphabet_only, trainers.BpeTrainer(vocab_size=220, min_frequency=2, show_progress=False)
    )
    learned = json.loads(learner.to_str())["model"]
    special = ["<unk>", "<s>", "</s>"]
    pieces = special + [f"<0x{b:02X}>" for b in range(256)]
    pieces += sorted(learned["vocab"], key=learned["vocab"].get)
    model = models.BPE(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[tuple(m) for m in learned["merges"]],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    t = tokenizers.Tokenizer(model)
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", t.token_to_id("<s>"))]
    )
    return t, "</s>"


TOKENIZERS = {"byte_bpe": byte_bpe, "unigram": unigram, "byte_fallback": byte_fallback}


def make_tokenizers(root):
    for name, make in TOKENIZERS.items():
        t, special = make()
        folder = root / "tokenizers" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").write_text(t.to_str(pretty=True) + "\n", encoding="utf-8")
        t = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        cases = []
        for text in TEXTS:
            text = text.replace("<SPECIAL>", special)
            e = t.encode(text)
            plain = t.encode(text, add_special_tokens=False)
            cases.append(
                {
                    "text": text,
                    "ids": e.ids,
                    "tokens": e.tokens,
                    "offsets": [list(o) for o in e.offsets],
                    "special": e.special_tokens_mask,
                    "ids_without_special": plain.ids,
                    "decoded": t.decode(e.ids, skip_special_tokens=True),
                    "decoded_with_special": t.decode(e.ids, skip_special_tokens=False),
                }
            )
        body = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
        head = json.dumps({"tokenizers": tokenizers.__version__, "vocab_size": t.get_vocab_size()})[1:-1]
        (folder / "expected.json").write_text(f'{{{head}, "cases": [\n{body}\n]}}\n', encoding="utf-8")
        size = sum(f.stat().st_size for f in folder.iterdir()) / 1024
        print(f"tokenizers/{name:15} {t.get_vocab_size():4} pieces   {size:6.1f} KiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="families, or `tokenizers`; everything by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    options = parser.parse_args()
    for name, (module, version) in PINS.items():
        found = module.__version__.split("+")[0]
        assert found == version, f"{name} is {found}; these files are made with {version}"
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or [*FAMILIES, "tokenizers"]:
        if name == "tokenizers":
            make_tokenizers(options.out)
        else:
            make_family(name, options.out)


if __name__ == "__main__":
    main()
