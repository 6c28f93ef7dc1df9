"""What an answer owes to its sources and contexts, and whether attributions are faithful."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from . import _stepfn
from ._errors import UsageError
from ._evaluation import Evaluation, listed
from ._options import in_window, options_of, string, whole
from ._progress import Progress
from ._registry import Chosen, assign
from ._reliance import Reliance
from ._results import Answer
from ._texts import Common, Given, Text, records_of
from ._work import functions_of, run_texts


class Contexts:
    """What a model says of contexts."""

    def _checked(self) -> _stepfn.Model:
        raise NotImplementedError

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
