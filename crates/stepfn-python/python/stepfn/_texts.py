"""Texts as they are given: strings, records, or their parts by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import _stepfn
from ._errors import UsageError
from ._options import string, whole
from ._arguments import dumps, nearest

Text = str | Mapping[str, Any]
"""A text: a string, or a record, which has the fields of a line of JSON that the program reads."""

Given = _stepfn.Given

_FIELDS: Sequence[str] = _stepfn.record_fields()


def half_of_a_character(error: UnicodeEncodeError) -> UsageError:
    """What is wrong with a text that is no text."""
    what = f"the text has half of a character: {str(error.object)[error.start]!r}, at {error.start}"
    return UsageError(what, "decode it again from what it came from")


class Common:
    """What is the same for all texts of a call."""

    def __init__(
        self,
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
            return Given(None, dumps(dict(text), "the text"), *self._rest)
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
