"""Step functions and methods: by name, with parameters, and of your own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _stepfn
from ._errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ids = npt.NDArray[np.int64]

F = TypeVar("F", bound=Callable[..., Any])


class _Named:
    """A name, with parameters that differ from the defaults."""

    def __init__(self, name: str, /, **parameters: Any) -> None:
        self.name = name
        self.parameters = parameters
        _check(isinstance(self, Method), name, parameters)

    def __repr__(self) -> str:
        parts = [repr(self.name), *(f"{name}={value!r}" for name, value in self.parameters.items())]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self.name))


class StepFunction(_Named):
    """A step function with parameters, wherever a name will do: ``StepFunction("kl_divergence", top_k=20)``."""


class Method(_Named):
    """An attribution method with parameters, wherever a name will do: ``Method("lime", n_samples=200)``."""


class _Own:
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


class _OwnFunction(_Own):
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
        return _stepfn.Function(self.name, _dumps(given, self.name), call, differentiable, contrast, self.join)


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
        """The function's values for the text, ``[steps]``, and for variants of it, ``[variants, steps]``.

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
        """Derivatives of each step's value with respect to the embeddings of the source and of the target, ``[steps, tokens, size]``."""
        return self._native.gradients()

    def embeddings(self) -> tuple[Floats | None, Floats | None]:
        """The embeddings of the source and of the target, ``[tokens, size]``."""
        return self._native.embeddings()


class _OwnMethod(_Own):
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
                raise UsageError(what, "return an array [tokens, steps], or two of them: of the source and of the target")
            return sides[0], sides[1]

        return _stepfn.Method(self.name, _dumps(given, self.name), call)


_functions: dict[str, _OwnFunction] = {}
_methods: dict[str, _OwnMethod] = {}


def register_step_function(
    function: Callable[..., Any],
    name: str | None = None,
    *,
    gradient: Callable[..., Any] | str | None = None,
    join: str = "mean",
    unit: str = "",
    summary: str | None = None,
    overwrite: bool = False,
) -> None:
    """Makes a step function of your own known by its name.

    ``function(logits, target_ids, **parameters)`` gets logits ``[rows, vocabulary]`` (float32) and target tokens ``[rows]`` (int64), and returns a
    number for each row, which must depend on this row alone. If it has parameters called ``contrast_logits`` or ``contrast_ids``, it gets those of
    the contrast, row by row. Other parameters need defaults.

    Args:
        gradient: To attribute the function by methods that use gradients: a function of the same arguments that returns the derivatives with respect to
            the logits, ``[rows, vocabulary]``; or ``"torch"`` if the function computes with torch tensors, which it then gets and torch
            differentiates. Without one, methods that replace or hide tokens attribute it.
        join: How the values of a word's tokens become one: ``"sum"``, ``"product"`` or ``"mean"``.
        unit: What the number counts: nats, bits, …
        summary: What it computes, in a line; by default the first line of its documentation.
        overwrite: Replace one of your own of that name.

    >>> import stepfn
    >>> def chosen_logit(logits, target_ids, scale=1.0):
    ...     return scale * logits[range(len(target_ids)), target_ids]
    >>> stepfn.register_step_function(chosen_logit, overwrite=True)
    >>> scores = stepfn.load("verse").score("Let there be light", ["chosen_logit", "logit"])
    >>> bool((scores["chosen_logit"] == scores["logit"]).all())
    True
    """
    name = _name_of(function) if name is None else name
    own = _OwnFunction(function, name, summary, gradient, join, unit)
    _add(_functions, own, "step function", [entry["name"] for entry in _built_in(False)], overwrite)


def register_method(
    function: Callable[..., Any], name: str | None = None, *, summary: str | None = None, overwrite: bool = False
) -> None:
    """Makes an attribution method of your own known by its name.

    ``function(passes, **parameters)`` gets :class:`Passes` and returns scores ``[tokens, steps]``: of the source of an encoder–decoder, of the target of a
    causal model; or two arrays, of the source and of the target. Scores of tokens that a step doesn't see are left out.
    """
    name = _name_of(function) if name is None else name
    own = _OwnMethod(function, name, summary, ())
    _add(_methods, own, "method", [entry["name"] for entry in _built_in(True)], overwrite)


@overload
def step_function(function: F, /) -> F: ...
@overload
def step_function(
    *,
    name: str | None = None,
    gradient: Callable[..., Any] | str | None = None,
    join: str = "mean",
    unit: str = "",
    summary: str | None = None,
    overwrite: bool = False,
) -> Callable[[F], F]: ...
def step_function(function: F | None = None, /, **options: Any) -> F | Callable[[F], F]:
    """:func:`register_step_function` as a decorator."""

    def register(function: F) -> F:
        register_step_function(function, options.pop("name", None), **options)
        return function

    return register if function is None else register(function)


@overload
def method(function: F, /) -> F: ...
@overload
def method(*, name: str | None = None, summary: str | None = None, overwrite: bool = False) -> Callable[[F], F]: ...
def method(function: F | None = None, /, **options: Any) -> F | Callable[[F], F]:
    """:func:`register_method` as a decorator."""

    def register(function: F) -> F:
        register_method(function, options.pop("name", None), **options)
        return function

    return register if function is None else register(function)


def _name_of(function: Any) -> str:
    _check_callable(function)
    return str(getattr(function, "__name__", type(function).__name__))


def _check_callable(function: Any) -> None:
    if not callable(function):
        raise UsageError(f"{function!r} is no function", "give one, and a name")


def check_torch(what: str) -> None:
    """Checks that torch is there."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise UsageError(f"{what} needs torch, which is not installed", "install it: pip install stepfn[torch]")


def _add(own: dict[str, Any], entry: _Own, kind: str, built_in: Sequence[str], overwrite: bool) -> None:
    if entry.name in built_in or (entry.name in own and not overwrite):
        raise UsageError(f"the name `{entry.name}` is taken by another {kind}", "choose another one, or overwrite one of your own")
    own[entry.name] = entry


@lru_cache(maxsize=2)
def _built_in(methods: bool) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = json.loads(_stepfn.known(methods))
    return described


def list_step_functions() -> list[str]:
    """The names of all step functions, yours included."""
    return sorted([*(entry["name"] for entry in _built_in(False)), *_functions])


def list_methods() -> list[str]:
    """The names of all attribution methods, yours included."""
    return sorted([*(entry["name"] for entry in _built_in(True)), *_methods])


def describe(name: str) -> dict[str, Any]:
    """What is known of a step function or a method: its summary, its unit, and its parameters with their defaults.

    >>> import stepfn
    >>> stepfn.describe("probability")["parameters"]
    {'logprob': False}
    """
    if not isinstance(name, str):
        raise UsageError(f"{name!r} is no name", "give that of a step function or a method")
    own = [entry.described() for entries in (_functions, _methods) for entry in entries.values()]
    everything = {entry["name"]: entry for entry in [*_built_in(False), *_built_in(True), *own]}
    if name not in everything:
        raise UsageError(f"there is no step function or method `{name}`{_nearest(name, everything)}", "check the spelling")
    # What is changed in it changes nothing here.
    return deepcopy(everything[name])


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _dumps(parameters: Mapping[str, Any], owner: str) -> str:
    try:
        return json.dumps(parameters, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{owner}: a parameter can't be written as JSON: {error}", "give numbers, texts and lists") from error


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as those of Python."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is neither a number, a text nor a list")


class Chosen:
    """A step function or a method that was asked for, before its parameters are set."""

    def __init__(self, given: Any, methods: bool) -> None:
        kind, known = ("method", _methods) if methods else ("step function", _functions)
        self.methods = methods
        if isinstance(given, str):
            given = Method(given) if methods else StepFunction(given)
        elif callable(given) and not isinstance(given, _Named):
            # One that isn't registered.
            name = getattr(given, "__name__", kind.replace(" ", "_"))
            self.own: Any = _OwnMethod(given, name, None, ()) if methods else _OwnFunction(given, name, None, None, "mean", "")
            self.name, self.parameters, self.known = name, {}, list(self.own.parameters)
            return
        if not isinstance(given, Method if methods else StepFunction):
            raise UsageError(f"{given!r} is no {kind}", f"give the name of one: see stepfn.list_{kind.replace(' ', '_')}s()")
        self.name, self.parameters = given.name, dict(given.parameters)
        self.own = known.get(self.name)
        self.known = list(_defaults(methods, self.name))

    def native(self) -> Any:
        """For the native part."""
        if self.own is None:
            _check_values(self.name, self.parameters, _defaults(self.methods, self.name))
            return self.name, _dumps(self.parameters, self.name)
        return self.own.native(self.parameters)


def _defaults(methods: bool, name: str) -> dict[str, Any]:
    """The parameters of a method or a step function, with their defaults; none where there is no such one any more."""
    own: Any = (_methods if methods else _functions).get(name)
    if own is not None:
        return dict(own.parameters)
    return next((dict(entry["parameters"]) for entry in _built_in(methods) if entry["name"] == name), {})


def _check(methods: bool, name: Any, parameters: Mapping[str, Any]) -> None:
    """Checks a name and its parameters."""
    kind, own = ("method", _methods) if methods else ("step function", _functions)
    if not isinstance(name, str):
        raise UsageError(f"{name!r} is no name of a {kind}", f"see stepfn.list_{kind.replace(' ', '_')}s()")
    if name not in own:
        known = _defaults(methods, name)
        _check_values(name, {key: value for key, value in parameters.items() if key in known}, known)
        try:
            _stepfn.check(methods, name, _dumps(parameters, name))
        except UsageError as error:
            # The native part does not know yours.
            near = "" if known or not own else _nearest(name, own)
            if near:
                raise UsageError(f"there is no {kind} `{name}`{near}", error.hint) from None
            raise
        return
    known = _defaults(methods, name)
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        what = f"{name} has no parameter `{unknown[0]}`{_nearest(unknown[0], known)}"
        raise UsageError(what, f"it has {', '.join(known)}" if known else "it has none")


def _check_values(owner: str, parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses what JSON has no word for."""
    for name, value in parameters.items():
        default = defaults.get(name)
        if value is None and default is not None:
            raise UsageError(f"`{name}` of {owner} can't be None", f"leave it out for the default, {default!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"`{name}` of {owner} must be a finite number, not {value}", "change this parameter")


# What arguments are called elsewhere, and here.
_MEANT = {
    "attr_pos_end": "to",
    "attr_pos_start": "from_",
    "attributed_fn": "function",
    "attribution_method": "method",
    "batch": "texts",
    "batch_size": "batch_tokens",
    "contrast_sources": "contrast_source",
    "contrast_target": "contrast",
    "contrast_targets": "contrast",
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
    "text": "texts",
}


def no_argument(name: str, known: Sequence[str], otherwise: str) -> UsageError:
    """An argument that there is not."""
    meant = _MEANT.get(name)
    if meant == "texts":
        return UsageError(f"there is no argument `{name}`", "texts come first: give them without a name, or as texts=…")
    if meant is not None:
        return UsageError(f"there is no argument `{name}`", f"it is called `{meant}` here: write {meant}=…")
    return UsageError(f"no parameter `{name}`{_nearest(name, known)}", otherwise)


def check_arguments(backend: Any, device: Any, dtype: Any) -> None:
    """Checks where a model is to run, and in which numbers."""
    types = {"float64": "f64", "double": "f64", "float32": "f32", "float": "f32", "float16": "f16", "half": "f16", "bfloat16": "bf16"}
    other = types.get(str(dtype).removeprefix("torch.").removeprefix("numpy."))
    if other is not None:
        raise UsageError(f"there is no element type `{dtype}` to compute with", f"write dtype={other!r}: choose one of f64, f32, f16 and bf16")
    backends = {"cpu": "cpu", "cuda": "cuda", "gpu": "cuda", "mps": "wgpu", "metal": "wgpu", "wgpu": "wgpu", "vulkan": "wgpu"}
    name, _, number = str(device).partition(":")
    if name in backends:
        at = f", device={number}" if number else ""
        what = f"`device` is the number of a device, from 0, not {device!r}"
        raise UsageError(what, f"write backend={backends[name]!r}{at}: see stepfn.list_backends()")
    if device is not None and not str(device).isdigit():
        raise UsageError(f"`device` is the number of a device, from 0, not {device!r}", "see stepfn.list_backends()")
    if dtype is not None and not isinstance(dtype, str):
        raise UsageError(f"there is no element type `{dtype}` to compute with", "choose one of f64, f32, f16 and bf16")
    if not isinstance(backend, str):
        raise UsageError(f"a backend is named by a string, not {backend!r}", "see stepfn.list_backends()")


def assign(chosen: Sequence[Chosen], parameters: Mapping[str, Any]) -> None:
    """Sets each parameter for all that have it; one that none has is an error."""
    for name, value in parameters.items():
        owners = [one for one in chosen if name in one.known]
        if not owners:
            known = [parameter for one in chosen for parameter in one.known]
            error = no_argument(name, known, f"they have {', '.join(known)}" if known else "they have none")
            if name not in _MEANT:
                error.what += f" of {', '.join(one.name for one in chosen)}"
            raise error
        for one in owners:
            one.parameters.setdefault(name, value)
