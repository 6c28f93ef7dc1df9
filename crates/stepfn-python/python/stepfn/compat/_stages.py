"""inseq's aggregators as stages of a pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepfn import UsageError

from . import not_mirrored


def stages_of(aggregator: Any, options: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """The stages of a pipeline for inseq's aggregators."""
    options = dict(options)
    functions = {"mean", "max", "min", "sum", "prod", "absmax", "vnorm"}
    default = {"hidden": "vnorm", "head": "mean", "layer": "mean"}
    given = [aggregator] if isinstance(aggregator, str) or _is_pair(aggregator) else aggregator or []
    if not isinstance(given, list | tuple):
        raise UsageError(f"an aggregator is a name, or a list of names, not {aggregator!r}", "choose one of scores, subwords, spans, split and slices")
    function = options.pop("aggregate_fn", None)
    select, normalize, rescale = options.pop("select_idx", None), options.pop("normalize", True), options.pop("rescale", False)
    if rescale:
        raise not_mirrored("rescale", "normalize, or divide the scores by their greatest")
    inner = list(axes[2:])
    stages: list[str] = []

    def reduce(name: str | None) -> None:
        if not inner:
            return
        axis = inner.pop()
        if select is not None:
            kept = [select] if isinstance(select, int) else select
            if not isinstance(kept, list | tuple) or not kept or not all(isinstance(one, int) for one in kept):
                raise UsageError(f"select_idx must be the number of a unit, a list of such, or a pair (from, to), not {select!r}", "write select_idx=[1, 3]")
            units = "hidden" if axis == "hidden" else f"{axis}s"
            if isinstance(kept, tuple) and len(kept) == 2:
                stages.append(f"{units}={kept[0]}:{kept[1]}")
            else:
                stages.append(f"{units}({','.join(str(one) for one in kept)})")
        stages.append(f"{name or default[axis]}({axis})")

    for one in given:
        name, own = one if _is_pair(one) else (one, None)
        if name in functions:
            reduce(name)
        elif name == "scores":
            reduce(own or function)
        elif name == "subwords":
            options.pop("special_chars", None)
            sides = [side for side in ("source", "target") if options.pop(f"aggregate_{side}", True)]
            side = [] if len(sides) == 2 else sides
            how = [own or function] if (own or function) else []
            stages.append(f"subwords({','.join([*side, *how])})" if side or how else "subwords")
        elif name == "spans":
            spans = {side: options.pop(f"{side}_spans", None) for side in ("source", "target")}
            parts = [f"{side}={span}" for side, found in spans.items() if found is not None for span in _spans(found)]
            stages.append(f"spans({','.join([*parts, *([own or function] if own or function else [])])})")
        elif name == "split":
            pattern, mode = options.pop("split_pattern", None), options.pop("split_mode", "single")
            if pattern is None:
                raise UsageError("split needs a split_pattern", "give one")
            stages.append(f"split(pattern={json.dumps(pattern)}" + ("" if mode == "single" else f",{mode}") + ")")
        elif name == "slices":
            spans = {side: options.pop(f"{side}_spans", None) for side in ("source", "target")}
            parts = [f"{side}={span}" for side, found in spans.items() if found is not None for span in _spans(found)]
            stages.append(f"slices({','.join(parts)})")
        else:
            known = ["scores", "subwords", "spans", "split", "slices", *sorted(functions)]
            raise UsageError(f"there is no aggregator {name!r}", f"choose one of {', '.join(known)}; for a difference write out1 - out2")
    while inner:
        reduce(function if not given else None)
    if options:
        raise not_mirrored(f"the option {next(iter(options))} of aggregation", "leave it out")
    return [*stages, "normalize"] if normalize else stages


def _is_pair(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and all(isinstance(part, str) for part in one)


def _spans(spans: Any) -> list[str]:
    pairs = [spans] if isinstance(spans, tuple) and len(spans) == 2 and isinstance(spans[0], int) else spans
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UsageError(f"spans are pairs of positions, not {spans!r}", "write [(1, 3), (4, 6)]")
    return [f"{start}:{end}" for start, end in pairs]
