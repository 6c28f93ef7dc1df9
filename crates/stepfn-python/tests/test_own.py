"""Step functions and methods that are written in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stepfn
from stepfn import _registry

TEXT = "In the beginning God created the heaven"
OTHER = "In the beginning God created the waters"


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


@pytest.fixture(scope="module")
def g2p() -> stepfn.LanguageModel:
    return stepfn.load("g2p")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    _registry._functions.clear()
    _registry._methods.clear()


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def chance(logits: Any, target_ids: Any, logprob: bool = False) -> Any:
    """The probability of the target."""
    found = softmax(logits)[np.arange(len(target_ids)), target_ids]
    return np.log(found) if logprob else found


def slope(logits: Any, target_ids: Any, logprob: bool = False) -> Any:
    every = softmax(logits)
    own = every[np.arange(len(target_ids)), target_ids]
    derivative = -every * (1.0 if logprob else own[:, None])
    derivative[np.arange(len(target_ids)), target_ids] += 1.0 if logprob else own
    return derivative


def same(one: stepfn.Answer, other: stepfn.Answer) -> None:
    for left, right in ((one.source_scores, other.source_scores), (one.target_scores, other.target_scores)):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            np.testing.assert_allclose(left, right, rtol=2e-3, atol=1e-6)


def test_a_function_is_a_score_under_its_name(verse: stepfn.LanguageModel) -> None:
    stepfn.register_step_function(chance, join="product", unit="probability")
    scores = verse.score([TEXT, OTHER], ["chance", "probability"], logprob=True)
    for text in scores:
        np.testing.assert_allclose(text["chance"], text["probability"], rtol=1e-4)
    assert "chance" in stepfn.list_step_functions()
    assert stepfn.describe("chance") == {
        "name": "chance",
        "summary": "The probability of the target.",
        "unit": "probability",
        "parameters": {"logprob": False},
    }
    # Joined as it says where tokens merge.
    merged = verse.attribute(TEXT, "dummy", step_scores=["chance", "probability"]).aggregate("spans")
    assert merged.step_scores["chance"] == pytest.approx(merged.step_scores["probability"], rel=1e-4)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "attn_lrp", "gradient_shap"])
def test_a_function_with_a_gradient_is_attributed_as_the_built_in_one(g2p: stepfn.LanguageModel, method: str) -> None:
    stepfn.register_step_function(chance, gradient=slope)
    same(g2p.attribute("phonetics", method, "chance"), g2p.attribute("phonetics", method, "probability"))
    logs = [g2p.attribute("phonetics", method, name, logprob=True) for name in ("chance", "probability")]
    same(*logs)


def test_torch_differentiates(g2p: stepfn.LanguageModel) -> None:
    torch = pytest.importorskip("torch")

    def by_torch(logits: Any, target_ids: Any) -> Any:
        return torch.softmax(logits, 1).gather(1, target_ids[:, None])[:, 0]

    stepfn.register_step_function(by_torch, gradient="torch")
    same(g2p.attribute("phonetics", function="by_torch"), g2p.attribute("phonetics"))


def test_a_function_without_a_gradient_is_attributed_by_hiding_tokens(g2p: stepfn.LanguageModel) -> None:
    stepfn.register_step_function(chance)
    same(g2p.attribute("phonetics", "occlusion", "chance"), g2p.attribute("phonetics", "occlusion"))
    # One that isn't registered is as good.
    same(g2p.attribute("phonetics", "occlusion", chance), g2p.attribute("phonetics", "occlusion"))
    with pytest.raises(stepfn.UsageError, match="chance"):
        g2p.attribute("phonetics", "saliency", "chance")


def test_a_function_may_compare(verse: stepfn.LanguageModel) -> None:
    def difference(logits: Any, target_ids: Any, contrast_logits: Any, contrast_ids: Any) -> Any:
        return chance(logits, target_ids) - chance(contrast_logits, contrast_ids)

    stepfn.register_step_function(difference)
    scores = verse.score({"target": TEXT, "contrast_target": OTHER}, ["difference", "contrast_prob_diff"])
    np.testing.assert_allclose(scores["difference"], scores["contrast_prob_diff"], rtol=1e-4, atol=1e-7)
    both = [
        verse.attribute(TEXT, "occlusion", name, contrast=OTHER, from_=9) for name in ("difference", "contrast_prob_diff")
    ]
    same(*both)
    with pytest.raises(stepfn.UsageError, match="needs a contrast"):
        verse.score(TEXT, "difference")


def test_a_function_must_score_each_row_by_itself(verse: stepfn.LanguageModel) -> None:
    stepfn.register_step_function(lambda logits, target_ids: chance(logits, target_ids) / len(target_ids), "shared")
    with pytest.raises(stepfn.UsageError, match="score each row by itself"):
        verse.score(TEXT, "shared")


def test_what_a_function_raises_is_the_cause(verse: stepfn.LanguageModel) -> None:
    def broken(logits: Any, target_ids: Any) -> Any:
        raise LookupError("no such table")

    def short(logits: Any, target_ids: Any) -> Any:
        return np.zeros(1)

    with pytest.raises(stepfn.Error, match="LookupError: no such table") as raised:
        verse.score(TEXT, broken)
    assert isinstance(raised.value.__cause__, LookupError)
    with pytest.raises(stepfn.Error, match="it returned 1 values for"):
        verse.score(TEXT, short)
    with pytest.raises(stepfn.UsageError, match="has no default"):
        stepfn.register_step_function(lambda logits, ids, missing: logits)
    with pytest.raises(stepfn.UsageError, match="is taken"):
        stepfn.register_step_function(chance, "entropy")


def test_a_method_that_hides_tokens(verse: stepfn.LanguageModel, g2p: stepfn.LanguageModel) -> None:
    @stepfn.method
    def stutter(passes: stepfn.Passes, back: int = 1) -> Any:
        """What the function loses when a token repeats another before it."""
        source = passes.source_ids
        ids = passes.target_ids if source is None else source
        kept = passes.special_target if source is None else passes.special_source
        places = [place for place in range(back, len(ids)) if not kept[place]]
        variants = np.tile(ids, (len(places), 1))
        variants[range(len(places)), places] = ids[[place - back for place in places]]
        clean, values = passes.values(target=variants) if source is None else passes.values(source=variants)
        scores = np.zeros((len(ids), len(passes.steps)))
        scores[places] = clean - values
        return scores

    answer = verse.attribute(TEXT, "stutter", back=2)
    assert answer.target_scores is not None and answer.about["parameters"]["back"] == 2
    assert np.nanmax(np.abs(answer.target_scores)) > 0 and np.isnan(answer.target_scores[-1]).all()
    words = g2p.attribute("phonetics", stutter)
    assert words.source_scores is not None and words.source_scores.shape == (len(words.source), len(words.steps))
    # By hand: the text itself with another token.
    (first,) = [place for place, token in enumerate(words.source) if token.text == "h"][:1]
    changed = g2p.score(source="pponetics", target=words.target_text, functions="probability")
    clean = g2p.score(source="phonetics", target=words.target_text, functions="probability")
    np.testing.assert_allclose(words.source_scores[first], clean["probability"] - changed["probability"], atol=1e-5)


def test_a_method_that_uses_gradients(g2p: stepfn.LanguageModel) -> None:
    def by_hand(passes: stepfn.Passes) -> Any:
        source, _ = passes.gradients()
        assert source is not None
        return np.linalg.norm(source, axis=2).T

    def times(passes: stepfn.Passes) -> Any:
        (source, _), (embedded, _) = passes.gradients(), passes.embeddings()
        assert source is not None and embedded is not None
        return np.linalg.norm(source * embedded, axis=2).T

    same(g2p.attribute("phonetics", by_hand), g2p.attribute("phonetics", "saliency"))
    same(g2p.attribute("phonetics", times), g2p.attribute("phonetics", "input_x_gradient"))


def test_a_method_that_fails_says_so(g2p: stepfn.LanguageModel) -> None:
    kept: list[stepfn.Passes] = []

    def broken(passes: stepfn.Passes) -> Any:
        kept.append(passes)
        raise LookupError("no such table")

    with pytest.raises(stepfn.Error, match="LookupError: no such table"):
        g2p.attribute("hi", broken)
    with pytest.raises(RuntimeError, match="the text is done"):
        kept[0].gradients()
    for scores, says in ((np.zeros((2, 2)), "have shape"), (np.zeros(3), "something else than scores"), ((None, None), "no scores of the source")):
        with pytest.raises(stepfn.Error, match=says):
            g2p.attribute("hi", lambda passes, found=scores: found)


def test_a_method_of_units_has_a_column_for_each(verse: stepfn.LanguageModel) -> None:
    text = "And God said, Let there be light. And there was light."

    def by_hand(passes: stepfn.Passes) -> Any:
        _, target = passes.gradients()
        clean, _ = passes.values(target=passes.target_ids[None])
        assert target is not None and len(passes.columns) == len(target) == len(clean)
        return np.linalg.norm(target, axis=2).T

    for unit in ("sentence", "answer", "token"):
        answer = verse.attribute(text, by_hand, source="And God said,", unit=unit)
        same(answer, verse.attribute(text, "saliency", source="And God said,", unit=unit))

    def of_steps(passes: stepfn.Passes) -> Any:
        return np.zeros((len(passes.target_ids), len(passes.steps)))

    with pytest.raises(stepfn.Error, match="one for each of `passes.columns`"):
        verse.attribute(text, of_steps, source="And God said,", unit="answer")


def test_documents_are_hidden_as_one(verse: stepfn.LanguageModel) -> None:
    text = "And God said.\n\nAnd there was light."
    by_mark = verse.attribute(text, "occlusion", features="documents", from_=8)
    given = verse.attribute({"target": text, "documents": ["And God said.", "And there was light."]}, "occlusion", features="documents", from_=8)
    assert by_mark.target_scores is not None and given.target_scores is not None
    np.testing.assert_allclose(by_mark.target_scores, given.target_scores)
    assert by_mark.about["parameters"]["document_mark"] == "\n\n"
