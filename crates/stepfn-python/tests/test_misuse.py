"""Mistakes that people make: each is an error of the package that says what to do, and none passes in silence."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stepfn
from stepfn import _registry

TEXT = "In the beginning God created the heaven"


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    _registry._functions.clear()
    _registry._methods.clear()


WIDE = "Él said, “Let there be light”, and there was"


@pytest.mark.parametrize(("first", "last"), [("Él said", "there was"), ("said, “Let", "light”, and")])
def test_spans_count_characters_however_they_are_given(verse: stepfn.LanguageModel, first: str, last: str) -> None:
    spans = [(WIDE.index(part), WIDE.index(part) + len(part)) for part in (first, last)]
    how: list[dict[str, Any]] = [
        {"texts": WIDE, "target_spans": spans},
        {"target": WIDE, "target_spans": spans},
        {"texts": {"target": WIDE, "target_spans": spans}},
        {"texts": {"text": WIDE}, "target_spans": spans},
        {"texts": {"text": WIDE, "target_spans": np.array(spans)}},
    ]
    answers = [verse.attribute(**given, method="occlusion") for given in how]
    for answer in answers:
        assert answer.about["parameters"]["target_spans"] == [list(span) for span in spans]
        np.testing.assert_array_equal(answer.target_scores, answers[0].target_scores)
        for start, end in spans:
            rows = [number for number, token in enumerate(answer.target) if token.start < end and start < token.end]
            assert len(rows) > 1 and answer.target_scores is not None
            # What is hidden as one has one score, and what is beside it has another.
            last_column = answer.target_scores[rows, -1]
            assert len(set(last_column[~np.isnan(last_column)].tolist())) == 1


def test_spans_of_a_source_count_characters(verse: stepfn.LanguageModel) -> None:
    g2p = stepfn.load("g2p")
    spans = [(1, 4)]
    for given in ({"texts": "naïveté", "source_spans": spans}, {"source": "naïveté", "source_spans": spans}):
        answer = g2p.attribute(**given, method="occlusion")  # type: ignore[arg-type]
        assert answer.source_scores is not None
        rows = [number for number, token in enumerate(answer.source) if 1 <= token.start < token.end <= 4]
        assert rows and (answer.source_scores[rows] == answer.source_scores[rows[0]]).all()


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([(0, len(WIDE) + 1)], f"\\[0, {len(WIDE) + 1}\\] does not lie in the text: spans are .* in its {len(WIDE)} characters"),
        ([(3, 3)], "and not empty"),
        ([(4, 2)], "does not lie in the text"),
        ([(0, 4), (3, 9)], "\\[0, 4\\] and \\[3, 9\\] share the token"),
        ([(34, 37), (37, 40)], "spans \\[34, 37\\] and \\[37, 40\\] share the token .* at character 3"),
    ],
)
def test_errors_of_spans_speak_of_characters(verse: stepfn.LanguageModel, spans: Any, says: str) -> None:
    for given in ({"texts": WIDE, "target_spans": spans}, {"texts": {"target": WIDE, "target_spans": spans}}):
        with pytest.raises(stepfn.UsageError, match=says) as raised:
            verse.attribute(**given, method="occlusion")  # type: ignore[call-overload]
        assert "byte" not in str(raised.value)


def test_spans_of_a_chat_count_characters_of_its_prompt_and_answer(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).resolve().parents[2] / "stepfn-zoo/models/verse", tmp_path, dirs_exist_ok=True)
    template = "{% for m in messages %}«{{ m.role }}» {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}«assistant» {% endif %}"
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    model = stepfn.load(tmp_path)
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": content} for content in (WIDE, "And it was so")], "target": "Él said"}
    said = [message["content"] for message in model.attribute(chat, "dummy").messages]
    spans = [(place["start"], place["end"]) for place in said]
    answer = model.attribute({**chat, "target_spans": spans}, "occlusion", unit="answer")
    assert answer.target_text is not None and answer.target_scores is not None
    assert [answer.target_text[start:end] for start, end in spans] == [WIDE, "And it was so"]
    assert answer.about["parameters"]["target_spans"] == [list(span) for span in spans]
    for start, end in spans:
        rows = [number for number, token in enumerate(answer.target) if token.start < end and start < token.end]
        assert len(rows) > 1 and len(set(answer.target_scores[rows].ravel().tolist())) == 1
    with pytest.raises(stepfn.UsageError, match=f"in its {len(answer.target_text)} characters"):
        model.attribute({**chat, "target_spans": [(0, len(answer.target_text) + 1)]}, "occlusion")
    # Of the answer, a unit.
    place = answer.target_text.index("said", spans[1][1])
    (found,) = (unit := model.attribute({**chat, "units": [(place, place + 4)]}, "occlusion")).spans
    start, end = unit.target[found.start].start, unit.target[found.stop - 1].end
    assert answer.target_text[start:end].strip() == "said"


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("errors", ["raise", "return"])
def test_what_ends_a_program_passes_through_a_function(verse: stepfn.LanguageModel, ends: type[BaseException], errors: Any) -> None:
    thrown = ends("enough")
    calls: list[int] = []

    def function(logits: Any, target_ids: Any) -> Any:
        calls.append(len(target_ids))
        raise thrown

    def way(passes: stepfn.Passes) -> Any:
        calls.append(1)
        raise thrown

    asked: list[Callable[[], Any]] = [
        lambda: verse.score([TEXT, "Let there be"], function, errors=errors),
        lambda: list(verse.score_all([TEXT, "Let there be"], function)),
        lambda: verse.attribute([TEXT, "Let there be"], "occlusion", function, errors=errors),
        lambda: verse.attribute([TEXT, "Let there be"], "dummy", step_scores=[function], errors=errors),
        lambda: verse.attribute([TEXT, "Let there be"], way, errors=errors),
    ]
    for ask in asked:
        calls.clear()
        with pytest.raises(ends) as raised:
            ask()
        assert raised.value is thrown and len(calls) == 1
    # The model is as good as before.
    assert verse.score("Let there be", "rank")["rank"].shape == (3,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["occlusion", "lime", "kernel_shap", "shapley_sampling"])
def test_a_function_without_a_finite_value_is_not_attributed(verse: stepfn.LanguageModel, value: float, method: str) -> None:
    def holed(logits: Any, target_ids: Any) -> Any:
        found = logits[np.arange(len(target_ids)), target_ids].copy()
        # At the token " God" only.
        found[target_ids == holed_at] = value
        return found

    tokens = verse.attribute(TEXT, "dummy").tokens
    step = [token.text for token in tokens].index(" God")
    holed_at = tokens[step].id
    with pytest.raises(stepfn.NumbersError, match=f"step {step}: the value of `holed` is not finite"):
        verse.attribute(TEXT, method, holed)
    # As a step score it is one number among others.
    assert not np.isfinite(verse.score(TEXT, holed)["holed"][step])


def test_a_function_that_is_not_finite_once_tokens_are_hidden_is_not_attributed(verse: stepfn.LanguageModel) -> None:
    clean = verse.score(TEXT, "logit")["logit"]

    def narrow(logits: Any, target_ids: Any) -> Any:
        found = logits[np.arange(len(target_ids)), target_ids].copy()
        return np.where(np.isclose(found[:, None], clean, rtol=1e-3).any(1), found, np.nan)

    with pytest.raises(stepfn.NumbersError, match="the value of `narrow` is not finite"):
        verse.attribute(TEXT, "occlusion", narrow)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_method_whose_scores_are_not_finite_is_an_error(verse: stepfn.LanguageModel, value: float) -> None:
    def holed(passes: stepfn.Passes) -> Any:
        scores = np.zeros((len(passes.target_ids), len(passes.steps)))
        scores[1, 2:] = value
        return scores

    with pytest.raises(stepfn.NumbersError, match="step 2: the scores by `holed` are not finite"):
        verse.attribute(TEXT, holed)


def test_a_gradient_that_is_not_finite_is_an_error(verse: stepfn.LanguageModel) -> None:
    def endless(logits: Any, target_ids: Any) -> Any:
        return np.full(len(target_ids), np.inf)

    stepfn.register_step_function(endless, gradient=lambda logits, target_ids: np.zeros_like(logits))
    with pytest.raises(stepfn.NumbersError, match="step 0: the value of `endless` is not finite"):
        verse.attribute(TEXT, "saliency", "endless")


def test_a_text_that_fails_leaves_the_others_alone(verse: stepfn.LanguageModel) -> None:
    texts: list[Any] = [
        "Let there be",
        3,
        {"target": 3},
        {"sauce": "a", "id": "named"},
        {"target": "light", "target_spans": "x"},
        "\ud800",
        None,
        {"target": "a b", "messages": "hi"},
        {"target": object()},
        "light",
    ]
    for found in (
        verse.attribute(texts, "occlusion", errors="return"),
        verse.score(texts, errors="return"),
        verse.generate(texts, errors="return"),
        list(verse.score_all(texts)),
    ):
        wrong = [number for number, one in enumerate(found) if isinstance(one, stepfn.Error)]
        assert wrong == list(range(1, 9)) and len(found) == 10
        for number in wrong:
            error: Any = found[number]
            assert isinstance(error, stepfn.UsageError) and error.hint and error.number == number
            assert error.id == ("named" if number == 3 else number)
            assert str(error).startswith("text 3 ('named'): unknown field" if number == 3 else f"text {number}: ")
    with pytest.raises(stepfn.UsageError, match="text 1: a text is a string or a dict, not int"):
        verse.score(["Let there be", 3])


def test_a_function_that_fails_for_one_text_leaves_the_others_alone(verse: stepfn.LanguageModel) -> None:
    texts = ["Let there be light", TEXT, "And there was light"]
    created = verse.tokenize(" created", special_tokens=False)[0].id

    def picky(logits: Any, target_ids: Any) -> Any:
        if created in target_ids:
            raise LookupError("created")
        return logits[np.arange(len(target_ids)), target_ids]

    alone = [None if text == TEXT else verse.score(text, picky)["picky"] for text in texts]
    for found in (
        verse.score(texts, picky, errors="return"),
        verse.attribute(texts, "occlusion", picky, errors="return"),
        verse.attribute(texts, "dummy", step_scores=[picky], errors="return"),
        list(verse.score_all(texts, picky)),
    ):
        assert [isinstance(one, stepfn.Error) for one in found] == [False, True, False]
        assert "LookupError: created" in str(found[1]) and isinstance(found[1].__cause__, LookupError)  # type: ignore[union-attr]
    scores = verse.score(texts, picky, errors="return")
    for one, own in zip(scores, alone, strict=True):
        if own is not None:
            np.testing.assert_allclose(one["picky"], own, rtol=1e-5)


def test_names_of_texts_are_not_numbers_of_others(verse: stepfn.LanguageModel) -> None:
    for texts in ([{"target": "light", "id": 1}, "Let there be"], ["Let there be", {"target": "light", "id": "0"}]):
        with pytest.raises(stepfn.UsageError, match="give all texts ids, or none"):
            verse.score(texts)
        with pytest.raises(stepfn.UsageError, match="give all texts ids, or none"):
            list(verse.score_all(texts))
    named = verse.score([{"target": "light", "id": 1}, {"target": "Let there be", "id": 0}], "rank")
    assert [text.id for text in named] == [1, 0]
    assert len(verse.score([{"target": "light", "id": "x"}, "Let there be"], "rank")) == 2


def test_arrays_of_results_stay_as_they_are(verse: stepfn.LanguageModel) -> None:
    answer = verse.attribute(TEXT, "integrated_gradients", n_steps=200, step_scores=["entropy"])
    scores = verse.score(TEXT)
    arrays = [*answer.numpy().values(), *scores.numpy().values(), answer.changes]
    assert len(arrays) == 7
    for array in arrays:
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        array.copy()[...] = 0
    scores.numpy().clear()
    assert scores.numpy()


def test_streams_are_checked_when_they_are_asked_for(verse: stepfn.LanguageModel) -> None:
    for texts in ("abc", {"target": "a b"}, b"abc", 3):
        with pytest.raises(stepfn.UsageError, match="texts are a list or another iterable"):
            verse.score_all(texts)  # type: ignore[arg-type]
    for wrong in ({"functions": "entropi"}, {"memory": 1}, {"n_sample": 3}, {"batch_tokens": 0}, {"keep": 3}, {"masking": "all"}):
        with pytest.raises(stepfn.UsageError):
            verse.score_all(["a b"], **wrong)  # type: ignore[arg-type]
    assert next(verse.score_all(iter(["Let there be"]), "rank")).tokens  # type: ignore[union-attr]


CALLS: list[tuple[Callable[[stepfn.LanguageModel], Any], str]] = [
    (lambda model: model.attribute("a b", memory=0), "`memory` must be 1 MiB .* not 0: nothing runs in less"),
    (lambda model: model.attribute("a b", memory=1), "`memory` must be 1 MiB"),
    (lambda model: model.score("a b", memory=1 << 60), "`memory` must be a number of bytes that a machine may have"),
    (lambda model: model.score("a b", batch_tokens=0), "`batch_tokens` must be a whole number from 1 to"),
    (lambda model: model.score("a b", seed=True), "`seed` must be a whole number"),
    (lambda model: model.score("a b", dropout=float("nan")), "`dropout` must be a rate"),
    (lambda model: model.score("a b", dropout=[0.1]), "`dropout` must be a rate"),
    (lambda model: model.score("a b", masking="all"), "no masking `all`.*choose token or word"),
    (lambda model: model.attribute("a b", "lime", n_samples=1), "`n_samples` must be a whole number from 2 to"),
    (lambda model: model.attribute("a b", "lime", alpha=float("inf")), "`alpha` of lime must be a finite number, not inf"),
    (lambda model: model.attribute("a b", stepfn.Method("lime", alpha=float("nan"))), "`alpha` of lime must be a finite number, not nan"),
    (lambda model: model.attribute("a b", "integrated_gradients", n_steps=None), "`n_steps` of integrated_gradients can't be None.*leave it out"),
    (lambda model: model.attribute(text="a b"), "no argument `text`.*texts come first"),
    (lambda model: model.attribute(input_texts="a b"), "no argument `input_texts`.*texts come first"),
    (lambda model: model.attribute("a", generated_texts="a b"), "no argument `generated_texts`.*write target="),
    (lambda model: model.attribute("a b", attributed_fn="entropy"), "no argument `attributed_fn`.*write function="),
    (lambda model: model.score(text="a b"), "no argument `text`"),
    (lambda model: model.generate("a b", max_new_tokens=3), "no argument `max_new_tokens`.*generation="),
    (lambda model: model.attribute("a b", max_new_tokens=3), "no argument `max_new_tokens`.*generation="),
    (lambda model: model.attribute("a b", batch_size=3), "no argument `batch_size`.*memory="),
    (lambda model: model.attribute("a b", "dummy", return_convergence_delta=True), "no argument `return_convergence_delta`.*`deltas`"),
    (lambda model: model.attribute("Let there be", "Let there be light"), "'Let there be light' is no method.*target="),
    (lambda model: model.attribute(["Let there be"], ["Let there be light"]), "is no method.*target="),
    (lambda model: model.attribute("a b").save("answer"), "`answer` has no ending that names a format.*answer.json"),
    (lambda _: stepfn.register_step_function(lambda args, logprob=False: 0, "of_args"), "does not take \\(logits, target_ids\\), but \\(args, logprob\\).*compat.inseq"),
    (lambda model: model.score({"target": "a b", "item": 3}), "unknown field `item`.*keep=\\['item'\\]"),
    (lambda model: model.score([{"target": "a b", "item": 3}]), "unknown field `item`.*keep=\\['item'\\]"),
    (lambda model: model.score("a b", [3]), "3 is no step function"),
    (lambda model: model.score("a b", None), "None is no step function"),
    (lambda model: model.attribute("a b", step_scores=None), "None is no step function"),
    (lambda model: model.score("a b", chat_variables=3), "`chat_variables` must be a dict"),
    (lambda model: model.decode([10**9]), "there is no token 1000000000"),
    (lambda model: model.decode([10**12]), "there is no token 1000000000000"),
    (lambda model: model.decode("abc"), "`ids` must be a list of token ids"),
    (lambda model: model.decode(3), "`ids` must be a list of token ids"),
    (lambda model: model.pieces(None), "`ids` must be a list of token ids"),
    (lambda model: model.attribute("a b").aggregate(None), "must be the stages of a pipeline, not \\(None,\\)"),
    (lambda model: model.attribute("a b").aggregate(3, "normalize"), "must be the stages of a pipeline"),
    (lambda model: model.attribute("a b").aggregate(["nonsense"]), "nonsense"),
    (lambda model: model.attribute("a b").save(None), "a file is named by a string or a path, not NoneType"),
    (lambda model: model.attribute("a b").save("a.json", 3), "a format is named by a string, not 3"),
    (lambda model: model.score(["a b"]).save(3), "a file is named by a string or a path, not int"),
    (lambda _: stepfn.read(None), "a file is named by a string or a path, not NoneType"),
    (lambda _: stepfn.write(None, "json"), "NoneType is no result"),
    (lambda _: stepfn.write(["a"], "json"), "str is no result"),
    (lambda model: stepfn.write([model.score("a b")], None), "a format is named by a string, not None"),
    (lambda _: stepfn.load(None), "a model is named by a string or a path, not NoneType"),
    (lambda _: stepfn.load("verse", device="cuda"), "`device` is the number.*write backend='cuda'"),
    (lambda _: stepfn.load("verse", device="cuda:1"), "write backend='cuda', device=1"),
    (lambda _: stepfn.load("verse", device="mps"), "write backend='wgpu'"),
    (lambda _: stepfn.load("verse", device="there"), "`device` is the number"),
    (lambda _: stepfn.load("verse", dtype="float32"), "no element type `float32`.*write dtype='f32'"),
    (lambda _: stepfn.load("verse", generation="x"), "`generation` must be a dict"),
    (lambda _: stepfn.load("verse", seed=-1), "`seed` must be a whole number"),
    (lambda model: model.attribute("a b", features=3), "`features` must be a string, not 3"),
    (lambda model: model.attribute("a b", raw="x"), "`raw` must be True or False, not 'x'"),
    (lambda model: model.attribute("a b", target_side=1), "`target_side` must be True or False"),
    (lambda model: model.attribute("a b", chat_template=3), "`chat_template` must be a string"),
    (lambda model: model.special_token("x"), "no special token has the role 'x'"),
    (lambda model: model.tokenize("\ud800"), "half of a character"),
    (lambda model: stepfn.write([model.score("a b")], "csv", fields=3), "`fields` must be names of fields"),
    (lambda model: stepfn.write([model.score("a b")], "json", single="x"), "`single` must be True, False or None"),
    (lambda _: stepfn.load("verse", source_lang=3), "`source_lang` must be a string"),
    (lambda _: stepfn.load("verse", base=3), "`base` must be a string"),
    (lambda _: stepfn.load("verse", dtype=3), "no element type `3`"),
    (lambda model: model.score("light", lambda logits, target_ids: None), "returned nothing"),
    (lambda model: model.score("light", lambda logits, target_ids: 1.0), "returned an array of shape \\(\\)"),
    (lambda model: model.score("a b", lambda logits, target_ids: logits[:, 0] * 1j), "returned complex numbers"),
    (lambda model: model.attribute("a b", lambda passes: passes.values(target=np.full((1, 3), 1.5))[1]), "whole numbers, not of type float64"),
    (lambda model: model.attribute(messages=[{"role": "user", "content": "a"}], target_spans=[(0, 1)]), "no chat template"),
    (lambda model: model.attribute("a b", "occlusion", target_spans=[(0, 1.5)]), "`target_spans` must be a list of \\[start, end\\], counted in characters from 0"),
    (lambda _: stepfn.describe(None), "None is no name"),
    (lambda _: stepfn.StepFunction("xx"), "no step function `xx`"),
    (lambda _: stepfn.StepFunction("entropi"), "did you mean `entropy`"),
    (lambda _: stepfn.StepFunction("entropy", scale=2), "`scale`"),
    (lambda _: stepfn.StepFunction(3), "3 is no name"),
    (lambda _: stepfn.Method("loo"), "did you mean `occlusion`"),
    (lambda _: stepfn.Method("lime", n_samples=0), "`n_samples` must be a whole number from 2 to"),
    (lambda _: stepfn.register_step_function(lambda logits, target_ids: 0, ""), "'' can't be a name"),
    (lambda _: stepfn.register_method(lambda passes: 0, ""), "'' can't be a name"),
    (lambda _: stepfn.register_step_function(lambda logits, target_ids: 0, 3), "3 can't be a name"),
    (lambda _: stepfn.register_step_function(lambda logits, target_ids: 0, "f", gradient=3), "no gradient 3"),
]


@pytest.mark.parametrize(("call", "says"), CALLS, ids=[says for _, says in CALLS])
def test_mistakes_are_errors_of_the_package(verse: stepfn.LanguageModel, call: Callable[[Any], Any], says: str) -> None:
    with pytest.raises(stepfn.UsageError, match=says) as raised:
        call(verse)
    assert raised.value.hint


def test_names_of_other_libraries_are_told(verse: stepfn.LanguageModel) -> None:
    for name, here in (("load_model", "stepfn.load"), ("list_feature_attribution_methods", "stepfn.list_methods")):
        with pytest.raises(AttributeError, match=f"no `{name}`: it is {here}.*stepfn.compat.inseq"):
            getattr(stepfn, name)
    with pytest.raises(AttributeError, match="module 'stepfn' has no attribute 'nothing'"):
        stepfn.nothing
    both = verse.attribute(["Let there be"]) + verse.attribute(["And God"])
    assert isinstance(both, stepfn.Answers) and len(both) == 2 and "God" in str(both)


def test_stages_may_be_a_list_and_one_result_may_be_written(verse: stepfn.LanguageModel, tmp_path: Path) -> None:
    answer = verse.attribute(TEXT)
    assert answer.aggregate(["subwords", "normalize"]) == answer.aggregate("subwords,normalize") == answer.aggregate("subwords", "normalize")
    assert stepfn.write(answer, "json") == stepfn.write([answer], "json")
    description = stepfn.describe("lime")
    description["parameters"].clear()
    assert stepfn.describe("lime")["parameters"]


def test_without_torch_it_is_said_how_to_install_it() -> None:
    program = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest)\n"
        "import stepfn\n"
        "class Model:\n"
        "    config, state_dict = None, None\n"
        "for ask in (lambda: stepfn.from_torch(Model(), None), lambda: stepfn.register_step_function(lambda a, b: a, 'f', gradient='torch')):\n"
        "    try:\n"
        "        ask()\n"
        "    except stepfn.UsageError as error:\n"
        "        print(error.hint)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["install it: pip install stepfn[torch]"] * 2


def test_company_and_prompts_change_the_last_digits_at_most(verse: stepfn.LanguageModel) -> None:
    texts = ["In the beginning God created the heaven", "Let there be light", "And the king of the waters said", "light"]
    prompted = [{"source": "In the", "target": f"In the {rest}"} for rest in ("beginning", "heaven and the earth", "land", "midst of the waters")]
    for asked in (texts, prompted):
        records: list[Any] = list(asked)
        for record, among in zip(records, verse.score(records, ["logit", "surprisal"]), strict=True):
            alone = verse.score(record, ["logit", "surprisal"])
            for name, values in alone.values.items():
                np.testing.assert_allclose(values, among[name], rtol=1e-5, atol=1e-5)
    # With a prompt and without one.
    for record in prompted:
        with_prompt, without = verse.score(record, "logit")["logit"], verse.score(record["target"], "logit")["logit"]
        np.testing.assert_allclose(with_prompt, without[-len(with_prompt) :], rtol=1e-5, atol=1e-5)
