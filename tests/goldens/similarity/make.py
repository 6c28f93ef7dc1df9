"""NMTScore's measures by the package `nmtscore`, on a tiny M2M-100: `python make.py`, with the packages of requirements.txt installed.

Writes `model`, a small trained model with the tokenizer of ../replicas/m2m100, and `similarity.json`: for each measure and setting, the scores
of the pairs, and the translations that the measures are made of.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import nmtscore
import torch
import transformers
from nmtscore import NMTScorer
from nmtscore.models.m2m100 import M2M100Model
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

HERE = Path(__file__).resolve().parent
REPLICA, FOLDER = HERE.parent / "replicas" / "m2m100", HERE / "model"
TOKENIZER = ["sentencepiece.bpe.model", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"]
PAIRS = [
    ["the ship sails at dawn", "a ship sails"],
    ["two  spaces   and three", "the ship sails at dawn"],
    ["we\u00df, K\u00e4se", "two and three"],
    ["dawn", "dawn"],
]
WRITING = {"num_beams": 3, "max_length": 40}
LANGUAGES = [("en", "de"), ("en", "en")]
VIA = "fr"
WORDS = "the ship sails at dawn a two three and spaces Käse weiß Äpfel".split()
STEPS = 700


def make_model() -> None:
    """A model that has learned a little: to repeat some words, in French in the opposite order."""
    torch.manual_seed(11)
    torch.set_num_threads(1)
    tokenizer = M2M100Tokenizer.from_pretrained(REPLICA)
    config = M2M100Config(
        d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, vocab_size=264, max_position_embeddings=64, decoder_start_token_id=2, init_std=0.1, dropout=0.0,
        attention_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0,
    )
    model = M2M100ForConditionalGeneration(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    random = Random(5)
    for _ in range(STEPS):
        tokenizer.src_lang, tokenizer.tgt_lang = random.choice(["en", "de", "fr"]), random.choice(["en", "de", "fr"])
        texts = [random.choices(WORDS, k=random.randint(1, 4)) for _ in range(32)]
        turned = [words[::-1] if tokenizer.tgt_lang == "fr" else words for words in texts]
        batch = tokenizer([" ".join(words) for words in texts], text_target=[" ".join(words) for words in turned], return_tensors="pt", padding=True)
        batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    model.save_pretrained(FOLDER, safe_serialization=True)
    (FOLDER / "generation_config.json").unlink(missing_ok=True)
    for name in TOKENIZER:
        shutil.copy(REPLICA / name, FOLDER / name)


def rounded(values: list[float]) -> list[float]:
    return [float(f"{value:.7g}") for value in values]


def main() -> None:
    assert nmtscore.__version__ == "0.3.3" and transformers.__version__ == "4.33.3", "other versions than those of requirements.txt"
    make_model()
    model = M2M100Model(str(FOLDER))
    scorer = NMTScorer(model)
    a, b = ([pair[side] for pair in PAIRS] for side in (0, 1))
    cases: list[dict[str, Any]] = []
    for a_lang, b_lang in LANGUAGES:
        for normalize in (True, False):
            for both in (True, False):
                given = {"a_lang": a_lang, "b_lang": b_lang, "normalize": normalize, "both_directions": both}
                writes = {"translate_kwargs": WRITING}
                # One by one: padding changes what a beam search of the pipeline finds.
                scores = {
                    "direct": [scorer.score_direct(*pair, **given) for pair in PAIRS],
                    "cross_likelihood": [scorer.score_cross_likelihood(*pair, tgt_lang=VIA, **given, **writes) for pair in PAIRS],
                    "pivot": [scorer.score_pivot(*pair, pivot_lang=VIA, **given, **writes) for pair in PAIRS],
                }
                cases += [{"measure": name, **given, "scores": rounded([float(score) for score in found])} for name, found in scores.items()]
    translations = [
        {"language": language, "texts": texts, "translations": [model.translate(VIA, text, language, **WRITING) for text in texts]}
        for language, texts in (("en", a), ("de", b), ("en", b))
    ]
    found = {"pairs": PAIRS, "via": VIA, "writing": WRITING, "translations": translations, "cases": cases}
    (HERE / "similarity.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
