"""Models of published shapes with random weights, for the peers of the benchmarks."""

import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    LlamaConfig,
    MarianConfig,
    T5Config,
)

SHAPES = {
    "gpt2-small": lambda: GPT2Config(),
    "smollm2-135m": lambda: LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    ),
    "opus-mt-base": lambda: MarianConfig(
        vocab_size=58101, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, max_position_embeddings=512,
        activation_function="swish", scale_embedding=True, static_position_embeddings=True, dropout=0.1,
        pad_token_id=58100, eos_token_id=0, bos_token_id=0, decoder_start_token_id=58100, forced_eos_token_id=0,
    ),
    "t5-small": lambda: T5Config(decoder_start_token_id=0),
}


def build(shape, attention="eager"):
    """The model in float32, without dropout."""
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
    config = SHAPES[shape]()
    torch.manual_seed(0)
    cls = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return cls.from_config(config, attn_implementation=attention).eval()


def random_ids(config, *size):
    """Random ids, none of them special tokens, which have the lowest or highest ids."""
    return torch.randint(10, config.vocab_size - 10, size, generator=torch.Generator().manual_seed(1))
