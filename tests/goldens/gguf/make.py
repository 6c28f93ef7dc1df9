#!/usr/bin/env python3
"""Writes blocks.json: a few random blocks of every quantized GGUF type, and their values by ggml's own Python package.
Also writes the tables of points that some types take their values from, which the reader compiles in.

    pip install -r requirements.txt
    python make.py
"""

import importlib.metadata
import json
from pathlib import Path

import gguf
import numpy

assert importlib.metadata.version("gguf") == "0.19.0"
HERE = Path(__file__).resolve().parent

# Where the half-precision scales of a block lie; any other byte may be anything.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ1_M": [],
    "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "NVFP4": [],
}
BLOCKS = 2
POINTS = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S"]

random = numpy.random.default_rng(1)


def scales(low, high):
    return random.uniform(low, high, BLOCKS).astype("<f2")


def random_blocks(name, size):
    blocks = random.integers(0, 256, (BLOCKS, size), dtype=numpy.uint8)
    for at in SCALES[name]:
        blocks[:, at : at + 2] = scales(-0.1, 0.1).reshape(-1, 1).view(numpy.uint8)
    if name == "IQ1_M":
        # The scale is spread over the upper bits of four words.
        for i in range(4):
            blocks[:, 49 + 2 * i] = blocks[:, 49 + 2 * i] & 15 | (scales(-0.1, 0.1).view("<u2") >> 4 * i & 15) << 4
    if name == "MXFP4":
        blocks[:, 0] = random.integers(118, 124, BLOCKS)
    return blocks


def shortest(values):
    return "[" + ",".join(str(value).removesuffix(".0") for value in values.reshape(-1)) + "]"


def blocks_json():
    golden = []
    for name in SCALES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random_blocks(name, size)
        values = gguf.quants.dequantize(blocks, kind)
        assert values.shape == (BLOCKS, elements)
        values = values.astype(numpy.float32)
        assert numpy.isfinite(values).all()
        head = json.dumps({"type": name, "number": int(kind), "bytes": blocks.tobytes().hex()})[:-1]
        golden.append(f'{head}, "values": {shortest(values)}}}')
    return "[\n" + ",\n".join(golden) + "\n]\n"


def points():
    """Every element of a point as its place among the possible values: 16 bits for a point, its first element in the lowest."""
    tables = []
    for name in POINTS:
        kind = vars(gguf.quants)[name]
        kind.init_grid()
        grid = kind.grid.reshape(kind.grid_shape)
        codes = numpy.searchsorted(kind.grid_map, grid)
        assert (numpy.take(kind.grid_map, codes) == grid).all()
        bits = 16 // grid.shape[1]
        tables.append((codes << bits * numpy.arange(grid.shape[1])).sum(axis=1).astype("<u2").tobytes())
    return b"".join(tables)


if __name__ == "__main__":
    (HERE / "blocks.json").write_text(blocks_json())
    (HERE / "../../../crates/stepfn-models/src/gguf/blocks/points.bin").write_bytes(points())
