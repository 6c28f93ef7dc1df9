"""Pseudo-log-likelihoods by minicons 0.3.39: `python masked.py`, with minicons, torch 2.15.0 and transformers 4.57.6 installed (not 5: see README.md).

Writes `masked.json`: natural log-probabilities of the tokens of some texts by the model `../replicas/bert`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from minicons import scorer
from transformers import AutoModelForMaskedLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
BERT = HERE.parent / "replicas" / "bert"
TEXTS = ["the ship sails at dawn", "two  spaces   and three", "sails and ships, and the dawn"]


def main() -> None:
    model = AutoModelForMaskedLM.from_pretrained(BERT, attn_implementation="eager", dtype=torch.float32).eval()
    lm = scorer.MaskedLMScorer(model, "cpu", tokenizer=AutoTokenizer.from_pretrained(BERT))
    found: dict[str, object] = {"texts": TEXTS}
    for metric in ("original", "within_word_l2r"):
        rows = lm.token_score(TEXTS, PLL_metric=metric)
        sums = lm.sequence_score(TEXTS, reduction=lambda scores: scores.sum(0).item(), PLL_metric=metric)
        found[metric] = {
            "tokens": [[token for token, _ in row] for row in rows],
            "log_probs": [[float(f"{score:.7g}") for _, score in row] for row in rows],
            "sums": [float(f"{value:.7g}") for value in sums],
        }
    (HERE / "masked.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
