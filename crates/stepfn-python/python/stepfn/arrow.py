"""Scores of texts in batches of Apache Arrow, for programs that hand out a corpus in batches: Ray Data, Spark, Dask, or a loop over a Parquet file.

>>> import pyarrow, stepfn.arrow
>>> scorer = stepfn.arrow.Scorer("verse", "surprisal", text_column="verse", keep="book")
>>> batch = pyarrow.table({"book": [1, 66], "verse": ["Let there be light", None]})
>>> scored = scorer(batch)
>>> scored["book"].to_pylist(), [len(values or []) for values in scored["surprisal"].to_pylist()]
([1, 66], [4, 0])
>>> scored["error"].to_pylist()
[None, 'neither `text`, `source` nor `target`, nor `messages`']
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ._arguments import dumps
from ._errors import Error, UsageError
from ._load import load
from ._model import LanguageModel
from ._options import Joined
from ._results import ScoredText
from ._texts import Common
from ._work import functions_of, results_of

if TYPE_CHECKING:
    import pyarrow

# What these columns are, if no column is named.
_PARTS = ("text", "source", "target", "messages", "contrast_source", "contrast_target")


@lru_cache(maxsize=1)
def _loaded(model: str, options: str) -> LanguageModel:
    """The model of this process."""
    return load(model, **json.loads(options))


class Scorer:
    """Scores batches: a table in, a table with a row for each of its rows out, with the columns of ``stepfn score --format parquet``.

    It can be sent to other processes; each loads the model when it gets its first batch, and keeps it. A row that can't be scored has the reason in the column
    ``error``, and the others have their scores.

    Args:
        model: As for :func:`stepfn.load`. A folder must be there on every machine.
        functions: One or several step functions, by name, as :class:`stepfn.StepFunction`, or of your own.
        text_column: The column with the text. If no column is named, those called text, source, target, messages, contrast_source and contrast_target are
            what their names say, and the others are passed over.
        source_column: The column with what the encoder reads, or the prompt.
        target_column: The column with what the model should say.
        contrast_source_column: The column with another source to compare with.
        contrast_target_column: The column with another target to compare with.
        id_column: The column that comes first in the result, called ``id``; by default ``id``, if there is one.
        keep: Columns that come along, of any type.
        number_column: The column with each row's number in the corpus, from 0. Noise, such as that of dropout, belongs to this number, so that it is the same
            in whatever batch a row is; without numbers it belongs to the row's place in its batch.
        alternatives: How many of the most likely tokens of each step to name, in the column ``expected``.
        options: More arguments of :func:`stepfn.load`: ``{"backend": "cuda", "dtype": "bf16"}``.

    The other arguments are those of :meth:`LanguageModel.score`.
    """

    def __init__(
        self,
        model: str,
        functions: Any = ("probability", "surprisal", "entropy"),
        *,
        text_column: str | None = None,
        source_column: str | None = None,
        target_column: str | None = None,
        contrast_source_column: str | None = None,
        contrast_target_column: str | None = None,
        id_column: str | None = None,
        keep: str | Sequence[str] = (),
        number_column: str | None = None,
        alternatives: int = 0,
        long: str = "error",
        start_token: bool | None = None,
        once: bool = False,
        seed: int = 0,
        dropout: float | None = None,
        masking: str | None = None,
        memory: int | None = None,
        batch_tokens: int | None = None,
        options: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        named = {
            "text": text_column,
            "source": source_column,
            "target": target_column,
            "contrast_source": contrast_source_column,
            "contrast_target": contrast_target_column,
        }
        self._parts = {part: column for part, column in named.items() if column is not None}
        self._id, self._number, self._alternatives = id_column, number_column, alternatives
        self._keep = [keep] if isinstance(keep, str) else list(keep)
        self._model, self._options = model, dumps(dict(options or {}), "options")
        joined = Joined("token", "whitespace", False, None, long, start_token, once)
        self._scoring = (functions, joined, alternatives, seed, dropout, masking, memory, batch_tokens, parameters)
        self._functions = [function.name for function in functions_of(functions)]
        taken = {"id", *self._scores(_pyarrow()).names}
        for name in self._keep:
            if name in taken or self._keep.count(name) > 1:
                raise UsageError(f"two columns of the result would be called `{name}`", "rename the one to keep")

    def load(self) -> LanguageModel:
        """The model, which is loaded if this process has not yet done so."""
        return _loaded(self._model, self._options)

    def schema(self, batch: pyarrow.Schema) -> pyarrow.Schema:
        """The columns of the result of a batch with these columns."""
        pa = _pyarrow()
        id = self._id_of(batch)
        first = [] if id is None else [batch.field(id).with_name("id")]
        return pa.schema([*first, *(batch.field(self._checked(batch, name)) for name in self._keep), *self._scores(pa)])

    def __call__(self, batch: Any) -> pyarrow.Table:
        """The scores of a batch, a table or a record batch."""
        pa = _pyarrow()
        table = pa.table(batch)
        schema = self.schema(table.schema)
        id = self._id_of(table.schema)
        kept = [table[name] for name in ([] if id is None else [id]) + self._keep]
        columns = self._columns(self._results(table), pa)
        return pa.table([*kept, *columns], schema=schema)

    def batches(self, batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """The scores of batches, one after the other, as Spark's ``mapInArrow`` asks for them."""
        for batch in batches:
            yield from self(batch).combine_chunks().to_batches()

    def _checked(self, schema: pyarrow.Schema, name: str) -> str:
        if schema.get_field_index(name) < 0:
            raise UsageError(f"there is no column `{name}`, or there are several", f"the columns are {', '.join(schema.names)}")
        return name

    def _id_of(self, schema: pyarrow.Schema) -> str | None:
        if self._id is None:
            return "id" if "id" in schema.names else None
        return self._checked(schema, self._id)

    def _records(self, table: pyarrow.Table) -> list[dict[str, Any]]:
        parts = self._parts or {part: part for part in _PARTS if part in table.column_names}
        if not {"text", "source", "target", "messages"} & parts.keys():
            raise UsageError("there is no column with a text", f"say which is: text_column={table.column_names[:1]}; there are {', '.join(table.column_names)}")
        columns = [(part, table[self._checked(table.schema, column)].to_pylist()) for part, column in parts.items()]
        rows = range(table.num_rows)
        return [{part: values[row] for part, values in columns if values[row] is not None} for row in rows]

    def _runs(self, table: pyarrow.Table) -> list[tuple[int, int, int]]:
        """Rows that are scored together, from and to, with the number of the first."""
        rows = table.num_rows
        if self._number is None:
            return [(0, rows, 0)] if rows else []
        numbers = table[self._checked(table.schema, self._number)].to_pylist()
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise UsageError(f"the column `{self._number}` has a value that is no number of a row", "number the rows from 0")
        starts = [row for row in range(rows) if row == 0 or numbers[row] != numbers[row - 1] + 1]
        return [(start, end, numbers[start]) for start, end in zip(starts, [*starts[1:], rows], strict=True)]

    def _results(self, table: pyarrow.Table) -> list[ScoredText | Error]:
        records, runs = self._records(table), self._runs(table)
        if not runs:
            return []
        model = self.load()
        run = model._scoring(*self._scoring)
        common = Common(None, None, None, None, None, ())
        return [one for start, end, first in runs for one in results_of(run, records[start:end], first, common)]

    def _scores(self, pa: Any) -> pyarrow.Schema:
        """The columns of scores."""
        span = pa.struct([("start", pa.int64()), ("end", pa.int64())])
        likely = pa.struct([("token", pa.string()), ("id", pa.int32()), ("probability", pa.float32())])
        columns = [("source_text", pa.string()), ("target_text", pa.string()), ("first", pa.int64())]
        columns += [("tokens", pa.list_(pa.string())), ("token_ids", pa.list_(pa.int32())), ("spans", pa.list_(span))]
        columns += [(name, pa.list_(pa.float32())) for name in self._functions]
        columns += [("expected", pa.list_(pa.list_(likely)))] if self._alternatives else []
        columns += [(name, pa.float64()) for name in ("logprob", "perplexity", "mean_entropy")]
        return pa.schema([*columns, ("warnings", pa.list_(pa.string())), ("error", pa.string())])

    def _columns(self, results: Sequence[ScoredText | Error], pa: Any) -> list[Any]:
        import numpy as np

        schema = self._scores(pa)
        values: dict[str, list[Any]] = {name: [] for name in schema.names}
        for result in results:
            row = {"error": result.what} if isinstance(result, Error) else _row(result)
            for name, column in values.items():
                column.append(row.get(name))
        columns = []
        for field in schema:
            rows = values[field.name]
            if field.name not in self._functions:
                columns.append(pa.array(rows, field.type))
                continue
            numbers = np.concatenate([np.empty(0, np.float32), *(row for row in rows if row is not None)])
            lengths = [0 if row is None else len(row) for row in rows]
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
            mask = pa.array([row is None for row in rows], pa.bool_())
            inner = pa.array(numbers, pa.float32(), mask=np.isnan(numbers))
            columns.append(pa.ListArray.from_arrays(offsets, inner, mask=mask))
        return columns


def _row(text: ScoredText) -> dict[str, Any]:
    """The scores of a text, by column. Spans count bytes, as in files."""
    header = text._header
    steps = header["steps"]
    tokens = header["target"][steps["start"] : steps["end"]]
    sequence = {name: None if math.isnan(value) else value for name, value in text.sequence.items()}
    return {
        **sequence,
        **text.values,
        "source_text": header.get("source_text"),
        "target_text": header["target_text"],
        "first": steps["start"],
        "tokens": [token["surface"] for token in tokens],
        "token_ids": [token["id"] for token in tokens],
        "spans": [token["span"] for token in tokens],
        "expected": [[{**one, "token": one["surface"]} for one in row] for row in header.get("alternatives", [])],
        "warnings": text.warnings,
    }


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError("pyarrow is not installed", "install it: pip install stepfn[arrow]") from error
    return pyarrow
