"""Models that transformers has in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _stepfn
from ._errors import ModelError, UsageError
from ._load import loading_options
from ._model import LanguageModel
from ._arguments import check_torch

if TYPE_CHECKING:
    import torch

_TYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def from_torch(
    model: Any,
    tokenizer: Any,
    *,
    name: str | None = None,
    backend: str = "cpu",
    device: int | str | None = None,
    dtype: str = "f32",
    generation: Mapping[str, Any] | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    seed: int = 0,
) -> LanguageModel:
    """A model of transformers that is in memory, such as one that was just fine-tuned, with its tokenizer.

    Each tensor is copied once, without a file. What happens to the model later changes nothing here; it must not change while it is taken.

    Args:
        model: A causal or encoder–decoder model of a family that is read here (:func:`stepfn.list_families`), on the CPU or another device.
        tokenizer: Its tokenizer.
        name: What results call it; by default its ``name_or_path``.

    The other arguments are those of :func:`stepfn.load`.

    Raises:
        ModelError: If the family isn't read here, or the model is more than its weights: quantized, with hooks, with an adapter that is not merged.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    if not hasattr(model, "config") or not hasattr(model, "state_dict"):
        raise UsageError(f"{type(model).__name__} is no model of transformers", "give a model, or load a folder by stepfn.load")
    check_torch("a model of transformers")
    import torch

    _refuse(model)
    options = loading_options(backend, device, dtype, generation, None, source_lang, target_lang, seed)
    name = name or getattr(model, "name_or_path", "") or type(model).__name__
    with TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        if getattr(model, "generation_config", None) is not None and model.can_generate():
            (Path(folder) / "generation_config.json").write_text(model.generation_config.to_json_string(), encoding="utf-8")
        tokenizer.save_pretrained(folder)
        with torch.no_grad():
            tensors = [_lent(name, tensor) for name, tensor in _published(model).items() if tensor.is_floating_point()]
        return LanguageModel(_stepfn.load_tensors(str(name), folder, tensors, options), None)


def _lent(name: str, tensor: torch.Tensor) -> tuple[str, str, list[int], Any]:
    """A tensor's name, type, shape and bytes."""
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _TYPES:
        raise ModelError(f"the tensor {name} is of type {kind}", "give a model whose weights are floats of 16 bits or more")
    # No copy for a tensor that is contiguous on the CPU.
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return name, _TYPES[kind], list(tensor.shape), flat.view(torch.uint8).numpy()


def _published(model: Any) -> dict[str, torch.Tensor]:
    """Tensors under the names that checkpoints have."""
    tensors: dict[str, torch.Tensor] = model.state_dict()
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:
        return tensors
    reverted: dict[str, torch.Tensor] = revert_weight_conversion(model, tensors)
    return reverted


def _refuse(model: Any) -> None:
    """Refuses models that compute something else than their weights say."""
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) is not None:
        raise ModelError("the model is quantized, so its weights are not in memory as numbers", "load the folder that it came from by stepfn.load")
    if getattr(model, "peft_config", None):
        raise ModelError("the model has an adapter that is not merged into its weights", "merge it first: model.merge_and_unload()")
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"):
            raise ModelError(f"`{name or 'the model'}` has a hook, which may change what it computes", "remove the hooks")
        if hasattr(module, "parametrizations"):
            raise ModelError(f"`{name}` computes its weights from others", "remove the parametrizations: torch.nn.utils.parametrize.remove_parametrizations")
    empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if empty:
        raise ModelError(f"the tensor {empty[0]} has no values: it was left on disk or on another machine", "load the whole model into memory")
