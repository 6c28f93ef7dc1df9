"""Progress of work and of downloads, where someone watches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ._errors import UsageError

Progress = bool | Callable[[int, int, int, int], object] | None


def is_watched() -> bool:
    """Whether someone sees progress: on a terminal, or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Bar:
    """Progress by tqdm, where it is installed."""

    def __init__(self, progress: Progress, texts: int) -> None:
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise UsageError(f"`progress` must be True, False or a function, not {progress!r}", "change this argument")
        self._told = progress if callable(progress) else None
        wanted = progress is True or (progress is None and texts > 1 and is_watched())
        self._bar: Any = _tqdm(progress is True, total=texts, unit="text") if wanted else None

    def __enter__(self) -> Any:
        return self._told if self._bar is None else self._tell

    def _tell(self, texts_done: int, texts: int, pieces_done: int, pieces: int) -> None:
        share = pieces_done / pieces if pieces else 0.0
        self._bar.n = min(round(texts_done + share, 2), self._bar.total)
        self._bar.refresh()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


class Downloads:
    """Progress of downloads."""

    def __init__(self, progress: bool | None) -> None:
        self._wanted = is_watched() if progress is None else progress
        self._asked = progress is True
        self._bar: Any = None

    def __enter__(self) -> Any:
        return self._tell if self._wanted else None

    def _tell(self, file: str, done: int, total: int | None) -> None:
        if self._bar is None:
            self._bar = _tqdm(self._asked, unit="B", unit_scale=True)
        if self._bar is not None:
            self._bar.total, self._bar.n = total, done
            self._bar.set_description(file, refresh=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _tqdm(asked: bool, **options: Any) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if asked:
            raise UsageError("tqdm is not installed, which shows progress", "install it: pip install stepfn[progress]") from error
        return None
    return tqdm(**options)
