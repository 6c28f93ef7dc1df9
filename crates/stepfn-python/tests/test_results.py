"""Results: their numbers, tables, files and pages."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import stepfn


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


@pytest.fixture(scope="module")
def g2p() -> stepfn.LanguageModel:
    return stepfn.load("g2p")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def same_as_csv(columns: dict[str, object], text: str, skipped: tuple[str, ...] = ()) -> None:
    table = rows(text)
    assert list(columns) == list(table[0])
    for name, values in columns.items():
        if name in skipped:
            continue
        written = [row[name] for row in table]
        assert len(values) == len(written)  # type: ignore[arg-type]
        for value, cell in zip(values, written, strict=True):  # type: ignore[call-overload]
            if isinstance(value, float | np.floating):
                assert (np.isnan(value) and cell == "") or np.float32(cell) == value
            else:
                assert ("" if value is None else str(value)) == cell, name


def test_an_answer_has_the_numbers_and_tokens_of_its_json(g2p: stepfn.LanguageModel) -> None:
    answer = g2p.attribute("phonetics", "integrated_gradients", n_steps=20, step_scores=["entropy"], target_side=True)
    written = json.loads(answer.json())
    assert [token.text for token in answer.source] == [token["surface"] for token in written["source"]]
    assert answer.source_scores is not None and answer.target_scores is not None
    assert answer.source_scores.shape == (len(answer.source), len(answer.steps))
    assert answer.target_scores.shape == (len(answer.target), len(answer.steps))
    assert answer.source_scores.dtype == np.float32
    assert [token.text for token in answer.tokens] == [token.text for token in answer.target[1:]]
    assert np.isnan(answer.target_scores[-1]).all() and not np.isnan(answer.source_scores).any()
    assert answer.about["parameters"]["n_steps"] == 20
    total = np.nansum(answer.source_scores, 0) + np.nansum(answer.target_scores, 0)
    assert answer.changes is not None and answer.deltas is not None
    # The scores, their distance from adding up, and what they should add up to.
    raw = g2p.attribute("phonetics", "integrated_gradients", n_steps=20, target_side=True, raw=True)
    assert raw.axes == ["token", "step", "hidden"] and raw.source_scores is not None and raw.target_scores is not None
    summed = np.nansum(raw.source_scores, (0, 2)) + np.nansum(raw.target_scores, (0, 2))
    np.testing.assert_allclose(np.abs(summed - answer.changes), np.abs(answer.deltas), atol=1e-4)
    assert total.shape == summed.shape


def test_tables_are_those_of_csv(g2p: stepfn.LanguageModel, verse: stepfn.LanguageModel) -> None:
    answers = g2p.attribute([{"id": "one, two", "source": "hi"}, "you"], step_scores=["entropy", "logit"])
    same_as_csv(answers.columns(), stepfn.write(answers, "csv"))
    attention = verse.attribute("Let there be", "attention", raw=True)
    assert attention.axes == ["token", "step", "layer", "head"]
    same_as_csv(attention.columns(), stepfn.write([attention], "csv"))
    scores = verse.score(["Let there be", {"id": 7, "target": "light"}], ["entropy", "rank"])
    same_as_csv(scores.columns(), stepfn.write(scores, "csv"))


def test_positions_are_characters_of_the_text(verse: stepfn.LanguageModel) -> None:
    text = "naïve 東 light"
    scores = verse.score(text, "entropy")
    inside = [token for token in scores.target if token.end > token.start]
    assert "".join(dict.fromkeys(text[token.start : token.end] for token in inside)) and inside[-1].end == len(text)
    assert all(text[token.start : token.end] for token in inside)
    hidden = verse.attribute({"target": text, "target_spans": [(0, 5)]}, "occlusion")
    assert hidden.about["parameters"]["target_spans"] == [[0, 5]]
    assert json.loads(hidden.json())["about"]["parameters"]["target_spans"] == [[0, 6]], "a file has bytes"


def test_frames(g2p: stepfn.LanguageModel) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    answers = g2p.attribute(["hi", "you"], step_scores=["entropy"])
    frame = answers.to_pandas()
    assert str(frame["index"].dtype) == "Int64" and frame["index"].isna().sum() == sum(len(one.steps) for one in answers)
    assert frame["score"].dtype == np.float32 and set(frame["id"]) == {"0", "1"}
    assert pyarrow.table(answers[0]) == answers[0].to_arrow()
    table = pyarrow.RecordBatchReader.from_stream(answers).read_all()
    assert table.num_rows == len(frame) and table.column_names == list(frame.columns)
    scores = stepfn.load("verse").score(["Let there be", "light"])
    assert scores.to_pandas().groupby("id")["surprisal"].sum().gt(0).all()
    assert isinstance(scores[0].to_pandas(), pandas.DataFrame)


def test_what_is_saved_is_read(g2p: stepfn.LanguageModel, tmp_path: Path) -> None:
    answers = g2p.attribute(["hi", "you"])
    for name in ("all.json", "all.jsonl"):
        answers.save(tmp_path / name)
        assert list(stepfn.read(tmp_path / name)) == list(answers)
    answers[0].save(tmp_path / "one.json")
    assert stepfn.read(tmp_path / "one.json")[0] == answers[0]
    answers.save(tmp_path / "inseq.json", "inseq")
    assert stepfn.read(tmp_path / "inseq.json")[1].tokens[0].text == answers[1].tokens[0].text
    for name in ("page.html", "map.svg", "table.txt", "table.csv"):
        answers[0].save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100
    with pytest.raises(stepfn.UsageError, match="there is no format `docx`"):
        answers.save(tmp_path / "all.docx")
    with pytest.raises(stepfn.FileError, match="can't be written"):
        answers.save(tmp_path / "nowhere" / "all.json")
    with pytest.raises(OSError, match="can't be read"):
        stepfn.read(tmp_path / "nothing.json")


def test_answers_are_pickled_and_compared(g2p: stepfn.LanguageModel) -> None:
    answer = g2p.attribute("hi")
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert answer != g2p.attribute("you")
    difference = answer - answer
    assert difference.source_scores is not None and not np.nan_to_num(difference.source_scores).any()


def test_a_page_stands_alone_in_a_notebook(g2p: stepfn.LanguageModel) -> None:
    html = g2p.attribute("hi")._repr_html_()
    assert html.startswith("<iframe srcdoc=") and html.count("<") == 2 and html.endswith("</iframe>")


def test_aggregation_is_that_of_the_pipeline(verse: stepfn.LanguageModel) -> None:
    raw = verse.attribute("Let there be light", raw=True)
    both = raw.aggregate("vnorm", "normalize"), raw.aggregate("vnorm,normalize")
    assert both[0] == both[1] and both[0].target_scores is not None
    np.testing.assert_allclose(np.nansum(both[0].target_scores, 0), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="subwrds"):
        raw.aggregate("subwrds")


def test_scores_of_texts_are_those_of_each_alone(verse: stepfn.LanguageModel) -> None:
    texts = [f"And the {word} of the earth" for word in ("king", "waters", "man", "light of day")]
    together = verse.score(texts, ["surprisal", "entropy"])
    streamed = list(verse.score_all(iter(texts * 5), ["surprisal", "entropy"]))
    assert len(streamed) == 20
    for number, text in enumerate(texts):
        alone = verse.score(text, ["surprisal", "entropy"])
        for one in (together[number], streamed[number], streamed[number + 16]):
            assert isinstance(one, stepfn.ScoredText)
            for name in ("surprisal", "entropy"):
                np.testing.assert_allclose(one[name], alone[name], rtol=1e-5)
        assert alone.sequence["logprob"] == pytest.approx(-alone["surprisal"].sum() * np.log(2), rel=1e-5)


def test_streamed_noise_is_that_of_one_call(verse: stepfn.LanguageModel) -> None:
    texts = [f"And the {word}" for word in ["king", "light", "man", "day"] * 5]
    once = verse.score(texts, "mc_dropout_prob_avg", dropout=0.2, seed=3)
    streamed = list(verse.score_all(texts, "mc_dropout_prob_avg", dropout=0.2, seed=3))
    assert all((one["mc_dropout_prob_avg"] == other["mc_dropout_prob_avg"]).all() for one, other in zip(once, streamed, strict=True))  # type: ignore[index]


def test_a_model_writes(g2p: stepfn.LanguageModel) -> None:
    (written,) = g2p.generate("hello")
    assert written.text == "HH EH1 L OW0" and written.finished and written.source == "hello"
    many = stepfn.load("g2p", generation={"num_beams": 3, "num_return_sequences": 2}).generate(["hi", "you"])
    assert [len(one) for one in many] == [2, 2] and many[0][0].score >= many[0][1].score
