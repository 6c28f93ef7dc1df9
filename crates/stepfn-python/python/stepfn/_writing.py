"""Results in formats, and as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import _stepfn
from ._errors import FileError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def _is_result(one: Any) -> bool:
    return hasattr(type(one), "_writer")


def write(results: Sequence[Any], format: str, *, single: bool | None = None, fields: Sequence[str] = ()) -> str:
    """Attributions or step scores in one of the formats: table, json, jsonl, csv; attributions also as inseq, html or svg.

    Args:
        single: Whether JSON is an object instead of a list; by default if there is one result.
        fields: Fields of your own that get columns in CSV.
    """
    results = [results] if _is_result(results) else results
    if not isinstance(results, Sequence) or not all(_is_result(one) for one in results):
        odd = next((one for one in results if not _is_result(one)), results) if isinstance(results, Sequence) else results
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
    writer = results[0]._writer if results else _stepfn.write_answers
    text: str = writer(format, [result._native for result in results], single, list(fields))
    return text


def path_of(path: Any) -> str:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"a file is named by a string or a path, not {type(path).__name__}", 'write "answer.json"')
    return os.fspath(path)


def save(results: Sequence[Any], path: str | Path, format: str | None, *, single: bool) -> None:
    save_as(path, format, lambda format: write(results, format, single=single))


def save_as(path: str | Path, format: str | None, written: Callable[[str], str]) -> None:
    """Saves what is written in a format: by default, in the one that the file's ending names."""
    from pathlib import Path

    path = Path(path_of(path))
    ending = path.suffix.removeprefix(".")
    if not format and not ending:
        raise UsageError(f"`{path}` has no ending that names a format", f'write "{path}.json", or name the format: save("{path}", "json")')
    text = written(format or ("table" if ending == "txt" else ending))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path} can't be written: {error.strerror}", "give a place that can be written to") from error
