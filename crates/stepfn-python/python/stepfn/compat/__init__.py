"""Scripts for other libraries, with another import: :mod:`stepfn.compat.inseq`, :mod:`stepfn.compat.minicons`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from stepfn import UsageError


class NotMirrored(UsageError, AttributeError):
    """What the other library has, and stepfn does not mirror."""


def not_mirrored(what: str, instead: str) -> UsageError:
    """Something that is not mirrored."""
    return UsageError(f"{what} is not mirrored", instead)


F = TypeVar("F", bound=Callable[..., Any])


def mirror(function: F) -> F:
    """A function of another library: what it takes by name there and not here raises."""
    parameters = inspect.signature(function).parameters.values()
    known = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        unknown = [name for name in options if name not in known]
        if unknown:
            raise not_mirrored(f"`{unknown[0]}` of {function.__qualname__.removesuffix('.__init__')}", "leave it out")
        return function(*args, **options)

    return cast(F, called)


def absent(module: str, name: str) -> AttributeError:
    """Why a module of another library has no such name here."""
    if name.startswith("_"):
        return AttributeError(name)
    return NotMirrored(f"`{name}` of {module} is not mirrored", f"see what is: help(stepfn.compat.{module})")


def several(texts: Any, name: str = "texts") -> list[str]:
    """A text, or texts."""
    found = [texts] if isinstance(texts, str) else texts
    if not isinstance(found, list | tuple) and hasattr(found, "tolist"):
        found = found.tolist()
    if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
        raise UsageError(f"`{name}` must be a string or a list of strings, not {texts!r}", "give a string, or a list of strings")
    return list(found)


def options_of(name: str, options: Any) -> dict[str, Any]:
    """Options as a dict; empty where there are none."""
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(f"`{name}` must be a dict, not {options!r}", "change this argument")
    return dict(options or {})


class Mirror:
    """An object of another library, of which not everything is mirrored."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        what = f"`{name}` of {type(self).__name__} is not mirrored"
        raise NotMirrored(what, f"see what is: help({type(self).__module__}), and what stepfn has: help(stepfn)")
