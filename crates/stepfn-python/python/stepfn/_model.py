"""Language models: they score, attribute, and write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

from . import _stepfn
from ._arguments import no_argument
from ._contexts import Contexts
from ._errors import Error, UsageError
from ._many import Answers, ScoredTexts
from ._options import Joined, in_window, options_of, string
from ._pairs import Pairs
from ._progress import Progress
from ._registry import Chosen, assign
from ._results import Answer, ScoredText
from ._texts import Common, Given, Text, half_of_a_character, ids_of, records_of
from ._tokens import Token, characters
from ._work import functions_of, run_texts, streamed
from ._written import Written


class LanguageModel(Contexts, Pairs):
    """A language model that is ready to be asked.

    Made by :func:`stepfn.load` or :func:`stepfn.from_torch`. Several threads may use one at the same time.
    """

    def __init__(self, native: _stepfn.Model, reload: tuple[Any, ...] | None) -> None:
        self._native = native
        self._reload = reload
        self._process = os.getpid()
        self._about: dict[str, Any] = json.loads(native.about())

    @property
    def name(self) -> str:
        """The name that it was loaded by."""
        return str(self._about["name"])

    @property
    def family(self) -> str:
        """Its family, ``model_type`` in ``config.json``."""
        return str(self._about["family"])

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it reads a source and writes a target. If not, it continues a text."""
        return bool(self._about["is_encoder_decoder"])

    @property
    def is_masked(self) -> bool:
        """Whether it predicts tokens that are masked, from what stands on both sides."""
        return bool(self._about["is_masked"])

    @property
    def backend(self) -> str:
        """Name of the backend and type of the numbers: ``cpu f32``."""
        return str(self._about["backend"])

    @property
    def device(self) -> str:
        """The device that it is on."""
        return str(self._about["device"])

    @property
    def vocab_size(self) -> int:
        """Number of tokens that it predicts."""
        return int(self._about["vocab_size"])

    def special_token(self, role: Literal["bos", "eos", "pad", "unk"]) -> Token | None:
        """The token that starts or ends a text, fills a batch, or stands for what is unknown; ``None`` if there is none."""
        if role not in ("bos", "eos", "pad", "unk"):
            raise UsageError(f"no special token has the role {role!r}", "choose one of bos, eos, pad and unk")
        token = self._about[role]
        return None if token is None else Token(token["token"], token["id"], 0, 0, True)

    def tokenize(self, text: str, *, special_tokens: bool = True, target: bool = False) -> list[Token]:
        """The tokens of a text, as the model reads them: as a source, or as a target."""
        if not isinstance(text, str):
            raise UsageError(f"a text is a string, not {type(text).__name__}", "give a string")
        try:
            rows = self._checked().encode(text, special_tokens, target)
        except UnicodeEncodeError as error:
            raise half_of_a_character(error) from error
        at = characters(text)
        return [Token(surface, id, at(start), at(end), special) for surface, id, start, end, special in rows]

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True, target: bool = True) -> str:
        """The text of tokens."""
        found = ids_of(ids)
        pieces = self._checked().pieces(found, target)
        unknown = [id for id, piece in zip(found, pieces, strict=True) if piece is None and id >= self.vocab_size]
        if unknown:
            raise UsageError(f"there is no token {unknown[0]}", f"give ids of the vocabulary, which has {self.vocab_size} tokens")
        return self._checked().decode(found, skip_special_tokens, target)

    def pieces(self, ids: Iterable[int], *, target: bool = True) -> list[str | None]:
        """Tokens as the vocabulary has them, such as ``Ġlight`` or ``▁light``; ``None`` for ids that it doesn't have."""
        return self._checked().pieces(ids_of(ids), target)

    @overload
    def attribute(self, texts: str | Mapping[str, Any] | None = None, method: Any = ..., **rest: Any) -> Answer: ...
    @overload
    def attribute(self, texts: Iterable[Text], method: Any = ..., **rest: Any) -> Answers: ...
    def attribute(
        self,
        texts: Text | Iterable[Text] | None = None,
        method: Any = "saliency",
        function: Any = None,
        *,
        source: str | None = None,
        target: str | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        contrast: str | None = None,
        contrast_source: str | None = None,
        align: Sequence[tuple[int, int]] | Literal["auto"] | None = None,
        from_: int | None = None,
        to: int | None = None,
        source_spans: Sequence[tuple[int, int]] | None = None,
        target_spans: Sequence[tuple[int, int]] | None = None,
        step_scores: str | Sequence[Any] = (),
        alternatives: int = 0,
        target_side: bool = False,
        features: Literal["tokens", "words", "sentences", "lines", "messages", "documents"] = "tokens",
        document_mark: str | None = None,
        unit: Literal["token", "word", "sentence", "answer"] = "token",
        units: Sequence[tuple[int, int]] | None = None,
        unit_mean: bool = False,
        prompt_only: bool = False,
        contrast_force_inputs: bool = False,
        raw: bool = False,
        aggregate: str | Sequence[str] | None = None,
        chat_template: str | None = None,
        chat_variables: Mapping[str, Any] | None = None,
        seed: int = 0,
        dropout: float | None = None,
        masking: Literal["token", "word"] | None = None,
        memory: int | None = None,
        keep: Sequence[str] = (),
        progress: Progress = None,
        errors: Literal["raise", "return"] = "raise",
        **parameters: Any,
    ) -> Answer | Answers:
        """A score for each (input token, predicted token).

        Args:
            texts: A text alone is what a causal model should say, or what an encoder–decoder reads. A dict is a text with its parts. A list of these gives
                a list of answers.
            method: Name of an attribution method (:func:`stepfn.list_methods`), a :class:`stepfn.Method`, or a function of your own.
            function: Name of the step function to attribute (:func:`stepfn.list_step_functions`), a :class:`stepfn.StepFunction`, or a function of your own; by
                default the probability of each token, and of units of several tokens the log-probability.
            source: What the encoder reads, or the prompt of a causal model.
            target: What the model should say; for a causal model the full text, prompt included. Without one, the model writes it.
            messages: A chat: dicts with ``role`` and ``content``. The model's chat template makes a prompt of them.
            contrast: Another target to compare with; for a causal model the full text.
            contrast_source: Another source or prompt to compare with.
            align: Pairs of scored token and contrast token, both counted from the first scored one; by default they are compared one by one.
                ``"auto"`` compares tokens of words that mean the same, as the model's hidden states say.
            from_: The first token that is asked about, counted in the target from 0; by default the first after the prompt.
            to: The first token that is no longer asked about.
            source_spans: Parts of the source, in characters, that a method which hides tokens hides and shows as one.
            target_spans: The same of the target.
            step_scores: Step functions to compute in addition.
            alternatives: How many of the most likely tokens of each step to name, 100 at most.
            target_side: Also score the target prefix of an encoder–decoder. A causal model's text is always scored.
            features: What a method that hides tokens hides and shows as one. Documents are those of a dict's ``documents``, a list of parts of the source (or the
                prompt), or what is between marks.
            document_mark: What is between documents; by default an empty line.
            unit: What is attributed as one: the sum of the function's values over its tokens, a column of scores for each.
            units: Parts of the target, in characters, that are attributed as one instead.
            unit_mean: Attribute the mean over the tokens of a unit instead of their sum.
            prompt_only: Score only what comes before the first token that is asked about: the prompt of a causal model.
            contrast_force_inputs: Let a contrastive function read the contrast's own context, instead of another target in the original context.
            raw: Keep the scores of hidden units, layers and heads. By default there is one number per token and step.
            aggregate: What becomes of the scores: stages of a pipeline, such as ``"subwords,normalize"``.
            chat_template: Which of the model's chat templates, where it has several.
            chat_variables: Variables that the chat template reads.
            seed: Seed of everything random.
            dropout: Dropout rate of noisy passes, instead of the model's own rates.
            masking: Of a model of masked tokens: what is masked where one is predicted, the token alone (by default) or what follows it in its word, too.
            memory: Bytes for what is computed, in addition to the model.
            keep: Fields of your own, in dicts, that come back with the result; ``"*"`` for all.
            progress: Whether to show progress (by default for several texts where someone watches), or a function that is called with texts done, texts,
                pieces done and pieces.
            errors: ``"return"`` puts the exception of a text that fails in place of its answer, and the others go on.
            **parameters: Parameters of the method and of the functions; each is set for all that have it.

        >>> import stepfn
        >>> model = stepfn.load("verse")
        >>> answer = model.attribute("Let there be light", "integrated_gradients", n_steps=20)
        >>> answer.target_scores.shape
        (5, 4)
        """
        by, more = Chosen(method, True), functions_of(step_scores)
        of = Chosen("probability" if function is None else function, False)
        assign([by, of, *more], parameters)
        is_chosen = function is not None or bool(of.parameters)
        one, records = records_of(texts, source, target, messages, contrast, contrast_source, source_spans, target_spans, units)
        given_options = {
            "alternatives": alternatives,
            "target_side": target_side,
            "features": features,
            "document_mark": document_mark,
            "unit": unit,
            "unit_mean": unit_mean,
            "prompt_only": prompt_only,
            "contrast_force_inputs": contrast_force_inputs,
            "raw": raw,
            "aggregate": aggregate,
            "seed": seed,
            "dropout": dropout,
            "masking": masking,
            "memory": memory,
        }
        options = options_of(given_options)
        common = Common(from_, to, align, chat_template, chat_variables, keep)
        chosen = by.native(), of.native() if is_chosen else None, [function.native() for function in more]

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().attribute(window, *chosen, in_window(options, first), told)

        found = run_texts(run, records, common, Answer, progress, errors)
        return found[0] if one else Answers(found)

    @overload
    def score(self, texts: str | Mapping[str, Any] | None = None, functions: Any = ..., **rest: Any) -> ScoredText: ...
    @overload
    def score(self, texts: Iterable[Text], functions: Any = ..., **rest: Any) -> ScoredTexts: ...
    def score(
        self,
        texts: Text | Iterable[Text] | None = None,
        functions: Any = ("probability", "surprisal", "entropy"),
        *,
        source: str | None = None,
        target: str | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        contrast: str | None = None,
        contrast_source: str | None = None,
        align: Sequence[tuple[int, int]] | Literal["auto"] | None = None,
        from_: int | None = None,
        to: int | None = None,
        alternatives: int = 0,
        by: Literal["token", "word", "sentence", "text", "region"] = "token",
        words: Literal["whitespace", "unicode"] = "whitespace",
        bow_correction: bool | Literal["published", "minicons"] = False,
        uncertainty: int | None = None,
        long: str = "error",
        start_token: bool | None = None,
        once: bool = False,
        chat_template: str | None = None,
        chat_variables: Mapping[str, Any] | None = None,
        seed: int = 0,
        dropout: float | None = None,
        masking: Literal["token", "word"] | None = None,
        memory: int | None = None,
        batch_tokens: int | None = None,
        keep: Sequence[str] = (),
        progress: Progress = None,
        errors: Literal["raise", "return"] = "raise",
        **parameters: Any,
    ) -> ScoredText | ScoredTexts:
        """The values of step functions at each token. A text has the same scores alone or among others, but for the last digits: products of few rows run another way than those of many.

        Args:
            functions: One or several step functions, by name, as :class:`stepfn.StepFunction`, or of your own.
            by: What has scores of its own, as ``units``: the scores of its tokens are joined as each function says. Records may have ``words``, a list
                of all words, and ``regions``, a list of parts or of ``(start, end)`` in characters.
            words: How words are found in texts that don't bring their own.
            bow_correction: Corrects probability, surprisal and crossentropy of words, or of the tokens at their ends, for tokenizers that have the space before a word in its first token.
            uncertainty: With ``by="text"``: measures of quality and uncertainty from so many passes with dropout.
            long: What happens to a text longer than the model's positions: ``"error"``, ``"truncate"``, ``"windows"`` or ``"windows:256"``.
            start_token: Whether a causal model's text begins with its start token; by default as the tokenizer has it.
            once: Whether equal texts among those that run together are scored once, and the others have the same scores. Not with passes with dropout.
            batch_tokens: The greatest number of tokens, padding included, that run at once.

        The other arguments are those of :meth:`attribute`.

        >>> import stepfn
        >>> scores = stepfn.load("verse").score(["Let there be light", "And there was light"], "surprisal")
        >>> [round(float(text["surprisal"].sum())) for text in scores]
        [23, 19]
        """
        joined = Joined(by, words, bow_correction, uncertainty, long, start_token, once)
        run = self._scoring(functions, joined, alternatives, seed, dropout, masking, memory, batch_tokens, parameters)
        one, records = records_of(texts, source, target, messages, contrast, contrast_source, None, None)
        common = Common(from_, to, align, chat_template, chat_variables, keep)
        found = run_texts(run, records, common, ScoredText, progress, errors)
        return found[0] if one else ScoredTexts(found)

    def score_all(
        self,
        texts: Iterable[Text],
        functions: Any = ("probability", "surprisal", "entropy"),
        *,
        alternatives: int = 0,
        by: Literal["token", "word", "sentence", "text", "region"] = "token",
        words: Literal["whitespace", "unicode"] = "whitespace",
        bow_correction: bool | Literal["published", "minicons"] = False,
        uncertainty: int | None = None,
        long: str = "error",
        start_token: bool | None = None,
        once: bool = False,
        seed: int = 0,
        dropout: float | None = None,
        masking: Literal["token", "word"] | None = None,
        memory: int | None = None,
        batch_tokens: int | None = None,
        keep: Sequence[str] = (),
        **parameters: Any,
    ) -> Iterator[ScoredText | Error]:
        """:meth:`score` of any number of texts, which are read as results are asked for; the exception of a text that fails is in its place."""
        if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
            what = f"texts are a list or another iterable, not {type(texts).__name__}"
            raise UsageError(what, "for one text write score(…), or [text]")
        joined = Joined(by, words, bow_correction, uncertainty, long, start_token, once)
        run = self._scoring(functions, joined, alternatives, seed, dropout, masking, memory, batch_tokens, parameters)
        common = Common(None, None, None, None, None, keep)
        self._checked()
        return streamed(run, iter(texts), common)

    def _scoring(
        self,
        functions: Any,
        joined: Joined,
        alternatives: int,
        seed: int,
        dropout: float | None,
        masking: str | None,
        memory: int | None,
        batch_tokens: int | None,
        parameters: Mapping[str, Any],
    ) -> Callable[[list[Given], int, Any], list[Any]]:
        chosen = functions_of(functions)
        if not chosen:
            raise UsageError("there are no step functions to compute", "name one: see stepfn.list_step_functions()")
        assign(chosen, parameters)
        natives = [function.native() for function in chosen]
        given_options = {
            **joined.options(),
            "alternatives": alternatives,
            "seed": seed,
            "dropout": dropout,
            "masking": masking,
            "memory": memory,
            "batch_tokens": batch_tokens,
        }
        options = options_of(given_options)

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().score(window, natives, in_window(options, first), told)

        return run

    @overload
    def generate(  # type: ignore[overload-overlap]
        self,
        texts: str | Mapping[str, Any] | None = ...,
        *,
        messages: Sequence[Mapping[str, Any]] | None = ...,
        chat_template: str | None = ...,
        chat_variables: Mapping[str, Any] | None = ...,
        keep: Sequence[str] = ...,
        progress: Progress = ...,
        errors: Literal["raise", "return"] = ...,
    ) -> list[Written]: ...
    @overload
    def generate(
        self,
        texts: Iterable[Text],
        *,
        messages: Sequence[Mapping[str, Any]] | None = ...,
        chat_template: str | None = ...,
        chat_variables: Mapping[str, Any] | None = ...,
        keep: Sequence[str] = ...,
        progress: Progress = ...,
        errors: Literal["raise", "return"] = ...,
    ) -> list[list[Written]]: ...
    def generate(
        self,
        texts: Text | Iterable[Text] | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        chat_variables: Mapping[str, Any] | None = None,
        keep: Sequence[str] = (),
        progress: Progress = None,
        errors: Literal["raise", "return"] = "raise",
        **unknown: Any,
    ) -> list[Written] | list[list[Written]]:
        """What the model writes for a source or after a prompt, best first; a list of such lists for several texts.

        How it writes is said when it is loaded: ``stepfn.load("verse", generation={"max_new_tokens": 5})``.

        >>> import stepfn
        >>> stepfn.load("g2p").generate("hello")[0].text
        'HH EH1 L OW0'
        """
        for name in unknown:
            raise no_argument(name, [], f"settings of generation are said on loading: stepfn.load({self.name!r}, generation={{{name!r}: …}})")
        one, records = records_of(texts, None, None, messages, None, None, None, None)
        common = Common(None, None, None, chat_template, chat_variables, keep)

        def run(window: list[Given], _first: int, told: Any) -> list[Any]:
            return self._checked().generate(window, told)

        found = run_texts(run, records, common, lambda written: [Written(one) for one in written], progress, errors)
        return found[0] if one else found

    def _checked(self) -> _stepfn.Model:
        """The native model, unless this process can't use it."""
        if os.getpid() != self._process:
            what = "this process was forked from the one that loaded the model, and the model's threads are not in it"
            raise UsageError(what, 'load the model in this process, or start it with multiprocessing\'s "spawn"')
        return self._native

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reload is None:
            what = "a model that was taken from memory can't be pickled: its weights are nowhere else"
            raise UsageError(what, "save it with save_pretrained, and load that folder")
        return self._reload

    def __repr__(self) -> str:
        kind = "masked" if self.is_masked else "encoder–decoder" if self.is_encoder_decoder else "causal"
        return f"LanguageModel({self.name!r}: {self.family}, {kind}, {self.backend})"
