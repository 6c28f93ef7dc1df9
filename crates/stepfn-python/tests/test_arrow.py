"""Batches of Apache Arrow."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import stepfn

pa: Any = pytest.importorskip("pyarrow")
import stepfn.arrow  # noqa: E402

_TEXTS = ["Let there be light", None, "naïve light", "", "And the evening and the morning were the first day"]


def batch(**columns: Any) -> Any:
    return pa.table({"key": list("abcde"), "sentence": _TEXTS, "when": pa.array(range(5), pa.timestamp("us")), **columns})


def test_a_batch_has_the_scores_of_its_texts() -> None:
    scorer = stepfn.arrow.Scorer("verse", ["surprisal", "rank"], text_column="sentence", id_column="key", keep="when", alternatives=2)
    found = scorer(batch())
    assert found.schema == scorer.schema(batch().schema)
    assert found["id"] == batch()["key"] and found["when"] == batch()["when"], "kept as they are"
    model = stepfn.load("verse")
    errors = ["neither `text`, `source` nor `target`, nor `messages`", "the target is empty"]
    assert [row["error"] for row in found.to_pylist() if row["error"]] == errors
    good = [text for text in _TEXTS if text]
    scored = model.score(good, ["surprisal", "rank"], alternatives=2)
    rows = [row for row in found.to_pylist() if not row["error"]]
    for text, row, score in zip(good, rows, scored, strict=True):
        assert row["target_text"] == text and row["source_text"] is None and row["warnings"] == []
        assert row["tokens"] == [token.text for token in score.tokens] and row["token_ids"] == [token.id for token in score.tokens]
        assert row["first"] == score.steps.start and len(row["spans"]) == len(score.tokens)
        np.testing.assert_allclose(row["surprisal"], score["surprisal"], rtol=1e-5)
        np.testing.assert_allclose(row["logprob"], score.sequence["logprob"], rtol=1e-5)
        assert [[one["token"] for one in step] for step in row["expected"]] == [[one.text for one in step] for step in score.alternatives]
    assert rows[1]["spans"][-1] == {"start": 6, "end": 12}, "bytes, as in the files of the shell"
    values = [name for name in found.column_names if name not in ("id", "when", "error")]
    assert all(found[name][1].as_py() is None and found[name][3].as_py() is None for name in values)


def test_a_value_that_is_missing_is_null() -> None:
    columns = {"text": ["Let there be light"], "contrast_target": ["Let there was"]}
    found = stepfn.arrow.Scorer("verse", "kl_divergence")(pa.table(columns))["kl_divergence"].to_pylist()[0]
    assert found[0] == pytest.approx(0, abs=1e-5) and found[3] is None, "the contrast has three tokens"


def test_batches_come_one_after_the_other() -> None:
    scorer = pickle.loads(pickle.dumps(stepfn.arrow.Scorer("verse", "surprisal", text_column="sentence")))
    whole = scorer(batch())
    parts = list(scorer.batches(batch().to_batches(max_chunksize=2)))
    assert [part.num_rows for part in parts] == [2, 2, 1]
    together = pa.Table.from_batches(parts)
    assert together.drop_columns(["surprisal", "logprob", "perplexity", "mean_entropy"]) == whole.drop_columns(
        ["surprisal", "logprob", "perplexity", "mean_entropy"]
    )
    empty = scorer(batch().slice(0, 0))
    assert empty.num_rows == 0 and empty.schema == whole.schema


def test_noise_belongs_to_a_row_in_whatever_batch_it_is() -> None:
    scorer = stepfn.arrow.Scorer("verse", "mc_dropout_prob_avg", text_column="sentence", number_column="n", dropout=0.2, seed=5, n_mcd_steps=3)
    rows = batch(n=[7, 8, 9, 3, 4])
    whole = scorer(rows)["mc_dropout_prob_avg"].to_pylist()
    for start in range(5):
        np.testing.assert_allclose(scorer(rows.slice(start, 1))["mc_dropout_prob_avg"].to_pylist()[0] or [], whole[start] or [], rtol=1e-4)
    other = scorer(batch(n=[17, 18, 19, 13, 14]))["mc_dropout_prob_avg"].to_pylist()
    assert other[0] != whole[0]


def test_what_is_wrong_with_the_columns_is_said() -> None:
    with pytest.raises(stepfn.UsageError, match="`tokens`"):
        stepfn.arrow.Scorer("verse", keep="tokens")
    with pytest.raises(stepfn.UsageError, match="no column `nothing`"):
        stepfn.arrow.Scorer("verse", text_column="nothing")(batch())
    with pytest.raises(stepfn.UsageError, match="no column with a text"):
        stepfn.arrow.Scorer("verse")(batch())
    with pytest.raises(stepfn.UsageError, match="no number of a row"):
        stepfn.arrow.Scorer("verse", text_column="sentence", number_column="key")(batch())
    with pytest.raises(stepfn.UsageError, match="surprisl"):
        stepfn.arrow.Scorer("verse", "surprisl")
