"""Scripts for other libraries, with another import: :mod:`stepfn.compat.inseq`, :mod:`stepfn.compat.minicons`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepfn import UsageError


class NotMirrored(UsageError, AttributeError):
    """What the other library has, and stepfn does not mirror."""


def not_mirrored(what: str, instead: str) -> UsageError:
    """Something that is not mirrored."""
    return UsageError(f"{what} is not mirrored", instead)


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
