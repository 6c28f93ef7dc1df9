"""Metrics of methods: which are faithful."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import _stepfn
from ._errors import UsageError
from ._show import notebook, show
from ._tables import frame
from ._writing import save_as

if TYPE_CHECKING:
    from pathlib import Path

    import pandas


class Evaluation:
    """How faithful methods are, over all texts, beside random orders and orders by position."""

    def __init__(self, native: _stepfn.Evaluation) -> None:
        self._native = native

    @cached_property
    def _all(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._native.write("json"))
        return fields

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each method, operator and choice of special tokens: its ``figures`` have ``mean``, ``low``, ``high`` and ``over_random``; ``morf`` and ``lerf``
        are curves over :attr:`shares`."""
        return list(self._all["rows"])

    @property
    def shares(self) -> list[float]:
        """The shares of hidden tokens that curves are over."""
        return list(self._all["shares"])

    @property
    def metrics(self) -> list[dict[str, str]]:
        """The metrics: ``name``, ``summary``, and whether ``more`` or ``less`` is ``better``."""
        return list(self._all["metrics"])

    @property
    def about(self) -> dict[str, Any]:
        """How it was made."""
        return dict(self._all["about"])

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the numbers."""
        return list(self.about.get("warnings", []))

    def columns(self) -> dict[str, Any]:
        """As a table: a row for each figure, as in CSV."""
        columns: dict[str, list[Any]] = {
            name: [] for name in ("attributed_fn", "method", "operator", "special", "metric", "mean", "low", "high", "over_random", "texts")
        }
        for row in self.rows:
            for metric, figure in row["figures"].items():
                values = {**row, **figure, "metric": metric, "over_random": figure["over_random"]["mean"]}
                for name, column in columns.items():
                    column.append(values[name])
        return columns

    def to_pandas(self) -> pandas.DataFrame:
        """As a data frame: a row for each figure."""
        return frame(self.columns())

    def table(self) -> str:
        """As tables for people, the best methods first."""
        return self._native.write("table")

    def html(self) -> str:
        """As a page with tables and curves."""
        return self._native.write("html")

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Saves it, in the format that the file's ending names: json, csv, html, txt (tables)."""
        save_as(path, format, self._native.write)

    def show(self) -> None:
        """Shows the page in a notebook, and prints the tables elsewhere."""
        show(self)

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return notebook(self.html(), 200)


def listed(name: str, given: Any) -> list[Any]:
    """Several values, or one."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    if not several:
        raise UsageError(f"`{name}` is empty", "give at least one, or leave it out")
    return several
