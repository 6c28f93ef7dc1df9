"""minicons' scorers: ``from stepfn.compat.minicons import scorer``, and the rest of a script as it is.

Checked against minicons 0.3.39. What differs:

- A ``reduction`` gets a tensor where the script imports torch, and an array of numpy elsewhere: ``lambda x: x.sum(0).item()`` works on both.
- ``Seq2SeqScorer`` reads a source with the token that ends it, as the model was trained to; minicons leaves that out. Of a target neither scores it.
- With ``rank``, tokens of equal probability have the same rank, the best of theirs.
- ``word_score`` joins tokens to words also where their names have the mark of a space; minicons 0.3.39 gives tokens there. It has no ranks.
- ``word_score_tokenized`` of texts without a start token counts each token for its own word; minicons takes those of the next one.
- Scores of a ``MaskedLMScorer`` are by its own ``PLL_metric`` unless they get another; in minicons, ``token_score`` and ``sequence_score`` don't look at that of the scorer.
- ``Seq2SeqScorer`` has ``conditional_score`` and ``conditional_token_score``; minicons' ``sequence_score`` and ``token_score`` raise, and so do these.

Not mirrored, because stepfn has no such models: ``MambaScorer``, ``VLMScorer``. ``distribution``, ``topk`` and ``query`` have no counterpart: a step function of your own gets all logits.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import stepfn
from stepfn import LanguageModel, ScoredText, UsageError

from . import Mirror, absent, mirror, several

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Reduction = Callable[[Any], Any]


def _mean(scores: Any) -> Any:
    return scores.mean(0).item() if len(scores) else math.nan


def _reduced(reduction: Reduction, scores: Any) -> Any:
    """What a reduction makes of scores: of a tensor where the script uses torch."""
    if not callable(reduction):
        raise UsageError(f"a reduction is a function, not {reduction!r}", "write reduction=lambda scores: scores.sum(0).item()")
    torch = sys.modules.get("torch")
    return reduction(scores if torch is None else torch.from_numpy(scores))


def _model(model: Any, device: str, tokenizer: Any, options: dict[str, Any]) -> LanguageModel:
    known = {"dtype", "torch_dtype", "revision"}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UsageError(f"`{unknown[0]}` of the model is not mirrored", "leave it out, or load the model by stepfn.load")
    kind = str(options.get("dtype", options.get("torch_dtype", "float32"))).removeprefix("torch.")
    types: dict[str, Any] = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16", "auto": "f32"}
    if kind not in types:
        raise UsageError(f"there is no type of numbers {kind}", "choose float32, float64, float16 or bfloat16")
    name, _, number = str(device).partition(":")
    backend = {"cpu": "cpu", "cuda": "cuda", "mps": "wgpu"}.get(name)
    if backend is None:
        raise UsageError(f"there is no device {device!r}", 'choose "cpu", "cuda" or "mps"')
    places: dict[str, Any] = {"backend": backend, "device": number or None, "dtype": types[kind]}
    if isinstance(model, LanguageModel):
        return model
    if not isinstance(model, str):
        return stepfn.from_torch(model, tokenizer, **places)
    if tokenizer is not None:
        raise UsageError("a tokenizer is given for a model that has its own", "leave it out, or give the model itself, too")
    return stepfn.load(f"{model}@{options['revision']}" if "revision" in options else model, **places)


def __getattr__(name: str) -> Any:
    raise absent("minicons", name)


class _OneToken:
    """A text of one token, which nothing predicts: there is nothing to run."""

    def __init__(self, token: stepfn.Token) -> None:
        self.target = [token]
        self.tokens: list[stepfn.Token] = []
        self.steps = range(1, 1)

    def __getitem__(self, name: str) -> Any:
        import numpy as np

        return np.zeros(0, dtype=np.float32)


def _array(score: float) -> Any:
    import numpy as np

    return np.asarray(score)


def _check(surprisal: bool, prob: bool, base_two: bool) -> None:
    if prob and (surprisal or base_two):
        raise UsageError("probabilities have no base, and are no surprisals", "choose one of prob, and surprisal or base_two")


class _Scorer(Mirror):
    """What all scorers have."""

    def __init__(self, model: Any, device: str = "cpu", tokenizer: Any = None, **options: Any) -> None:
        self.model = _model(model, device, tokenizer, options)
        self.device = device
        kinds = [(self.model.is_masked, "MaskedLMScorer"), (self.model.is_encoder_decoder, "Seq2SeqScorer"), (True, "IncrementalLMScorer")]
        fitting = next(name for fits, name in kinds if fits)
        if fitting not in [kind.__name__ for kind in type(self).__mro__]:
            raise UsageError(f"{self.model.name} is no model for {type(self).__name__}", f"use {fitting}")

    def _scores(self, text: Any, prob: bool, base_two: bool) -> Floats:
        """Log-probabilities, or probabilities, of the scored tokens."""
        import numpy as np

        logs: Floats = text["probability"].astype(np.float64)
        return np.exp(logs) if prob else logs / math.log(2) if base_two else logs

    def _token_rows(
        self, texts: list[Any], scores: list[Any], first: int, surprisal: bool, rank: bool, decode: bool
    ) -> list[list[tuple[Any, ...]]]:
        rows = []
        for text, values in zip(texts, scores, strict=True):
            tokens = text.target[first : text.steps.start + len(values)]
            ids = [token.id for token in tokens if token.id is not None]
            if decode:
                names = [self.model.decode([id], skip_special_tokens=False).strip() for id in ids]
            else:
                names = [piece or "" for piece in self.model.pieces(ids)]
            missing = len(names) - len(values)
            own = [0.0] * missing + [float(-value if surprisal else value) for value in values]
            if rank:
                ranks = [0] * missing + [int(value) for value in text["rank"][: len(values)]]
                rows.append([(*pair, place) for *pair, place in zip(names, own, ranks, strict=True)])
            else:
                rows.append(list(zip(names, own, strict=True)))
        return rows


class IncrementalLMScorer(_Scorer):
    """Scores of a causal model.

    Args:
        model: A name, a folder, or a model of transformers with its ``tokenizer``.
        device: ``"cpu"``, ``"cuda:0"``, …
        tokenizer: Of a model of transformers.
        **options: ``dtype`` or ``torch_dtype``, ``revision``.
    """

    def _score(self, records: list[Any], bow_correction: bool) -> list[Any]:
        alone = {number: tokens[0] for number, record in enumerate(records) if "source" not in record and len(tokens := self._tokens(record["target"])) == 1}
        rest = [record for number, record in enumerate(records) if number not in alone]
        found = iter(self.model.score(rest, ["probability", "rank"], logprob=True, bow_correction="minicons" if bow_correction else None))
        return [_OneToken(alone[number]) if number in alone else next(found) for number in range(len(records))]

    def _tokens(self, text: str) -> list[stepfn.Token]:
        if not text:
            raise UsageError("a text is empty", "leave it out, or give bos_token=True")
        return self.model.tokenize(text, target=True)

    def _marks_words(self) -> bool:
        """Whether its tokens have the mark of a space. A tokenizer without is not corrected, as there."""
        if not hasattr(self, "_marks"):
            self._marks = any((piece or "").startswith(("Ġ", "▁")) for piece in self.model.pieces(range(self.model.vocab_size)))
        return self._marks

    def _compute(self, texts: list[str], prompts: list[str] | None, prob: bool, base_two: bool, bow_correction: bool) -> tuple[list[Any], list[Any]]:
        records: list[Any] = [{"target": text} for text in texts]
        if prompts is not None:
            records = [{"source": prompt, "target": text} for prompt, text in zip(prompts, texts, strict=True)]
        found = self._score(records, bow_correction and self._marks_words())
        return found, [self._scores(text, prob, base_two) for text in found]

    def _texts(self, batch: str | Sequence[str], bos_token: bool, eos_token: bool) -> list[str]:
        start = self.model.special_token("bos") if bos_token else None
        end = self.model.special_token("eos") if eos_token else None
        if (bos_token and start is None) or (eos_token and end is None):
            raise UsageError("the model has no such token to start or end a text with", "leave out bos_token and eos_token")
        texts = several(batch)
        if start is not None and not self._adds(start.id):
            texts = [start.text + text for text in texts]
        return [text + end.text for text in texts] if end is not None else texts

    def _adds(self, id: int | None) -> bool:
        """Whether the tokenizer starts texts with this token by itself."""
        tokens = self.model.tokenize("a", target=True)
        return tokens[0].id == id

    @mirror
    def token_score(
        self,
        batch: str | Sequence[str],
        surprisal: bool = False,
        prob: bool = False,
        base_two: bool = False,
        rank: bool = False,
        decode: bool = False,
        bow_correction: bool = False,
        *,
        bos_token: bool = False,
        eos_token: bool = False,
    ) -> list[list[tuple[Any, ...]]]:
        """For each text a list of ``(token, score)``, or with ``rank`` of ``(token, score, rank)``: natural log-probabilities by default.

        A token that nothing predicts, as the first, has 0.
        """
        _check(surprisal, prob, base_two)
        texts, scores = self._compute(self._texts(batch, bos_token, eos_token), None, prob, base_two, bow_correction)
        return self._token_rows(texts, scores, 0, surprisal, rank, decode)

    @mirror
    def sequence_score(
        self,
        batch: str | Sequence[str],
        reduction: Reduction = _mean,
        base_two: bool = False,
        bow_correction: bool = False,
        *,
        prob: bool = False,
        bos_token: bool = False,
        eos_token: bool = False,
    ) -> list[Any]:
        """What ``reduction`` makes of each text's log-probabilities ``[tokens]``: their mean by default."""
        _check(False, prob, base_two)
        _, scores = self._compute(self._texts(batch, bos_token, eos_token), None, prob, base_two, bow_correction)
        return [_reduced(reduction, one) for one in scores]

    @mirror
    def conditional_score(
        self,
        prefix: str | Sequence[str],
        stimuli: str | Sequence[str],
        separator: str | Sequence[str] = " ",
        reduction: Reduction = _mean,
        prob: bool = False,
        base_two: bool = False,
        bow_correction: bool = False,
        *,
        bos_token: bool = False,
        eos_token: bool = False,
    ) -> list[Any]:
        """The same of ``stimuli``, given ``prefix``."""
        _check(False, prob, base_two)
        prompts, texts = _joined(prefix, stimuli, separator)
        _, scores = self._compute(self._texts(texts, bos_token, eos_token), self._texts(prompts, bos_token, False), prob, base_two, bow_correction)
        return [_reduced(reduction, one) for one in scores]

    def word_score_tokenized(
        self,
        batch: str | Sequence[str],
        tokenize_function: Callable[[str], Sequence[str]],
        bow_correction: bool = False,
        bos_token: bool = False,
        eos_token: bool = False,
        surprisal: bool = False,
        prob: bool = False,
        base_two: bool = False,
        return_tensors: bool = False,
    ) -> list[list[tuple[str, Any]]]:
        """For each text a list of ``(word, score)``, with the words of ``tokenize_function``: sums of log-probabilities by default.

        A word that nothing predicts, as the first of a text without a start token, has ``nan``.
        """
        _check(surprisal, prob, base_two)
        if not callable(tokenize_function):
            raise UsageError(f"a tokenize_function is a function, not {tokenize_function!r}", "give str.split, or a function of your own")
        if eos_token:
            raise UsageError("`eos_token` of words is not mirrored", "leave it out: the end of a text is no word")
        texts = several(batch)
        records = [{"target": text, "words": list(tokenize_function(text))} for text in texts]
        correction = "minicons" if bow_correction and self._marks_words() else None
        found = self.model.score(records, "probability", by="word", logprob=True, bow_correction=correction, start_token=bos_token or None)
        rows = []
        for record, text in zip(records, found, strict=True):
            logs = [unit.scores["probability"] for unit in text.units]
            scores: list[Any] = [math.exp(log) if prob else log / math.log(2) if base_two else log for log in logs]
            scores = [-score if surprisal else score for score in scores]
            if return_tensors:
                scores = [_reduced(lambda one: one, _array(score)) for score in scores]
            rows.append(list(zip(record["words"], scores, strict=True)))
        return rows

    def word_score(
        self,
        batch: str | Sequence[str],
        surprisal: bool = False,
        prob: bool = False,
        base_two: bool = False,
        rank: bool = False,
        bow_correction: bool = False,
    ) -> list[list[tuple[str, float]]]:
        """For each text a list of ``(word, score)``: words and punctuation marks, as minicons finds them."""
        if rank:
            raise UsageError("words have no rank, because there is no list of all of them", "leave out rank, or use token_score")
        words = re.compile(r"[\w']+|[.,!?;]")
        return self.word_score_tokenized(batch, words.findall, bow_correction=bow_correction, surprisal=surprisal, prob=prob, base_two=base_two)

    @mirror
    def compute_stats(
        self,
        batch: str | Sequence[str],
        rank: bool = False,
        prob: bool = False,
        base_two: bool = False,
        return_tensors: bool = False,
        bow_correction: bool = False,
    ) -> Any:
        """Scores of each text, and with ``rank`` also ranks. ``batch`` is what :meth:`prepare_text` gives: the texts."""
        _check(False, prob, base_two)
        texts, scores = self._compute(several(batch), None, prob, base_two, bow_correction)
        given = scores if return_tensors else [one.tolist() for one in scores]
        return (given, [[int(place) for place in text["rank"][: len(one)]] for text, one in zip(texts, scores, strict=True)]) if rank else given

    @mirror
    def prepare_text(self, text: str | Sequence[str], bos_token: bool = False, eos_token: bool = False) -> list[str]:
        """Texts for :meth:`compute_stats`."""
        return self._texts(text, bos_token, eos_token)


class Seq2SeqScorer(_Scorer):
    """Scores of an encoder–decoder. Arguments as those of :class:`IncrementalLMScorer`."""

    def _compute(self, prefix: str | Sequence[str], stimuli: str | Sequence[str], prob: bool, base_two: bool) -> tuple[list[ScoredText], list[Any]]:
        sources, targets = several(prefix, "prefix"), several(stimuli, "stimuli")
        if len(sources) != len(targets):
            raise UsageError(f"there are {len(sources)} prefixes and {len(targets)} stimuli", "give as many of both")
        records = [{"source": source, "target": target} for source, target in zip(sources, targets, strict=True)]
        texts = list(self.model.score(records, ["probability", "rank"], logprob=True))
        scores = [self._scores(text, prob, base_two) for text in texts]
        # Without the token that the tokenizer ends a target with.
        return texts, [own[:-1] if text.tokens[-1].special else own for text, own in zip(texts, scores, strict=True)]

    @mirror
    def conditional_score(
        self,
        prefix: str | Sequence[str],
        stimuli: str | Sequence[str],
        reduction: Reduction = _mean,
        prob: bool = False,
        base_two: bool = False,
    ) -> list[Any]:
        """What ``reduction`` makes of the log-probabilities of each target, given its source."""
        _check(False, prob, base_two)
        return [_reduced(reduction, scores) for scores in self._compute(prefix, stimuli, prob, base_two)[1]]

    @mirror
    def conditional_token_score(
        self,
        prefix: str | Sequence[str],
        stimuli: str | Sequence[str],
        surprisal: bool = False,
        prob: bool = False,
        base_two: bool = False,
        rank: bool = False,
        decode: bool = True,
    ) -> list[list[tuple[Any, ...]]]:
        """For each target a list of ``(token, score)``, or with ``rank`` of ``(token, score, rank)``."""
        _check(surprisal, prob, base_two)
        texts, scores = self._compute(prefix, stimuli, prob, base_two)
        first = texts[0].steps.start if texts else 0
        return self._token_rows(texts, scores, first, surprisal, rank, decode)

    def sequence_score(self, *_: Any, **__: Any) -> Any:
        """Raises, as that of minicons does."""
        raise UsageError("an encoder–decoder has no score of a text without a source", "use conditional_score")

    token_score = sequence_score


class MaskedLMScorer(_Scorer):
    """Scores of a model of masked tokens: pseudo-log-likelihoods.

    Args:
        PLL_metric: ``"original"`` masks each token alone, ``"within_word_l2r"`` also what follows it in its word (Kauf & Ivanova 2023).

    The other arguments are those of :class:`IncrementalLMScorer`.
    """

    def __init__(self, model: Any, device: str = "cpu", tokenizer: Any = None, PLL_metric: str = "original", **options: Any) -> None:
        super().__init__(model, device, tokenizer, **options)
        self.PLL_metric = PLL_metric

    def _compute(self, batch: str | Sequence[str], PLL_metric: str | None, prob: bool, base_two: bool) -> tuple[list[ScoredText], list[Any]]:
        metric = self.PLL_metric if PLL_metric is None else PLL_metric
        maskings: dict[str, Any] = {"original": "token", "within_word_l2r": "word"}
        if metric not in maskings:
            raise UsageError(f"there is no PLL_metric {metric!r}", f"choose one of {', '.join(maskings)}")
        texts = list(self.model.score(several(batch), ["probability", "rank"], logprob=True, masking=maskings[metric]))
        return texts, [self._scores(text, prob, base_two) for text in texts]

    @mirror
    def token_score(
        self,
        batch: str | Sequence[str],
        surprisal: bool = False,
        prob: bool = False,
        base_two: bool = False,
        rank: bool = False,
        PLL_metric: str | None = None,
    ) -> list[list[tuple[Any, ...]]]:
        """For each text a list of ``(token, score)``, or with ``rank`` of ``(token, score, rank)``."""
        _check(surprisal, prob, base_two)
        texts, scores = self._compute(batch, PLL_metric, prob, base_two)
        first = texts[0].steps.start if texts else 0
        return self._token_rows(texts, scores, first, surprisal, rank, True)

    @mirror
    def sequence_score(
        self,
        batch: str | Sequence[str],
        reduction: Reduction = _mean,
        prob: bool = False,
        base_two: bool = False,
        *,
        PLL_metric: str | None = None,
    ) -> list[Any]:
        """What ``reduction`` makes of each text's log-probabilities ``[tokens]``: their mean by default."""
        _check(False, prob, base_two)
        return [_reduced(reduction, scores) for scores in self._compute(batch, PLL_metric, prob, base_two)[1]]


def _joined(prefix: str | Sequence[str], stimuli: str | Sequence[str], separator: str | Sequence[str]) -> tuple[list[str], list[str]]:
    prompts, rest = several(prefix, "prefix"), several(stimuli, "stimuli")
    for number, stimulus in enumerate(rest):
        if not stimulus:
            raise UsageError(f"stimulus {number} is empty, so there is nothing to score", "leave it out, or score the prefix: sequence_score")
    between = [separator] * len(prompts) if isinstance(separator, str) else several(separator, "separator")
    if not len(prompts) == len(rest) == len(between):
        raise UsageError(f"there are {len(prompts)} prefixes, {len(rest)} stimuli and {len(between)} separators", "give as many of each")
    return prompts, [before + middle + after for before, middle, after in zip(prompts, between, rest, strict=True)]


scorer = SimpleNamespace(
    IncrementalLMScorer=IncrementalLMScorer, MaskedLMScorer=MaskedLMScorer, Seq2SeqScorer=Seq2SeqScorer
)
"""minicons' module ``scorer``."""
