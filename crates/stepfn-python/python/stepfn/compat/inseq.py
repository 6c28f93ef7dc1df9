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

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import stepfn
from stepfn import Answer, LanguageModel, UsageError

from . import Mirror, absent, mirror, not_mirrored, options_of, several
from ._outputs import FeatureAttributionOutput, FeatureAttributionSequenceOutput, TokenWithId, merge_attributions
from ._places import alignments_of, column, paired, placed, prompted
from .minicons import _model as _loaded

__all__ = [
    "AttributionModel",
    "FeatureAttributionOutput",
    "FeatureAttributionSequenceOutput",
    "TokenWithId",
    "list_aggregation_functions",
    "list_aggregators",
    "list_feature_attribution_methods",
    "list_step_functions",
    "load_model",
    "merge_attributions",
    "register_step_function",
]

_DEFAULT_METHOD = "saliency"


def __getattr__(name: str) -> Any:
    raise absent("inseq", name)


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

    def generate(
        self,
        inputs: str | Sequence[str],
        return_generation_output: bool = False,
        skip_special_tokens: bool | None = None,
        output_generated_only: bool = False,
        **generation_args: Any,
    ) -> list[str]:
        """What the model writes for each text; a causal model's prompt is part of it, unless ``output_generated_only``."""
        if return_generation_output:
            raise not_mirrored("return_generation_output", "leave it out")
        if skip_special_tokens is False:
            raise not_mirrored("skip_special_tokens=False", "leave it out: special tokens are no part of what is written")
        written = self._with(generation_args).generate(several(inputs, "inputs"))
        whole = not self.is_encoder_decoder and not output_generated_only
        return [one[0].source + one[0].text if whole else one[0].text for one in written]

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


@mirror
def load_model(
    model: Any,
    attribution_method: str | None = None,
    framework: str = "hf_transformers",
    device: str | None = None,
    tokenizer: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
) -> AttributionModel:
    """Loads a model by its name, from a folder, or takes one of transformers that is in memory, with its tokenizer."""
    if framework != "hf_transformers":
        raise not_mirrored(f"the framework {framework!r}", "leave it out: stepfn reads the files of models itself")
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
