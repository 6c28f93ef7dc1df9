"""What comes of one text: attributions and step scores."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from . import _stepfn
from ._errors import UsageError
from ._options import pipeline
from ._show import notebook, show
from ._tables import answer_columns, arrow, frame, scored_columns
from ._tokens import Alternative, ScoredUnit, Token, characters, tokens_of
from ._writing import save, write

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas
    import pyarrow

    Floats = npt.NDArray[np.float32]

A = TypeVar("A", bound="npt.NDArray[Any] | None")


def _fixed(values: A) -> A:
    """An array that can't be written to, so that a result stays what it is."""
    if values is not None:
        values.setflags(write=False)
    return values


class Result:
    """What all results of a text have."""

    _native: Any
    # What writes several of the kind in a format.
    _writer: ClassVar[Any]

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


class Answer(Result):
    """A score for each (input token, predicted token) of a text, with its tokens and how it was made.

    Its arrays can't be written to: copy what you want to change.

    >>> import stepfn
    >>> answer = stepfn.load("g2p").attribute("hi")
    >>> [token.text for token in answer.source], answer.source_scores.shape
    (['h', 'i', '</s>'], (3, 3))
    """

    _native: _stepfn.Answer
    _writer = staticmethod(_stepfn.write_answers)

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
        return Answer(self._native.aggregate(pipeline(stages)))

    def minus(self, other: Answer, *stages: str) -> Answer:
        """The difference to another answer, after the stages of a pipeline."""
        if not isinstance(other, Answer):
            raise UsageError(f"there is no difference to {type(other).__name__}", "give another answer")
        return Answer(self._native.minus(other._native, pipeline(stages)))

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


class ScoredText(Result):
    """Step scores of a text. Its arrays can't be written to: copy what you want to change.

    >>> import stepfn
    >>> scores = stepfn.load("verse").score("Let there be light", ["surprisal", "rank"])
    >>> scores["surprisal"].shape, [token.text for token in scores.tokens]
    ((4,), ['Let', ' there', ' be', ' light'])
    """

    _native: _stepfn.Scored
    _writer = staticmethod(_stepfn.write_scored)

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
