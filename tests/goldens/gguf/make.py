#!/usr/bin/env python3
"""Writes blocks.json: a few random blocks of every quantized GGUF type, and their values by ggml's own Python package.

    pip install gguf==0.19.0 numpy==2.4.6
    python make.py
"""

import importlib.metadata
import json
from pathlib import Path

import gguf
import numpy

assert importlib.metadata.version("gguf") == "0.19.0"

TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"]
# Where the half-precision scales of a block lie; any other byte may be anything.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q4_K": [0, 2], "Q6_K": [208]}
BLOCKS = 3

random = numpy.random.default_rng(1)
golden = []
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (BLOCKS, size), dtype=numpy.uint8)
    for at in SCALES[name]:
        scales = random.uniform(-0.1, 0.1, (BLOCKS, 1)).astype("<f2")
        blocks[:, at : at + 2] = scales.view(numpy.uint8)
    values = gguf.quants.dequantize(blocks, kind)
    assert values.shape == (BLOCKS, elements) and values.dtype == numpy.float32
    golden.append({
        "type": name,
        "number": int(kind),
        "bytes": blocks.tobytes().hex(),
        "values": [float(value) for value in values.reshape(-1)],
    })
text = ",\n".join(json.dumps(case) for case in golden)
Path(__file__).with_name("blocks.json").write_text(f"[\n{text}\n]\n")
