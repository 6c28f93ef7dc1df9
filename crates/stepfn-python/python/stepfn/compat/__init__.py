"""Scripts for other libraries, with another import: :mod:`stepfn.compat.inseq`, :mod:`stepfn.compat.minicons`."""

from __future__ import annotations

from typing import Any

from stepfn import UsageError


class NotMirrored(UsageError, AttributeError):
    """What the other library has, and stepfn does not mirror."""


class Mirror:
    """An object of another library, of which not everything is mirrored."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        what = f"`{name}` of {type(self).__name__} is not mirrored"
        raise NotMirrored(what, f"see what is: help({type(self).__module__}), and what stepfn has: help(stepfn)")
