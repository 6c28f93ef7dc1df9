"""Pairs of texts: which is preferred, and how alike they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import stepfn

GOLDENS = Path(__file__).resolve().parents[3] / "tests/goldens/similarity"
GOOD, BAD = "And God said unto them", "And God say unto them"


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


@pytest.fixture(scope="module")
def translator() -> stepfn.LanguageModel:
    return stepfn.load(str(GOLDENS / "model"), generation={"num_beams": 3, "max_length": 40})


def test_texts_are_compared(verse: stepfn.LanguageModel) -> None:
    found = verse.compare([GOOD, BAD], ["entropy", "surprisal"])
    assert found.prefers and found.difference is not None and found.difference > 0 and "as expected" in repr(found)
    texts = found.texts
    assert [text["name"] for text in texts] == ["1", "2"]
    scores = [verse.score(text, ["entropy", "surprisal"], by="text").units[0].scores for text in (GOOD, BAD)]
    for text, own in zip(texts, scores, strict=True):
        assert text["scores"] == pytest.approx(own, rel=1e-4)
    assert not verse.compare([BAD, GOOD]).prefers
    prompted = verse.compare({"good": "said", "bad": "say", "source": "And God"})
    assert prompted.texts[0]["tokens"] == 1 and prompted == verse.compare({"good": "said", "bad": "say"}, source="And God")


def test_comparisons_are_counted_by_group(verse: stepfn.LanguageModel) -> None:
    pytest.importorskip("pandas")
    pairs = [{"sentence_good": GOOD, "sentence_bad": BAD, "UID": "verbs"}, {"sentence_good": BAD, "sentence_bad": GOOD, "UID": "verbs"}]
    found = verse.compare([*pairs, {"sentence_good": GOOD, "sentence_bad": "them And unto", "UID": "order"}], "entropy", group_by="UID", keep=["UID"])
    assert [one.prefers for one in found] == [True, False, True] and found[2].group == "order"
    rows = [(row["group"], row["n"], row["accuracy"]) for row in found.accuracies()]
    assert rows == [("verbs", 2, 0.5), ("order", 1, 1.0), (None, 3, pytest.approx(2 / 3))]
    table = found.to_pandas()
    assert list(table["UID"]) == ["verbs", "verbs", "order"] and table["entropy_sentence_good"].notna().all()
    assert len(verse.compare([[GOOD, BAD], [BAD, GOOD]])) == 2


def test_regions_and_formulas_are_compared(verse: stepfn.LanguageModel) -> None:
    item = {
        "conditions": [
            {"condition_name": name, "regions": [{"region_number": 1, "content": "And God"}, {"region_number": 2, "content": verb}]}
            for name, verb in (("match", "said"), ("mismatch", "say"))
        ]
    }
    by_region = verse.compare(item, columns=["match", "mismatch"], region="2")
    by_formula = verse.compare(item, columns=["match", "mismatch"], formula="mismatch[2] > match[2]")
    assert by_region.prefers and by_formula.prefers and by_formula.difference is None
    assert by_region.texts[0]["regions"][1][0] == "2"


def test_similarities_are_those_of_nmtscore(translator: stepfn.LanguageModel) -> None:
    golden = json.loads((GOLDENS / "similarity.json").read_text())
    a, b = ([pair[side] for pair in golden["pairs"]] for side in (0, 1))
    for case in golden["cases"][:6]:
        given = {name: case[name] for name in ("measure", "a_lang", "b_lang", "normalize", "both_directions")}
        found = translator.similarity(a, b, via=golden["via"], base=2, **given)
        assert [float(one) for one in found] == pytest.approx(case["scores"], rel=1e-3)
    one = translator.similarity(a[0], b[0], a_lang="en", b_lang="de", via="fr")
    assert one.texts[1]["translation"] == golden["translations"][1]["translations"][0]
    assert one.similarity == pytest.approx(sum(way["score"] for way in one.directions) / 2)
    assert one.about["parameters"]["measure"] == "cross_likelihood" and "similarity" in repr(one)


def test_what_cannot_be_measured_is_told(verse: stepfn.LanguageModel, translator: stepfn.LanguageModel) -> None:
    calls = [
        lambda: verse.compare(GOOD),
        lambda: verse.compare([[GOOD, BAD], [GOOD, BAD, BAD]]),
        lambda: verse.compare([GOOD, BAD], region="1", formula="1 < 2"),
        lambda: verse.compare([GOOD, BAD], criterion="length"),
        lambda: verse.compare([{"good": GOOD}]),
        lambda: verse.compare([3]),
        lambda: verse.compare([[GOOD, BAD]], source="x"),
        lambda: verse.similarity(GOOD, BAD, a_lang="en"),
        lambda: translator.similarity("dawn", ["dawn"], a_lang="en"),
        lambda: translator.similarity(["dawn"], ["dawn", "dawn"], a_lang="en"),
        lambda: translator.similarity("dawn", "dawn", a_lang="xx"),
        lambda: translator.similarity("dawn", "dawn", a_lang="en", base=1),
        lambda: translator.similarity("dawn", "dawn", a_lang="en", measure="cosine"),
        lambda: translator.similarity("dawn", "dawn", a_lang="en", normalize=1),
    ]
    for call in calls:
        with pytest.raises(stepfn.Error) as error:
            call()
        assert error.value.what and error.value.hint
    failed = verse.compare([{"good": GOOD, "bad": BAD}, {"good": GOOD}], errors="return")
    assert failed[0].prefers and isinstance(failed[1], stepfn.Error)
