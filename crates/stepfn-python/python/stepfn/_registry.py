"""Step functions and methods: by name, with parameters, and of your own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any, TypeVar, overload

from . import _stepfn
from ._arguments import INSTEAD, MEANT, dumps, nearest, no_argument
from ._errors import UsageError
from ._own import Own, OwnFunction, OwnMethod

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


_functions: dict[str, OwnFunction] = {}
_methods: dict[str, OwnMethod] = {}


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
    own = OwnFunction(function, name, summary, gradient, join, unit)
    _add(_functions, own, "step function", [entry["name"] for entry in _built_in(False)], overwrite)


def register_method(
    function: Callable[..., Any], name: str | None = None, *, summary: str | None = None, overwrite: bool = False
) -> None:
    """Makes an attribution method of your own known by its name.

    ``function(passes, **parameters)`` gets :class:`Passes` and returns scores ``[tokens, steps]``: of the source of an encoder–decoder, of the target of a
    causal model; or two arrays, of the source and of the target. Scores of tokens that a step doesn't see are left out.
    """
    name = _name_of(function) if name is None else name
    own = OwnMethod(function, name, summary, ())
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


def _add(own: dict[str, Any], entry: Own, kind: str, built_in: Sequence[str], overwrite: bool) -> None:
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
        raise UsageError(f"there is no step function or method `{name}`{nearest(name, everything)}", "check the spelling")
    # What is changed in it changes nothing here.
    return deepcopy(everything[name])


class Chosen:
    """A step function or a method that was asked for, before its parameters are set."""

    def __init__(self, given: Any, methods: bool) -> None:
        kind, known = ("method", _methods) if methods else ("step function", _functions)
        self.methods = methods
        if methods and (isinstance(given, list | tuple) or isinstance(given, str) and " " in given.strip()):
            hint = 'what the model should say is target=…, and of several texts a field of each: [{"source": …, "target": …}]'
            raise UsageError(f"{given!r} is no method", hint)
        if isinstance(given, str):
            given = Method(given) if methods else StepFunction(given)
        elif callable(given) and not isinstance(given, _Named):
            # One that isn't registered.
            name = getattr(given, "__name__", kind.replace(" ", "_"))
            self.own: Any = OwnMethod(given, name, None, ()) if methods else OwnFunction(given, name, None, None, "mean", "")
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
            return self.name, dumps(self.parameters, self.name)
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
            _stepfn.check(methods, name, dumps(parameters, name))
        except UsageError as error:
            # The native part does not know yours.
            near = "" if known or not own else nearest(name, own)
            if near:
                raise UsageError(f"there is no {kind} `{name}`{near}", error.hint) from None
            raise
        return
    known = _defaults(methods, name)
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        what = f"{name} has no parameter `{unknown[0]}`{nearest(unknown[0], known)}"
        raise UsageError(what, f"it has {', '.join(known)}" if known else "it has none")


def _check_values(owner: str, parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses what JSON has no word for."""
    for name, value in parameters.items():
        default = defaults.get(name)
        if value is None and default is not None:
            raise UsageError(f"`{name}` of {owner} can't be None", f"leave it out for the default, {default!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"`{name}` of {owner} must be a finite number, not {value}", "change this parameter")


def assign(chosen: Sequence[Chosen], parameters: Mapping[str, Any]) -> None:
    """Sets each parameter for all that have it; one that none has is an error."""
    for name, value in parameters.items():
        owners = [one for one in chosen if name in one.known]
        if not owners:
            known = [parameter for one in chosen for parameter in one.known]
            error = no_argument(name, known, f"they have {', '.join(known)}" if known else "they have none")
            if name not in MEANT and name not in INSTEAD:
                error.what += f" of {', '.join(one.name for one in chosen)}"
            raise error
        for one in owners:
            one.parameters.setdefault(name, value)
