#!/usr/bin/env python3
"""Writes expected.json: mean and spread of log-probabilities under dropout, over many passes of PyTorch in training mode, for the golden models.

    pip install -r ../models/requirements.txt
    python make.py
"""

import json
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
FOLDERS = ["bart", "bloom", "gpt2", "gpt_neox", "llama", "marian", "opt", "t5"]
PASSES, AT_ONCE = 4_000, 500


def log_probabilities(folder):
    """Of each predicted token of the first text, in each pass."""
    golden = json.loads((folder / "expected.json").read_text())
    text = {name: torch.tensor([ids]) for name, ids in golden["texts"][0].items()}
    is_pair = golden["kind"] == "seq2seq"
    kind = transformers.AutoModelForSeq2SeqLM if is_pair else transformers.AutoModelForCausalLM
    model = kind.from_pretrained(folder, attn_implementation="eager").train()
    target = text["decoder_input_ids" if is_pair else "input_ids"][0]
    batch = {name: ids.expand(AT_ONCE, -1) for name, ids in text.items()}
    torch.manual_seed(0)
    found = []
    with torch.no_grad():
        for _ in range(PASSES // AT_ONCE):
            logits = model(**batch, use_cache=False).logits[:, :-1].double()
            found.append(logits.log_softmax(-1).gather(-1, target[1:].expand(AT_ONCE, -1)[..., None])[..., 0])
    return target, torch.cat(found)


def main():
    expected = {"passes": PASSES, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    for name in FOLDERS:
        target, values = log_probabilities(MODELS / name)
        mean, std = values.mean(0), values.std(0)
        # How uncertain the variance is, for values that are far from normally distributed.
        fourth = ((values - mean) ** 4).mean(0)
        expected[name] = {"mean": mean.tolist(), "std": std.tolist(), "fourth": fourth.tolist()}
        print(name, [f"{m:.3f}±{s:.3f}" for m, s in zip(mean.tolist(), std.tolist())], flush=True)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


main()
