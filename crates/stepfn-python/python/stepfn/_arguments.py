"""Names and values of arguments, and what is meant by wrong ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._errors import UsageError


def nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def dumps(parameters: Mapping[str, Any], owner: str) -> str:
    try:
        return json.dumps(parameters, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{owner}: a parameter can't be written as JSON: {error}", "give numbers, texts and lists") from error


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as those of Python."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is neither a number, a text nor a list")


def check_torch(what: str) -> None:
    """Checks that torch is there."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise UsageError(f"{what} needs torch, which is not installed", "install it: pip install stepfn[torch]")


# What arguments are called elsewhere, and here.
MEANT = {
    "attr_pos_end": "to",
    "attr_pos_start": "from_",
    "attributed_fn": "function",
    "attribute_target": "target_side",
    "attribution_method": "method",
    "batch": "texts",
    "contrast_sources": "contrast_source",
    "contrast_target": "contrast",
    "contrast_targets": "contrast",
    "contrast_targets_alignments": "align",
    "generated_text": "target",
    "generated_texts": "target",
    "input": "texts",
    "input_text": "texts",
    "input_texts": "texts",
    "inputs": "texts",
    "prompt": "source",
    "prompts": "texts",
    "sentence": "texts",
    "sentences": "texts",
    "show_progress": "progress",
    "step_function": "function",
    "target_layer": "layer",
    "text": "texts",
}
# What is said elsewhere.
INSTEAD = {
    "batch_size": "batches follow the memory: memory=8 << 30 for 8 GiB, and for step scores batch_tokens=…",
    "device": "the device is said on loading: stepfn.load(…, backend=…)",
    "generation_args": "settings of generation are said on loading: stepfn.load(…, generation={…})",
    "internal_batch_size": "batches follow the memory: memory=8 << 30 for 8 GiB",
    "max_new_tokens": "settings of generation are said on loading: stepfn.load(…, generation={'max_new_tokens': …})",
    "return_convergence_delta": "methods that have deltas always give them: see the result's `deltas`",
}


def no_argument(name: str, known: Sequence[str], otherwise: str) -> UsageError:
    """An argument that there is not."""
    meant = MEANT.get(name)
    if meant == "texts":
        return UsageError(f"there is no argument `{name}`", "texts come first: give them without a name, or as texts=…")
    if meant is not None:
        return UsageError(f"there is no argument `{name}`", f"it is called `{meant}` here: write {meant}=…")
    if name in INSTEAD:
        return UsageError(f"there is no argument `{name}`", INSTEAD[name])
    return UsageError(f"no parameter `{name}`{nearest(name, known)}", otherwise)


def check_arguments(backend: Any, device: Any, dtype: Any) -> None:
    """Checks where a model is to run, and in which numbers."""
    types = {"float64": "f64", "double": "f64", "float32": "f32", "float": "f32", "float16": "f16", "half": "f16", "bfloat16": "bf16"}
    other = types.get(str(dtype).removeprefix("torch.").removeprefix("numpy."))
    if other is not None:
        raise UsageError(f"there is no element type `{dtype}` to compute with", f"write dtype={other!r}: choose one of f64, f32, f16, bf16 and int8")
    backends = {"cpu": "cpu", "cuda": "cuda", "gpu": "cuda", "mps": "wgpu", "metal": "wgpu", "wgpu": "wgpu", "vulkan": "wgpu"}
    name, _, number = str(device).partition(":")
    if name in backends:
        at = f", device={number}" if number else ""
        what = f"`device` is the number of a device, from 0, not {device!r}"
        raise UsageError(what, f"write backend={backends[name]!r}{at}: see stepfn.list_backends()")
    if device is not None and not str(device).isdigit():
        raise UsageError(f"`device` is the number of a device, from 0, not {device!r}", "see stepfn.list_backends()")
    if dtype is not None and not isinstance(dtype, str):
        raise UsageError(f"there is no element type `{dtype}` to compute with", "choose one of f64, f32, f16, bf16 and int8")
    if not isinstance(backend, str):
        raise UsageError(f"a backend is named by a string, not {backend!r}", "see stepfn.list_backends()")
