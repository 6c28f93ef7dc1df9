"""What inseq asks about: prompts, positions, and the tokens that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import stepfn
from stepfn import LanguageModel, UsageError

from . import not_mirrored, several


def column(values: str | Sequence[str] | None, texts: int, name: str) -> list[str]:
    if values is None:
        return []
    column = several(values, name)
    if len(column) != texts:
        raise UsageError(f"there are {texts} input texts and {len(column)} {name}", "give one for each")
    return column


def prompted(model: LanguageModel, record: dict[str, Any]) -> dict[str, Any]:
    """A text of a causal model. If its prompt is empty, the token that starts a text is the prompt, as in inseq."""
    if record["source"]:
        return record
    start = model.special_token("bos")
    if start is None:
        raise UsageError("the prompt is empty, and the model has no token that starts a text", "give a prompt")
    fields = [field for field in ("target", "contrast_target") if field in record]
    spaced: dict[str, Any] = {field: f" {record[field]}" if not record[field].startswith(start.text) else record[field].removeprefix(start.text) for field in fields}
    if "target" in record and model.tokenize("a", target=True)[0].id == start.id:
        # The tokenizer starts all texts with it.
        whole: dict[str, Any] = {**record, **spaced}
        return {field: whole[field] for field in whole if field != "source"}
    return {**record, "source": start.text, **{field: start.text + text for field, text in spaced.items()}}


def alignments_of(pairs: Any, texts: int) -> list[list[tuple[int, int]] | None]:
    """The alignment of each text, where there is one."""
    if pairs is None:
        return [None] * texts
    if isinstance(pairs, str):
        raise not_mirrored(f"the alignment {pairs!r}", "give pairs of positions")
    if not isinstance(pairs, list | tuple):
        raise UsageError(f"an alignment is a list of pairs of positions, not {pairs!r}", "write [(4, 4), (5, 6)]")
    each: list[Any] = list(pairs) if pairs and isinstance(pairs[0], list) else [list(pairs)]
    if len(each) != texts:
        raise UsageError(f"there are {texts} input texts and {len(each)} contrast_targets_alignments", "give a list of pairs for each")
    for own in each:
        if not own or not all(isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(place, int) for place in pair) for pair in own):
            raise UsageError(f"an alignment is a list of pairs of positions, not {own!r}", "write [(4, 4), (5, 6)]")
    return each


class At(NamedTuple):
    """A text, with the positions of its target that are asked about; `tokens` of the target where they had to be known."""

    record: dict[str, Any]
    from_: int | None
    to: int | None
    tokens: list[stepfn.Token]
    first: int


def placed(model: LanguageModel, record: dict[str, Any], start: int | None, end: int | None) -> At:
    """Positions as inseq clamps them."""
    if start is None and end is None and "contrast_target" not in record:
        return At(record, None, None, [], 0)
    plain = {field: record[field] for field in ("source", "target") if field in record}
    found: Any = model.attribute(plain, "dummy")
    length, first = len(found.target), found.steps.start
    record = {**record, "target": found.target_text if "target" not in record else record["target"]}
    for name, place in (("attr_pos_start", start), ("attr_pos_end", end)):
        if place is not None and (isinstance(place, bool) or not isinstance(place, int) or place < -length):
            raise UsageError(f"{name}={place!r} is no position of a text of {length} tokens", "count from 0, or from the end: -1")
    at = [None if place is None else place + length if place < 0 else place for place in (start, end)]
    # A causal model's prompt can't be attributed, and an end beyond the text is the text's.
    from_ = first if at[0] is None else max(first, at[0])
    to = length if at[1] is None else min(at[1], length)
    if from_ >= to:
        what = f"no token is attributed: the first would be {from_}, and the end is {to}"
        raise UsageError(what, f"of the {length} tokens, those from {first} on can be")
    return At(record, None if start is None else from_, None if end is None else to, found.target, from_)


def paired(
    model: LanguageModel, at: At, pairs: list[tuple[int, int]] | None, force_inputs: bool
) -> tuple[dict[str, Any], list[tuple[int, int]] | None]:
    """A text with its contrast, and pairs that are counted from the first scored token, where inseq counts from the start of the target.

    Without pairs, inseq compares the last tokens, those before them, and so on.
    """
    record, first = at.record, at.first
    contrast = record.get("contrast_target")
    if contrast is None:
        if pairs is not None:
            raise UsageError("contrast_targets_alignments are given without contrast_targets", "give these, too")
        return record, None
    plain = {"source": record["source"]} if model.is_encoder_decoder else {}
    found: Any = model.attribute({**plain, "target": contrast}, "dummy")
    others: list[stepfn.Token] = found.target
    if pairs is None:
        end = len(at.tokens) if at.to is None else at.to
        right = [len(others) - (end - place) for place in range(first, end)]
        pairs = [(first + number, place if place > 0 else len(others) - 1) for number, place in enumerate(right)]
    elif any(left < first for left, _ in pairs):
        raise UsageError(f"the alignment {pairs} has positions before the first that is attributed, {first}", "leave these out")
    same = [token.id for token in others[:first]] == [token.id for token in at.tokens[:first]]
    lowest = min(other for _, other in pairs)
    if not 0 <= lowest <= max(other for _, other in pairs) < len(others):
        raise UsageError(f"the alignment {pairs} has positions that the contrast does not have: it has {len(others)} tokens", "leave these out")
    if "contrast_source" in record or (same and lowest >= first):
        if lowest < first:
            raise UsageError(f"the alignment {pairs} has positions before the first that is attributed, {first}", "leave these out")
        return record, [(left - first, other - first) for left, other in pairs]
    counted = [(left - first, other - lowest) for left, other in pairs]
    own, rest = contrast[: others[lowest].start], contrast[others[lowest].start :]
    if force_inputs:
        if at.from_ is not None:
            raise not_mirrored("attr_pos_start with another prompt in contrast_targets", "give the prompt as the input text, or leave out attr_pos_start")
        return {**record, "contrast_source": own}, counted
    # Its prompt is not read, so that the text's own does as well.
    joined = record["target"][: at.tokens[first].start] + rest
    found = model.attribute({**plain, "target": joined}, "dummy")
    if [token.id for token in found.target[first:]] != [token.id for token in others[lowest:]]:
        raise UsageError(f"the contrast {contrast!r} has another prompt, and other tokens behind the text's own", "give one that starts with the input text")
    return {**record, "contrast_target": joined}, counted
