#!/usr/bin/env python3
"""Writes a tiny model of every architecture as a GGUF file, with metadata and tensors as llama.cpp's converter writes them,
and what transformers computes with it (models.json).

    pip install -r requirements.txt
    python models.py
"""

import importlib.metadata
import json
import math
from pathlib import Path

import gguf
import numpy
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

PINS = {"gguf": "0.19.0", "torch": "2.15.0", "transformers": "5.23.0", "numpy": "2.4.6"}
HERE = Path(__file__).resolve().parent
VOCABULARY = 24
LAYERS = 2
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64, "tie_word_embeddings": False,
} | SPECIAL
GPT = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": LAYERS, "n_head": 4, "n_positions": 64, "n_ctx": 64} | SPECIAL


def rope(kind, **parameters):
    return {"rope_type": kind, "rope_theta": 10000.0} | parameters


LLAMA_3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
LONG_ROPE = rope("longrope", short_factor=[1.0, 1.5, 2.0], long_factor=[1.0, 3.0, 5.5], partial_rotary_factor=0.75)
T5 = {
    "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 3, "num_decoder_layers": 2,
    "num_heads": 4, "relative_attention_num_buckets": 8, "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
}

# Each family with the options that files of it can have.
MODELS = {
    "llama": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True, "head_dim": 6}),
    "llama3": ("llama", LLAMA | {"rope_parameters": LLAMA_3, "head_dim": 8, "tie_word_embeddings": True}),
    "linear": ("llama", LLAMA | {"rope_parameters": rope("linear", factor=2.5)}),
    "yarn": ("qwen2", LLAMA | {
        "rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=16), "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }),
    "mistral": ("mistral", LLAMA | {"sliding_window": None}),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 6, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", LLAMA | {
        "head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3, "attn_logit_softcapping": 4.0,
        "final_logit_softcapping": 12.0, "tie_word_embeddings": True,
    }),
    "phi3": ("phi3", LLAMA | {
        "hidden_size": 32, "sliding_window": 5, "rope_parameters": LONG_ROPE, "original_max_position_embeddings": 4,
    }),
    "gpt2": ("gpt2", GPT),
    "gpt_neox": ("gpt_neox", LLAMA | {
        "hidden_size": 32, "rope_parameters": rope("default", partial_rotary_factor=0.25), "use_parallel_residual": False,
    }),
    "bloom": ("bloom", GPT | {"hidden_size": 16, "seq_length": 64}),
    "t5": ("t5", T5 | {"feed_forward_proj": "relu", "tie_word_embeddings": True}),
    "t5_gated": ("t5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "gemma": ("gemma", LLAMA | {"head_dim": 6, "tie_word_embeddings": True}),
    "gemma3": ("gemma3_text", LLAMA | {
        "head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3, "tie_word_embeddings": True,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": rope("linear", factor=2.5), "sliding_attention": rope("default") | {"rope_theta": 500.0}},
    }),
    "olmo2": ("olmo2", LLAMA),
    "starcoder2": ("starcoder2", LLAMA | {"tie_word_embeddings": True}),
    "granite": ("granite", LLAMA | {
        "embedding_multiplier": 1.5, "logits_scaling": 0.75, "residual_multiplier": 0.5, "attention_multiplier": 0.25,
    }),
    "smollm3": ("smollm3", LLAMA | {"num_hidden_layers": 4}),
}
ARCHITECTURES = {"mistral": "llama", "gpt_neox": "gptneox", "gemma3_text": "gemma3"}
GEMMA = ("gemma", "gemma2", "gemma3_text")
PERMUTED = ("llama", "mistral", "granite", "smollm3")


def build(kind, options, seed):
    """A model with wide weights, which a GGUF file has exactly: matrices in half precision, the rest in single."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(kind, **options)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").eval()
    if not options.get("tie_word_embeddings", True):
        # transformers makes every T5 with one matrix, but keeps another if a file has it.
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                spread = 1.0 if "emb" in name or "wte" in name or "shared" in name or "wpe" in name else 0.35
                p.copy_((spread * torch.randn_like(p)).half().float())
            else:
                middle = 1.0 if name.endswith("weight") and kind not in GEMMA else 0.0
                p.copy_(((middle + 0.3 * torch.randn_like(p)) * 1024).round() / 1024)
    return model


def permuted(tensor, heads):
    """Rows of each head as llama.cpp rotates them: one of the first half, one of the second, and so on."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def regrouped(tensor, heads):
    """All queries, all keys, all values, which these models have head by head."""
    return tensor.reshape(heads, 3, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)


def converted(kind, config, name, tensor):
    if kind in PERMUTED and "q_proj" in name:
        return permuted(tensor, config.num_attention_heads)
    if kind in PERMUTED and "k_proj" in name:
        return permuted(tensor, config.num_key_value_heads)
    if kind in GEMMA and name.endswith("norm.weight"):
        return tensor + 1
    if kind == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return tensor.T
    if kind in ("gpt_neox", "bloom") and "query_key_value" in name:
        return regrouped(tensor, config.num_attention_heads)
    return tensor


def llama_3_factors(parameters, dim):
    """The factor of each frequency."""
    original = parameters["original_max_position_embeddings"]
    factors = []
    for i in range(0, dim, 2):
        length = 2 * math.pi * parameters["rope_theta"] ** (i / dim)
        if length < original / parameters["high_freq_factor"]:
            factors.append(1.0)
        elif length > original / parameters["low_freq_factor"]:
            factors.append(parameters["factor"])
        else:
            low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
            smooth = (original / length - low) / (high - low)
            factors.append(1 / ((1 - smooth) / parameters["factor"] + smooth))
    return factors


def add_metadata(writer, kind, config):
    hidden, heads = config.hidden_size, config.num_attention_heads
    writer.add_embedding_length(hidden)
    writer.add_head_count(heads)
    if kind != "t5":
        writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)
    if kind == "t5":
        writer.add_context_length(512)
        writer.add_feed_forward_length(config.d_ff)
        writer.add_block_count(config.num_layers)
        writer.add_decoder_block_count(config.num_decoder_layers)
        writer.add_key_length(config.d_kv)
        writer.add_value_length(config.d_kv)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
        writer.add_relative_attn_buckets_count(config.relative_attention_num_buckets)
        writer.add_decoder_start_token_id(config.decoder_start_token_id)
        return
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(64)
    writer.add_feed_forward_length(config.intermediate_size if hasattr(config, "intermediate_size") else 4 * hidden)
    if kind in ("gpt2", "bloom", "gpt_neox"):
        writer.add_layer_norm_eps(config.layer_norm_eps if kind == "gpt_neox" else config.layer_norm_epsilon)
        if kind == "gpt_neox":
            writer.add_rope_dimension_count(int(config.rope_parameters["partial_rotary_factor"] * (hidden // heads)))
            writer.add_parallel_residual(config.use_parallel_residual)
        if kind == "bloom":
            writer.add_head_count_kv(heads)
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    if kind == "starcoder2":
        writer.add_layer_norm_eps(config.norm_epsilon)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        return
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind == "gemma":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        return
    if kind == "gemma3_text":
        full, local = (config.rope_parameters[kind] for kind in ("full_attention", "sliding_attention"))
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
        writer.add_sliding_window_pattern(2)
        writer.add_rope_freq_base(full["rope_theta"])
        writer.add_rope_freq_base_swa(local["rope_theta"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
        return
    if kind == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if kind == "gemma2":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        writer.add_sliding_window(config.sliding_window)
        return
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if kind == "phi3":
        original = config.original_max_position_embeddings
        writer.add_rope_dimension_count(int(rope["partial_rotary_factor"] * hidden) // heads)
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(64 / original) / math.log(original)))
        writer.add_sliding_window(config.sliding_window)
        writer.add_tensor("rope_factors_long.weight", numpy.array(rope["long_factor"], dtype=numpy.float32))
        writer.add_tensor("rope_factors_short.weight", numpy.array(rope["short_factor"], dtype=numpy.float32))
        return
    head_dim = getattr(config, "head_dim", None)
    if head_dim is not None:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    head_dim = head_dim or hidden // heads
    if kind in PERMUTED:
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head_dim)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", numpy.array(llama_3_factors(rope, head_dim), dtype=numpy.float32))


def write(path, kind, model, tied):
    architecture = ARCHITECTURES.get(kind, kind)
    writer = gguf.GGUFWriter(path, architecture)
    add_metadata(writer, kind, model.config)
    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, 4)
    skipped = {"lm_head.weight"} if tied else set()
    skipped |= {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    for name, tensor in model.state_dict().items():
        if name in skipped:
            continue
        short = name.removeprefix("transformer.") if kind == "bloom" else name
        new = names.get_name(short, try_suffixes=(".weight", ".bias"))
        data = converted(kind, model.config, name, tensor).contiguous().numpy()
        writer.add_tensor(new, data.astype(numpy.float16 if data.ndim == 2 else numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


TEXTS = [[1, 5, 9, 3, 7, 21, 12, 5, 16], [14, 3, 8]]
TARGETS = [[0, 5, 22, 13], [0, 7]]


def logits(model):
    made = []
    for text, target in zip(TEXTS, TARGETS):
        inputs = {"input_ids": torch.tensor([text])}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.tensor([target])
        with torch.no_grad():
            out = model(**inputs).logits[0]
        made.append(out)
    spread = torch.cat(made).std().item()
    assert 0.5 < spread < 30, spread
    return made, spread


def shortened(values):
    return [[round(value, 5) for value in row] for row in values.tolist()]


def main():
    for name, version in PINS.items():
        found = importlib.metadata.version(name).split("+")[0]
        assert found == version, f"{name} is {found}; these files are made with {version}"
    torch.set_num_threads(1)
    expected = []
    for name, (kind, options) in MODELS.items():
        model = build(kind, options, seed=len(expected))
        path = HERE / f"{name}.gguf"
        write(path, kind, model, options.get("tie_word_embeddings", True))
        made, spread = logits(model)
        case = {"name": name, "texts": TEXTS, "logits": [shortened(rows) for rows in made]}
        if model.config.is_encoder_decoder:
            case["targets"] = TARGETS
        expected.append(json.dumps(case))
        print(f"{name:10} {path.stat().st_size / 1024:5.1f} KiB   spread {spread:5.2f}")
    (HERE / "models.json").write_text("[\n" + ",\n".join(expected) + "\n]\n")


if __name__ == "__main__":
    main()
