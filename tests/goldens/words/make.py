"""Scores of words by minicons 0.3.39 and by the published formula: `python make.py`, with minicons, torch 2.15.0 and transformers 5.23.0 installed.

Writes `words.json`: natural log-probabilities of the model `verse`, of texts that begin with its start token, of texts that don't, and of what follows a prompt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from minicons import scorer
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
VERSE = HERE.parents[2] / "crates" / "stepfn-zoo" / "models" / "verse"
TEXTS = ["Let there be light", "And the king of Nebuchadnezzar spake unto him", "In the beginning God created the phenomenal heaven."]
PROMPTS, ENDINGS = ["Let there", "And the king of"], ["be light", "Nebuchadnezzar spake unto him"]


def rounded(values: list[float]) -> list[float]:
    return [float(f"{value:.7g}") for value in values]


def words_of(text: str, spans: list[tuple[int, int]], scores: list[float]) -> list[float]:
    """The sums of the scores of each word's tokens; the spans of tokens have the space before them."""
    words = text.split()
    sums, at = [0.0] * len(words), 0
    starts = []
    for word in words:
        at = text.index(word, at)
        starts.append(at)
        at += len(word)
    for (start, end), score in zip(spans, scores, strict=True):
        first = start + len(text[start:end]) - len(text[start:end].lstrip())
        sums[max(number for number, begin in enumerate(starts) if begin <= first)] += score
    return rounded(sums)


def published(model: Any, tokenizer: Any, ids: list[int], first: int, is_prompted: bool) -> list[float]:
    """Pimentel & Meister 2024, token by token: a token before a word, or the last, has the numerator, the first of a word the denominator."""
    pieces = [tokenizer.convert_ids_to_tokens(id) for id in range(model.config.vocab_size)]
    # With the mark of a space or a line break, or special.
    begins = torch.tensor([piece is not None and (piece[0] in "ĠĊĉč" or piece in ("<s>", "</s>")) for piece in pieces])
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    mass = logs[:, begins].logsumexp(-1)
    scores = []
    for place in range(first, len(ids)):
        score = logs[place - 1, ids[place]]
        if place + 1 == len(ids) or begins[ids[place + 1]]:
            score = score + mass[place]
        if begins[ids[place]] and (place > first or is_prompted):
            score = score - mass[place - 1]
        scores.append(score.item())
    return scores


def main() -> None:
    model = AutoModelForCausalLM.from_pretrained(VERSE, attn_implementation="eager", dtype=torch.float32).eval()
    found: dict[str, Any] = {"texts": TEXTS, "prompts": PROMPTS, "endings": ENDINGS}
    for name in ("start", "no_start"):
        own = json.loads((VERSE / "tokenizer.json").read_text())
        if name == "no_start":
            own["post_processor"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
        else:
            own["pre_tokenizer"]["trim_offsets"] = False
        fast = Tokenizer.from_str(json.dumps(own))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="</s>")
        lm = scorer.IncrementalLMScorer(model, "cpu", tokenizer=tokenizer)
        cases: dict[str, list[list[float]]] = {"plain": [], "minicons": [], "published": []}
        for text in TEXTS:
            encoding = fast.encode(text)
            ids, skipped = encoding.ids, 1 if name == "start" else 0
            spans = encoding.offsets[skipped:]
            for case, correction in (("plain", False), ("minicons", True)):
                (rows,) = lm.token_score([text], bow_correction=correction)
                cases[case].append(words_of(text, spans, [score for _, score in rows[skipped:]]))
            # Without a start token, nothing predicts the first word.
            scores = [0.0] * (1 - skipped) + published(model, tokenizer, ids, 1, is_prompted=not skipped)
            cases["published"].append(words_of(text, spans, scores))
        found[name] = cases
        if name == "start":
            prompted: dict[str, list[list[float]]] = {"plain": [], "minicons": [], "published": []}
            for prompt, ending in zip(PROMPTS, ENDINGS, strict=True):
                whole = fast.encode(f"{prompt} {ending}")
                first = len(fast.encode(prompt).ids)
                spans = [(start - len(prompt) - 1, end - len(prompt) - 1) for start, end in whole.offsets[first:]]
                spans = [(max(start, 0), end) for start, end in spans]
                for case, correction in (("plain", False), ("minicons", True)):
                    (scores,) = lm.compute_stats(lm.prime_text([prompt], [ending]), bow_correction=correction)
                    prompted[case].append(words_of(ending, spans, scores))
                scores = published(model, tokenizer, whole.ids, first, is_prompted=True)
                prompted["published"].append(words_of(ending, spans, scores))
            found["prompted"] = prompted
            # minicons' own words; without a start token, it takes the tokens of the next word.
            for case, correction in (("tokenized", False), ("tokenized_minicons", True)):
                rows = lm.word_score_tokenized(TEXTS, str.split, bow_correction=correction)
                cases[case] = [rounded([score for _, score in row]) for row in rows]
            # And the scores of tokens.
            for case, correction in (("tokens", False), ("tokens_minicons", True)):
                cases[case] = [rounded([score for _, score in row[1:]]) for row in lm.token_score(TEXTS, bow_correction=correction)]
    (HERE / "words.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
