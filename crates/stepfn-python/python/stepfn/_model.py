"""Language models: load one, then score, attribute, or let it write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

from . import _stepfn
from ._arguments import check_arguments, dumps, no_argument
from ._errors import Error, UsageError
from ._evaluation import Evaluation, listed
from ._many import Answers, ScoredTexts
from ._options import Joined, in_window, options_of, string, whole
from ._pairs import Pairs
from ._progress import Downloads, Progress
from ._registry import Chosen, assign
from ._reliance import Reliance
from ._results import Answer, ScoredText
from ._texts import Common, Given, Text, half_of_a_character, ids_of, records_of
from ._tokens import Token, characters
from ._work import functions_of, run_texts, streamed
from ._written import Written


class LanguageModel(Pairs):
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

    def context(
        self,
        sources: Sequence[str],
        question: str | None = None,
        answer: str | None = None,
        method: Literal["context_cite", "leave_one_out", "hierarchical", "gradient", "kernel_shap"] = "context_cite",
        *,
        operator: Literal["remove", "mask", "baseline"] = "remove",
        split: Literal["none", "paragraphs", "lines", "sentences"] = "none",
        statement: Literal["token", "word", "sentence", "answer"] = "sentence",
        template: str | None = None,
        separator: str | None = None,
        plain: bool = False,
        check: int | None = None,
        chat_template: str | None = None,
        chat_variables: Mapping[str, Any] | None = None,
        seed: int = 0,
        memory: int | None = None,
        progress: Progress = None,
        **parameters: Any,
    ) -> Answer:
        """Which of its sources each statement of an answer came from: the result's source tokens are the sources, its columns the statements.

        Args:
            sources: Texts that the answer may come from.
            question: What is asked about them.
            answer: The answer. Without one, the model writes it.
            method: How sources are scored.
            operator: What becomes of a source that is left out: its tokens are removed, stay where no token attends to them, or are replaced by the baseline's.
            split: What each source is divided into; the parts are scored.
            statement: What a statement of the answer is.
            template: What the model is given, with ``{sources}`` and ``{question}``.
            separator: What is between two sources; by default an empty line.
            plain: Leave out the model's chat template.
            check: Measure the scores on so many random subsets: see :attr:`Answer.measured`.
            chat_template: Which of the model's chat templates, where it has several.
            chat_variables: Variables that the chat template reads.
            seed: Seed of everything random.
            memory: Bytes for what is computed, in addition to the model.
            progress: As in :meth:`attribute`.
            **parameters: Of the method: ``n_ablations`` and ``alpha`` (context_cite), ``expand`` (hierarchical), ``prefilter`` (gradient), ``n_samples`` (kernel_shap).

        >>> import stepfn
        >>> model = stepfn.load("verse")
        >>> found = model.context(["Let there be light.", "And it was so."], answer="And God saw the light.", method="leave_one_out")
        >>> found.source_scores.shape
        (2, 1)
        """
        if isinstance(sources, str) or not isinstance(sources, Sequence) or not all(isinstance(one, str) for one in sources):
            raise UsageError(f"`sources` must be a list of texts, not {sources!r}", 'write ["one", "two"]')
        names = {"method": method, "operator": operator, "split": split, "statement": statement}
        for name, value in {**names, "question": question, "answer": answer, "template": template, "separator": separator}.items():
            if value is None and name in names:
                raise UsageError(f"`{name}` must be a string, not None", "leave it out for the default")
            string(name, value)
        if not isinstance(plain, bool):
            raise UsageError(f"`plain` must be True or False, not {plain!r}", "change this argument")
        asked = {
            **names,
            "parameters": parameters,
            "template": template,
            "separator": separator,
            "plain": plain,
            "check": None if check is None else whole("check", check),
        }
        options = {**options_of({"seed": seed, "memory": memory}), "context": asked}
        record = {"sources": list(sources), "question": question, "target": answer}
        common = Common(None, None, None, chat_template, chat_variables, ())

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().context(window, in_window(options, first), told)

        found: list[Answer] = run_texts(run, [record], common, Answer, progress, "raise")
        return found[0]

    def attribute_context(
        self,
        input_current: str,
        input_context: str | None = None,
        output_current: str | None = None,
        output_context: str | None = None,
        method: Any = "saliency",
        *,
        function: Any = "contrast_prob_diff",
        metric: Any = "kl_divergence",
        input_template: str | None = None,
        output_template: str | None = None,
        contextless_input: str = "{current}",
        contextless_output: str = "{current}",
        contextless_output_next_tokens: Sequence[str] = (),
        separator: str = " ",
        special_tokens_to_keep: Sequence[str] = (),
        output_context_strategy: Literal["auto", "pre"] = "auto",
        context_sensitivity_std_threshold: float | None = 1.0,
        context_sensitivity_topk: int | None = None,
        attribution_std_threshold: float | None = 1.0,
        attribution_topk: int | None = None,
        aggregate: str | Sequence[str] | None = None,
        seed: int = 0,
        memory: int | None = None,
        progress: Progress = None,
        **parameters: Any,
    ) -> Reliance:
        """Which tokens of an output depend on context, and which tokens of the context they depend on (PECoRe).

        Args:
            input_current: The current text that the model reads: a source, or a causal model's prompt.
            input_context: Its context.
            output_current: The current text that it writes. Without one, the model writes it.
            output_context: Its context, which the model is taken to have written before.
            method: Name of the attribution method that finds what tokens depend on, a :class:`stepfn.Method`, or a function of your own.
            function: The step function that it attributes. A contrastive one compares with the token that the run without context prefers.
            metric: The contrastive step function that finds tokens which depend on context.
            input_template: How ``{context}`` and ``{current}`` of the input are put together; by default with a space between them.
            output_template: The same of the output.
            contextless_input: What the model reads without context, with ``{current}``.
            contextless_output: What it writes there.
            contextless_output_next_tokens: Tokens to compare with, one for each token that depends on context; an empty one is what the model prefers.
            separator: What is between the input and the output of a causal model.
            special_tokens_to_keep: Special tokens that count as text.
            output_context_strategy: What becomes of an output context that the template has and nobody gave: it is told from what follows, or must be given.
            context_sensitivity_std_threshold: Tokens depend on context from the mean and so many standard deviations on; ``None`` for all.
            context_sensitivity_topk: Of these, so many of the greatest values.
            attribution_std_threshold: Cues are shown from the mean and so many standard deviations on. All have scores.
            attribution_topk: Of these, so many of the greatest scores.
            aggregate: What becomes of the scores: stages of a pipeline that leaves one number for each token or word.
            seed: Seed of everything random.
            memory: Bytes for what is computed, in addition to the model.
            progress: As in :meth:`attribute`.
            **parameters: Parameters of the method and of both functions; each is set for all that have it.

        >>> import stepfn
        >>> model = stepfn.load("verse")
        >>> found = model.attribute_context("And they brought him", "And the king said, Bring me bread.", "and he did eat of the bread.")
        >>> [(cues.cti_token, cues.contrast_token) for cues in found.cci_scores]
        [(' bread', ' flesh')]
        """
        for name, value in {"input_template": input_template, "output_template": output_template}.items():
            string(name, value)
        for name, value in {
            "contextless_input": contextless_input,
            "contextless_output": contextless_output,
            "separator": separator,
            "output_context_strategy": output_context_strategy,
        }.items():
            if string(name, value) is None:
                raise UsageError(f"`{name}` must be a string, not None", "leave it out for the default")
        for name, several in {
            "special_tokens_to_keep": special_tokens_to_keep,
            "contextless_output_next_tokens": contextless_output_next_tokens,
        }.items():
            if isinstance(several, str) or not isinstance(several, Sequence) or not all(isinstance(one, str) for one in several):
                raise UsageError(f"`{name}` must be a list of texts, not {several!r}", 'write ["one", "two"]')
        thresholds = {
            "context_sensitivity_std_threshold": context_sensitivity_std_threshold,
            "attribution_std_threshold": attribution_std_threshold,
        }
        for name, weight in thresholds.items():
            if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
                raise UsageError(f"`{name}` must be a number or None, not {weight!r}", "change this argument")
        counts = {"context_sensitivity_topk": context_sensitivity_topk, "attribution_topk": attribution_topk}
        by, of, compared = Chosen(method, True), Chosen(function, False), Chosen(metric, False)
        assign([by, of, compared], parameters)
        asked = {
            "input_template": input_template,
            "output_template": output_template,
            "contextless_input": contextless_input,
            "contextless_output": contextless_output,
            "separator": separator,
            "special_tokens_to_keep": list(special_tokens_to_keep),
            "output_context_strategy": output_context_strategy,
            **{name: None if weight is None else float(weight) for name, weight in thresholds.items()},
            **{name: None if count is None else whole(name, count) for name, count in counts.items()},
        }
        options = {**options_of({"seed": seed, "memory": memory, "aggregate": aggregate}), "reliance": asked}
        record = {
            "source": input_current,
            "target": output_current,
            "input_context": input_context,
            "output_context": output_context,
            "contextless_output_next_tokens": list(contextless_output_next_tokens),
        }
        common = Common(None, None, None, None, None, ())
        chosen = compared.native(), by.native(), of.native()

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().attribute_context(window, *chosen, in_window(options, first), told)

        found: list[Reliance] = run_texts(run, [record], common, Reliance, progress, "raise")
        return found[0]

    def evaluate(
        self,
        texts: Text | Iterable[Text],
        methods: Any = ("saliency", "input_x_gradient", "integrated_gradients", "occlusion"),
        functions: Any = (),
        *,
        metrics: str | Sequence[str] | None = None,
        operators: str | Sequence[str] = ("baseline", "remove"),
        special: bool | Sequence[bool] = (False, True),
        ranking: Literal["signed", "magnitude"] = "signed",
        unit: Literal["token", "word", "sentence", "answer"] = "token",
        from_: int | None = None,
        to: int | None = None,
        random_orders: int = 5,
        random_sets: int = 32,
        soft_share: float = 0.2,
        soft_draws: int = 8,
        contrast_force_inputs: bool = False,
        masking: Literal["token", "word"] | None = None,
        seed: int = 0,
        memory: int | None = None,
        progress: Progress = None,
        **parameters: Any,
    ) -> Evaluation:
        """How faithful methods are: what is lost without the tokens that they name, beside random orders, with intervals over texts.

        Args:
            texts: As in :meth:`attribute`.
            methods: Attribution methods, by name, as :class:`stepfn.Method`, or of your own.
            functions: Step functions to attribute; by default the log-probability of each token.
            metrics: Names of metrics; by default comprehensiveness, sufficiency, morf and lerf. auprc, token_f1, iou and mrr compare with a dict's
                ``rationale``, what people marked: words of the source (or the prompt), or pairs of characters.
            operators: What becomes of hidden tokens: ``"baseline"``, ``"remove"`` and ``"mask"``, one or more.
            special: Whether special tokens are among those that are hidden; both by default.
            ranking: How scores order tokens.
            unit: What is attributed as one: the sum of the function's values over its tokens.
            from_: The first token that is asked about, counted in the target from 0.
            to: The first token that is no longer asked about.
            random_orders: Random orders that are averaged.
            random_sets: Random sets of tokens for infidelity and lds.
            soft_share: The share of tokens that soft_nc hides and soft_ns keeps, in the mean.
            soft_draws: Random sets for these.
            contrast_force_inputs: As in :meth:`attribute`; tokens are hidden in the text alone.
            masking: As in :meth:`attribute`.
            seed: Seed of everything random.
            memory: Bytes for what is computed, in addition to the model.
            progress: As in :meth:`attribute`.
            **parameters: Parameters of the methods and of the functions; each is set for all that have it.

        >>> import stepfn
        >>> found = stepfn.load("g2p").evaluate(["phonetics", "evaluation"], ["saliency", "occlusion"], operators="remove", special=False)
        >>> [row["method"] for row in found.rows]
        ['saliency', 'occlusion', 'random', 'first_to_last', 'last_to_first']
        """
        by = [Chosen(method, True) for method in listed("methods", methods)]
        of = functions_of(functions)
        assign([*by, *of], parameters)
        asked: dict[str, Any] = {
            "metrics": None if metrics is None else listed("metrics", metrics),
            "operators": listed("operators", operators),
            "special": listed("special", special),
            "ranking": ranking,
            "random_orders": whole("random_orders", random_orders),
            "random_sets": whole("random_sets", random_sets),
            "soft_share": soft_share,
            "soft_draws": whole("soft_draws", soft_draws),
        }
        for name in ("metrics", "operators"):
            for value in asked[name] or ():
                string(name, value)
        string("ranking", ranking)
        if not all(isinstance(one, bool) for one in asked["special"]):
            raise UsageError(f"`special` must be True, False, or both, not {special!r}", "change this argument")
        if isinstance(soft_share, bool) or not isinstance(soft_share, int | float):
            raise UsageError(f"`soft_share` must be a number, not {soft_share!r}", "give a number between 0 and 1")
        given = {"unit": unit, "contrast_force_inputs": contrast_force_inputs, "masking": masking, "seed": seed, "memory": memory}
        options = {**options_of(given), "evaluate": asked}
        _, records = records_of(texts, None, None, None, None, None, None, None, None)
        common = Common(from_, to, None, None, None, ())
        chosen = [method.native() for method in by], [function.native() for function in of]

        def run(window: list[Given], first: int, told: Any) -> list[Any]:
            return self._checked().evaluate(window, *chosen, in_window(options, first), told)

        found: list[Evaluation] = run_texts(run, records, common, Evaluation, progress, "raise")
        if not found:
            raise UsageError("there is no text to evaluate on", "give at least one")
        return found[0]

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
            batch_tokens: The greatest number of tokens, padding included, that run at once.

        The other arguments are those of :meth:`attribute`.

        >>> import stepfn
        >>> scores = stepfn.load("verse").score(["Let there be light", "And there was light"], "surprisal")
        >>> [round(float(text["surprisal"].sum())) for text in scores]
        [23, 19]
        """
        joined = Joined(by, words, bow_correction, uncertainty, long, start_token)
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
        joined = Joined(by, words, bow_correction, uncertainty, long, start_token)
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


def load(
    name: str | os.PathLike[str] = "g2p",
    *,
    backend: str = "cpu",
    device: int | str | None = None,
    dtype: Literal["f32", "f64", "f16", "bf16", "int8"] = "f32",
    generation: Mapping[str, Any] | None = None,
    base: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> LanguageModel:
    """Loads a model.

    Args:
        name: One that is compiled in (:func:`stepfn.list_models`); a folder with ``config.json``, weights and a tokenizer; a LoRA adapter; a GGUF file; a name
            on a hub, ``org/name`` or ``org/name@revision``. A folder of that name comes first.
        backend: What it runs on: see :func:`stepfn.list_backends`.
        device: Number of the device.
        dtype: Type of the numbers that it computes with. With ``"int8"``, weights are rounded to 8 bits: faster and less exact, for scores and texts.
        generation: Fields of ``generation_config.json`` that are to be different: how the model writes.
        base: Of an adapter, the model that it changes; by default the one that it names itself.
        source_lang: The language that a model for several languages reads: ``eng_Latn``, ``en_XX``, ``__en__``, …
        target_lang: The language that it writes.
        seed: Seed of sampling.
        progress: Whether to show how far a download is; by default where someone watches.

    >>> import stepfn
    >>> stepfn.load("g2p")
    LanguageModel('g2p': marian, encoder–decoder, cpu f32)
    """
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"a model is named by a string or a path, not {type(name).__name__}", "see stepfn.list_models(), or give a folder")
    name = os.fspath(name)
    options = _loading(backend, device, dtype, generation, base, source_lang, target_lang, seed)
    with Downloads(progress) as told:
        native = _stepfn.load(name, options, told)
    return LanguageModel(native, (_load_again, (name, options)))


def _loading(
    backend: str,
    device: int | str | None,
    dtype: str,
    generation: Mapping[str, Any] | None,
    base: str | None,
    source_lang: str | None,
    target_lang: str | None,
    seed: int,
) -> str:
    if generation is not None and not isinstance(generation, Mapping):
        raise UsageError(f"`generation` must be a dict, not {generation!r}", 'write {"max_new_tokens": 5}')
    check_arguments(backend, device, dtype)
    options = {
        "backend": backend,
        "device": None if device is None else str(device),
        "dtype": dtype,
        "generation": dict(generation or {}),
        "base": None if base is None else os.fspath(base) if isinstance(base, os.PathLike) else string("base", base),
        "source_lang": string("source_lang", source_lang),
        "target_lang": string("target_lang", target_lang),
        "seed": whole("seed", seed),
    }
    return dumps(options, "load")


def _load_again(name: str, options: str) -> LanguageModel:
    return LanguageModel(_stepfn.load(name, options, None), (_load_again, (name, options)))
