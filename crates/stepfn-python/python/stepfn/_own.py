"""Step functions and methods that are written in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _stepfn
from ._arguments import check_torch, dumps
from ._errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ids = npt.NDArray[np.int64]


class Own:
    """What is written in Python: its function, and the parameters that it has with their defaults."""

    def __init__(self, function: Callable[..., Any], name: str, summary: str | None, skipped: Sequence[str]) -> None:
        self.function = function
        self.name = name
        import inspect

        if not isinstance(name, str) or not (name.isidentifier() or name.startswith("<")):
            raise UsageError(f"{name!r} can't be a name", "use letters, digits and underscores")
        first, _, _ = (inspect.getdoc(function) or "").partition("\n")
        self.summary = first if summary is None else summary
        self.parameters: dict[str, Any] = {}
        self.special: set[str] = set()
        signature = list(inspect.signature(function).parameters.values())
        for parameter in signature[self.positional :]:
            if parameter.name in skipped:
                self.special.add(parameter.name)
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                what = f"`{name}` takes any parameters (*{parameter.name}), so a misspelled one would be lost"
                raise UsageError(what, "name its parameters, each with a default")
            elif parameter.default is parameter.empty:
                raise UsageError(f"the parameter `{parameter.name}` of `{name}` has no default", "give it one")
            else:
                self.parameters[parameter.name] = parameter.default

    positional = 1

    def described(self) -> dict[str, Any]:
        """As the built-in ones are described."""
        return {"name": self.name, "summary": self.summary, "unit": "", "parameters": dict(self.parameters)}


class OwnFunction(Own):
    positional = 2

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        summary: str | None,
        gradient: Callable[..., Any] | str | None,
        join: str,
        unit: str,
    ) -> None:
        super().__init__(function, name, summary, ("contrast_logits", "contrast_ids"))
        import inspect

        needed = [one for one in list(inspect.signature(function).parameters.values())[:2] if one.default is one.empty]
        if len(needed) < 2:
            what = f"`{name}` does not take (logits, target_ids), but ({', '.join(inspect.signature(function).parameters)})"
            raise UsageError(what, "give it these two; functions of inseq's `args` are for stepfn.compat.inseq.register_step_function")
        if not (gradient is None or callable(gradient) or gradient == "torch"):
            raise UsageError(f"there is no gradient {gradient!r}", 'give a function, "torch" or None')
        if gradient == "torch":
            check_torch(f"the gradient of `{name}`")
        if join not in ("sum", "product", "mean"):
            raise UsageError(f"there is no join {join!r}", 'choose one of "sum", "product" and "mean"')
        self.gradient = gradient
        self.join = join
        self.unit = unit

    def described(self) -> dict[str, Any]:
        return {**super().described(), "unit": self.unit}

    def native(self, parameters: Mapping[str, Any]) -> _stepfn.Function:
        given = {**self.parameters, **parameters}

        def call(logits: Floats, ids: Ids, other: tuple[Floats | None, Ids] | None, wants_gradient: bool) -> Any:
            if self.gradient == "torch":
                return _by_torch(self.function, self.special, given, logits, ids, other, wants_gradient)
            arguments = dict(given)
            if other is not None:
                arguments |= _contrast(self.special, logits if other[0] is None else other[0], other[1])
            values = _row(self.function(logits, ids, **arguments), self.name)
            if not wants_gradient or not callable(self.gradient):
                return values, None
            slope = _floats(self.gradient(logits, ids, **arguments))
            if slope.shape != logits.shape:
                what = f"the gradient of `{self.name}` has shape {slope.shape}"
                raise UsageError(what, f"return one of the logits' shape, {logits.shape}")
            return values, slope

        differentiable, contrast = self.gradient is not None, bool(self.special)
        return _stepfn.Function(self.name, dumps(given, self.name), call, differentiable, contrast, self.join)


def _contrast(special: set[str], logits: Any, ids: Any) -> dict[str, Any]:
    both = {"contrast_logits": logits, "contrast_ids": ids}
    return {name: value for name, value in both.items() if name in special}


def _floats(values: Any) -> Floats:
    import numpy as np

    return np.ascontiguousarray(values, dtype=np.float32)


def _row(values: Any, name: str) -> Floats:
    import numpy as np

    if np.ndim(values) != 1 or np.iscomplexobj(values):
        what = "nothing" if values is None else "complex numbers" if np.iscomplexobj(values) else f"an array of shape {np.shape(values)}"
        raise UsageError(f"`{name}` returned {what}", "return one number for each row of the logits")
    row = _floats(values)
    return row


def _by_torch(
    function: Callable[..., Any],
    special: set[str],
    parameters: Mapping[str, Any],
    logits: Floats,
    ids: Ids,
    other: tuple[Floats | None, Ids] | None,
    wants_gradient: bool,
) -> tuple[Floats, Floats | None]:
    import torch

    rows = torch.from_numpy(logits).requires_grad_(wants_gradient)
    arguments = dict(parameters)
    if other is not None:
        contrast = rows if other[0] is None else torch.from_numpy(other[0])
        arguments |= _contrast(special, contrast, torch.from_numpy(other[1]))
    with torch.set_grad_enabled(wants_gradient):
        values = function(rows, torch.from_numpy(ids), **arguments)
        slope = torch.autograd.grad(values.sum(), rows)[0] if wants_gradient else None
    row = _row(values.detach().float().numpy(), getattr(function, "__name__", "function"))
    return row, None if slope is None else _floats(slope.numpy())


class Passes:
    """A text and the attributed function, as a method of your own sees them."""

    def __init__(self, native: _stepfn.Passes) -> None:
        self._native = native

    @property
    def source_ids(self) -> Ids | None:
        """Tokens that the encoder reads, ``[source tokens]``; ``None`` for a causal model."""
        return self._native.source_ids

    @property
    def target_ids(self) -> Ids:
        """Tokens of the target, ``[target tokens]``; a causal model's prompt is part of it."""
        return self._native.target_ids

    @property
    def steps(self) -> range:
        """Positions of the target's tokens that are asked about."""
        return range(*self._native.steps)

    @property
    def columns(self) -> list[range]:
        """What is attributed as one, a column of scores for each: every step by itself, or the steps of a unit (``unit="sentence"``)."""
        return [range(*column) for column in self._native.columns]

    @property
    def attributes_target(self) -> bool:
        """Whether target tokens get scores. If not, they must stay as they are."""
        return self._native.attributes_target

    @property
    def special_source(self) -> npt.NDArray[np.bool_]:
        """Which source tokens are special, and should stay as they are, ``[source tokens]``."""
        return self._native.kept(True)

    @property
    def special_target(self) -> npt.NDArray[np.bool_]:
        """Which target tokens are special, and should stay as they are, ``[target tokens]``."""
        return self._native.kept(False)

    def values(
        self, *, source: npt.ArrayLike | None = None, target: npt.ArrayLike | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The function's values for the text, ``[columns]``, and for variants of it, ``[variants, columns]``; of a unit, the sum over its steps.

        ``source`` and ``target`` are token ids, ``[variants, tokens]``; a side that is left out stays as it is.
        """
        import numpy as np

        given = [None if side is None else np.asarray(side) for side in (source, target)]
        for side in given:
            if side is not None and side.dtype.kind not in "iu":
                raise UsageError(f"variants are token ids, whole numbers, not of type {side.dtype}", "give ids of shape [variants, tokens]")
        ids = [None if side is None else np.ascontiguousarray(side, dtype=np.int64) for side in given]
        for side in ids:
            if side is not None and side.ndim != 2:
                raise UsageError(f"variants have shape {side.shape}", "give ids of shape [variants, tokens]")
        return self._native.values(*ids)

    def gradients(self) -> tuple[Floats | None, Floats | None]:
        """Derivatives of each column's value with respect to the embeddings of the source and of the target, ``[columns, tokens, size]``."""
        return self._native.gradients()

    def embeddings(self) -> tuple[Floats | None, Floats | None]:
        """The embeddings of the source and of the target, ``[tokens, size]``."""
        return self._native.embeddings()


class OwnMethod(Own):
    def native(self, parameters: Mapping[str, Any]) -> _stepfn.Method:
        given = {**self.parameters, **parameters}

        def call(native: _stepfn.Passes) -> tuple[Floats | None, Floats | None]:
            passes = Passes(native)
            scores = self.function(passes, **given)
            if not isinstance(scores, tuple):
                scores = (None, scores) if passes.source_ids is None else (scores, None)
            sides = [None if side is None else _floats(side) for side in scores]
            if len(sides) != 2 or any(side is not None and side.ndim != 2 for side in sides):
                what = f"the method `{self.name}` returned something else than scores"
                raise UsageError(what, "return an array [tokens, columns], or two of them: of the source and of the target")
            return sides[0], sides[1]

        return _stepfn.Method(self.name, dumps(given, self.name), call)
