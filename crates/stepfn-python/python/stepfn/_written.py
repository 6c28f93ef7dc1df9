"""What a model wrote."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any


class Made:
    """What came of a text, or of some together."""

    def __init__(self, native: Any) -> None:
        self._native = native

    @cached_property
    def _all(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._native.json())
        return fields

    @property
    def id(self) -> Any:
        """What you call it, or its number."""
        return self._all["id"]

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of your own that came with it."""
        return dict(self._all.get("fields", {}))

    @property
    def about(self) -> dict[str, Any]:
        """How it was made."""
        return dict(self._all["about"])

    def json(self) -> str:
        """As JSON, as ``stepfn`` writes it."""
        return str(self._native.json())


class Written(Made):
    """What a model wrote."""

    @property
    def source(self) -> str:
        """The source, or the prompt."""
        return str(self._all["source"])

    @property
    def text(self) -> str:
        """What was written; for a causal model, what follows the prompt."""
        return str(self._all["text"])

    @property
    def ids(self) -> list[int]:
        """Its tokens."""
        return list(self._all["ids"])

    @property
    def score(self) -> float:
        """What it was chosen by: its log-probability, normalized by length as the settings say."""
        return float(self._all["score"])

    @property
    def finished(self) -> bool:
        """Whether it ends because the model ended it."""
        return bool(self._all["finished"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Written({self.text!r}, score={self.score:.4g}, finished={self.finished})"
