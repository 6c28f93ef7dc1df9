"""Results as tables: a list or an array for each column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._errors import UsageError

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from ._results import Answer, ScoredText


def _ids(results: Sequence[Answer] | Sequence[ScoredText]) -> list[str]:
    """What users call their texts, as CSV has it: strings as they are, anything else as JSON; numbers where they have no name."""
    names = [number if result.id is None else result.id for number, result in enumerate(results)]
    return [name if isinstance(name, str) else json.dumps(name, ensure_ascii=False, separators=(",", ":")) for name in names]


def answer_columns(answers: Sequence[Answer]) -> dict[str, Any]:
    import numpy as np

    extra = [axis for axis in ("layer", "head", "hidden") if any(axis in answer.axes for answer in answers)]
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "kind", "index", "token", "step", "predicted", *extra, "score")}

    def add(count: int, score: Any, **values: Any) -> None:
        for name, column in columns.items():
            value = score if name == "score" else values.get(name)
            column.extend([value] * count if value is None or isinstance(value, str | int) else value)

    for name, answer in zip(_ids(answers), answers, strict=True):
        columns_of = answer._native.columns()
        steps, predicted = [step for step, _ in columns_of], [text for _, text in columns_of]
        for kind, tokens, found in zip(("source", "target"), (answer.source, answer.target), answer._scores, strict=True):
            if found is None:
                continue
            scores, axes = found
            places = np.indices(scores.shape).reshape(scores.ndim, -1)
            inner = {axis: places[2 + number].tolist() for number, axis in enumerate(axes[2:])}
            texts = [token.text for token in tokens]
            add(
                scores.size,
                scores.ravel(),
                id=name,
                kind=kind,
                index=places[0].tolist(),
                token=[texts[index] for index in places[0]],
                step=[steps[step] for step in places[1]],
                predicted=[predicted[step] for step in places[1]],
                **inner,
            )
        rows = [("step_score", function, values) for function, values in sorted(answer.step_scores.items())]
        if answer.deltas is not None:
            rows.append(("delta", "", answer.deltas))
        for kind, function, values in rows:
            add(len(steps), values, id=name, kind=kind, token=function, step=steps, predicted=predicted)
    return {**columns, "score": np.asarray(columns["score"], dtype=np.float32)}


def scored_columns(texts: Sequence[ScoredText]) -> dict[str, Any]:
    import numpy as np

    if texts and texts[0].by != "token":
        return _unit_columns(texts)
    functions = list(dict.fromkeys(name for text in texts for name in text.values))
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "position", "token", "token_id", "start", "end", *functions)}
    for name, text in zip(_ids(texts), texts, strict=True):
        count = len(text.tokens)
        columns["id"] += [name] * count
        columns["position"] += list(text.steps)
        for column, field in (("token", "text"), ("token_id", "id"), ("start", "start"), ("end", "end")):
            columns[column] += [getattr(token, field) for token in text.tokens]
        for function in functions:
            columns[function].extend(text.values.get(function, np.full(count, np.nan, dtype=np.float32)))
    return {name: np.asarray(values, dtype=np.float32) if name in functions else values for name, values in columns.items()}


def _unit_columns(texts: Sequence[ScoredText]) -> dict[str, Any]:
    import numpy as np

    functions = list(dict.fromkeys(name for text in texts for unit in text.units for name in unit.scores))
    by = texts[0].by
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "position", by, "name", "start", "end", "tokens", *functions)}
    for id, text in zip(_ids(texts), texts, strict=True):
        for position, unit in enumerate(text.units):
            own = (id, position, unit.text, unit.name, unit.start, unit.end, unit.tokens, *(unit.scores.get(name, np.nan) for name in functions))
            for column, value in zip(columns.values(), own, strict=True):
                column.append(value)
    return {name: np.asarray(values, dtype=np.float64) if name in functions else values for name, values in columns.items()}


def frame(columns: dict[str, Any]) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise UsageError("pandas is not installed", "install it: pip install stepfn[pandas]") from error
    whole = {name for name in ("index", "layer", "head", "hidden") if name in columns}
    return pandas.DataFrame({name: pandas.array(values, dtype="Int64") if name in whole else values for name, values in columns.items()})


def arrow(columns: dict[str, Any]) -> pyarrow.Table:
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError("pyarrow is not installed", "install it: pip install stepfn[arrow]") from error
    return pyarrow.table(columns)
