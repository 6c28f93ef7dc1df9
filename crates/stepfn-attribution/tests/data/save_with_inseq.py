#!/usr/bin/env python3
"""Saves small outputs with the real inseq (0.7.1), one of each class and precision, beside this script.

    python save_with_inseq.py
"""

import pathlib

import torch
from inseq.data.attribution import (
    CoarseFeatureAttributionSequenceOutput,
    FeatureAttributionOutput,
    GranularFeatureAttributionSequenceOutput,
    MultiDimensionalFeatureAttributionSequenceOutput,
)
from inseq.utils.typing import TokenWithId

HERE = pathlib.Path(__file__).parent
NAN = float("nan")


def tokens(*texts):
    return [TokenWithId(text, 10 + at) for at, text in enumerate(texts)]


def info(method, source, target):
    return {
        "attribution_method": method,
        "attributed_fn": "probability_fn",
        "attributed_fn_args": {"logprob": True},
        "attribution_args": {"n_steps": 3},
        "step_scores_args": {},
        "step_scores": ["probability"],
        "model_name": "tiny",
        "model_class": "MarianMTModel",
        "exec_time": 0.25,
        "input_texts": [source],
        "generated_texts": [target],
    }


def ramp(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape) / 4 - 1


translation = GranularFeatureAttributionSequenceOutput(
    source=tokens("▁Hi", "▁there", "</s>"),
    target=tokens("<pad>", "▁Hal", "lo", "</s>"),
    source_attributions=ramp(3, 3, 2),
    target_attributions=ramp(4, 3, 2),
    step_scores={"probability": torch.tensor([0.5, 0.25, NAN]), "deltas": torch.tensor([0.0, 0.5, -0.5])},
    sequence_scores={},
    attr_pos_start=1,
    attr_pos_end=4,
)
causal = CoarseFeatureAttributionSequenceOutput(
    source=tokens("The", "Ġcaf", "Ã©"),
    target=tokens("The", "Ġcaf", "Ã©", "Ġis", "Ċ"),
    target_attributions=ramp(5, 2),
    step_scores={},
    attr_pos_start=3,
    attr_pos_end=5,
)
attention = MultiDimensionalFeatureAttributionSequenceOutput(
    source=tokens("▁Hi", "</s>"),
    target=tokens("<pad>", "▁Hal", "lo"),
    source_attributions=ramp(2, 2, 3, 2),
    step_scores={"probability": torch.tensor([0.5, 0.25])},
    attr_pos_start=1,
    attr_pos_end=3,
    _num_dimensions=2,
)
for name, sequence, about, precision in [
    ("granular_float32", translation, info("integrated_gradients", "Hi there", "Hallo"), "float32"),
    ("coarse_float16", causal, info("occlusion", "The café", "The café is\n"), "float16"),
    ("multidimensional_float8", attention, info("attention", "Hi", "Hallo"), "float8"),
]:
    output = FeatureAttributionOutput(sequence_attributions=[sequence], info=about)
    output.save(HERE / f"{name}.json", overwrite=True, scores_precision=precision)
