"""Options of a call, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ._errors import UsageError
from ._arguments import dumps

_WHOLE = ("uncertainty", "alternatives", "batch_tokens", "memory", "seed")
# What no pass runs in, and no machine has; and what no batch has.
_LEAST_MEMORY, _MOST_MEMORY = 1 << 20, 1 << 50
_MOST_TOKENS = 1 << 24


def whole(name: str, value: Any) -> int:
    """A count or a position."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 63:
        raise UsageError(f"`{name}` must be a whole number from 0 on, not {value!r}", "change this argument")
    return number


def string(name: str, value: Any) -> str | None:
    """A name, or nothing."""
    if value is not None and not isinstance(value, str):
        raise UsageError(f"`{name}` must be a string, not {value!r}", "change this argument")
    return value


class Joined(NamedTuple):
    """What has scores of its own, and how texts are read."""

    by: Any
    words: Any
    bow_correction: Any
    uncertainty: Any
    long: Any
    start_token: Any
    once: Any

    def options(self) -> dict[str, Any]:
        """As options of a call; those that say nothing are left out."""
        bow = self.bow_correction
        correction = "published" if bow is True else None if bow is False else bow
        return {**self._asdict(), "bow_correction": correction}


def options_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are given, without mistakes that can be seen here."""
    given = {name: value for name, value in options.items() if value is not None}
    given |= {name: whole(name, given[name]) for name in _WHOLE if name in given}
    for name in ("features", "document_mark", "unit", "by", "words", "bow_correction", "long"):
        string(name, given.get(name))
    for name in ("target_side", "contrast_force_inputs", "raw", "unit_mean", "prompt_only", "start_token", "once"):
        if not isinstance(given.get(name, False), bool):
            raise UsageError(f"`{name}` must be True or False, not {given[name]!r}", "change this argument")
    memory, tokens = given.get("memory", _LEAST_MEMORY), given.get("batch_tokens", 1)
    if memory < _LEAST_MEMORY:
        raise UsageError(f"`memory` must be 1 MiB (1048576 bytes) or more, not {memory}: nothing runs in less", "change this argument")
    if memory > _MOST_MEMORY:
        raise UsageError(f"`memory` must be a number of bytes that a machine may have, not {memory}", "write 8 << 30 for 8 GiB")
    if not 1 <= tokens <= _MOST_TOKENS:
        raise UsageError(f"`batch_tokens` must be a whole number from 1 to {_MOST_TOKENS}, not {tokens}", "change this argument")
    dropout = given.get("dropout", 0.0)
    try:
        rate = math.nan if isinstance(dropout, str | bool) else float(dropout)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0.0 <= rate < 1.0:
        raise UsageError(f"`dropout` must be a rate in [0, 1), not {dropout!r}", "change this argument")
    if given.get("masking", "token") not in ("token", "word"):
        raise UsageError(f"there is no masking `{given['masking']}`", "choose token or word")
    if "aggregate" in given:
        given["aggregate"] = pipeline([given["aggregate"]] if isinstance(given["aggregate"], str) else given["aggregate"])
    return given


def pipeline(stages: Any) -> str:
    """Stages of aggregation, as the native part reads them. A list of stages is as good as stages one by one."""
    if isinstance(stages, Sequence) and len(stages) == 1 and isinstance(stages[0], list | tuple):
        stages = stages[0]
    if isinstance(stages, Sequence) and not isinstance(stages, str | bytes) and all(isinstance(stage, str) for stage in stages):
        return ",".join(stages)
    raise UsageError(f"`aggregate` must be the stages of a pipeline, not {stages!r}", 'write "subwords,normalize"')


def in_window(options: Mapping[str, Any], first: int) -> str:
    """The options of some of the texts, of which the first has this number."""
    return dumps({**options, "first_number": first}, "options")
