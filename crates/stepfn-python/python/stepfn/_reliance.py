"""Which tokens of an output depend on context, and on what in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import _stepfn
from ._show import notebook, show
from ._writing import save_as

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Cues:
    """What one token depends on."""

    cti_idx: int
    """The number of the token among those of the current output."""
    cti_token: str
    """The token."""
    cti_score: float
    """How much it depends on context."""
    contextual_output: str
    """The output with context, up to and including the token; of a causal model with its prompt."""
    contrast_token: str | None
    """The token that the run without context prefers, if it was compared with one."""
    contextless_output: str | None
    """The output without context, up to and including that token."""
    input_context_scores: Floats | None
    """A score for each token of the input context."""
    output_context_scores: Floats | None
    """A score for each token of the output context."""


def _floats(values: list[float | None] | None) -> Floats | None:
    import numpy as np

    if values is None:
        return None
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    array.setflags(write=False)
    return array


class Reliance:
    """Which tokens of an output depend on context, and on what in it. The names are those of inseq's ``AttributeContextOutput``."""

    def __init__(self, native: _stepfn.Reliance) -> None:
        self._native = native

    @cached_property
    def _all(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._native.written("json"))
        return fields

    @property
    def id(self) -> Any:
        """What you call the text, or its number."""
        return self._all.get("id")

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of your own that came with the text."""
        fields: dict[str, Any] = self._all.get("fields", {})
        return fields

    @property
    def input_context(self) -> str | None:
        """The context of what the model read."""
        text: str | None = self._all["input_context"]
        return text

    @property
    def input_context_tokens(self) -> list[str] | None:
        """Its tokens, which have scores."""
        tokens: list[str] | None = self._all["input_context_tokens"]
        return tokens

    @property
    def output_context(self) -> str | None:
        """The context of what the model wrote."""
        text: str | None = self._all["output_context"]
        return text

    @property
    def output_context_tokens(self) -> list[str] | None:
        """Its tokens, which have scores."""
        tokens: list[str] | None = self._all["output_context_tokens"]
        return tokens

    @property
    def output_current(self) -> str:
        """What the model wrote, or was to write."""
        return str(self._all["output_current"])

    @property
    def output_current_tokens(self) -> list[str]:
        """Its tokens."""
        return list(self._all["output_current_tokens"])

    @cached_property
    def cti_scores(self) -> Floats:
        """How much each of them depends on context; NaN where the run without context has another token."""
        scores = _floats(self._all["cti_scores"])
        assert scores is not None
        return scores

    @cached_property
    def cci_scores(self) -> list[Cues]:
        """The tokens that do, the most dependent first, and what they depend on."""
        floats = ("input_context_scores", "output_context_scores")

        def cues(found: dict[str, Any]) -> Cues:
            arrays: dict[str, Any] = {name: _floats(found[name]) for name in floats if name in found}
            return Cues(**(found | arrays))

        return [cues(found) for found in self._all["cci_scores"]]

    @property
    def info(self) -> dict[str, Any]:
        """Everything that was asked, by the names of inseq's arguments."""
        info: dict[str, Any] = self._all["info"]
        return info

    @property
    def about(self) -> dict[str, Any]:
        """How it was made."""
        about: dict[str, Any] = self._all["about"]
        return about

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the numbers."""
        return list(self.about.get("warnings", []))

    def json(self) -> str:
        """As JSON, which inseq's ``AttributeContextOutput.from_dict`` reads."""
        return self._native.written("json").rstrip()

    def html(self) -> str:
        """A page for a browser that loads nothing else: a click on a token shades what it depends on."""
        return self._native.written("html")

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Saves it, in the format that the file's ending names: ``.json``, ``.csv``, ``.html``, or ``.txt`` for the table."""
        save_as(path, format, self._native.written)

    def show(self) -> None:
        """Shows it: as a page in a notebook, and otherwise as text."""
        show(self)

    def _repr_html_(self) -> str:
        return notebook(self.html(), 12)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reliance) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self._native.written("table").rstrip()

    def __repr__(self) -> str:
        return f"Reliance({self.output_current!r}, {[cues.cti_token for cues in self.cci_scores]})"
