"""What comes of a text: attributions, step scores, what a model wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, overload

from . import _stepfn
from ._errors import Error, FileError, UsageError
from ._options import pipeline
from ._show import notebook, show
from ._tables import answer_columns, arrow, frame, scored_columns
from ._tokens import Alternative, ScoredUnit, Token, characters, tokens_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas
    import pyarrow

    Floats = npt.NDArray[np.float32]

R = TypeVar("R")


A = TypeVar("A", bound="npt.NDArray[Any] | None")


def _fixed(values: A) -> A:
    """An array that can't be written to, so that a result stays what it is."""
    if values is not None:
        values.setflags(write=False)
    return values


class _Result:
    """What all results of a text have."""

    _native: Any

    @cached_property
    def _header(self) -> dict[str, Any]:
        header: dict[str, Any] = json.loads(self._native.header())
        return header

    @property
    def id(self) -> Any:
        """What you call the text; ``None`` if it has no name."""
        return self._header.get("id")

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of your own that came with the text."""
        fields: dict[str, Any] = self._header.get("fields", {})
        return fields

    @property
    def source_text(self) -> str | None:
        """What the encoder read, or the prompt."""
        text: str | None = self._header.get("source_text")
        return text

    @property
    def target_text(self) -> str | None:
        """What the decoder read and predicted; for a causal model, prompt included."""
        text: str | None = self._header.get("target_text")
        return text

    @cached_property
    def source(self) -> list[Token]:
        """What the encoder read; empty for a causal model."""
        return tokens_of(self._header["source"], self.source_text)

    @cached_property
    def target(self) -> list[Token]:
        """What the decoder read and predicted; a causal model's prompt is part of it."""
        return tokens_of(self._header["target"], self.target_text)

    @property
    def steps(self) -> range:
        """Positions in ``target`` that were asked about."""
        steps = self._header["steps"]
        return range(steps["start"], steps["end"])

    @property
    def tokens(self) -> list[Token]:
        """The predicted tokens that were asked about, one for each step."""
        return self.target[self.steps.start : self.steps.stop]

    @cached_property
    def alternatives(self) -> list[list[Alternative]]:
        """For each step, what the model expected, most likely first; empty where it was not asked for."""
        rows = self._header.get("alternatives", [])
        return [[Alternative(one["surface"], one["id"], one["probability"]) for one in row] for row in rows]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Of a chat: where each of its messages stands, in characters of the target's text."""
        at = characters(self.target_text or "")

        def span(found: dict[str, int] | None) -> dict[str, int] | None:
            return None if found is None else {"start": at(found["start"]), "end": at(found["end"])}

        rows: list[dict[str, Any]] = self._header.get("messages", [])
        return [{**row, **{name: span(row[name]) for name in ("content", "whole") if name in row}} for row in rows]

    @property
    def about(self) -> dict[str, Any]:
        """How the result was made: model, method, functions, parameters, seed, version. Spans count characters."""
        about: dict[str, Any] = self._header["about"]
        parameters = dict(about.get("parameters", {}))
        for name, text in (("source_spans", self.source_text), ("target_spans", self.target_text), ("units", self.target_text)):
            if name in parameters:
                at = characters(text or "")
                parameters[name] = [[at(start), at(end)] for start, end in parameters[name]]
        return {**about, "parameters": parameters} if parameters else about

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the numbers."""
        warnings: list[str] = self.about.get("warnings", [])
        return warnings

    def __eq__(self, other: object) -> bool:
        # Numbers that are missing are equal, unlike NaN.
        return isinstance(other, type(self)) and self.json() == other.json()

    __hash__ = None  # type: ignore[assignment]

    def json(self) -> str:
        """As JSON."""
        text: str = self._native.json()
        return text

    def table(self) -> str:
        """As a table for people."""
        text: str = self._native.table()
        return text

    def __str__(self) -> str:
        return self.table()

    def columns(self) -> dict[str, Any]:
        """As a table: a list or an array for each column."""
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """As a data frame of pandas; the columns are those of CSV."""
        return frame(self.columns())

    def to_arrow(self) -> pyarrow.Table:
        """As a table of Apache Arrow; the columns are those of CSV."""
        return arrow(self.columns())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)


class Answer(_Result):
    """A score for each (input token, predicted token) of a text, with its tokens and how it was made.

    Its arrays can't be written to: copy what you want to change.

    >>> import stepfn
    >>> answer = stepfn.load("g2p").attribute("hi")
    >>> [token.text for token in answer.source], answer.source_scores.shape
    (['h', 'i', '</s>'], (3, 3))
    """

    _native: _stepfn.Answer

    def __init__(self, native: _stepfn.Answer) -> None:
        self._native = native

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.json(),)

    @cached_property
    def _scores(self) -> list[tuple[Floats, list[str]] | None]:
        found = [self._native.scores(True), self._native.scores(False)]
        return [None if side is None else (_fixed(side[0]), side[1]) for side in found]

    @property
    def source_scores(self) -> Floats | None:
        """Scores of source tokens, ``[source tokens, steps]`` or ``[source tokens, spans]``, with further axes where they were kept (``raw``); ``None`` for a causal model."""
        return None if self._scores[0] is None else self._scores[0][0]

    @property
    def target_scores(self) -> Floats | None:
        """Scores of target tokens, ``[target tokens, steps]``; NaN where a step does not see the token; ``None`` where they were not asked for."""
        return None if self._scores[1] is None else self._scores[1][0]

    @property
    def axes(self) -> list[str]:
        """The names of the axes of scores: token, step, and with ``raw`` layer, head or hidden."""
        return next((scores[1] for scores in self._scores if scores is not None), ["token", "step"])

    @cached_property
    def step_scores(self) -> dict[str, Floats]:
        """Values of step functions by name, one for each step."""
        return {name: _fixed(values) for name, values in self._native.step_scores()}

    @property
    def deltas(self) -> Floats | None:
        """For methods that promise completeness: how far the scores of each step are from adding up."""
        return _fixed(self._native.deltas())

    @property
    def changes(self) -> Floats | None:
        """For the same methods: what the scores of each step should add up to."""
        return _fixed(self._native.changes())

    @property
    def spans(self) -> list[range]:
        """What the columns of scores are about, where that isn't each step (``unit``, ``units``): positions among the target's tokens."""
        return [range(span["start"], span["end"]) for span in self._header.get("spans", [])]

    @property
    def measured(self) -> dict[str, float]:
        """What was measured of the scores (``check``), by name."""
        found: dict[str, float] = self._header.get("measured", {})
        return dict(found)

    @cached_property
    def contrast(self) -> list[Token | None]:
        """The token that each step was compared with; empty where nothing was compared."""
        rows = self._header.get("contrast", [])
        return [None if row is None else tokens_of([row], None)[0] for row in rows]

    def numpy(self) -> dict[str, Floats]:
        """All numbers: ``source_scores``, ``target_scores``, step scores by name, ``deltas``."""
        sides = {"source_scores": self.source_scores, "target_scores": self.target_scores, "deltas": self.deltas}
        return {**{name: values for name, values in sides.items() if values is not None}, **self.step_scores}

    def aggregate(self, *stages: str) -> Answer:
        """After the stages of a pipeline: ``aggregate("subwords", "normalize")`` or ``aggregate("subwords,normalize")``."""
        return Answer(self._native.aggregate(_pipeline(stages)))

    def minus(self, other: Answer, *stages: str) -> Answer:
        """The difference to another answer, after the stages of a pipeline."""
        if not isinstance(other, Answer):
            raise UsageError(f"there is no difference to {type(other).__name__}", "give another answer")
        return Answer(self._native.minus(other._native, _pipeline(stages)))

    def __sub__(self, other: Answer) -> Answer:
        return self.minus(other)

    def html(self) -> str:
        """A page for a browser that loads nothing else."""
        return write([self], "html")

    def svg(self) -> str:
        """The heat map as a drawing."""
        return self._native.svg()

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Saves it, in the format that the file's ending names: json, jsonl, csv, html, svg, txt (a table); or in another one, such as ``"inseq"``."""
        save([self], path, format, single=True)

    def show(self) -> None:
        """Shows the page in a notebook, and prints the table elsewhere."""
        show(self)

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return notebook(self.html(), len(self.source) + len(self.target))

    def columns(self) -> dict[str, Any]:
        """As a table: a row for each score, as in CSV."""
        return answer_columns([self])


def _unpickled(text: str) -> Answer:
    (native,) = _stepfn.read(text)
    return Answer(native)


class ScoredText(_Result):
    """Step scores of a text. Its arrays can't be written to: copy what you want to change.

    >>> import stepfn
    >>> scores = stepfn.load("verse").score("Let there be light", ["surprisal", "rank"])
    >>> scores["surprisal"].shape, [token.text for token in scores.tokens]
    ((4,), ['Let', ' there', ' be', ' light'])
    """

    _native: _stepfn.Scored

    def __init__(self, native: _stepfn.Scored) -> None:
        self._native = native

    @cached_property
    def values(self) -> dict[str, Floats]:
        """Values of step functions by name, one for each scored token; NaN where there is none."""
        return {name: _fixed(values) for name, values in self._native.values()}

    @property
    def by(self) -> str:
        """What has scores of its own: ``"token"``, ``"word"``, ``"sentence"``, ``"text"`` or ``"region"``."""
        return self._native.units()[0]

    @cached_property
    def units(self) -> list[ScoredUnit]:
        """Words, sentences or regions with their scores; of tokens, none."""
        at = characters(self._header.get("target_text") or "")

        def unit(row: dict[str, Any]) -> ScoredUnit:
            scores = {name: float("nan") if score is None else score for name, score in row["scores"].items()}
            return ScoredUnit(row["text"], row.get("name"), at(row["start"]), at(row["end"]), row["tokens"], scores)

        return [unit(row) for row in json.loads(self._native.units()[1])]

    def __getitem__(self, name: str) -> Floats:
        if name not in self.values:
            raise KeyError(f"{name}: the text has scores of {', '.join(self.values)}")
        return self.values[name]

    def numpy(self) -> dict[str, Floats]:
        """All numbers, by the names of the step functions."""
        return dict(self.values)

    @property
    def sequence(self) -> dict[str, float]:
        """Of all scored tokens together: ``logprob`` and ``mean_entropy`` in nats, and ``perplexity``, their geometric mean."""
        logprob, mean_entropy, perplexity = self._native.sequence()
        return {"logprob": logprob, "mean_entropy": mean_entropy, "perplexity": perplexity}

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Saves it, in the format that the file's ending names: json, jsonl, csv, txt (a table)."""
        save([self], path, format, single=True)

    def __repr__(self) -> str:
        return self.table()

    def columns(self) -> dict[str, Any]:
        """As a table: a row for each scored token, or each word, sentence or region, as in CSV, with positions in characters."""
        return scored_columns([self])


class Written:
    """What a model wrote."""

    def __init__(self, native: _stepfn.Written) -> None:
        self._native = native

    @cached_property
    def _all(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._native.json())
        return fields

    @property
    def id(self) -> Any:
        """What you call the text, or its number."""
        return self._all["id"]

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of your own that came with the text."""
        fields: dict[str, Any] = self._all.get("fields", {})
        return fields

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

    @property
    def about(self) -> dict[str, Any]:
        """How it was made."""
        about: dict[str, Any] = self._all["about"]
        return about

    def json(self) -> str:
        """As JSON."""
        return self._native.json()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Written({self.text!r}, score={self.score:.4g}, finished={self.finished})"


class _Many(list[R], Generic[R]):
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


class Answers(_Many[Answer]):
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


class ScoredTexts(_Many[ScoredText]):
    """Step scores of several texts."""

    def columns(self) -> dict[str, Any]:
        return scored_columns(self.ok)

    def __str__(self) -> str:
        return write(self.ok, "table")


def write(results: Sequence[Any], format: str, *, single: bool | None = None, fields: Sequence[str] = ()) -> str:
    """Attributions or step scores in one of the formats: table, json, jsonl, csv; attributions also as inseq, html or svg.

    Args:
        single: Whether JSON is an object instead of a list; by default if there is one result.
        fields: Fields of your own that get columns in CSV.
    """
    results = [results] if isinstance(results, Answer | ScoredText) else results
    if not isinstance(results, Sequence) or not all(isinstance(one, Answer | ScoredText) for one in results):
        odd = next((one for one in results if not isinstance(one, Answer | ScoredText)), results) if isinstance(results, Sequence) else results
        raise UsageError(f"{type(odd).__name__} is no result that can be written", "give answers of attribute, or of score")
    if not isinstance(format, str):
        raise UsageError(f"a format is named by a string, not {format!r}", "choose table, json, jsonl, csv, inseq, html or svg")
    fields = [fields] if isinstance(fields, str) else fields
    if not isinstance(fields, Sequence) or not all(isinstance(field, str) for field in fields):
        raise UsageError(f"`fields` must be names of fields, not {fields!r}", 'write fields=["item"]')
    if not isinstance(single, bool | None):
        raise UsageError(f"`single` must be True, False or None, not {single!r}", "change this argument")
    single = len(results) == 1 if single is None else single
    if len({type(result) for result in results}) > 1:
        raise UsageError("the results are of several kinds", "write those of each kind by themselves")
    writer: Any = _stepfn.write_scored if results and isinstance(results[0], ScoredText) else _stepfn.write_answers
    text: str = writer(format, [result._native for result in results], single, list(fields))
    return text


def path_of(path: Any) -> str:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"a file is named by a string or a path, not {type(path).__name__}", 'write "answer.json"')
    return os.fspath(path)


def _pipeline(stages: Sequence[Any]) -> str:
    # A list of stages is as good as stages one by one.
    return pipeline(stages[0] if len(stages) == 1 and isinstance(stages[0], list | tuple) else stages)


def save(results: Sequence[Any], path: str | Path, format: str | None, *, single: bool) -> None:
    save_as(lambda name: write(results, name, single=single), path, format)


def save_as(written: Callable[[str], str], path: str | Path, format: str | None) -> None:
    """Writes a file, in the format that its ending names unless one is given."""
    from pathlib import Path

    path = Path(path_of(path))
    ending = path.suffix.removeprefix(".")
    text = written(format or ("table" if ending == "txt" else ending))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path} can't be written: {error.strerror}", "give a place that can be written to") from error


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
