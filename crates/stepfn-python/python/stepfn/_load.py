"""Loading of models by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from . import _stepfn
from ._arguments import check_arguments, dumps
from ._errors import UsageError
from ._model import LanguageModel
from ._options import string, whole
from ._progress import Downloads


def load(
    name: str | os.PathLike[str] = "g2p",
    *,
    backend: str = "cpu",
    device: int | str | None = None,
    dtype: Literal["f32", "f64", "f16", "bf16", "int8"] = "f32",
    generation: Mapping[str, Any] | None = None,
    base: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> LanguageModel:
    """Loads a model.

    Args:
        name: One that is compiled in (:func:`stepfn.list_models`); a folder with ``config.json``, weights and a tokenizer; a LoRA adapter; a GGUF file; a name
            on a hub, ``org/name`` or ``org/name@revision``. A folder of that name comes first.
        backend: What it runs on: see :func:`stepfn.list_backends`.
        device: Number of the device.
        dtype: Type of the numbers that it computes with. With ``"int8"``, weights are rounded to 8 bits: faster and less exact, for scores and texts.
        generation: Fields of ``generation_config.json`` that are to be different: how the model writes.
        base: Of an adapter, the model that it changes; by default the one that it names itself.
        source_lang: The language that a model for several languages reads: ``eng_Latn``, ``en_XX``, ``__en__``, …
        target_lang: The language that it writes.
        seed: Seed of sampling.
        progress: Whether to show how far a download is; by default where someone watches.

    >>> import stepfn
    >>> stepfn.load("g2p")
    LanguageModel('g2p': marian, encoder–decoder, cpu f32)
    """
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"a model is named by a string or a path, not {type(name).__name__}", "see stepfn.list_models(), or give a folder")
    name = os.fspath(name)
    options = loading_options(backend, device, dtype, generation, base, source_lang, target_lang, seed)
    with Downloads(progress) as told:
        native = _stepfn.load(name, options, told)
    return LanguageModel(native, (_load_again, (name, options)))


def loading_options(
    backend: str,
    device: int | str | None,
    dtype: str,
    generation: Mapping[str, Any] | None,
    base: str | None,
    source_lang: str | None,
    target_lang: str | None,
    seed: int,
) -> str:
    if generation is not None and not isinstance(generation, Mapping):
        raise UsageError(f"`generation` must be a dict, not {generation!r}", 'write {"max_new_tokens": 5}')
    check_arguments(backend, device, dtype)
    options = {
        "backend": backend,
        "device": None if device is None else str(device),
        "dtype": dtype,
        "generation": dict(generation or {}),
        "base": None if base is None else os.fspath(base) if isinstance(base, os.PathLike) else string("base", base),
        "source_lang": string("source_lang", source_lang),
        "target_lang": string("target_lang", target_lang),
        "seed": whole("seed", seed),
    }
    return dumps(options, "load")


def _load_again(name: str, options: str) -> LanguageModel:
    return LanguageModel(_stepfn.load(name, options, None), (_load_again, (name, options)))
