"""Pairs and tuples of texts: which one a model prefers, and how alike they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _stepfn
from ._arguments import dumps, no_argument
from ._errors import UsageError
from ._options import in_window, options_of, string
from ._progress import Progress
from ._registry import assign
from ._tables import frame
from ._texts import Common, Given, half_of_a_character
from ._work import functions_of, run_texts
from ._written import Made

if TYPE_CHECKING:
    import pandas


class _Pair(Made):
    """What came of some texts."""

    @property
    def texts(self) -> list[dict[str, Any]]:
        """The texts, a dict each."""
        return list(self._all["texts"])

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the numbers."""
        return list(self.about.get("warnings", []))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _Pair) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(self._native.table()).rstrip()


class Comparison(_Pair):
    """Texts that were compared: each of :attr:`texts` has its ``name``, ``score``, ``logprob``, ``tokens``, ``words``, and ``scores`` of functions."""

    @property
    def prefers(self) -> bool:
        """Whether the first text is preferred to all others. A tie is not."""
        return bool(self._all["prefers"])

    @property
    def difference(self) -> float | None:
        """The score of the first text minus the greatest of the others; ``None`` for a formula."""
        return None if self._all["difference"] is None else float(self._all["difference"])

    @property
    def group(self) -> Any:
        """The group that they belong to."""
        return self._all.get("group")


class Comparisons(list[Comparison]):
    """Comparisons of several texts."""

    def accuracies(self) -> list[dict[str, Any]]:
        """How often the first text is preferred: ``group``, ``n``, ``accuracy``, ``low`` and ``high``, for each group and, last, for all (``None``)."""
        found: list[dict[str, Any]] = json.loads(_stepfn.accuracies([one._native for one in self if isinstance(one, Comparison)]) or "[]")
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """As a data frame: a row for each comparison."""
        columns: dict[str, list[Any]] = {}
        compared = [one for one in self if isinstance(one, Comparison)]
        names = list(dict.fromkeys(text["name"] for one in compared for text in one.texts))
        for one in compared:
            texts = {text["name"]: text for text in one.texts}
            row = {"id": one.id, "group": one.group}
            row |= {f"{figure}_{name}": texts.get(name, {}).get(figure) for figure in ("score", "logprob") for name in names}
            row |= {f"{function}_{name}": value for name, text in texts.items() for function, value in text.get("scores", {}).items()}
            for name, value in {**row, "prefers": one.prefers, "difference": one.difference, **one.fields}.items():
                columns.setdefault(name, []).append(value)
        return frame(columns)


class Similarity(_Pair):
    """How alike two texts are to a model: each of :attr:`texts` has its ``name``, ``text`` and, where the measure needs it, its ``translation``."""

    @property
    def similarity(self) -> float:
        """The mean of the directions."""
        return float(self._all["similarity"])

    @property
    def directions(self) -> list[dict[str, Any]]:
        """A dict for each direction: ``of`` (the text that is to be likely), ``score``, ``crossentropy`` and ``self_crossentropy``, in nats."""
        return list(self._all["directions"])

    def __float__(self) -> float:
        return self.similarity


class _Columns(Common):
    """Texts in the fields of records."""

    def __init__(self, columns: list[str], keep: Sequence[str]) -> None:
        super().__init__(None, None, None, None, None, keep)
        self._columns = columns

    def _one(self, text: Any) -> Given:
        try:
            return Given(None, dumps(text, "the texts"), *self._rest, columns=self._columns)
        except UnicodeEncodeError as error:
            half = half_of_a_character(error)
            wrong = half.what, half.hint
        except UsageError as error:
            wrong = error.what, error.hint
        return Given(None, json.dumps({"id": text.get("id")}, default=repr), *self._rest, wrong=wrong)


def _is_texts(given: Any) -> bool:
    return isinstance(given, list | tuple) and len(given) > 0 and all(isinstance(text, str) for text in given)


def _records(texts: Any) -> tuple[bool, list[Mapping[str, Any]], list[str]]:
    """Whether one comparison is asked for, the records, and the fields of the texts where these are known."""
    if isinstance(texts, Mapping):
        return True, [texts], []
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise UsageError("one text has nothing to be compared with", 'give a list of texts, the expected one first: ["…", "…"]')
    one = _is_texts(texts)
    all_given: list[Any] = [texts] if one else list(texts)
    tuples = [_is_texts(given) for given in all_given]
    if all(tuples) and tuples:
        longest = max(len(given) for given in all_given)
        if any(len(given) != longest for given in all_given):
            raise UsageError("the tuples of texts are of different lengths", "give as many texts in each, or dicts")
        names = [str(number + 1) for number in range(longest)]
        return one, [dict(zip(names, given, strict=True)) for given in all_given], names
    wrong = next((given for given in all_given if not isinstance(given, Mapping)), None)
    if wrong is not None:
        raise UsageError(f"texts to compare are lists of strings, or dicts, not {type(wrong).__name__}", 'give ["…", "…"], or {"good": "…", "bad": "…"}')
    return False, all_given, []


class Pairs:
    """What a model says of pairs of texts."""

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it reads a source and writes a target. If not, it continues a text."""
        raise NotImplementedError

    def _checked(self) -> _stepfn.Model:
        raise NotImplementedError

    @overload
    def compare(  # pyright: ignore[reportOverlappingOverload]
        self, texts: Mapping[str, Any] | list[str] | tuple[str, ...], functions: Any = ..., **rest: Any
    ) -> Comparison: ...
    @overload
    def compare(self, texts: Iterable[Mapping[str, Any] | Sequence[str]], functions: Any = ..., **rest: Any) -> Comparisons: ...
    def compare(
        self,
        texts: Any,
        functions: Any = (),
        *,
        columns: Sequence[str] | None = None,
        source: str | None = None,
        criterion: Literal["sum", "token", "word"] = "sum",
        region: str | None = None,
        formula: str | None = None,
        group_by: str | None = None,
        long: str | None = None,
        start_token: bool | None = None,
        keep: Sequence[str] = (),
        seed: int = 0,
        dropout: float | None = None,
        masking: Literal["token", "word"] | None = None,
        memory: int | None = None,
        batch_tokens: int | None = None,
        progress: Progress = None,
        errors: Literal["raise", "return"] = "raise",
        **parameters: Any,
    ) -> Comparison | Comparisons:
        """Which of several texts the model prefers; the expected one comes first.

        Args:
            texts: A list of texts, or a dict with a text in each of its ``columns``; a list of such lists or dicts has a :class:`Comparisons`.
            functions: Step functions whose values each text has in addition.
            columns: The fields of dicts that have the texts; by default ``good`` and ``bad``, or ``sentence_good`` and ``sentence_bad``. A field may be a
                list of the text's regions: texts, or dicts with ``name`` and ``content``. The conditions of an item of SyntaxGym are such fields.
            source: What all texts follow: a prompt, or what an encoder reads. Of dicts, their field ``source``.
            criterion: What decides: the log-probability, or that per token or per word.
            region: Compare the log-probability of this region only, by its name or its number from 1.
            formula: Count as expected where this holds: a condition on surprisals in bits, such as ``"(bad[verb] > good[verb]) & (bad > good)"``.
            group_by: The field that says which group a comparison belongs to.
            long: As in :meth:`score`.
            start_token: As in :meth:`score`.
            keep: Fields of dicts that come back with the result.
            seed: Seed of everything random.
            dropout: Dropout rate of noisy passes, instead of the model's own.
            masking: As in :meth:`score`.
            memory: Bytes for what is computed, in addition to the model.
            batch_tokens: The greatest number of tokens that run at once.
            progress: As in :meth:`attribute`.
            errors: As in :meth:`attribute`.
            **parameters: Parameters of the functions.

        >>> import stepfn
        >>> stepfn.load("verse").compare(["And God said unto them", "And God say unto them"]).prefers
        True
        """
        one, records, names = _records(texts)
        names = names if columns is None else list(columns)
        for name, value in {"criterion": criterion, "region": region, "formula": formula, "group_by": group_by, "source": source}.items():
            string(name, value)
        if source is not None:
            if not one:
                raise UsageError("the source is given for several comparisons", "give dicts, each with a source of its own")
            records = [{**records[0], "source": source}]
        chosen = functions_of(functions)
        assign(chosen, parameters)
        natives = [function.native() for function in chosen]
        given = {"long": long, "start_token": start_token, "seed": seed, "dropout": dropout, "masking": masking}
        asked = {"criterion": criterion, "region": region, "formula": formula, "group_by": group_by}
        options = {**options_of({**given, "memory": memory, "batch_tokens": batch_tokens}), "compare": asked}
        kept = [keep] if isinstance(keep, str) else list(keep)
        common = _Columns(names, list(dict.fromkeys(kept + ([] if group_by is None else [group_by]))))

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().compare(window, natives, in_window(options, first), told)

        found: list[Comparison] = run_texts(run, list(records), common, Comparison, progress, errors)
        return found[0] if one else Comparisons(found)

    @overload
    def similarity(  # pyright: ignore[reportOverlappingOverload]
        self, a: str, b: str, *, a_lang: str, **rest: Any
    ) -> Similarity: ...
    @overload
    def similarity(self, a: Sequence[str], b: Sequence[str], *, a_lang: str, **rest: Any) -> list[Similarity]: ...
    def similarity(
        self,
        a: str | Sequence[str],
        b: str | Sequence[str],
        *,
        a_lang: str,
        b_lang: str | None = None,
        measure: Literal["direct", "cross_likelihood", "pivot"] = "cross_likelihood",
        via: str | None = None,
        normalize: bool = True,
        both_directions: bool = True,
        base: float | None = None,
        seed: int = 0,
        memory: int | None = None,
        batch_tokens: int | None = None,
        progress: Progress = None,
        errors: Literal["raise", "return"] = "raise",
        **unknown: Any,
    ) -> Similarity | list[Similarity]:
        """How alike two texts are to a model that translates between several languages (NMTScore, Vamvas & Sennrich 2022).

        Args:
            a: A text, or a list of texts.
            b: The other one, or as many others.
            a_lang: The language of ``a``, as the model calls it.
            b_lang: The language of ``b``; by default that of ``a``.
            measure: What is measured: ``direct`` translation of ``b`` into ``a``, the likelihood of one's translation as a translation of the other
                (``cross_likelihood``), or translation by a language between them (``pivot``).
            via: The language of the model's translations; by default ``"en"``.
            normalize: Divide by the same measure of the text with itself.
            both_directions: Take the mean of both directions, not only how likely ``a`` is.
            base: What is raised to the power of cross-entropies in nats; by default e, and 2 in the package ``nmtscore``.
            seed: Seed of everything random.
            memory: Bytes for what is computed, in addition to the model.
            batch_tokens: The greatest number of tokens that run at once.
            progress: As in :meth:`attribute`.
            errors: As in :meth:`attribute`.
        """
        for name in unknown:
            hint = f"how it writes is said on loading: stepfn.load(…, generation={{{name!r}: …}})"
            raise no_argument(name, ["measure", "via", "normalize", "both_directions", "base"], hint)
        one = isinstance(a, str) and isinstance(b, str)
        sides: list[list[str]] = []
        for name, texts in (("a", a), ("b", b)):
            listed = [texts] if isinstance(texts, str) else list(texts)
            if isinstance(texts, str) != one or not all(isinstance(text, str) for text in listed):
                raise UsageError(f"`{name}` must be a text, or a list of texts as the other is", "give two texts, or two lists")
            sides.append(listed)
        if len(sides[0]) != len(sides[1]):
            raise UsageError(f"there are {len(sides[0])} texts in `a` and {len(sides[1])} in `b`", "give as many of both")
        for name, value in {"a_lang": a_lang, "measure": measure}.items():
            if value is None:
                raise UsageError(f"`{name}` must be a string, not None", "give one")
            string(name, value)
        string("b_lang", b_lang)
        string("via", via)
        for name, flag in {"normalize": normalize, "both_directions": both_directions}.items():
            if not isinstance(flag, bool):
                raise UsageError(f"`{name}` must be True or False, not {flag!r}", "change this argument")
        if base is not None and (isinstance(base, bool) or not isinstance(base, int | float)):
            raise UsageError(f"`base` must be a number, not {base!r}", "give a number greater than 1")
        asked = {
            "measure": measure,
            "a_lang": a_lang,
            "b_lang": a_lang if b_lang is None else b_lang,
            "via": via,
            "normalize": normalize,
            "both_directions": both_directions,
            "base": base,
        }
        options = {**options_of({"seed": seed, "memory": memory, "batch_tokens": batch_tokens}), "similarity": asked}
        records = [{"a": first, "b": second} for first, second in zip(*sides, strict=True)]
        common = _Columns(["a", "b"], ())

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().similarity(window, in_window(options, first), told)

        found: list[Similarity] = run_texts(run, list(records), common, Similarity, progress, errors)
        return found[0] if one else found
