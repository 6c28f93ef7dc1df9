#!/usr/bin/env python3
"""Writes expected.json: log-probabilities of the golden models of ../models with single tokens that nobody attends to.

    pip install -r ../models/requirements.txt
    python make.py
"""

import json
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
CAUSAL = [[[], [3]], [[], [1, 2, 5]], [[], [1, 4, 7, 9]]]
PAIRS = [[[2], []], [[0, 3, 4], []], [[1, 2, 5], [2, 3]], [[], [1]]]
CASES = {
    "bart": PAIRS,
    "bert": [[[], [4]], [[], [1, 2, 9]]],
    "distilbert": [[[], [3, 5]]],
    "gemma2": CAUSAL,
    "gpt2": CAUSAL,
    "gpt_oss": CAUSAL,
    "llama": CAUSAL,
    "marian": PAIRS,
    "t5": PAIRS,
}
KINDS = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "seq2seq": transformers.AutoModelForSeq2SeqLM,
}


def without(tokens, hidden):
    """Ones, and zeros for hidden tokens."""
    return torch.tensor([[int(token not in hidden) for token in range(tokens)]])


def log_probabilities(folder, cases):
    """Of each token of the target but the first, or of each token of a text of masked tokens, for each choice of hidden tokens."""
    golden = json.loads((folder / "expected.json").read_text())
    ids = {name: torch.tensor([ids]) for name, ids in golden["texts"][0].items()}
    model = KINDS[golden["kind"]].from_pretrained(folder, attn_implementation="eager", experts_implementation="eager").eval()
    target = ids.get("decoder_input_ids", ids["input_ids"])
    found = []
    for source, hidden in cases:
        if golden["kind"] == "seq2seq":
            masks = {
                "attention_mask": without(ids["input_ids"].shape[1], source),
                "decoder_attention_mask": without(target.shape[1], hidden),
                "use_cache": False,
            }
        else:
            masks = {"attention_mask": without(target.shape[1], hidden)}
            if golden["kind"] == "causal":
                masks["position_ids"] = torch.arange(target.shape[1])[None]
        with torch.no_grad():
            logits = model(**ids, **masks).logits[0].double().log_softmax(-1)
        if golden["kind"] == "masked":
            predicted = logits.gather(-1, target[0][:, None])
        else:
            predicted = logits[:-1].gather(-1, target[0, 1:][:, None])
        found.append({"source": source, "target": hidden, "log_probabilities": [round(x, 6) for x in predicted[:, 0].tolist()]})
    texts = {"source": golden["texts"][0]["input_ids"], "target": target[0].tolist()}
    return {"kind": golden["kind"], **texts, "cases": found}


def main():
    expected = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    for name, cases in CASES.items():
        expected[name] = log_probabilities(MODELS / name, cases)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


main()
