"""inseq's calls: ``from stepfn.compat import inseq``, and the rest of a script as it is.

Checked against inseq 0.7.1. What differs, because there it is not what it says:

- ``perplexity`` is ``1 / p``, not ``2 ** -ln p``; ``kl_divergence`` with ``top_k`` or ``top_p`` is a number; ``mc_dropout_prob_avg`` is the mean that its name says. ``crossentropy`` and ``top_p_size``
  work for one text.
- ``attr_pos_end`` of an encoder–decoder ends there: inseq runs one step more, and its scores are shifted by one token.
- ``aggregate("subwords")`` merges the last word too. Words are known by their spaces, so ``special_chars`` is not needed.
- Baselines keep a text's special tokens, the first one too; inseq replaces all but the last. So integrated gradients, occlusion and their like have other numbers where a text starts with one.
- ``deeplift`` has its rule at every activation; there, functions that are no modules fall back to the gradient. ``lime`` and ``reagent`` are those of their papers.
- A step that an alignment leaves out has no partner, and no score; inseq gives it one.
- ``out1 - out2`` is the first minus the second.
- A negative ``attr_pos_start`` of a causal model counts from the end; inseq takes the end of the prompt. Positions that leave nothing to attribute raise, as there.

What is written in another way:

- Scores are arrays of numpy. Tokens are readable (``" light"``, not ``Ġlight``).
- A causal model's step scores and attributions of all tokens come from one pass, so ``batch_size`` only says how many texts are read at a time.
- ``register_step_function`` takes inseq's functions of ``args`` if they use ``args.forward_output.logits``, ``args.attribution_model.output2logits`` and ``args.target_ids``, which need torch; and
  functions of ``(logits, target_ids)``, which don't.

What is not mirrored raises :class:`stepfn.UsageError`: ``output_step_attributions``, ``include_eos_baseline``, ``generate_from_target_prefix``, ``skip_special_tokens``, ``clean_special_chars``, layers by dotted
paths, ``show_granular`` and ``show_tokens`` (the page of :meth:`show` has both views), scores in half precision.
"""

from __future__ import annotations

import gzip
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import stepfn
from stepfn import Answer, LanguageModel, UsageError
from stepfn._writing import path_of

from . import Mirror, absent, not_mirrored, options_of, several
from ._places import alignments_of, column, paired, placed, prompted
from ._stages import stages_of
from .minicons import _model as _loaded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Scores = npt.NDArray[np.float32]

_DEFAULT_METHOD = "saliency"


class TokenWithId(NamedTuple):
    """A token, readable, and its number in the vocabulary; -1 where several were merged."""

    token: str
    id: int


def __getattr__(name: str) -> Any:
    raise absent("inseq", name)


class FeatureAttributionSequenceOutput(Mirror):
    """The attribution of one text."""

    def __init__(self, answer: Answer, is_causal: bool) -> None:
        self.answer = answer
        self._is_causal = is_causal

    @staticmethod
    def _rows(tokens: Sequence[stepfn.Token]) -> list[TokenWithId]:
        return [TokenWithId(token.text, -1 if token.id is None else token.id) for token in tokens]

    @property
    def source(self) -> list[TokenWithId]:
        """What the encoder read, or the prompt of a causal model."""
        if not self._is_causal:
            return self._rows(self.answer.source)
        return self._rows(self.answer.target[: self.answer.steps.start])

    @property
    def target(self) -> list[TokenWithId]:
        """What the decoder read and predicted, prompt included."""
        return self._rows(self.answer.target)

    @property
    def source_attributions(self) -> Scores | None:
        """``[source tokens, steps, …]``; ``None`` for a causal model."""
        return self.answer.source_scores

    @property
    def target_attributions(self) -> Scores | None:
        """``[target tokens, steps, …]``, up to the last step; NaN where a step doesn't see a token."""
        scores = self.answer.target_scores
        return None if scores is None else scores[: self.attr_pos_end]

    @property
    def step_scores(self) -> dict[str, Scores]:
        """Values of step functions, and ``deltas``, ``[steps]``."""
        return dict(self._step_scores)

    @property
    def _step_scores(self) -> dict[str, Scores]:
        deltas = self.answer.deltas
        return self.answer.step_scores if deltas is None else {**self.answer.step_scores, "deltas": deltas}

    @property
    def sequence_scores(self) -> dict[str, Scores]:
        """Empty: what inseq puts here, attention within one side, is not computed."""
        return {}

    @property
    def attr_pos_start(self) -> int:
        """The first position of the target that was attributed."""
        return self.answer.steps.start

    @property
    def attr_pos_end(self) -> int:
        """The position after the last one."""
        return self.answer.steps.stop

    def aggregate(self, aggregator: Any = None, **options: Any) -> FeatureAttributionSequenceOutput:
        """With one number for each token and step, after inseq's aggregators; shares of each step unless ``normalize`` is ``False``."""
        stages = stages_of(aggregator, options, self.answer.axes)
        return FeatureAttributionSequenceOutput(self.answer.aggregate(*stages) if stages else self.answer, self._is_causal)

    def __sub__(self, other: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        if not isinstance(other, FeatureAttributionSequenceOutput):
            raise UsageError(f"there is no difference to {type(other).__name__}", "give another attribution of a text: out[0]")
        return FeatureAttributionSequenceOutput(self.answer.minus(other.answer), self._is_causal)

    def get_scores_dicts(self, aggregator: Any = None, do_aggregation: bool = True, **options: Any) -> dict[str, dict[tuple[int, str], Any]]:
        """Scores by position and token: ``{"source_attributions": {(step, token): {(position, token): score}}, "target_attributions": …, "step_scores": …}``."""
        shown = self.aggregate(aggregator, **options) if do_aggregation else self
        steps = [(step, shown.target[step].token) for step in range(shown.attr_pos_start, shown.attr_pos_end)]

        def side(scores: Scores | None, tokens: list[TokenWithId]) -> dict[tuple[int, str], Any]:
            if scores is None:
                return {}
            if scores.ndim > 2:
                raise UsageError("there are several scores for a token and a step", "aggregate them: do_aggregation=True")
            rows = {step: scores[:, place] for place, step in enumerate(steps)}
            return {step: {(at, tokens[at].token): float(score) for at, score in enumerate(row) if score == score} for step, row in rows.items()}

        return {
            "source_attributions": side(shown.source_attributions, shown.source),
            "target_attributions": side(shown.target_attributions, shown.target),
            "step_scores": {step: {name: float(values[place]) for name, values in shown.step_scores.items()} for place, step in enumerate(steps)},
        }

    def show(self, min_val: float | None = None, max_val: float | None = None, display: bool = True, return_html: bool = False, aggregator: Any = None, do_aggregation: bool = True, **options: Any) -> str | None:
        """Shows the page in a notebook, or prints the table; returns the page if ``return_html``."""
        return FeatureAttributionOutput([self], {}).show(min_val, max_val, display=display, return_html=return_html, aggregator=aggregator, do_aggregation=do_aggregation, **options)


class FeatureAttributionOutput(Mirror):
    """Attributions of texts."""

    def __init__(self, sequence_attributions: list[FeatureAttributionSequenceOutput], info: dict[str, Any]) -> None:
        self.sequence_attributions = sequence_attributions
        self.step_attributions = None
        self.info = info

    def __len__(self) -> int:
        return len(self.sequence_attributions)

    def __iter__(self) -> Iterator[FeatureAttributionSequenceOutput]:
        return iter(self.sequence_attributions)

    @overload
    def __getitem__(self, place: int) -> FeatureAttributionSequenceOutput: ...
    @overload
    def __getitem__(self, place: slice) -> FeatureAttributionOutput: ...
    def __getitem__(self, place: int | slice) -> FeatureAttributionSequenceOutput | FeatureAttributionOutput:
        if isinstance(place, slice):
            return FeatureAttributionOutput(self.sequence_attributions[place], self.info)
        return self.sequence_attributions[place]

    def __add__(self, other: FeatureAttributionOutput) -> FeatureAttributionOutput:
        if not isinstance(other, FeatureAttributionOutput):
            raise UsageError(f"there is no sum with {type(other).__name__}", "give another attribution")
        same = ("attribute_target", "attribution_method", "model_name", "constrained_decoding")
        differs = [name for name in same if self.info.get(name) != other.info.get(name)]
        if differs:
            raise UsageError(f"the two have another {differs[0]}", "join attributions that were made in one way")
        texts = {name: [*self.info.get(name, []), *other.info.get(name, [])] for name in ("input_texts", "generated_texts")}
        return FeatureAttributionOutput([*self.sequence_attributions, *other.sequence_attributions], {**self.info, **texts})

    def aggregate(self, aggregator: Any = None, **options: Any) -> FeatureAttributionOutput:
        """Each after inseq's aggregators."""
        return FeatureAttributionOutput([one.aggregate(aggregator, **options) for one in self], self.info)

    def get_scores_dicts(self, aggregator: Any = None, do_aggregation: bool = True, **options: Any) -> list[dict[str, dict[tuple[int, str], Any]]]:
        """Scores of each text by position and token."""
        return [one.get_scores_dicts(aggregator, do_aggregation, **options) for one in self]

    def show(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: Any = None,
        slice_dims: Any = None,
        display: bool = True,
        return_html: bool = False,
        return_figure: bool = False,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **options: Any,
    ) -> str | None:
        """Shows the page in a notebook, or prints the tables; returns the page if ``return_html``."""
        given = {"min_val": min_val, "max_val": max_val, "max_show_size": max_show_size, "show_dim": show_dim, "slice_dims": slice_dims}
        for name, value in given.items():
            if value is not None:
                raise not_mirrored(name, "leave it out: the page has a choice of scales, and select_idx chooses units")
        if return_figure:
            raise not_mirrored("return_figure", "use return_html")
        shown = self.aggregate(aggregator, **options) if do_aggregation else self
        answers = stepfn.Answers([one.answer for one in shown])
        if display:
            answers.show()
        return answers.html() if return_html else None

    def save(
        self,
        path: str | Path,
        overwrite: bool = False,
        compress: bool = False,
        ndarray_compact: bool = True,
        use_primitives: bool = False,
        split_sequences: bool = False,
        scores_precision: str = "float32",
    ) -> None:
        """Saves it as inseq does, so that inseq loads it, too."""
        if use_primitives or not ndarray_compact or scores_precision != "float32":
            raise not_mirrored("another way to write numbers", "save in float32, or as JSON by answer.save")
        path = Path(path_of(path))
        groups = [[one] for one in self] if split_sequences else [self.sequence_attributions]
        names = [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(len(groups))] if split_sequences else [path]
        for name, group in zip(names, groups, strict=True):
            if name.exists() and not overwrite:
                raise UsageError(f"{name} exists", "give another place, or overwrite=True")
            text = stepfn.write([one.answer for one in group], "inseq").encode()
            try:
                name.write_bytes(gzip.compress(text, 5, mtime=0) if compress else text)
            except OSError as error:
                raise stepfn.FileError(f"{name} can't be written: {error.strerror}", "give a place that can be written to") from error

    @staticmethod
    def load(path: str | Path, decompress: bool = False) -> FeatureAttributionOutput:
        """Loads what inseq or :meth:`save` wrote."""
        if decompress:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                plain = Path(folder) / "attribution.json"
                try:
                    plain.write_bytes(gzip.decompress(Path(path_of(path)).read_bytes()))
                except (OSError, EOFError) as error:
                    raise stepfn.FileError(f"{path} can't be read: {error}", "give a file that was compressed, or leave out decompress") from error
                return FeatureAttributionOutput.load(plain)
        answers = stepfn.read(path)
        return FeatureAttributionOutput([FeatureAttributionSequenceOutput(one, not one.source) for one in answers.ok], {})


class AttributionModel(Mirror):
    """A model with a default method."""

    def __init__(self, load: Callable[[dict[str, Any]], LanguageModel], method: str | None) -> None:
        self._load = load
        self._models: dict[str, LanguageModel] = {}
        self.model = self._with({})
        self.attribution_method = method

    def _with(self, generation: Mapping[str, Any]) -> LanguageModel:
        """The model that writes in this way."""
        key = json.dumps(dict(generation), sort_keys=True)
        if key not in self._models:
            if len(self._models) > 1:
                self._models.pop(list(self._models)[1])
            self._models[key] = self._load(dict(generation))
        return self._models[key]

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it reads a source and writes a target."""
        return self.model.is_encoder_decoder

    def generate(self, inputs: str | Sequence[str], **generation_args: Any) -> list[str]:
        """What the model writes for each text; a causal model's prompt is part of it."""
        texts = several(inputs, "inputs")
        written = self._with(generation_args).generate(texts)
        return [one[0].text if self.is_encoder_decoder else one[0].source + one[0].text for one in written]

    def attribute(
        self,
        input_texts: str | Sequence[str],
        generated_texts: str | Sequence[str] | None = None,
        method: str | None = None,
        override_default_attribution: bool = False,
        attr_pos_start: int | None = None,
        attr_pos_end: int | None = None,
        show_progress: bool = True,
        pretty_progress: bool = True,
        output_step_attributions: bool = False,
        attribute_target: bool = False,
        step_scores: str | Sequence[str] = (),
        include_eos_baseline: bool = False,
        attributed_fn: Any = None,
        device: str | None = None,
        batch_size: int | None = None,
        generate_from_target_prefix: bool = False,
        skip_special_tokens: bool = False,
        clean_special_chars: bool = False,
        generation_args: Mapping[str, Any] | None = None,
        attribution_args: Mapping[str, Any] | None = None,
        attributed_fn_args: Mapping[str, Any] | None = None,
        step_scores_args: Mapping[str, Any] | None = None,
        contrast_sources: str | Sequence[str] | None = None,
        contrast_targets: str | Sequence[str] | None = None,
        contrast_targets_alignments: Any = None,
        contrast_force_inputs: bool = False,
        return_convergence_delta: bool = False,
        **kwargs: Any,
    ) -> FeatureAttributionOutput:
        """Attributes texts, as inseq's ``attribute``. ``show_progress`` is one bar, whether ``pretty_progress`` or not."""
        refused = {
            "output_step_attributions": output_step_attributions,
            "include_eos_baseline": include_eos_baseline,
            "generate_from_target_prefix": generate_from_target_prefix,
            "skip_special_tokens": skip_special_tokens,
            "clean_special_chars": clean_special_chars,
        }
        for name, asked in refused.items():
            if asked:
                raise not_mirrored(name, "leave it out")
        if device is not None and not str(device).startswith(self.model.backend.split()[0]):
            raise UsageError(f"the model is on {self.model.backend}, not on {device}", "name the device in load_model")
        name = method or self.attribution_method or _DEFAULT_METHOD
        if override_default_attribution:
            self.attribution_method = name
        texts = several(input_texts, "input_texts")
        generation_args, attribution_args = options_of("generation_args", generation_args), options_of("attribution_args", attribution_args)
        attributed_fn_args, step_scores_args = options_of("attributed_fn_args", attributed_fn_args), options_of("step_scores_args", step_scores_args)
        if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
            raise UsageError(f"`batch_size` must be a whole number from 1 on, not {batch_size!r}", "change this argument")
        model = self._with(generation_args) if generated_texts is None else self.model
        if generated_texts is not None and generation_args:
            raise UsageError("the generated texts are given, so nothing is written that generation_args could change", "leave out one of them")
        step_scores = several(step_scores, "step_scores")
        columns = {
            "target": column(generated_texts, len(texts), "generated_texts"),
            "contrast_source": column(contrast_sources, len(texts), "contrast_sources"),
            "contrast_target": column(contrast_targets, len(texts), "contrast_targets"),
        }
        records = [{"source": text, **{field: values[number] for field, values in columns.items() if values}} for number, text in enumerate(texts)]
        if not model.is_encoder_decoder:
            records = [prompted(model, record) for record in records]
        step_args = step_scores_args
        known = {function: stepfn.describe(function)["parameters"] for function in step_scores}
        functions = [stepfn.StepFunction(function, **{key: value for key, value in step_args.items() if key in known[function]}) for function in step_scores]
        unused = [key for key in step_args if not any(key in parameters for parameters in known.values())]
        if unused:
            raise UsageError(f"no step score has the parameter {unused[0]}", "leave it out")
        function = attributed_fn or "probability"
        parameters = {_NAMES.get(key, key): value for key, value in kwargs.items()}
        options: dict[str, Any] = {
            "method": stepfn.Method(name, **{_NAMES.get(key, key): value for key, value in attribution_args.items()}),
            "function": stepfn.StepFunction(function, **attributed_fn_args) if isinstance(function, str) else function,
            "step_scores": functions,
            "target_side": attribute_target,
            "contrast_force_inputs": contrast_force_inputs,
            "raw": True,
            "progress": None if show_progress else False,
            **parameters,
        }
        alignments = alignments_of(contrast_targets_alignments, len(records))
        answers: list[Answer] = []
        for record, pairs in zip(records, alignments, strict=True):
            at = placed(model, record, attr_pos_start, attr_pos_end)
            record, align = paired(model, at, pairs, contrast_force_inputs)
            answers.append(model.attribute(record, from_=at.from_, to=at.to, align=align, **options))
        if return_convergence_delta and any(answer.deltas is None for answer in answers):
            raise UsageError(f"{name} promises no sum, so it has no convergence delta", "leave out return_convergence_delta")
        is_causal = not model.is_encoder_decoder
        info = {
            "model_name": model.name,
            "attribution_method": name,
            "attributed_fn": function if isinstance(function, str) else getattr(function, "__name__", "function"),
            "attribute_target": attribute_target,
            "step_scores": list(step_scores),
            "attr_pos_start": attr_pos_start,
            "attr_pos_end": attr_pos_end,
            "exec_time": sum(answer.about.get("seconds", 0.0) for answer in answers),
            "constrained_decoding": generated_texts is not None,
            "input_texts": texts,
            "generated_texts": [answer.target_text for answer in answers],
            "generation_args": generation_args,
            "attribution_args": answers[0].about["parameters"] if answers else {},
        }
        return FeatureAttributionOutput([FeatureAttributionSequenceOutput(answer, is_causal) for answer in answers], info)


# Names of parameters that are others here.
_NAMES = {"similarity_metric": "metric", "strides": "stride", "sliding_window_shapes": "window"}


def load_model(
    model: Any,
    attribution_method: str | None = None,
    device: str | None = None,
    tokenizer: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
) -> AttributionModel:
    """Loads a model by its name, from a folder, or takes one of transformers that is in memory, with its tokenizer."""
    languages = {"src_lang": "source_lang", "tgt_lang": "target_lang"}
    tokenizer_kwargs = options_of("tokenizer_kwargs", tokenizer_kwargs)
    unknown = [name for name in tokenizer_kwargs if name not in languages]
    if unknown:
        raise not_mirrored(f"`{unknown[0]}` of the tokenizer", "leave it out")
    spoken = {languages[name]: value for name, value in tokenizer_kwargs.items()}
    options = options_of("model_kwargs", model_kwargs)
    options.pop("attn_implementation", None)
    if attribution_method is not None and attribution_method not in stepfn.list_methods():
        stepfn.describe(attribution_method)

    def load(generation: dict[str, Any]) -> LanguageModel:
        if not generation and not spoken:
            return _loaded(model, device or "cpu", tokenizer, options)
        changes = {"generation": generation, **spoken}
        return stepfn.load(model, **changes) if isinstance(model, str) else stepfn.from_torch(model, tokenizer, **changes)

    return AttributionModel(load, attribution_method)


def merge_attributions(attributions: Sequence[FeatureAttributionOutput]) -> FeatureAttributionOutput:
    """Attributions that were made in one way, as one."""
    if not attributions or not all(isinstance(one, FeatureAttributionOutput) for one in attributions):
        raise UsageError("only attributions can be merged", "give a list of what attribute returned")
    merged, *rest = attributions
    for other in rest:
        merged = merged + other
    return merged


def list_feature_attribution_methods() -> list[str]:
    """The names of all methods."""
    return stepfn.list_methods()


def list_step_functions() -> list[str]:
    """The names of all step functions."""
    return stepfn.list_step_functions()


def list_aggregators() -> list[str]:
    """The names of inseq's aggregators."""
    return ["scores", "slices", "spans", "split", "subwords"]


def list_aggregation_functions() -> list[str]:
    """The names of the functions that aggregate."""
    return ["absmax", "max", "mean", "min", "prod", "sum", "vnorm"]


def register_step_function(
    fn: Callable[..., Any], identifier: str, aggregate_map: Mapping[str, str] | None = None, overwrite: bool = False
) -> None:
    """Makes a step function known: one of inseq's, of ``args`` and parameters, or one of ``(logits, target_ids)`` and parameters."""
    joins = {"prod": "product", "sum": "sum", "mean": "mean"}
    unknown = [name for name in aggregate_map or {} if name not in ("spans", "subwords")]
    join = (aggregate_map or {}).get("spans", (aggregate_map or {}).get("subwords", "mean"))
    if unknown or join not in joins:
        raise not_mirrored("this aggregate_map", 'name "prod", "sum" or "mean" for "spans"')
    if not callable(fn):
        raise UsageError(f"{fn!r} is no function", "give one, and its identifier")
    parameters = list(inspect.signature(fn).parameters.values())
    positional = [one for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if len(positional) != 1:
        stepfn.register_step_function(fn, identifier, join=joins[join], overwrite=overwrite)
        return

    def of_record(logits: Any, target_ids: Any, **given: Any) -> Any:
        output = SimpleNamespace(logits=logits[:, None, :])
        reader = SimpleNamespace(output2logits=lambda output: output.logits[:, -1, :])
        return fn(SimpleNamespace(attribution_model=reader, forward_output=output, target_ids=target_ids, is_attributed_fn=False), **given)

    rest = [one.replace(kind=one.KEYWORD_ONLY) for one in parameters[1:] if one.kind is not one.VAR_KEYWORD]
    both = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("logits", "target_ids")]
    of_record.__signature__ = inspect.Signature([*both, *rest])  # type: ignore[attr-defined]
    of_record.__doc__ = fn.__doc__
    stepfn.register_step_function(of_record, identifier, gradient="torch", join=joins[join], overwrite=overwrite)
