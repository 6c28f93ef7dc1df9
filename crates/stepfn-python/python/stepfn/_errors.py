"""Errors: what is wrong, and what to do."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """What is wrong, and what to do about it.

    Attributes:
        what: What is wrong.
        hint: What to do.
        id: Of one of many texts: what you call it, or its number.
        number: Of one of many texts: its number, from 0.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint
        self.id: Any = None
        self.number: int | None = None

    def __str__(self) -> str:
        return f"{self.what} (help: {self.hint})" if self.hint else self.what


class UsageError(Error, ValueError):
    """A name, a parameter, an option or a text that can't be used."""


class ModelError(Error, OSError):
    """A model's files: missing, broken, or of a kind that can't be read."""

    # `OSError` prints itself in its own way.
    __str__ = Error.__str__


class FileError(Error, OSError):
    """A file of results that can't be read or written."""

    __str__ = Error.__str__


class DeviceError(Error, RuntimeError):
    """A device that is not there, or can't compute what is asked."""


class NumbersError(Error, ArithmeticError):
    """Predictions that are not finite."""


class Cancelled(Error, RuntimeError):
    """Work that was cancelled."""


class SavedError(Error, RuntimeError):
    """A text that had failed when the file that was read was written."""


class NumbersWarning(UserWarning):
    """What to know before trusting a number."""


_KINDS: dict[str, type[Error]] = {
    "model": ModelError,
    "file": FileError,
    "device": DeviceError,
    "numbers": NumbersError,
    "cancelled": Cancelled,
    "saved": SavedError,
}


def of_kind(kind: str) -> type[Error]:
    """The exception of a kind of error; the native part of the package calls this."""
    return _KINDS.get(kind, UsageError)
