"""Results of several texts, and what was saved of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, overload

from . import _stepfn
from ._errors import Error, FileError
from ._results import Answer, ScoredText
from ._show import notebook, show
from ._tables import answer_columns, arrow, frame, scored_columns
from ._writing import path_of, save, write

if TYPE_CHECKING:
    from pathlib import Path

    import pandas
    import pyarrow

R = TypeVar("R")


class Many(list[R], Generic[R]):
    """A list of results. With ``errors="return"``, the exceptions of texts that failed are among them."""

    @property
    def ok(self) -> list[R]:
        """Those that are no exceptions."""
        return [one for one in self if not isinstance(one, Error)]

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> R: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[R]: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> R | list[R]:
        found = super().__getitem__(place)
        return type(self)(found) if isinstance(place, slice) else found  # type: ignore[arg-type]

    def __add__(self, other: Any, /) -> Any:
        return type(self)([*self, *other]) if isinstance(other, type(self)) else super().__add__(other)

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Saves all of them in one file, in the format that its ending names. Texts that failed are left out."""
        save(self.ok, path, format, single=False)

    def columns(self) -> dict[str, Any]:
        """As a table: a list or an array for each column, with the texts' ids in the first."""
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """As a data frame of pandas; the columns are those of CSV."""
        return frame(self.columns())

    def to_arrow(self) -> pyarrow.Table:
        """As a table of Apache Arrow; the columns are those of CSV."""
        return arrow(self.columns())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)


class Answers(Many[Answer]):
    """Attributions of several texts."""

    def html(self) -> str:
        """A page for a browser with all texts, which loads nothing else."""
        return write(self.ok, "html")

    def aggregate(self, *stages: str) -> Answers:
        """Each after the stages of a pipeline."""
        return Answers([one.aggregate(*stages) for one in self.ok])

    def columns(self) -> dict[str, Any]:
        return answer_columns(self.ok)

    def show(self) -> None:
        """Shows the page in a notebook, and prints the tables elsewhere."""
        show(self)

    def __str__(self) -> str:
        return write(self.ok, "table")

    def _repr_html_(self) -> str:
        return notebook(self.html(), max((len(one.source) + len(one.target) for one in self.ok), default=0))


class ScoredTexts(Many[ScoredText]):
    """Step scores of several texts."""

    def columns(self) -> dict[str, Any]:
        return scored_columns(self.ok)

    def __str__(self) -> str:
        return write(self.ok, "table")


def read(path: str | Path) -> Answers:
    """The attributions in a file that stepfn wrote as JSON or JSON Lines, or that inseq saved. Texts that had failed are exceptions among them."""
    from pathlib import Path

    path = path_of(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} can't be read: {error}", "give a file that stepfn or inseq wrote") from error
    found: list[Any] = [one if isinstance(one, Error) else Answer(one) for one in _stepfn.read(text)]
    return Answers(found)
