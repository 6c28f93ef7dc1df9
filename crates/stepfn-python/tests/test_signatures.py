"""Each parameter of what is mirrored of inseq and minicons takes effect or raises, and so does each public name."""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import inspect
import json
import re
import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stepfn
from stepfn import _registry
from stepfn.compat import inseq
from stepfn.compat.minicons import scorer

HERE = Path(__file__).resolve().parent
GOLDEN: dict[str, Any] = json.loads((HERE / "golden" / "signatures.json").read_text())
BOOK = HERE.parents[2] / "docs" / "src" / "python.md"
VERSIONS = {"inseq": "0.7.1", "minicons": "0.3.39"}

# Parameters that change how the work is done and shown, and no number.
HOW = {
    "show_progress": "a bar, where someone watches",
    "pretty_progress": "the bar's look: there is one",
}
TEXT, WHOLE = "Let there be", "Let there be light, and there was"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    _registry._functions.clear()


def words(family: str, folder: Path) -> str:
    """A random model, whose tokenizer knows words by their number: behind spaces, in one piece, or with `##w4` at their end."""
    path = folder / family
    if path.exists():
        return str(path)
    shutil.copytree(HERE.parents[2] / "tests" / "goldens" / "models" / family, path)
    numbers = range(json.loads((path / "config.json").read_text())["vocab_size"])
    special = {name: {"id": name, "ids": [int(name[1:])], "tokens": [name]} for name in ("w1", "w2")}
    own, pair = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    ends = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "w1", "type_id": 0}}, own, {"SpecialToken": {"id": "w2", "type_id": 0}}], "pair": [own, pair], "special_tokens": special}
    tokenizer: dict[str, Any] = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}}
    model: dict[str, Any] = {"type": "WordLevel", "vocab": {f"w{number}": number for number in numbers}, "unk_token": "w3"}
    if family == "bert":
        model = {"type": "WordPiece", "vocab": {"##w4" if number == 4 else f"w{number}": number for number in numbers}, "unk_token": "w3"}
        model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 9}
        tokenizer["post_processor"] = ends
    if family == "t5":
        model["vocab"] = {f"w{number}" if number < 4 else f"▁w{number}": number for number in numbers}
        spaces = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        tokenizer |= {"pre_tokenizer": spaces, "decoder": spaces}
    (path / "tokenizer.json").write_text(json.dumps({**tokenizer, "model": model}))
    (path / "tokenizer_config.json").write_text(json.dumps({"unk_token": "w3", "bos_token": "w1 ", "eos_token": " w2", "mask_token": "w0"}))
    return str(path)


def loaded(folder: Path, model: Any = "verse", *args: Any, **given: Any) -> Any:
    found = inseq.load_model(model, *args, **given)
    return found.model_name, found.model.backend, found.attribution_method


def shown(out: Any, model: Any) -> Any:
    return out.get_scores_dicts(), {**out.info, "exec_time": 0}, model.attribution_method


def attributed(folder: Path, name: str = "verse", **given: Any) -> Any:
    model = inseq.load_model(name, "saliency")
    return shown(model.attribute(**given), model)


def output(**given: Any) -> inseq.FeatureAttributionOutput:
    return inseq.load_model("verse", "saliency").attribute(TEXT, WHOLE, show_progress=False, **given)


def sizes(out: Any) -> Any:
    several = out if isinstance(out, inseq.FeatureAttributionOutput) else [out]
    return [(one.target, one.target_attributions.tolist(), {name: values.tolist() for name, values in one.step_scores.items()}) for one in several]


def saved(folder: Path, name: str = "a.json", **given: Any) -> Any:
    place = folder / "saved"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "a.json").write_text("here before")
    out = output()
    for answer in out:
        answer.answer.about["seconds"] = 0
    out.save(place / given.pop("path", name), **given)
    return sorted((path.name, path.read_bytes()[:2]) for path in place.iterdir())


def read(folder: Path, path: str = "plain.json", **given: Any) -> Any:
    output().save(folder / "plain.json", overwrite=True)
    (folder / "packed.json").write_bytes(gzip.compress((folder / "plain.json").read_bytes()))
    output(method="input_x_gradient").save(folder / "other.json", overwrite=True)
    return sizes(inseq.FeatureAttributionOutput.load(folder / path, **given))


def registered(folder: Path, fn: Any, identifier: str, **given: Any) -> Any:
    if identifier == "taken":
        inseq.register_step_function(second, identifier)
    inseq.register_step_function(fn, identifier, **given)
    own = [name for name in inseq.list_step_functions() if name in ("one", "other", "taken")]
    return own, sizes(output(step_scores=[identifier]).aggregate("spans", target_spans=(4, 6)))


def first(logits: Any, target_ids: Any) -> Any:
    return logits[:, 0]


def second(logits: Any, target_ids: Any) -> Any:
    return logits[:, 1]


def show_of(kind: str) -> Callable[..., Any]:
    def show(folder: Path, capsys: Any, **given: Any) -> Any:
        out = output(step_scores=["entropy"])
        capsys.readouterr()
        page = (out if kind == "FeatureAttributionOutput" else out[0]).show(**given)
        # How long it took is no matter.
        return page and re.sub(r'time","[^"]*"', "", page), capsys.readouterr().out

    return show


def of_scorer(kind: str, method: str, name: str = "") -> Callable[..., Any]:
    def call(folder: Path, **given: Any) -> Any:
        lm = getattr(scorer, kind)(words(name[1:], folder) if name[0] == "*" else name, "cpu")
        return repr(getattr(lm, method)(**given))

    return call


def made(kind: str, name: str) -> Callable[..., Any]:
    def call(folder: Path, **given: Any) -> Any:
        model = given.pop("model", name)
        lm = getattr(scorer, kind)(words(model[1:], folder) if model[0] == "*" else model, **given)
        return lm.model.name, lm.model.backend, lm.device, getattr(lm, "PLL_metric", None)

    return call


def total(scores: Any) -> Any:
    return scores.sum(0).item()


ENDS: dict[str, Any] = {"bos_token": {"bos_token": True}, "eos_token": {"eos_token": True}, "chat": {"chat": True}}
NUMBERS: dict[str, Any] = {name: {name: True} for name in ("prob", "base_two")}
ROWS: dict[str, Any] = {**NUMBERS, **{name: {name: True} for name in ("surprisal", "rank", "decode")}}
REFUSED = {name: {name: True} for name in ("output_step_attributions", "include_eos_baseline", "generate_from_target_prefix", "skip_special_tokens", "clean_special_chars")}
SHOWN: dict[str, Any] = {
    **{name: {name: 1} for name in ("min_val", "max_val", "max_show_size", "show_dim", "slice_dims")},
    **{"display": {"display": False}, "return_html": {"return_html": True}, "return_figure": {"return_figure": True}},
    **{"aggregator": {"aggregator": "subwords"}, "**kwargs": {"aggregator": "spans", "target_spans": (1, 3)}},
}
DICTS: dict[str, Any] = {"aggregator": {"aggregator": "subwords"}, "do_aggregation": {"do_aggregation": False}, "**kwargs": {"normalize": False}}
AGGREGATED: dict[str, Any] = {
    "aggregator": {"aggregator": "subwords"},
    "aggregate_fn": {"aggregate_fn": "mean"},
    **{name: {name: False} for name in ("do_pre_aggregation_checks", "do_post_aggregation_checks")},
    "**kwargs": {"rescale": True},
    "normalize": {"normalize": False},
    "select_idx": {"aggregate_fn": "mean", "select_idx": [1]},
}

# For each function: how to call it, what with, and for each parameter another call.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, dict[str, Any]]]] = {
    "inseq.load_model": (
        loaded,
        {},
        {
            "model": {"model": "g2p"},
            "attribution_method": {"attribution_method": "occlusion"},
            "framework": {"framework": "other"},
            "device": {"device": "cuda"},
            "tokenizer": {"tokenizer": object()},
            "model_kwargs": {"model_kwargs": {"dtype": "float64"}},
            "tokenizer_kwargs": {"tokenizer_kwargs": {"src_lang": "deu"}},
            "**kwargs": {"trust_remote_code": True},
        },
    ),
    "inseq.register_step_function": (
        registered,
        {"fn": first, "identifier": "one"},
        {"fn": {"fn": second}, "identifier": {"identifier": "other"}, "aggregate_map": {"aggregate_map": {"spans": "sum"}}},
    ),
    "inseq.register_step_function of a name that there is": (registered, {"fn": first, "identifier": "taken"}, {"overwrite": {"overwrite": True}}),
    "inseq.merge_attributions": (
        lambda folder, number: sizes(inseq.merge_attributions([output()] * number)),
        {"number": 1},
        {"attributions": {"number": 2}},
    ),
    "inseq.AttributionModel.attribute": (
        attributed,
        {"input_texts": TEXT, "generated_texts": WHOLE},
        {
            "input_texts": {"input_texts": "Let"},
            "generated_texts": {"generated_texts": "Let there be light"},
            "method": {"method": "input_x_gradient"},
            **{name: {name: 5} for name in ("attr_pos_start", "attr_pos_end")},
            **{name: {name: False} for name in HOW},
            **REFUSED,
            "step_scores": {"step_scores": ["entropy"]},
            "attributed_fn": {"attributed_fn": "entropy"},
            "device": {"device": "cuda"},
            "batch_size": {"batch_size": 0},
            "generation_args": {"generation_args": {"max_new_tokens": 3}},
            "contrast_sources": {"contrast_sources": "And there be", "attributed_fn": "pcxmi"},
            "contrast_targets": {"contrast_targets": "Let there be water, and there was", "attributed_fn": "contrast_prob_diff"},
            "contrast_targets_alignments": {"contrast_targets_alignments": [(4, 4)]},
            "attributed_fn_args": {"attributed_fn_args": {"logprob": True}},
            "step_scores_args": {"step_scores": ["entropy"], "step_scores_args": {"top_k": 3}},
            "attribution_args": {"method": "integrated_gradients", "attribution_args": {"n_steps": 7}},
            "return_convergence_delta": {"return_convergence_delta": True},
            "**kwargs": {"n_step": 3},
        },
    ),
    "inseq.AttributionModel.attribute after another method": (
        lambda folder, **given: attributed(folder, method="occlusion", input_texts=TEXT, generated_texts=WHOLE, **given),
        {},
        {"override_default_attribution": {"override_default_attribution": True}},
    ),
    "inseq.AttributionModel.attribute of an encoder-decoder": (
        attributed,
        {"name": "g2p", "input_texts": "hello"},
        {"attribute_target": {"attribute_target": True}, "generation_args": {"generation_args": {"max_new_tokens": 2}}},
    ),
    "inseq.AttributionModel.generate": (
        lambda folder, inputs=TEXT, **given: inseq.load_model("verse").generate(inputs, **given),
        {"max_new_tokens": 4},
        {
            "inputs": {"inputs": "Let there"},
            "return_generation_output": {"return_generation_output": True},
            "skip_special_tokens": {"skip_special_tokens": False},
            "output_generated_only": {"output_generated_only": True},
            "**kwargs": {"max_new_tokens": 2},
            "another setting": {"max_tokens_new": 2},
        },
    ),
    "inseq.FeatureAttributionOutput.aggregate": (lambda folder, **given: sizes(output().aggregate(**given)), {}, AGGREGATED),
    "inseq.FeatureAttributionOutput.get_scores_dicts": (lambda folder, **given: output().get_scores_dicts(**given), {}, DICTS),
    "inseq.FeatureAttributionOutput.show": (show_of("FeatureAttributionOutput"), {}, SHOWN),
    "inseq.FeatureAttributionOutput.show of a page": (show_of("FeatureAttributionOutput"), {"return_html": True}, {"do_aggregation": {"do_aggregation": False}, "normalize": {"normalize": False}}),
    "inseq.FeatureAttributionOutput.save": (
        saved,
        {"name": "b.json"},
        {
            "path": {"path": "c.json"},
            "compress": {"compress": True},
            "ndarray_compact": {"ndarray_compact": False},
            "use_primitives": {"use_primitives": True},
            "split_sequences": {"split_sequences": True},
            "scores_precision": {"scores_precision": "float16"},
        },
    ),
    "inseq.FeatureAttributionOutput.save where there is a file": (saved, {}, {"overwrite": {"overwrite": True}}),
    "inseq.FeatureAttributionOutput.load": (read, {}, {"path": {"path": "other.json"}}),
    "inseq.FeatureAttributionOutput.load of a packed file": (read, {"path": "packed.json"}, {"decompress": {"decompress": True}}),
    "inseq.FeatureAttributionSequenceOutput.aggregate": (lambda folder, **given: sizes(output()[0].aggregate(**given)), {}, AGGREGATED),
    "inseq.FeatureAttributionSequenceOutput.get_scores_dicts": (lambda folder, **given: output()[0].get_scores_dicts(**given), {}, DICTS),
    "inseq.FeatureAttributionSequenceOutput.show": (show_of("FeatureAttributionSequenceOutput"), {}, SHOWN),
    "inseq.FeatureAttributionSequenceOutput.show of a page": (show_of("FeatureAttributionSequenceOutput"), {"return_html": True}, {"do_aggregation": {"do_aggregation": False}, "normalize": {"normalize": False}}),
    "minicons.IncrementalLMScorer": (
        made("IncrementalLMScorer", "verse"),
        {},
        {"model": {"model": "*gpt2"}, "device": {"device": "cuda:0"}, "tokenizer": {"tokenizer": object()}, "**kwargs": {"trust_remote_code": True}},
    ),
    "minicons.IncrementalLMScorer.token_score": (
        of_scorer("IncrementalLMScorer", "token_score", "verse"),
        {"batch": [WHOLE]},
        {"batch": {"batch": [TEXT]}, "bow_correction": {"bow_correction": True}, **ROWS, "**kwargs": {"chat": True}, "eos_token": {"eos_token": True}},
    ),
    "minicons.IncrementalLMScorer.token_score without special tokens": (
        of_scorer("IncrementalLMScorer", "token_score", "*gpt2"),
        {"batch": ["w5 w7 w9"]},
        ENDS,
    ),
    "minicons.IncrementalLMScorer.sequence_score": (
        of_scorer("IncrementalLMScorer", "sequence_score", "verse"),
        {"batch": [WHOLE]},
        {"batch": {"batch": [TEXT]}, "reduction": {"reduction": total}, "bow_correction": {"bow_correction": True}, **NUMBERS, "**kwargs": {"chat": True}, "eos_token": {"eos_token": True}},
    ),
    "minicons.IncrementalLMScorer.conditional_score": (
        of_scorer("IncrementalLMScorer", "conditional_score", "verse"),
        {"prefix": [TEXT], "stimuli": ["light, and there was"]},
        {
            "prefix": {"prefix": ["And there is"]},
            "stimuli": {"stimuli": ["light"]},
            "separator": {"separator": ", "},
            "reduction": {"reduction": total},
            "bow_correction": {"bow_correction": True},
            **NUMBERS,
            "**kw": {"chat": True},
            "eos_token": {"eos_token": True},
        },
    ),
    "minicons.IncrementalLMScorer.compute_stats": (
        of_scorer("IncrementalLMScorer", "compute_stats", "verse"),
        {"batch": [WHOLE]},
        {"batch": {"batch": [TEXT]}, "rank": {"rank": True}, "return_tensors": {"return_tensors": True}, "bow_correction": {"bow_correction": True}, **NUMBERS},
    ),
    "minicons.IncrementalLMScorer.prepare_text": (
        of_scorer("IncrementalLMScorer", "prepare_text", "*gpt2"),
        {"text": ["w5 w7"]},
        {"text": {"text": ["w5"]}, **ENDS},
    ),
    "minicons.MaskedLMScorer": (
        made("MaskedLMScorer", "*bert"),
        {},
        {
            "model": {"model": "verse"},
            "device": {"device": "mps"},
            "tokenizer": {"tokenizer": object()},
            "PLL_metric": {"PLL_metric": "within_word_l2r"},
            "**kwargs": {"trust_remote_code": True},
        },
    ),
    "minicons.MaskedLMScorer.token_score": (
        of_scorer("MaskedLMScorer", "token_score", "*bert"),
        {"batch": ["w5 w7w4"]},
        {"batch": {"batch": ["w5 w7"]}, **{name: ROWS[name] for name in ("surprisal", "prob", "base_two", "rank")}, "PLL_metric": {"PLL_metric": "within_word_l2r"}},
    ),
    "minicons.MaskedLMScorer.sequence_score": (
        of_scorer("MaskedLMScorer", "sequence_score", "*bert"),
        {"batch": ["w5 w7w4"]},
        {"batch": {"batch": ["w5 w7"]}, "reduction": {"reduction": total}, **NUMBERS, "PLL_metric": {"PLL_metric": "within_word_l2r"}, "**kw": {"chat": True}},
    ),
    "minicons.Seq2SeqScorer": (
        made("Seq2SeqScorer", "g2p"),
        {},
        {"model": {"model": "*t5"}, "device": {"device": "cuda:0"}, "tokenizer": {"tokenizer": object()}, "**kwargs": {"dtype": "float64"}},
    ),
    "minicons.Seq2SeqScorer.conditional_score": (
        of_scorer("Seq2SeqScorer", "conditional_score", "g2p"),
        {"prefix": ["hello"], "stimuli": ["HH AH0 L OW1"]},
        {"prefix": {"prefix": ["hallo"]}, "stimuli": {"stimuli": ["HH AH0"]}, "reduction": {"reduction": total}, **NUMBERS},
    ),
    "minicons.Seq2SeqScorer.conditional_token_score": (
        of_scorer("Seq2SeqScorer", "conditional_token_score", "g2p"),
        {"prefix": ["hello"], "stimuli": ["HH AH0 L OW1"]},
        {"prefix": {"prefix": ["hallo"]}, "stimuli": {"stimuli": ["HH AH0"]}, **{name: given for name, given in ROWS.items() if name != "decode"}},
    ),
    "minicons.Seq2SeqScorer.conditional_token_score of tokens behind spaces": (
        of_scorer("Seq2SeqScorer", "conditional_token_score", "*t5"),
        {"prefix": ["w5 w7"], "stimuli": ["w9 w11"]},
        {"decode": {"decode": False}},
    ),
}
# As in minicons.
RAISE = ("minicons.Seq2SeqScorer.token_score", "minicons.Seq2SeqScorer.sequence_score")


def function(name: str) -> Any:
    """What has this name here."""
    library, *path = name.split(" ")[0].split(".")
    found: Any = inseq if library == "inseq" else scorer
    for part in path:
        found = getattr(found, part)
    return found


def named(name: str) -> list[str]:
    library, _, rest = name.split(" ")[0].partition(".")
    parameters: list[str] = GOLDEN[library][rest]
    return parameters


@pytest.mark.parametrize("name", CALLS)
def test_each_parameter_takes_effect_or_raises(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call, base, changes = CALLS[name]
    more = {"capsys": capsys} if ".show" in name else {}

    def outcome(given: dict[str, Any]) -> str:
        _registry._functions.clear()
        try:
            # Numbers that are missing are equal as texts.
            return repr(call(tmp_path, **more, **{**base, **given}))
        except stepfn.Error as error:
            return f"{type(error).__name__}: {error}"

    plain = outcome({})
    assert plain == outcome({}), "what is asked twice is answered twice in one way"
    for parameter, given in changes.items():
        changed = outcome(given)
        assert (changed == plain) == (parameter in HOW), f"{parameter} is swallowed, or changes what it should not: {changed}"


@pytest.mark.parametrize("name", [f"{library}.{name}" for library in ("inseq", "minicons") for name in GOLDEN[library]])
def test_each_parameter_is_tried_and_stands_where_it_stands_there(name: str) -> None:
    theirs, ours = named(name), list(inspect.signature(function(name)).parameters.values())
    if name not in RAISE:
        tried = {parameter for other, (_, _, changes) in CALLS.items() if other.split(" ")[0] == name for parameter in changes}
        assert [parameter for parameter in theirs if parameter not in tried] == []
        positional = [one.name for one in ours if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
        by_name = [parameter for parameter in theirs if "*" not in parameter]
        # What is given by position means the same; what has no place there comes behind.
        assert [one for one in by_name if one in positional] == positional[: len([one for one in by_name if one in positional])]


@pytest.mark.parametrize("name", RAISE)
def test_what_raises_there_raises_here(name: str) -> None:
    lm = scorer.Seq2SeqScorer("g2p", "cpu")
    for parameter in named(name):
        with pytest.raises(stepfn.UsageError, match="use conditional_score"):
            getattr(lm, name.rpartition(".")[2])(**{parameter: True})


def test_each_public_name_is_mirrored_or_raises_and_is_in_the_book(tmp_path: Path) -> None:
    objects: dict[str, Any] = {
        "inseq": inseq,
        "inseq.AttributionModel": inseq.load_model("verse"),
        "inseq.FeatureAttributionOutput": output(),
        "inseq.FeatureAttributionSequenceOutput": output()[0],
        "minicons.IncrementalLMScorer": scorer.IncrementalLMScorer("verse"),
        "minicons.MaskedLMScorer": scorer.MaskedLMScorer(words("bert", tmp_path)),
        "minicons.Seq2SeqScorer": scorer.Seq2SeqScorer("g2p"),
    }
    assert objects.keys() == GOLDEN["names"].keys()
    book = BOOK.read_text(encoding="utf-8")
    for owner, names in GOLDEN["names"].items():
        for name in names:
            try:
                getattr(objects[owner], name)
            except stepfn.UsageError as error:
                assert f"`{name}`" in str(error) and "not mirrored" in str(error)
                assert f"`{name}`" in book, f"{owner}.{name} is neither mirrored nor in the book"


@pytest.mark.skipif(not all(importlib.util.find_spec(name) for name in VERSIONS), reason="SKIPPED: inseq and minicons are not installed, so their signatures are those of the golden file")
def test_the_golden_signatures_are_those_of_the_libraries() -> None:
    installed = {name: importlib.metadata.version(name) for name in VERSIONS}
    if installed != VERSIONS:
        pytest.skip(f"SKIPPED: the golden file is of {VERSIONS}, and here are {installed}")
    assert runpy.run_path(str(HERE / "make_signatures.py"))["signatures"]() == GOLDEN
