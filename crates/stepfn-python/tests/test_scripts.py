"""Scripts in the manner of inseq's and minicons' documentation, with only the import changed: each runs, and says what it said there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stepfn

GOLDEN = json.loads((Path(__file__).resolve().parent / "golden" / "compat.json").read_text())


def run(script: str, folder: Path) -> Any:
    """What a script prints last, as JSON."""
    where = {"PYTHONPATH": str(Path(stepfn.__file__).resolve().parents[1]), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, timeout=120, env={**os.environ, **where})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


SCRIPTS: dict[str, str] = {
    # inseq
    "quickstart": """
from stepfn.compat import inseq
import json

model = inseq.load_model("verse", "saliency")
out = model.attribute(
    "Let there be",
    "Let there be light, and there was light",
    step_scores=["probability", "entropy", "logit"],
    show_progress=False,
)
out.show()
print(json.dumps({
    "target": out.aggregate()[0].target_attributions.tolist(),
    "scores": {name: values.tolist() for name, values in out[0].step_scores.items()},
}))
""",
    "generated": """
from stepfn.compat import inseq
import json

model = inseq.load_model("verse", "integrated_gradients")
out = model.attribute(
    input_texts=["Let there be", "And the king"],
    n_steps=50,
    return_convergence_delta=True,
    step_scores=["probability"],
    generation_args={"max_new_tokens": 5},
    batch_size=1,
)
out.save("verse.json", overwrite=True)
loaded = inseq.FeatureAttributionOutput.load("verse.json")
print(json.dumps({
    "steps": [one.attr_pos_end - one.attr_pos_start for one in loaded],
    "texts": out.info["generated_texts"] == model.generate(["Let there be", "And the king"], max_new_tokens=5),
    "deltas": [len(one.step_scores["deltas"]) for one in out],
}))
""",
    "translation": """
from stepfn.compat import inseq
import json

model = inseq.load_model("g2p", "input_x_gradient")
out = model.attribute("hello", attribute_target=True, step_scores="probability")
scores = out.get_scores_dicts(aggregator="vnorm")[0]
html = out.show(display=False, return_html=True)
print(json.dumps({
    "keys": sorted(scores),
    "first": sum(next(iter(scores["source_attributions"].values())).values()),
    "page": html[:2],
}))
""",
    "contrastive": """
from stepfn.compat import inseq
import json

attribution_model = inseq.load_model("verse", "saliency")
contrastive = attribution_model.attribute(
    "Let there be",
    "Let there be light, and there was light",
    attributed_fn="contrast_prob_diff",
    contrast_targets="Let there be light, and there was water",
    show_progress=False,
)
print(json.dumps({"target": contrastive.aggregate(normalize=False)[0].target_attributions.tolist()}))
""",
    "attention": """
from stepfn.compat import inseq
import json

model = inseq.load_model("verse", "attention")
out = model.attribute("Let there be", "Let there be light, and there was light")
heads = out.aggregate(aggregator=["mean", "mean"], normalize=False, select_idx=[0, 2, 3])
print(json.dumps({"target": heads[0].target_attributions.tolist()}))
""",
    "own function": """
from stepfn.compat import inseq
import json
import numpy as np

def chosen_logit(logits, target_ids, scale=1.0):
    return scale * logits[np.arange(len(target_ids)), target_ids]

inseq.register_step_function(fn=chosen_logit, identifier="chosen_logit", overwrite=True)
model = inseq.load_model("verse", "occlusion")
out = model.attribute(
    "Let there be",
    "Let there be light, and there was light",
    attributed_fn="chosen_logit",
    step_scores=["chosen_logit", "logit"],
    step_scores_args={"scale": 1.0},
)
print(json.dumps({"own": out[0].step_scores["chosen_logit"].tolist(), "scores": {"logit": out[0].step_scores["logit"].tolist()}}))
""",
    "merging": """
from stepfn.compat import inseq
from stepfn.compat.inseq import merge_attributions
import json

model = inseq.load_model("verse", "saliency")
outs = [model.attribute(text, text + " light", show_progress=False) for text in ("Let there be", "And there was")]
both = merge_attributions(outs)
words = both.aggregate("subwords").aggregate("spans", target_spans=[(1, 3)], normalize=False)
print(json.dumps({"texts": both.info["input_texts"], "shorter": len(both[0].target) - len(words[0].target), "methods": "saliency" in inseq.list_feature_attribution_methods()}))
""",
    # minicons
    "surprisal": """
from stepfn.compat.minicons import scorer
import json

lm = scorer.IncrementalLMScorer("verse", "cpu")
sentences = ["Let there be light", "And the king of the waters", "In the beginning God created heaven"]
print(json.dumps({"token_surprisal": lm.token_score(sentences, surprisal=True, base_two=True), "token_score": lm.token_score(sentences, rank=True)}))
""",
    "sequences": """
from stepfn.compat.minicons import scorer
import json

lm = scorer.IncrementalLMScorer("verse", "cpu")
sentences = ["Let there be light", "And the king of the waters", "In the beginning God created heaven"]
stats = lm.compute_stats(lm.prepare_text(sentences))
print(json.dumps({
    "sequence_mean": lm.sequence_score(sentences),
    "sequence_sum": lm.sequence_score(sentences, reduction=lambda x: x.sum(0).item(), base_two=True),
    "stats": stats,
}))
""",
    "minimal pairs": """
from stepfn.compat import minicons
from stepfn.compat.minicons import scorer
import json

lm = scorer.IncrementalLMScorer("verse", "cpu")
prefixes, stimuli = ["Let there", "And the king"], ["be light", "of the earth"]
print(json.dumps({
    "conditional": lm.conditional_score(prefixes, stimuli),
    "conditional_corrected": lm.conditional_score(prefixes, stimuli, bow_correction=True),
    "conditional_sum": lm.conditional_score(prefixes, stimuli, reduction=lambda x: x.sum(0).item(), base_two=True),
}))
""",
    "encoder-decoder": """
from stepfn.compat.minicons import scorer
import json

s2s = scorer.Seq2SeqScorer("g2p", "cpu")
sources, targets = ["hello", "light"], ["HH AH0 L OW1", "L AY1 T"]
tokens = s2s.conditional_token_score(sources, targets, rank=True)
print(json.dumps({"means": s2s.conditional_score(sources, targets), "tokens": tokens}))
""",
}


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.array(ours, dtype=float), np.array(theirs, dtype=float), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_with_another_import(name: str, tmp_path: Path) -> None:
    found = run(SCRIPTS[name], tmp_path)
    of_inseq = {"quickstart": "saliency", "contrastive": "contrast", "attention": "attention_heads"}
    if name in of_inseq:
        close(found["target"], GOLDEN["inseq"][of_inseq[name]]["target"])
    if "scores" in found:
        for function, values in found["scores"].items():
            close(values, GOLDEN["inseq"]["saliency"]["step_scores"][function])
    if name == "generated":
        assert found == {"steps": [5, 5], "texts": True, "deltas": [5, 5]}
    if name == "translation":
        assert found["keys"] == ["source_attributions", "step_scores", "target_attributions"] and found["page"] == "<!"
        assert 0 < found["first"] <= 1.00001
    if name == "own function":
        close(found["own"], found["scores"]["logit"])
    if name == "merging":
        assert found == {"texts": ["Let there be", "And there was"], "shorter": 1, "methods": True}
    if name == "encoder-decoder":
        assert found["means"] == pytest.approx([np.mean([row[1] for row in rows]) for rows in found["tokens"]], rel=1e-4)
    for key in set(found) & set(GOLDEN["minicons"]):
        theirs = GOLDEN["minicons"][key]
        if not key.startswith("token_"):
            for own, other in zip(found[key], theirs, strict=True):
                close(own, other)
            continue
        for own, other in zip(found[key], theirs, strict=True):
            assert [row[0] for row in own] == [row[0] for row in other] and [row[2:] for row in own] == [row[2:] for row in other]
            close([row[1] for row in own], [row[1] for row in other])
