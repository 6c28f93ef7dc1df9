"""Scripts for inseq and minicons run with another import, and give what these libraries give."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stepfn
from stepfn import _registry
from stepfn.compat import inseq, minicons
from stepfn.compat.minicons import scorer

GOLDEN = json.loads((Path(__file__).resolve().parent / "golden" / "compat.json").read_text())
TEXTS = ["Let there be light", "And the king of the waters", "In the beginning God created heaven"]
PREFIX, STIMULI = ["Let there", "And the king"], ["be light", "of the earth"]
GIVEN: dict[str, Any] = {"input_texts": "Let there be", "generated_texts": "Let there be light, and there was light", "show_progress": False}


@pytest.fixture(scope="module")
def lm() -> Any:
    return scorer.IncrementalLMScorer("verse", "cpu")


@pytest.fixture(scope="module")
def model() -> inseq.AttributionModel:
    return inseq.load_model("verse", "saliency")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    _registry._functions.clear()


def same_rows(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert [row[0] for row in own] == [row[0] for row in other]
        np.testing.assert_allclose([row[1] for row in own], [row[1] for row in other], rtol=1e-4, atol=1e-4)
        assert [row[2:] for row in own] == [tuple(row[2:]) for row in other]


def test_minicons_scores_of_tokens(lm: Any) -> None:
    golden = GOLDEN["minicons"]
    same_rows(lm.token_score(TEXTS, rank=True), golden["token_score"])
    same_rows(lm.token_score(TEXTS, surprisal=True, base_two=True), golden["token_surprisal"])
    same_rows(lm.token_score(TEXTS, prob=True), golden["token_prob"])
    same_rows(lm.token_score(TEXTS[0], decode=True), golden["token_decoded"])
    same_rows(lm.token_score(TEXTS, bow_correction=True), golden["token_corrected"])


def test_minicons_scores_of_words(lm: Any) -> None:
    golden = json.loads((Path(__file__).resolve().parents[3] / "tests/goldens/words/words.json").read_text())
    for case, correction in (("tokenized", False), ("tokenized_minicons", True)):
        found = lm.word_score_tokenized(golden["texts"], str.split, bow_correction=correction)
        for text, row, theirs in zip(golden["texts"], found, golden["start"][case], strict=True):
            assert [word for word, _ in row] == text.split()
            np.testing.assert_allclose([score for _, score in row], theirs, rtol=2e-4)
    (bits,) = lm.word_score(golden["texts"][0], surprisal=True, base_two=True)
    np.testing.assert_allclose([score for _, score in bits], -np.array(golden["start"]["plain"][0]) / np.log(2), rtol=2e-4)
    (probs,) = lm.word_score_tokenized(golden["texts"][0], str.split, prob=True)
    np.testing.assert_allclose([score for _, score in probs], np.exp(golden["start"]["plain"][0]), rtol=2e-3)
    with pytest.raises(stepfn.UsageError, match="no rank"):
        lm.word_score("a", rank=True)


def test_minicons_scores_of_masked_tokens() -> None:
    root = Path(__file__).resolve().parents[3] / "tests/goldens"
    golden = json.loads((root / "words/masked.json").read_text())
    lm = scorer.MaskedLMScorer(str(root / "replicas/bert"))
    for metric in ("original", "within_word_l2r"):
        rows = lm.token_score(golden["texts"], PLL_metric=metric)
        for row, tokens, scores in zip(rows, golden[metric]["tokens"], golden[metric]["log_probs"], strict=True):
            assert [token for token, _ in row] == tokens
            np.testing.assert_allclose([score for _, score in row], scores, rtol=1e-4)
        sums = lm.sequence_score(golden["texts"], reduction=lambda scores: scores.sum(0).item(), PLL_metric=metric)
        np.testing.assert_allclose(sums, golden[metric]["sums"], rtol=1e-4)


def test_minicons_scores_of_texts(lm: Any) -> None:
    golden = GOLDEN["minicons"]

    def total(scores: Any) -> Any:
        return scores.sum(0).item()

    found = {
        "sequence_mean": lm.sequence_score(TEXTS),
        "sequence_sum": lm.sequence_score(TEXTS, reduction=total, base_two=True),
        "sequence_corrected": lm.sequence_score(TEXTS, reduction=total, bow_correction=True),
        "conditional": lm.conditional_score(PREFIX, STIMULI),
        "conditional_corrected": lm.conditional_score(PREFIX, STIMULI, bow_correction=True),
    }
    for name, scores in found.items():
        np.testing.assert_allclose(scores, golden[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(lm.conditional_score(PREFIX, STIMULI, reduction=total, base_two=True), golden["conditional_sum"], rtol=1e-4)
    np.testing.assert_allclose(lm.conditional_score(PREFIX, STIMULI, separator=""), golden["conditional_separated"], rtol=1e-4)
    for own, other in zip(lm.compute_stats(lm.prepare_text(TEXTS)), golden["stats"], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)
    stats, ranks = lm.compute_stats(lm.prepare_text(TEXTS), rank=True)
    assert [len(one) for one in stats] == [len(one) for one in ranks]


def test_minicons_scores_of_an_encoder_decoder() -> None:
    lm = scorer.Seq2SeqScorer("g2p")
    (rows,) = lm.conditional_token_score("hello", "HH AH0 L OW1")
    (mean,) = lm.conditional_score("hello", "HH AH0 L OW1")
    assert mean == pytest.approx(np.mean([score for _, score in rows]), rel=1e-5)
    assert [token for token, _ in rows] == ["HH", "AH0", "L", "OW1"]
    with pytest.raises(stepfn.UsageError, match="use conditional_score"):
        lm.sequence_score(["hello"])
    with pytest.raises(stepfn.UsageError, match="use Seq2SeqScorer"):
        scorer.IncrementalLMScorer("g2p")
    with pytest.raises(stepfn.UsageError, match="use IncrementalLMScorer"):
        scorer.Seq2SeqScorer("verse")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda lm: lm.token_score("a", prob=True, surprisal=True), "choose one of prob"),
        (lambda lm: lm.conditional_score(["a"], ["b", "c"]), "1 prefixes, 2 stimuli"),
        (lambda _: scorer.IncrementalLMScorer("verse", "tpu"), "no device 'tpu'"),
        (lambda _: scorer.IncrementalLMScorer("verse", trust_remote_code=True), "`trust_remote_code` of the model is not mirrored"),
        (lambda _: inseq.load_model("verse", "salency"), "did you mean `saliency`"),
        (lambda _: inseq.load_model("verse", tokenizer_kwargs={"use_fast": True}), "`use_fast` of the tokenizer"),
        (lambda _: inseq.load_model("verse").attribute("a b", n_step=3), "no parameter `n_step`"),
        (lambda _: inseq.load_model("verse").attribute("a b", output_step_attributions=True), "output_step_attributions is not mirrored"),
        (lambda _: inseq.load_model("verse").attribute(["a b"], ["a b", "c"]), "1 input texts and 2 generated_texts"),
        (lambda _: inseq.load_model("verse").attribute("a b").aggregate("nothing"), "no aggregator 'nothing'"),
        (lambda _: inseq.load_model("verse").attribute("a b").show(min_val=0), "min_val is not mirrored"),
        (lambda _: inseq.load_model("verse").attribute("a b").show_tokens(), "`show_tokens` of FeatureAttributionOutput is not mirrored"),
        (lambda _: inseq.load_model("verse").attribute("a b")[0].weight_attributions("entropy"), "`weight_attributions` of"),
        (lambda lm: lm.prime_text("a", "b"), "`prime_text` of IncrementalLMScorer is not mirrored"),
        (lambda _: inseq.load_model("verse").attribute("a", return_convergence_delta=True), "promises no sum"),
        (lambda _: inseq.load_model("verse").attribute(None), "`input_texts` must be a string or a list of strings, not None"),
        (lambda _: inseq.load_model("verse").attribute(["a b", 3]), "`input_texts` must be a string or a list of strings"),
        (lambda _: inseq.load_model("verse").attribute("a", 3), "`generated_texts` must be a string or a list of strings, not 3"),
        (lambda _: inseq.load_model("verse").attribute("a b", "a b c", step_scores=3), "`step_scores` must be a string or a list"),
        (lambda _: inseq.load_model("verse").attribute("a b", "a b c", step_scores="entropi"), "did you mean `entropy`"),
        (lambda _: inseq.load_model("verse").generate(None), "`inputs` must be a string"),
        (lambda _: inseq.load_model("verse").attribute("a b", "a b c", attr_pos_start=9, attr_pos_end=4), "no token is attributed"),
        (lambda _: inseq.load_model("verse").attribute("a b", "a b c", attr_pos_end=2), "no token is attributed"),
        (lambda _: inseq.load_model("verse").attribute("a b", "a b c", attr_pos_start=-99), "attr_pos_start=-99 is no position"),
        (lambda _: inseq.load_model("verse").attribute("a b", "a b c", contrast_targets_alignments=[(1, 1)]), "without contrast_targets"),
        (lambda _: inseq.load_model("verse").attribute("a b").aggregate(["mean", "mean"], select_idx="x"), "select_idx must be the number of a unit"),
        (lambda _: inseq.merge_attributions([]), "only attributions can be merged"),
        (lambda _: inseq.merge_attributions(["a"]), "only attributions can be merged"),
        (lambda _: inseq.show_attributions, "`show_attributions` of inseq is not mirrored"),
        (lambda lm: lm.sequence_score("a b", reduction="mean"), "a reduction is a function, not 'mean'"),
        (lambda lm: lm.conditional_score("a", "b", reduction=None), "a reduction is a function, not None"),
        (lambda lm: lm.token_score(None), "`texts` must be a string or a list of strings, not None"),
        (lambda lm: lm.token_score(["a", ""]), "a text is empty"),
        (lambda lm: lm.conditional_score("a", ""), "stimulus 0 is empty"),
        (lambda lm: lm.conditional_score(["a", "b"], ["c", ""]), "stimulus 1 is empty"),
        (lambda lm: lm.conditional_score(None, "a"), "`prefix` must be a string"),
        (lambda _: scorer.MaskedLMScorer("verse"), "verse is no model for MaskedLMScorer.*use IncrementalLMScorer"),
        (lambda _: scorer.MaskedLMScorer("g2p"), "use Seq2SeqScorer"),
        (lambda _: inseq.load_model("verse", model_kwargs="x"), "`model_kwargs` must be a dict"),
        (lambda _: inseq.load_model("verse").attribute("a", generation_args=3), "`generation_args` must be a dict"),
        (lambda _: inseq.load_model("verse").attribute("a", attribution_args=3), "`attribution_args` must be a dict"),
        (lambda _: inseq.load_model("verse").attribute("a", device=3), "the model is on cpu"),
        (lambda _: inseq.load_model("verse").attribute("a", batch_size=0), "`batch_size` must be a whole number from 1 on"),
        (lambda _: inseq.load_model("verse").attribute("a", "a b", contrast_targets="a c", contrast_targets_alignments=3), "an alignment is a list of pairs"),
        (lambda _: inseq.load_model("verse").attribute("a", "a b", contrast_targets="a c", contrast_targets_alignments=[[]]), "an alignment is a list of pairs"),
        (lambda _: inseq.load_model("verse").attribute(["a", "b"], ["a b", "b c"], contrast_targets=["a c", "b a"], contrast_targets_alignments=[[(2, 2)]]), "2 input texts and 1"),
        (lambda _: inseq.load_model("verse").attribute("a b").aggregate(3), "an aggregator is a name"),
        (lambda _: inseq.load_model("verse").attribute("a b").aggregate("spans", target_spans="x"), "spans are pairs of positions"),
        (lambda _: inseq.load_model("verse").attribute("a b")[0] - 3, "no difference to int"),
        (lambda _: inseq.load_model("verse").attribute("a b") + 3, "no sum with int"),
        (lambda _: inseq.load_model("verse").attribute("a b").save(None), "a file is named by"),
        (lambda _: inseq.load_model("verse").attribute("a b").save("/nowhere/at/all"), "can't be written"),
        (lambda _: inseq.FeatureAttributionOutput.load("/nowhere/at/all", decompress=True), "can't be read"),
        (lambda _: inseq.register_step_function(3, "x"), "3 is no function"),
        (lambda _: scorer.IncrementalLMScorer("verse", 3), "no device 3"),
        (lambda lm: lm.conditional_score("a", "b", separator=3), "`separator` must be a string"),
        (lambda _: minicons.cwe, "`cwe` of minicons is not mirrored"),
        (lambda lm: lm.word_score_tokenized("a b", None), "a tokenize_function is a function"),
        (lambda lm: lm.next_word_distribution(["a"]), "`next_word_distribution` of"),
        (lambda _: minicons.openai, "`openai` of minicons is not mirrored"),
    ],
)
def test_nothing_is_swallowed(lm: Any, call: Any, says: str) -> None:
    with pytest.raises(stepfn.Error, match=says):
        call(lm)


def same(out: Any, name: str, rtol: float = 2e-3, **options: Any) -> None:
    golden = GOLDEN["inseq"][name]
    sequence = out.aggregate(**options)[0]
    assert (sequence.attr_pos_start, sequence.attr_pos_end) == (golden["start"], golden["end"])
    # -1 is where inseq shows two tokens that are compared as one.
    assert all(other in (token.id, -1) for token, other in zip(sequence.target, golden["ids"], strict=True))
    theirs = np.array(golden["target"], dtype=float)
    np.testing.assert_allclose(sequence.target_attributions, theirs, rtol=rtol, atol=1e-5, err_msg=name)
    for key, values in golden["step_scores"].items():
        np.testing.assert_allclose(sequence.step_scores[key], values, rtol=1e-3, err_msg=key)


def test_inseq_attributions(model: inseq.AttributionModel) -> None:
    out = model.attribute(**GIVEN, step_scores=["probability", "entropy", "logit"])
    same(out, "saliency")
    same(out, "saliency_sizes", normalize=False)
    same(model.attribute(**GIVEN, method="input_x_gradient"), "input_x_gradient")
    attention = model.attribute(**GIVEN, method="attention")
    same(attention, "attention", aggregator=["mean", "mean"], normalize=False)
    same(attention, "attention_head", aggregator=["mean", "mean"], normalize=False, select_idx=[1])
    same(attention, "attention_heads", aggregator=["mean", "mean"], normalize=False, select_idx=[0, 2, 3])
    same(model.attribute(**GIVEN, attributed_fn="entropy"), "entropy", normalize=False)
    contrast = {"attributed_fn": "contrast_prob_diff", "contrast_targets": "Let there be light, and there was water"}
    same(model.attribute(**GIVEN, **contrast), "contrast", normalize=False)
    same(model.attribute(**GIVEN, attr_pos_start=6, attr_pos_end=9), "positions", normalize=False)
    same(model.attribute(**GIVEN, attr_pos_start=2, attr_pos_end=99), "positions_clamped", normalize=False)
    same(model.attribute(**GIVEN, attr_pos_end=-2), "positions_to", normalize=False)
    other = {"attributed_fn": "contrast_prob_diff", "contrast_targets": "And the king of Egypt, and there was water"}
    same(model.attribute(**GIVEN, **other), "contrast_prompt", normalize=False)
    for name, target in (("contrast_shorter", "Let there be water"), ("contrast_longer", "Let there be light in the heaven, and there was water")):
        same(model.attribute(**GIVEN, attributed_fn="contrast_prob_diff", contrast_targets=target), name, normalize=False)
    forced = model.attribute(**GIVEN, **other, contrast_force_inputs=True, method="occlusion")
    assert forced[0].attr_pos_start == 4 and forced[0].answer.contrast[0].text == " Egypt"
    same(model.attribute("", "Let there be light", show_progress=False), "no_prompt", normalize=False)


def words(folder: Path) -> str:
    """The random GPT-2, whose tokenizer knows words by their number and adds none."""
    golden = Path(__file__).resolve().parents[3] / "tests" / "goldens" / "models" / "gpt2"
    shutil.copytree(golden, folder / "gpt2")
    size = json.loads((golden / "config.json").read_text())["vocab_size"]
    vocab = {"type": "WordLevel", "vocab": {f"w{number}": number for number in range(size)}, "unk_token": "w3"}
    tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": vocab}
    (folder / "gpt2" / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "gpt2" / "tokenizer_config.json").write_text(json.dumps({"unk_token": "w3"}))
    return str(folder / "gpt2")


@pytest.mark.parametrize(
    ("method", "options"),
    [("occlusion", {}), ("integrated_gradients", {"n_steps": 64}), ("sequential_integrated_gradients", {"n_steps": 20})],
)
def test_inseq_attributions_with_a_baseline(method: str, options: dict[str, Any], tmp_path: Path) -> None:
    out = inseq.load_model(words(tmp_path), method).attribute("w5 w9 w7", "w5 w9 w7 w11 w13", **options)
    theirs = np.array(GOLDEN["words"][method]["target"], dtype=float)
    np.testing.assert_allclose(out.aggregate(normalize=False)[0].target_attributions, theirs, rtol=2e-3, atol=1e-7)


def test_inseq_outputs(model: inseq.AttributionModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.attribute(["Let there be", "And the king"], ["Let there be light", "And the king said"], step_scores=["probability"])
    assert len(out) == 2 and len(out[:1]) == 1 and len(out + out) == 4
    assert out.info["model_name"] == "verse" and out.info["constrained_decoding"]
    (scores, _) = out.get_scores_dicts()
    assert list(scores) == ["source_attributions", "target_attributions", "step_scores"]
    ((step, column),) = scores["target_attributions"].items()
    assert step == (4, " light") and sum(column.values()) == pytest.approx(1, rel=1e-5)
    assert scores["step_scores"][step]["probability"] == pytest.approx(0.0027264, rel=1e-3)
    out.show()
    assert "saliency of probability, verse" in capsys.readouterr().out
    page = out.show(display=False, return_html=True)
    assert page is not None and page.startswith("<!")
    out.save(tmp_path / "out.json")
    with pytest.raises(stepfn.UsageError, match="exists"):
        out.save(tmp_path / "out.json")
    again = inseq.FeatureAttributionOutput.load(tmp_path / "out.json")
    np.testing.assert_allclose(again[1].target_attributions, out[1].target_attributions, rtol=1e-6)
    out.save(tmp_path / "out.json.gz", compress=True)
    assert gzip.decompress((tmp_path / "out.json.gz").read_bytes()) == (tmp_path / "out.json").read_bytes()
    assert len(inseq.FeatureAttributionOutput.load(tmp_path / "out.json.gz", decompress=True)) == 2
    merged = out.aggregate("spans", target_spans=(1, 3), normalize=False)
    assert len(merged[0].target) == len(out[0].target) - 1


def test_inseq_counts_an_alignment_from_the_start_of_the_target(model: inseq.AttributionModel) -> None:
    contrast = {"attributed_fn": "contrast_prob_diff", "contrast_targets": "Let there be light, and there was water"}
    plain = model.attribute(**GIVEN, **contrast)[0]
    pairs = [(step, step) for step in range(plain.attr_pos_start, plain.attr_pos_end)]
    aligned = model.attribute(**GIVEN, **contrast, contrast_targets_alignments=[pairs])[0]
    np.testing.assert_array_equal(plain.target_attributions, aligned.target_attributions)
    with pytest.raises(stepfn.UsageError, match="before the first"):
        model.attribute(**GIVEN, **contrast, contrast_targets_alignments=[(0, 0)])
    merged = plain.aggregate("spans", target_spans=[(1, 3), (4, 6)], normalize=False)
    assert len(merged.target) == len(plain.target) - 2


def test_inseq_writes_and_counts_positions(model: inseq.AttributionModel) -> None:
    out = model.attribute("Let there be", generation_args={"max_new_tokens": 4})
    assert out[0].attr_pos_end - out[0].attr_pos_start == 4
    assert out.info["generated_texts"] == model.generate("Let there be", max_new_tokens=4)
    last = model.attribute(**GIVEN, attr_pos_start=-2, attr_pos_end=-1)
    assert last[0].attr_pos_end == len(last[0].target) - 1 == last[0].attr_pos_start + 1
    seq2seq = inseq.load_model("g2p", "input_x_gradient").attribute("hello", attribute_target=True, attr_pos_end=3)
    assert seq2seq[0].source_attributions is not None and seq2seq[0].source_attributions.shape[:2] == (6, 2)
    assert seq2seq[0].target_attributions is not None and seq2seq[0].target_attributions.shape[:2] == (3, 2)


def test_step_functions_of_both_kinds(model: inseq.AttributionModel) -> None:
    def of_logits(logits: Any, target_ids: Any, scale: float = 1.0) -> Any:
        return scale * logits[np.arange(len(target_ids)), target_ids]

    inseq.register_step_function(of_logits, "scaled_logit", aggregate_map={"spans": "sum"})
    out = model.attribute(**GIVEN, step_scores=["scaled_logit", "logit"], step_scores_args={"scale": 2.0})
    np.testing.assert_allclose(out[0].step_scores["scaled_logit"], 2 * out[0].step_scores["logit"], rtol=1e-5)
    assert "scaled_logit" in inseq.list_step_functions()
    torch = pytest.importorskip("torch")

    def of_args(args: Any, logprob: bool = False) -> Any:
        logits = args.attribution_model.output2logits(args.forward_output)
        chosen = torch.log_softmax(logits, -1).gather(-1, args.target_ids[:, None]).squeeze(-1)
        return chosen if logprob else chosen.exp()

    inseq.register_step_function(of_args, "own_probability")
    ours = model.attribute(**GIVEN, attributed_fn="own_probability")
    theirs = model.attribute(**GIVEN)
    np.testing.assert_allclose(ours[0].target_attributions, theirs[0].target_attributions, rtol=1e-3, atol=1e-7)


def test_minicons_texts_of_one_token(tmp_path: Path) -> None:
    lm = scorer.IncrementalLMScorer(words(tmp_path), "cpu")
    same_rows(lm.token_score(["w5", "w5 w9 w7"]), GOLDEN["words"]["one_token"])
    same_rows(lm.token_score(["w5"], surprisal=True, rank=True), GOLDEN["words"]["one_token_surprisal"])
    alone, score = lm.sequence_score(["w5", "w5 w9 w7"])
    assert np.isnan(alone) and np.isfinite(score)


def test_inseq_step_scores_by_one_name_and_merging(model: inseq.AttributionModel) -> None:
    one = model.attribute(**GIVEN, step_scores="probability")
    several = model.attribute(**GIVEN, step_scores=["probability"])
    np.testing.assert_array_equal(one[0].step_scores["probability"], several[0].step_scores["probability"])
    merged = inseq.merge_attributions([one, several, one])
    assert len(merged) == 3 and len(merged.info["input_texts"]) == 3
    with pytest.raises(stepfn.UsageError, match="another attribution_method"):
        inseq.merge_attributions([one, model.attribute(**GIVEN, method="dummy")])
    with pytest.raises(ImportError):
        from stepfn.compat.inseq import show_attributions  # type: ignore[attr-defined]  # noqa: F401
