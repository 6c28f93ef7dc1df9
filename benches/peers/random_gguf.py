"""Writes a GGUF file with random weights in the shape of a published model.

`python random_gguf.py {1.5b,7b} {F16,Q8_0,Q4_0,Q4_K,Q5_K,Q6_K} FILE` needs the packages in `tests/goldens/gguf/requirements.txt`. Shapes are those
of Qwen 2.5, as a Llama: without biases. Scales are such that weights are about as large as trained ones. The file has no tokenizer.
"""

import sys

import gguf
import numpy as np

SHAPES = {
    "1.5b": {"layers": 28, "hidden": 1536, "inner": 8960, "heads": 12, "kv_heads": 2, "vocab": 151936, "tied": True},
    "7b": {"layers": 28, "hidden": 3584, "inner": 18944, "heads": 28, "kv_heads": 4, "vocab": 152064, "tied": False},
}
HEAD_DIM = 128
# Bytes of half-precision scales in a block, each with a number.
SCALES = {
    "F16": [],
    "Q8_0": [(0, 2e-4)],
    "Q4_0": [(0, 4e-3)],
    "Q4_K": [(0, 1e-4), (2, 7.5e-4)],
    "Q5_K": [(0, 5e-5), (2, 7.5e-4)],
    "Q6_K": [(208, 2e-5)],
}


def matrix(random, kind, rows, columns):
    """The rows of a random matrix, as bytes."""
    if kind == "F16":
        return (0.02 * random.standard_normal((rows, columns), dtype=np.float32)).astype(np.float16)
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = random.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    for at, scale in SCALES[kind]:
        blocks[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
    return blocks.reshape(rows, -1)


def tensors(shape):
    """Names and sizes, rows first."""
    hidden, inner = shape["hidden"], shape["inner"]
    queries, keys = shape["heads"] * HEAD_DIM, shape["kv_heads"] * HEAD_DIM
    yield "token_embd.weight", (shape["vocab"], hidden)
    for layer in range(shape["layers"]):
        yield f"blk.{layer}.attn_norm.weight", (hidden,)
        yield f"blk.{layer}.attn_q.weight", (queries, hidden)
        yield f"blk.{layer}.attn_k.weight", (keys, hidden)
        yield f"blk.{layer}.attn_v.weight", (keys, hidden)
        yield f"blk.{layer}.attn_output.weight", (hidden, queries)
        yield f"blk.{layer}.ffn_norm.weight", (hidden,)
        yield f"blk.{layer}.ffn_gate.weight", (inner, hidden)
        yield f"blk.{layer}.ffn_up.weight", (inner, hidden)
        yield f"blk.{layer}.ffn_down.weight", (hidden, inner)
    yield "output_norm.weight", (hidden,)
    if not shape["tied"]:
        yield "output.weight", (shape["vocab"], hidden)


def main(name, kind, path):
    shape, random = SHAPES[name], np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape["layers"])
    writer.add_context_length(4096)
    writer.add_embedding_length(shape["hidden"])
    writer.add_feed_forward_length(shape["inner"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape["vocab"])
    # As llama.cpp wants to be told.
    writer.add_tokenizer_model("no_vocab")
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    number, half = gguf.GGMLQuantizationType[kind], kind == "F16"
    elements, size = gguf.GGML_QUANT_SIZES[number]
    for tensor, sizes in tensors(shape):
        if len(sizes) == 1:
            writer.add_tensor_info(tensor, sizes, np.dtype(np.float32), 4 * sizes[0])
        else:
            row = sizes[1] // elements * size
            in_file = sizes if half else (sizes[0], row)
            writer.add_tensor_info(
                tensor, in_file, np.dtype(np.float16 if half else np.uint8), sizes[0] * row, None if half else number
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, sizes in tensors(shape):
        one = len(sizes) == 1
        writer.write_tensor_data(np.ones(sizes, np.float32) if one else matrix(random, kind, *sizes))
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
