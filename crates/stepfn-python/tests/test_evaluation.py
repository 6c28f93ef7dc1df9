"""How faithful methods are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stepfn

TEXTS = ["And God said, Let there be light.", "And the king said unto him"]


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


def test_methods_are_beside_random_orders(verse: stepfn.LanguageModel, tmp_path: Path) -> None:
    found = verse.evaluate(TEXTS, ["saliency", "occlusion"], metrics=["comprehensiveness", "lds"], random_orders=2, abs=False)
    names = ["saliency", "occlusion", "random", "first_to_last", "last_to_first"]
    assert [row["method"] for row in found.rows] == names * 4
    assert found.about["parameters"]["occlusion"]["abs"] is False
    row = found.rows[1]
    assert row["texts"] == 2 and len(row["morf"]) == len(found.shares)
    figure = row["figures"]["comprehensiveness"]
    assert figure["low"] <= figure["mean"] <= figure["high"]
    assert [metric["better"] for metric in found.metrics] == ["more", "more"]
    columns = found.columns()
    assert len(columns["mean"]) == 20 * 2 and columns["method"][2] == "occlusion"
    assert "comprehensiveness ↑" in repr(found) and "<polyline" in found.html()
    for ending in ("json", "csv", "html", "txt"):
        found.save(tmp_path / f"found.{ending}")
    assert json.loads((tmp_path / "found.json").read_text())["rows"] == found.rows
    again = verse.evaluate(TEXTS, ["saliency", "occlusion"], metrics=["comprehensiveness", "lds"], random_orders=2, abs=False)
    assert again.rows == found.rows


def test_methods_of_ones_own_are_measured(verse: stepfn.LanguageModel) -> None:
    found = verse.evaluate(TEXTS, "saliency", "entropy", operators="remove", special=False, unit="answer", from_=4)
    assert found.rows[0]["attributed_fn"] == "entropy" and found.rows[0]["columns"] == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"methods": []}, "`methods` is empty"),
        ({"methods": "salience"}, "saliency"),
        ({"metrics": "faithfulness"}, "there is no metric `faithfulness`"),
        ({"operators": "hide"}, "there is no operator `hide`"),
        ({"special": "both"}, "`special` must be True, False, or both"),
        ({"ranking": "size"}, "there is no ranking `size`"),
        ({"random_orders": 0}, "the number of random orders is 0"),
        ({"metrics": "deletion", "functions": "entropy"}, "deletion is of probabilities"),
        ({"texts": []}, "there is no text"),
    ],
)
def test_wrong_calls_say_what_is_wrong(verse: stepfn.LanguageModel, given: dict[str, Any], says: str) -> None:
    with pytest.raises(stepfn.Error, match=says):
        verse.evaluate(**{"texts": TEXTS, **given})


def test_what_people_marked_is_compared_with(verse: stepfn.LanguageModel) -> None:
    text = "é: Let there be light, and there was light."
    at = text.index("light")
    of = [
        verse.evaluate({"text": text, "rationale": marks}, "saliency", metrics=["auprc", "mrr"], operators="mask", unit="answer", from_=9)
        for marks in (["light,"], [(at, at + 6)])
    ]
    assert of[0].rows == of[1].rows and of[0].rows[0]["operator"] == "mask"
    assert 0 < of[0].rows[0]["figures"]["mrr"]["mean"] <= 1
    with pytest.raises(stepfn.Error, match="has no `rationale`"):
        verse.evaluate(text, "saliency", metrics="iou")


def test_functions_that_compare_are_measured(verse: stepfn.LanguageModel) -> None:
    record = {"text": TEXTS[0], "contrast_target": TEXTS[0].replace("light", "darkness", 1)}
    shared, own = [
        verse.evaluate(record, "occlusion", "contrast_prob_diff", contrast_force_inputs=force, special=True).rows[0] for force in (False, True)
    ]
    assert shared["attributed_fn"] == "contrast_prob_diff"
    assert shared["figures"]["comprehensiveness"]["mean"] != own["figures"]["comprehensiveness"]["mean"]
