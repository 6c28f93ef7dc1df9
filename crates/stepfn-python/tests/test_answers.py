"""Units that are attributed as one, and the sources of answers."""

from __future__ import annotations

import numpy as np
import pytest
import stepfn

TEXT = "And God said, Let there be light. “And there was light.” And it was so."
SOURCES = ["And God said, Let there be light.", "And it was so.", "The king died. The people wept."]
ANSWER = "And God saw the light. And the people said unto him"


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


def test_units_are_columns(verse: stepfn.LanguageModel) -> None:
    answer = verse.attribute(TEXT, "input_x_gradient", source="And God said,", unit="sentence", raw=True)
    assert answer.target_scores is not None and len(answer.spans) == answer.target_scores.shape[1] == 3
    tokens = verse.attribute(TEXT, "input_x_gradient", "probability", source="And God said,", raw=True, logprob=True)
    first = tokens.steps.start
    for column, span in enumerate(answer.spans):
        steps = tokens.target_scores[:, span.start - first : span.stop - first]
        np.testing.assert_allclose(np.nan_to_num(answer.target_scores[:, column]), np.nansum(steps, axis=1), rtol=1e-3, atol=1e-4)
    frame = answer.aggregate("vnorm").columns()
    assert set(frame["predicted"]) == {text for _, text in answer._native.columns()}
    assert answer.about["parameters"]["unit"] == "sentence"


def test_units_of_ones_own_count_characters(verse: stepfn.LanguageModel) -> None:
    at = TEXT.index("“And")
    answer = verse.attribute(TEXT, "occlusion", units=[(at, at + 22)])
    assert len(answer.spans) == 1 and answer.about["parameters"]["units"] == [[at, at + 22]]
    with pytest.raises(stepfn.Error, match="does not lie in the text"):
        verse.attribute(TEXT, units=[(0, 500)])
    with pytest.raises(stepfn.Error, match="scores each step by itself"):
        verse.attribute(TEXT, "attention", unit="answer")
    with pytest.raises(stepfn.Error, match="there is no unit"):
        verse.attribute(TEXT, unit="chapter")  # type: ignore[arg-type]


def test_the_prompt_alone_is_scored(verse: stepfn.LanguageModel) -> None:
    answer = verse.attribute(source="And God said,", unit="answer", prompt_only=True)
    assert answer.target_scores is not None
    seen = ~np.isnan(answer.target_scores[:, 0])
    assert seen[: answer.steps.start].all() and not seen[answer.steps.start :].any()


@pytest.mark.parametrize("method", ["context_cite", "leave_one_out", "hierarchical", "gradient"])
def test_sources_are_scored(verse: stepfn.LanguageModel, method: str) -> None:
    found = verse.context(SOURCES, answer=ANSWER, method=method, split="sentences", check=6)  # type: ignore[arg-type]
    assert [token.text for token in found.source] == [*SOURCES[:2], "The king died.", "The people wept."]
    assert found.source_scores is not None and found.source_scores.shape == (4, 2)
    assert {"lds", "drop_1", "random_drop_1", "first_drop_1"} <= set(found.measured)
    assert "The king died." in found.html() and len(found.columns()["score"]) == 8 + 2
    assert found.step_scores["log_probability"].shape == (2,)


def test_leaving_out_is_what_scores_say(verse: stepfn.LanguageModel) -> None:
    found = verse.context(SOURCES, answer=ANSWER, method="leave_one_out", statement="answer")

    def log_prob(sources: list[str]) -> float:
        prompt = "\n\n".join(sources)
        return float(verse.score(f"{prompt} {ANSWER}", "probability", source=prompt, logprob=True)["probability"].sum())

    assert found.source_scores is not None
    for left_out in (0, 1):
        rest = [source for number, source in enumerate(SOURCES) if number != left_out]
        assert found.source_scores[left_out, 0] == pytest.approx(log_prob(SOURCES) - log_prob(rest), abs=1e-3)


def test_mistakes_about_sources_are_told(verse: stepfn.LanguageModel) -> None:
    for arguments, says in [
        ({"sources": "one text"}, "a list of texts"),
        ({"sources": []}, "there are no sources"),
        ({"method": "contextcite"}, "context_cite"),
        ({"method": "leave_one_out", "n_ablations": 3}, "n_ablations"),
        ({"n_ablations": "many"}, "a whole number"),
        ({"operator": "burn"}, "there is no operator"),
        ({"split": None}, "`split` must be a string"),
        ({"template": "nothing"}, "{sources} once"),
        ({"question": "Who?", "template": "{sources}"}, "the template has no {question}"),
        ({"check": -1}, "`check` must be a whole number"),
    ]:
        given = {"sources": SOURCES, "answer": ANSWER, **arguments}
        with pytest.raises(stepfn.Error) as caught:
            verse.context(**given)  # type: ignore[arg-type]
        assert says in str(caught.value) + caught.value.hint, caught.value
