"""Tokens, and where they stand in a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Token(NamedTuple):
    """A token of a text.

    Attributes:
        text: The token in readable form.
        id: Its number in the vocabulary; ``None`` where aggregation merged several.
        start: Where it starts, in characters of the text.
        end: Where it ends, in characters of the text; the start if it is not in the text.
        special: Whether it is a special token.
    """

    text: str
    id: int | None
    start: int
    end: int
    special: bool


class ScoredUnit(NamedTuple):
    """A word, sentence, region or text with scores of its own.

    Attributes:
        text: What it says.
        name: What a region is called.
        start: Where it starts, in characters of the text.
        end: Where it ends, in characters of the text.
        tokens: The number of its tokens.
        scores: A number for each step function, by name; NaN where one of its tokens has none.
    """

    text: str
    name: str | None
    start: int
    end: int
    tokens: int
    scores: dict[str, float]


class Alternative(NamedTuple):
    """A token that the model could have written: its text, its number in the vocabulary, its probability."""

    text: str
    id: int
    probability: float


def characters(text: str) -> Callable[[int], int]:
    """From positions in bytes of UTF-8 to positions in characters."""
    if text.isascii():
        return lambda position: position
    encoded = text.encode()
    return lambda position: len(encoded[:position].decode(errors="ignore"))


def tokens_of(rows: Iterable[dict[str, Any]], text: str | None) -> list[Token]:
    at = characters(text or "")

    def token(row: dict[str, Any]) -> Token:
        return Token(row["surface"], row["id"], at(row["span"]["start"]), at(row["span"]["end"]), row["special"])

    return [token(row) for row in rows]
