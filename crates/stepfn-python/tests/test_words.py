"""Scores of words, sentences and regions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stepfn

GOLDEN = json.loads((Path(__file__).resolve().parents[3] / "tests" / "goldens" / "words" / "words.json").read_text())


@pytest.fixture(scope="module")
def model() -> Any:
    return stepfn.load("verse")


@pytest.mark.parametrize(("case", "correction"), [("plain", False), ("published", True), ("minicons", "minicons")])
def test_words_have_the_golden_scores(model: Any, case: str, correction: Any) -> None:
    scored = model.score(GOLDEN["texts"], "crossentropy", by="word", bow_correction=correction)
    for text, expected in zip(scored, GOLDEN["start"][case], strict=True):
        np.testing.assert_allclose([-unit.scores["crossentropy"] for unit in text.units], expected, rtol=2e-4, atol=2e-4)
    assert [unit.text for unit in scored[0].units] == GOLDEN["texts"][0].split()


def test_words_and_regions_of_ones_own(model: Any) -> None:
    text = "Ja \u00e9t\u00e9 light"
    scored = model.score({"target": text, "words": ["Ja", "\u00e9t\u00e9", "light"]}, "surprisal", by="word")
    assert [(unit.text, unit.start, unit.end) for unit in scored.units] == [("Ja", 0, 2), ("\u00e9t\u00e9", 3, 6), ("light", 7, 12)]
    regions = [(3, 6), {"name": "last", "span": (7, 12)}]
    scored = model.score({"target": text, "regions": regions}, "surprisal", by="region")
    assert [(unit.text, unit.name) for unit in scored.units] == [("\u00e9t\u00e9", None), ("light", "last")]
    assert list(scored.columns()) == ["id", "position", "region", "name", "start", "end", "tokens", "surprisal"]


def test_texts_are_read_with_or_without_a_start_token(model: Any) -> None:
    without = model.score("Let there be light", "surprisal", by="word", start_token=False)
    assert math.isnan(without.units[0].scores["surprisal"]) and not math.isnan(without.units[1].scores["surprisal"])
    measured = model.score("Let there be light", "surprisal", by="text", uncertainty=3, dropout=0.1)
    assert measured.units[0].scores["d_var"] > 0
    with pytest.raises(stepfn.UsageError, match="whole texts"):
        model.score("Let there be light", "surprisal", uncertainty=3)
    with pytest.raises(stepfn.UsageError, match="no unit `syllable`"):
        model.score("Let there be light", "surprisal", by="syllable")


def test_equal_texts_are_scored_once(model: Any) -> None:
    texts = ["Let there be light", "And there was light", "Let there be light"]
    once, each = model.score(texts, "surprisal", once=True), model.score(texts, "surprisal")
    for one, other in zip(once, each, strict=True):
        np.testing.assert_allclose(one["surprisal"], other["surprisal"], rtol=1e-5)
    assert once[0]["surprisal"].tolist() == once[2]["surprisal"].tolist()
    with pytest.raises(stepfn.UsageError, match="noise"):
        model.score(texts, "mc_dropout_prob_avg", once=True, dropout=0.1)
    with pytest.raises(stepfn.UsageError, match="`once` must be True or False"):
        model.score(texts, "surprisal", once="yes")
