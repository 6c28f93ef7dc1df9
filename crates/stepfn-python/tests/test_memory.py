"""Models that are in memory: arrays of numpy, and models of transformers where torch is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stepfn
from stepfn import _stepfn
from stepfn._model import LanguageModel

GOLDENS = Path(__file__).resolve().parents[3] / "tests" / "goldens" / "models"
TYPES = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16"}


def tensors(path: Path) -> list[tuple[str, str, list[int], Any]]:
    """The tensors of a safetensors file, as views of its bytes."""
    data = np.fromfile(path, dtype=np.uint8)
    size = int(data[:8].view("<u8")[0])
    header = json.loads(data[8 : 8 + size].tobytes())
    header.pop("__metadata__", None)
    start = 8 + size
    places = {name: entry["data_offsets"] for name, entry in header.items()}
    return [
        (name, TYPES[entry["dtype"]], entry["shape"], data[start + places[name][0] : start + places[name][1]])
        for name, entry in header.items()
    ]


def folder(family: str, path: Path) -> Path:
    """A golden model with a tokenizer that knows words by their number."""
    shutil.copytree(GOLDENS / family, path, dirs_exist_ok=True)
    config = json.loads((path / "config.json").read_text())
    vocabulary = {f"w{number}": number for number in range(config["vocab_size"])}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        # A text starts with w1 and ends with w2 where the family's do.
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "w1", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "w2", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in (("w1", 1), ("w2", 2))},
        }
        if family == "bert"
        else None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w3"},
    }
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_arrays_make_the_model_of_the_file(family: str, tmp_path: Path) -> None:
    path = folder(family, tmp_path / "model")
    from_file = stepfn.load(path)
    weights = tensors(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    lent = LanguageModel(_stepfn.load_tensors("lent", str(path), weights, "{}"), None)
    # What was lent may change afterwards.
    for _, _, _, values in weights:
        values[:] = 0
    text = {"source": "w5 w9 w7", "target": "w5 w9 w7 w11 w13"}
    one, other = (model.score(text, ["logit", "entropy"]) for model in (from_file, lent))
    assert one.numpy().keys() == other.numpy().keys()
    for name, values in one.numpy().items():
        np.testing.assert_array_equal(values, other[name])
    assert lent.name == "lent" and other.about["model"] == "lent"
    with pytest.raises(stepfn.UsageError, match="can't be pickled"):
        import pickle

        pickle.dumps(lent)


def test_masked_tokens_are_scored_and_attributed(tmp_path: Path) -> None:
    path = folder("bert", tmp_path / "model")
    (path / "tokenizer_config.json").write_text('{"mask_token": "w4"}')
    weights = tensors(path / "model.safetensors")
    lent = LanguageModel(_stepfn.load_tensors("lent", str(path), weights, "{}"), None)
    scores = lent.score("w5 w9 w7 w11", "surprisal", masking="word")
    assert scores.about["parameters"]["masking"] == "word" and len(scores["surprisal"]) == 4
    answer = lent.attribute("w5 w9 w7 w11", "occlusion")
    assert answer.target_scores is not None and answer.target_scores.shape[1] == 4
    with pytest.raises(stepfn.UsageError, match="no masking `sentence`"):
        lent.score("w5", masking="sentence")  # type: ignore[call-overload]


def test_arrays_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = folder("gpt2", tmp_path / "model")
    weights = tensors(path / "model.safetensors")
    name, kind, shape, values = weights[0]
    with pytest.raises(stepfn.ModelError, match="the bytes of shape"):
        _stepfn.load_tensors("lent", str(path), [(name, kind, shape, values[:-4]), *weights[1:]], "{}")
    with pytest.raises(stepfn.ModelError, match="is missing"):
        _stepfn.load_tensors("lent", str(path), weights[1:], "{}")


class Tokenizer:
    """Saves a tokenizer that knows words by their number."""

    def __init__(self, family: str, path: Path) -> None:
        self.file = folder(family, path) / "tokenizer.json"

    def save_pretrained(self, path: str) -> None:
        shutil.copy(self.file, path)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2_moe", "t5", "marian"])
def test_a_model_of_transformers_agrees_with_it(family: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    is_causal = family not in ("t5", "marian")
    kind = transformers.AutoModelForCausalLM if is_causal else transformers.AutoModelForSeq2SeqLM
    theirs = kind.from_pretrained(GOLDENS / family).eval()
    ours = stepfn.from_torch(theirs, Tokenizer(family, tmp_path / "model"))
    source, target = "w5 w9 w7", "w5 w9 w7 w11 w13"
    scores = ours.score(target, "logit") if is_causal else ours.score(source=source, target=target, functions="logit")
    ids = torch.tensor([[token.id for token in scores.target]])
    with torch.no_grad():
        if is_causal:
            logits = theirs(input_ids=ids).logits[0]
        else:
            read = torch.tensor([[token.id for token in scores.source]])
            logits = theirs(input_ids=read, decoder_input_ids=ids).logits[0]
    expected = [logits[step - 1, ids[0, step]].item() for step in scores.steps]
    np.testing.assert_allclose(scores["logit"], expected, rtol=1e-4, atol=1e-4)


def test_models_that_are_more_than_their_weights_are_refused(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = Tokenizer("gpt2", tmp_path / "model")

    def refused(change: Any, says: str) -> None:
        model = transformers.AutoModelForCausalLM.from_pretrained(GOLDENS / "gpt2")
        change(model)
        with pytest.raises(stepfn.ModelError, match=says):
            stepfn.from_torch(model, tokenizer)

    refused(lambda model: model.lm_head.register_forward_hook(lambda *_: None), "has a hook")
    refused(lambda model: setattr(model, "is_quantized", True), "quantized")
    refused(lambda model: setattr(model, "peft_config", {"default": 1}), "not merged")
    refused(lambda model: torch.nn.utils.parametrizations.weight_norm(model.lm_head), "computes its weights")
    with pytest.raises(stepfn.UsageError, match="no model of transformers"):
        stepfn.from_torch("gpt2", tokenizer)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_other_types_of_numbers(kind: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(GOLDENS / "gpt2").to(getattr(torch, kind))
    ours = stepfn.from_torch(theirs, Tokenizer("gpt2", tmp_path / "model"))
    wide = stepfn.from_torch(theirs.float(), Tokenizer("gpt2", tmp_path / "model"))
    text = "w5 w9 w7 w11 w13"
    np.testing.assert_allclose(ours.score(text, "logit")["logit"], wide.score(text, "logit")["logit"], rtol=1e-5)
