"""Which tokens depend on context, and alignments that are found."""

import json

import numpy as np
import pytest

import stepfn

CONTEXT = "And the king said unto his servants, Bring me bread."
ASKED = ("And they brought him", CONTEXT, "and he did eat of the bread.")


@pytest.fixture(scope="module")
def model():
    return stepfn.load("verse")


def test_tokens_and_their_cues(model, tmp_path):
    found = model.attribute_context(*ASKED)
    (cues,) = found.cci_scores
    assert (cues.cti_token, cues.contrast_token) == (" bread", " flesh")
    assert len(found.cti_scores) == len(found.output_current_tokens)
    assert found.cti_scores[cues.cti_idx] == np.float32(cues.cti_score)
    assert "".join(found.input_context_tokens) == CONTEXT and len(cues.input_context_scores) == len(found.input_context_tokens)
    assert found.output_context is None and cues.output_context_scores is None
    assert found.info["context_sensitivity_metric"] == "kl_divergence" and found.about["model"] == "verse"
    assert "[bread](0.45)" in str(found) and "bread" in repr(found)
    assert "<iframe" in found._repr_html_()
    for name in ("a.json", "a.csv", "a.html", "a.txt"):
        found.save(tmp_path / name)
    assert json.loads((tmp_path / "a.json").read_text())["cci_scores"][0]["contrast_token"] == " flesh"
    assert json.loads(found.json()) == json.loads((tmp_path / "a.json").read_text())
    with pytest.raises(stepfn.Error, match="no format `svg`"):
        found.save(tmp_path / "a.svg")


def test_what_is_asked_is_what_is_done(model):
    asked = dict(context_sensitivity_std_threshold=None, context_sensitivity_topk=2, aggregate="vnorm,subwords,normalize")
    found = model.attribute_context(*ASKED, metric="pcxmi", function="probability", method="input_x_gradient", **asked)
    assert len(found.cci_scores) == 2 and found.info["attributed_fn"] == "probability"
    assert "".join(found.input_context_tokens).split() == CONTEXT.split()
    again = model.attribute_context(*ASKED, metric=stepfn.StepFunction("kl_divergence", top_k=5))
    assert again.about["parameters"]["kl_divergence"]["top_k"] == 5
    templates = model.attribute_context(*ASKED, input_template="{context}\n{current}", contextless_output_next_tokens=[" wine"])
    assert templates.info["input_template"] == "{context}\n{current}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(metric="entropy"), "entropy compares no two runs"),
        (dict(input_template="{context}"), "{current} once"),
        (dict(input_context=None), "there is no context"),
        (dict(contextless_input=None), "`contextless_input` must be a string"),
        (dict(special_tokens_to_keep="<brk>"), "must be a list of texts"),
        (dict(context_sensitivity_std_threshold="1"), "must be a number or None"),
        (dict(context_sensitivity_topk=0), "none of the context-sensitive tokens are asked for"),
        (dict(output_context_strategy="manual"), "there is no strategy `manual`"),
        (dict(no_such=1), "no_such"),
    ],
)
def test_what_makes_no_sense_is_told(model, change, says):
    asked = dict(zip(("input_current", "input_context", "output_current"), ASKED, strict=True))
    with pytest.raises((stepfn.Error, TypeError)) as told:
        model.attribute_context(**(asked | change))
    assert says in str(told.value)


def test_tokens_of_the_same_words_are_compared(model):
    texts = dict(target="And he did eat of the bread.", contrast="And the king did eat of the bread.")
    answer = model.attribute(**texts, align="auto", function="contrast_prob_diff", contrast_force_inputs=True)
    steps = [answer.target[at].text for at in answer.steps]
    pairs = [(token, other and other.text) for token, other in zip(steps, answer.contrast, strict=True)]
    assert (" bread", " bread") in pairs
    with pytest.raises(stepfn.Error, match='pairs of positions or "auto"'):
        model.score(**texts, align="automatic", functions="contrast_prob")
