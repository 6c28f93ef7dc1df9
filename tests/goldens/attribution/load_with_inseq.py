#!/usr/bin/env python3
"""Loads a file with the real inseq, aggregates and shows it, and says as one line of JSON what it found.

    python load_with_inseq.py FILE

`shapes` and `sums` are those of the scores as loaded, `aggregated` those after `aggregate()`; NaN count as 0.
"""

import importlib.metadata
import json
import os
import sys
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")
warnings.filterwarnings("ignore")

import inseq

FIELDS = ("source_attributions", "target_attributions")


def found_in(sequence):
    tensors = {field: getattr(sequence, field) for field in FIELDS if getattr(sequence, field) is not None}
    return {
        "shapes": {field: list(tensor.shape) for field, tensor in tensors.items()},
        "sums": {field: tensor.double().nansum().item() for field, tensor in tensors.items()},
    }


def describe(sequence):
    aggregated = sequence.aggregate()
    for _ in range(2):
        # A loaded output has forgotten how layers and heads are aggregated: their mean.
        if any(len(shape) > 2 for shape in found_in(aggregated)["shapes"].values()):
            aggregated = aggregated.aggregate("mean", do_post_aggregation_checks=False)
    return found_in(sequence) | {
        "class": type(sequence).__name__,
        "source": [token.token for token in sequence.source],
        "source_ids": [token.id for token in sequence.source],
        "target": [token.token for token in sequence.target],
        "target_ids": [token.id for token in sequence.target],
        "steps": [sequence.attr_pos_start, sequence.attr_pos_end],
        "step_scores": {name: scores.tolist() for name, scores in (sequence.step_scores or {}).items()},
        "aggregated": found_in(aggregated),
        "shown": len(aggregated.show(display=False, do_aggregation=False, return_html=True)),
    }


def main():
    output = inseq.FeatureAttributionOutput.load(sys.argv[1])
    print(json.dumps({
        "inseq": importlib.metadata.version("inseq"),
        "method": output.info.get("attribution_method"),
        "info": sorted(output.info),
        "sequences": [describe(sequence) for sequence in output.sequence_attributions],
    }))


if __name__ == "__main__":
    main()
