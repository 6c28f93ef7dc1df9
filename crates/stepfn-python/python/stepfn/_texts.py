"""Texts as they are given: strings, records, or their parts by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import _stepfn
from ._errors import Error, UsageError
from ._options import string, whole
from ._arguments import dumps, nearest
from ._tokens import characters

Text = str | Mapping[str, Any]
"""A text: a string, or a record with some of the fields id, source, target, messages, contrast_source, contrast_target, source_spans, target_spans, units, rationale, documents, words, regions."""

Given = _stepfn.Given

_FIELDS = (
    "id",
    "text",
    "source",
    "target",
    "messages",
    "contrast_source",
    "contrast_target",
    "source_spans",
    "rationale",
    "documents",
    "target_spans",
    "units",
    "sources",
    "question",
    "input_context",
    "output_context",
    "contextless_output_next_tokens",
    "words",
    "regions",
)


def half_of_a_character(error: UnicodeEncodeError) -> UsageError:
    """What is wrong with a text that is no text."""
    what = f"the text has half of a character: {str(error.object)[error.start]!r}, at {error.start}"
    return UsageError(what, "decode it again from what it came from")


class Common:
    """What is the same for all texts of a call."""

    def __init__(
        self,
        is_encoder_decoder: bool,
        from_: int | None,
        to: int | None,
        align: Sequence[tuple[int, int]] | str | None,
        chat_template: str | None,
        chat_variables: Mapping[str, Any] | None,
        keep: Sequence[str],
    ) -> None:
        try:
            pairs: Any = align
            if align is not None and not isinstance(align, str):
                pairs = [(whole("align", left), whole("align", right)) for left, right in align]
            elif align not in (None, "auto"):
                raise ValueError(align)
        except (TypeError, ValueError) as error:
            raise UsageError(f'`align` must be pairs of positions or "auto", not {align!r}', "write [(0, 0), (1, 2)]") from error
        from_ = None if from_ is None else whole("from_", from_)
        to = None if to is None else whole("to", to)
        if chat_variables is not None and not isinstance(chat_variables, Mapping):
            raise UsageError(f"`chat_variables` must be a dict, not {type(chat_variables).__name__}", 'write {"enable_thinking": False}')
        variables = None if chat_variables is None else dumps(chat_variables, "chat_variables")
        self.is_encoder_decoder = is_encoder_decoder
        fields = [keep] if isinstance(keep, str) else keep
        self.keep: list[str] = list(fields) if isinstance(fields, Iterable) else [fields]
        if not all(isinstance(field, str) for field in self.keep):
            raise UsageError(f"`keep` must be names of fields, not {keep!r}", 'write keep=["item"], or keep="*" for all')
        self._rest = (from_, to, pairs, string("chat_template", chat_template), variables, self.keep)

    def given(self, texts: Iterable[Any]) -> list[Given]:
        """Texts for the native part; what is wrong with one of them is told in its place."""
        return [self._one(text) for text in texts]

    def _one(self, text: Any) -> Given:
        name = None
        try:
            if isinstance(text, str):
                return Given(text, None, *self._rest)
            if not isinstance(text, Mapping):
                raise UsageError(f"a text is a string or a dict, not {type(text).__name__}", "give a string, a dict, or a list of these")
            name = text.get("id")
            self._check(text)
            return Given(None, dumps(in_bytes(text, self.is_encoder_decoder), "the text"), *self._rest)
        except UnicodeEncodeError as error:
            half = half_of_a_character(error)
            wrong = half.what, half.hint
        except UsageError as error:
            wrong = error.what, error.hint
        return Given(None, json.dumps({"id": name, "text": ""}, default=repr), *self._rest, wrong=wrong)

    def _check(self, text: Mapping[str, Any]) -> None:
        unknown = [name for name in text if name not in _FIELDS and name not in self.keep and "*" not in self.keep]
        if unknown:
            hint = f"correct its name, or let it come back with the result: keep=[{unknown[0]!r}]"
            raise UsageError(f"unknown field `{unknown[0]}`{nearest(str(unknown[0]), _FIELDS)}", hint)


def _text_of(record: Mapping[str, Any], side: str, is_encoder_decoder: bool) -> str | None:
    """The text that the spans of a side count, as far as it is known before the model runs."""
    names: tuple[str, ...]
    if side == "source":
        names = ("source", "text") if is_encoder_decoder else ("source",)
    else:
        names = ("target",) if is_encoder_decoder else ("target", "text", "source")
    found = next((record[name] for name in names if record.get(name) is not None), None)
    return found if isinstance(found, str) else None


def in_bytes(record: Mapping[str, Any], is_encoder_decoder: bool) -> Mapping[str, Any]:
    """A record with its spans in bytes instead of characters."""
    changed = dict(record)
    if changed.get("regions") is not None:
        changed["regions"] = _regions_in_bytes(changed["regions"], _text_of(record, "target", is_encoder_decoder))
    if changed.get("rationale") is not None:
        changed["rationale"] = _marks_in_bytes(changed["rationale"], _text_of(record, "source" if is_encoder_decoder else "target", is_encoder_decoder))
    for name, side in (("source_spans", "source"), ("target_spans", "target"), ("units", "target")):
        spans = changed.get(name)
        if spans is None:
            continue
        try:
            places = [(whole(name, start), whole(name, end)) for start, end in spans]
        except (TypeError, ValueError) as error:
            raise UsageError(f"`{name}` must be pairs of positions, not {spans!r}", "write [(0, 5)]: the first five characters") from error
        if record.get("messages") is not None:
            # The chat template's text is not known here.
            if "\\u" in dumps({"": record["messages"]}, "messages"):
                what = f"`{name}` of a chat that is not ASCII can't be counted in characters of its prompt"
                raise UsageError(what, 'hide messages by features="messages", or give the whole prompt as a text')
            changed[name] = places
            continue
        text = _text_of(record, side, is_encoder_decoder)
        if text is None and places and (side == "target" or is_encoder_decoder):
            raise UsageError(f"`{name}` is given, and the {side} is not", f"give the {side} that they count")
        if text is not None:
            _check_spans(name, places, text)
            changed[name] = [[len(text[:place].encode()) for place in span] for span in places]
    return changed


def _regions_in_bytes(regions: Any, text: str | None) -> Any:
    """Regions, with places in bytes instead of characters; what is no place stays as it is."""

    def counted(region: Any) -> Any:
        if isinstance(region, Mapping):
            return {**region, "span": counted(region["span"])} if "span" in region else region
        if text is None or isinstance(region, str) or not isinstance(region, Sequence):
            return region
        return [len(text[: whole("regions", place)].encode()) for place in region]

    return [counted(region) for region in regions] if isinstance(regions, list | tuple) else regions


def _marks_in_bytes(marks: Any, text: str | None) -> Any:
    """What people marked, with places in bytes instead of characters; words stay as they are."""

    def counted(mark: Any) -> Any:
        if text is None or isinstance(mark, str) or not isinstance(mark, Sequence):
            return mark
        return [len(text[: whole("rationale", place)].encode()) for place in mark]

    return [counted(mark) for mark in marks] if isinstance(marks, list | tuple) else marks


def _check_spans(name: str, places: Sequence[tuple[int, int]], text: str) -> None:
    for start, end in places:
        if not start < end <= len(text):
            what = f"`{name}`: [{start}, {end}] does not lie in the text, which has {len(text)} characters, or is empty"
            raise UsageError(what, "spans are [start, end), counted in characters from 0")
    for (start, end), (after, until) in zip(sorted(places), sorted(places)[1:], strict=False):
        if after < end:
            what = f"`{name}`: [{start}, {end}] and [{after}, {until}] overlap"
            raise UsageError(what, "spans are [start, end), counted in characters from 0, and each character is in one at most")


def in_characters(error: Error, record: Any, is_encoder_decoder: bool) -> None:
    """An error about spans, with characters instead of bytes."""
    side = re.search(r"the (source |target |unit |)spans? \[", error.what)
    if side is None or not isinstance(record, Mapping):
        return
    text = _text_of(record, "source" if side[1] == "source " else "target", is_encoder_decoder)
    at = characters(text or "")

    def counted(numbers: re.Match[str]) -> str:
        return re.sub(r"\d+", lambda number: str(at(int(number[0]))), numbers[0])

    error.what = re.sub(r"\[\d+, \d+\]|at byte \d+", counted, error.what).replace("at byte ", "at character ")


def records_of(
    texts: Any,
    source: str | None,
    target: str | None,
    messages: Sequence[Mapping[str, Any]] | None,
    contrast: str | None,
    contrast_source: str | None,
    source_spans: Sequence[tuple[int, int]] | None,
    target_spans: Sequence[tuple[int, int]] | None,
    units: Sequence[tuple[int, int]] | None = None,
) -> tuple[bool, list[Any]]:
    """Whether one text is asked about, and the texts."""
    parts = {
        "source": source,
        "target": target,
        "messages": messages,
        "contrast_target": contrast,
        "contrast_source": contrast_source,
        "source_spans": source_spans,
        "target_spans": target_spans,
        "units": units,
    }
    given = {name: part for name, part in parts.items() if part is not None}
    if texts is None:
        if not given:
            raise UsageError("there is no text", "give one, or a source, a target or messages")
        return True, [given]
    if isinstance(texts, Mapping):
        twice = [name for name in given if name in texts]
        if twice:
            raise UsageError(f"the {twice[0]} is given twice: in the text and by itself", "leave out one of them")
        return True, [{**texts, **given}]
    if isinstance(texts, str):
        return True, [texts if not given else {"text": texts, **given}]
    if hasattr(texts, "columns") and hasattr(texts, "iloc"):
        raise UsageError("a data frame has many columns, and one of them is the text", 'give a column, or frame.to_dict("records")')
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise UsageError(f"a text is a string or a dict, not {type(texts).__name__}", "give a string, a dict, or a list of these")
    if given:
        raise UsageError(f"the {next(iter(given))} is given for several texts", "give dicts, each with parts of its own")
    records = list(texts)
    check_ids(records)
    return False, records


def check_ids(records: Sequence[Any], first: int = 0) -> None:
    """Checks that no text is called by the number of another one, which has no name."""
    names: dict[str, int] = {}
    for number, record in enumerate(records, first):
        if isinstance(record, Mapping) and record.get("id") is not None:
            names.setdefault(str(record["id"]), number)
    for number, record in enumerate(records, first):
        if str(number) in names and (not isinstance(record, Mapping) or record.get("id") is None):
            what = f"text {names[str(number)]} has the id {number}, and text {number} has none, so that it is called by its number"
            raise UsageError(what, "give all texts ids, or none")


def ids_of(ids: Any) -> list[int]:
    """Token ids."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise UsageError(f"`ids` must be a list of token ids, not {ids!r}", "give whole numbers, such as those of tokenize")
    found = [whole("ids", id) for id in ids]
    if any(id >= 1 << 32 for id in found):
        raise UsageError(f"there is no token {max(found)}", "give ids of the vocabulary")
    return found
