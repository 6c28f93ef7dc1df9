"""Work on texts: all at once, or in windows as results are asked for."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ._errors import Error, NumbersWarning, UsageError
from ._progress import Bar, Progress
from ._registry import Chosen
from ._results import ScoredText
from ._texts import Common, Given, check_ids

R = TypeVar("R")

# Windows of texts that are streamed: small at first, so that the first results come soon.
_FIRST_WINDOW, _LAST_WINDOW = 8, 512
_MOST_WARNINGS = 5


def functions_of(given: Any) -> list[Chosen]:
    """Step functions: one, or several."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return [Chosen(function, False) for function in (given if several else [given])]


Run = Callable[[list[Given], int, Any], list[Any]]


def streamed(run: Run, texts: Iterator[Any], common: Common) -> Iterator[ScoredText | Error]:
    window: list[Any] = []
    first, size = 0, _FIRST_WINDOW
    for text in texts:
        window.append(text)
        if len(window) == size:
            check_ids(window, first)
            yield from _wrapped(run(common.given(window), first, None), ScoredText, len(window), first, True)
            window, first, size = [], first + size, min(2 * size, _LAST_WINDOW)
    if window:
        check_ids(window, first)
        yield from _wrapped(run(common.given(window), first, None), ScoredText, len(window), first, True)


def _wrapped(
    found: Sequence[Any], wrap: Callable[[Any], R], texts: int, first: int, several: bool
) -> Iterator[R | Error]:
    for number, one in enumerate(found):
        if not isinstance(one, Error):
            yield wrap(one)
        elif len(found) < texts:
            # What is wrong with all of them.
            one.id = None
            raise one
        else:
            one.id = json.loads(one.id) if isinstance(one.id, str) else one.id
            one.number = first + number
            if several:
                name = "" if one.id == one.number else f" ({one.id!r})"
                one.what = f"text {one.number}{name}: {one.what}"
            yield one


def results_of(run: Run, texts: Sequence[Any], first: int, common: Common) -> list[ScoredText | Error]:
    """Scores of texts of which the first has this number, or why there are none."""
    return list(_wrapped(run(common.given(texts), first, None), ScoredText, len(texts), first, False))


def run_texts(
    run: Run, texts: list[Any], common: Common, wrap: Callable[[Any], R], progress: Progress, errors: str
) -> list[R]:
    if errors not in ("raise", "return"):
        raise UsageError(f"there is no way {errors!r} to treat errors", 'choose "raise" or "return"')
    with Bar(progress, len(texts)) as told:
        found = list(_wrapped(run(common.given(texts), 0, told) if texts else [], wrap, len(texts), 0, len(texts) > 1))
    _warn(found)
    if errors == "raise":
        for one in found:
            if isinstance(one, Error):
                raise one
    return found  # type: ignore[return-value]


def _warn(found: Sequence[Any]) -> None:
    """Tells once what to know before trusting the numbers."""
    told: dict[str, int] = {}
    for one in found:
        for warning in getattr(one, "warnings", []):
            told[warning] = told.get(warning, 0) + 1
    for number, (warning, texts) in enumerate(told.items()):
        if number == _MOST_WARNINGS:
            warnings.warn(f"and {len(told) - number} more: see the results' `warnings`", NumbersWarning, stacklevel=4)
            break
        of_texts = f" ({texts} of {len(found)} texts)" if len(found) > 1 else ""
        warnings.warn(f"{warning}{of_texts}", NumbersWarning, stacklevel=4)
