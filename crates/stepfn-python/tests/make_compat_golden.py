"""What inseq 0.7.1 and minicons 0.3.39 say of the compiled-in models: `python make_compat_golden.py`, with these, torch 2.15.0 and transformers 5.23.0 installed.

Writes `golden/compat.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import inseq
import torch
from minicons import scorer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
ZOO = HERE.parents[1] / "stepfn-zoo" / "models"
TEXTS = ["Let there be light", "And the king of the waters", "In the beginning God created heaven"]
PREFIX, STIMULI = ["Let there", "And the king"], ["be light", "of the earth"]


def rounded(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, float):
        return None if value != value else float(f"{value:.6g}")
    if isinstance(value, tuple | list):
        return [rounded(one) for one in value]
    return value


def verse() -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(ZOO / "verse", attn_implementation="eager", dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(ZOO / "verse" / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="</s>"
    )
    return model, tokenizer


def of_minicons() -> dict[str, Any]:
    model, tokenizer = verse()
    lm = scorer.IncrementalLMScorer(model, "cpu", tokenizer=tokenizer)
    total = lambda scores: scores.sum(0).item()  # noqa: E731
    return {
        "token_score": lm.token_score(TEXTS, rank=True),
        "token_surprisal": lm.token_score(TEXTS, surprisal=True, base_two=True),
        "token_prob": lm.token_score(TEXTS, prob=True),
        "token_decoded": lm.token_score(TEXTS[:1], decode=True),
        "token_corrected": lm.token_score(TEXTS, bow_correction=True),
        "sequence_mean": lm.sequence_score(TEXTS),
        "sequence_sum": lm.sequence_score(TEXTS, reduction=total, base_two=True),
        "sequence_corrected": lm.sequence_score(TEXTS, reduction=total, bow_correction=True),
        "conditional": lm.conditional_score(PREFIX, STIMULI),
        "stats": lm.compute_stats(lm.prepare_text(TEXTS)),
        "conditional_sum": lm.conditional_score(PREFIX, STIMULI, reduction=total, base_two=True),
        "conditional_separated": lm.conditional_score(PREFIX, STIMULI, separator=""),
        "conditional_corrected": lm.conditional_score(PREFIX, STIMULI, bow_correction=True),
    }


def of_inseq() -> dict[str, Any]:
    model, tokenizer = verse()
    attribution_model = inseq.load_model(model, "saliency", tokenizer=tokenizer)
    found: dict[str, Any] = {}
    given = {"input_texts": "Let there be", "generated_texts": "Let there be light, and there was light", "show_progress": False}

    def keep(name: str, out: Any, **options: Any) -> None:
        sequence = out.aggregate(**options).sequence_attributions[0]
        found[name] = {
            "target": sequence.target_attributions,
            "start": sequence.attr_pos_start,
            "end": sequence.attr_pos_end,
            "ids": [token.id for token in sequence.target],
            "step_scores": {key: values for key, values in sequence.step_scores.items()},
        }

    out = attribution_model.attribute(**given, step_scores=["probability", "entropy", "logit"])
    keep("saliency", out)
    keep("saliency_sizes", out, normalize=False)
    keep("input_x_gradient", attribution_model.attribute(**given, method="input_x_gradient"))
    attention = attribution_model.attribute(**given, method="attention")
    keep("attention", attention, aggregator=["mean", "mean"], normalize=False)
    keep("attention_head", attention, aggregator=["mean", "mean"], normalize=False, select_idx=[1])
    keep("attention_heads", attention, aggregator=["mean", "mean"], normalize=False, select_idx=[0, 2, 3])
    keep("entropy", attribution_model.attribute(**given, attributed_fn="entropy"), normalize=False)
    contrast = {"attributed_fn": "contrast_prob_diff", "contrast_targets": "Let there be light, and there was water"}
    keep("contrast", attribution_model.attribute(**given, **contrast), normalize=False)
    keep("positions", attribution_model.attribute(**given, attr_pos_start=6, attr_pos_end=9), normalize=False)
    keep("positions_clamped", attribution_model.attribute(**given, attr_pos_start=2, attr_pos_end=99), normalize=False)
    keep("positions_to", attribution_model.attribute(**given, attr_pos_end=-2), normalize=False)
    other = {"attributed_fn": "contrast_prob_diff", "contrast_targets": "And the king of Egypt, and there was water"}
    keep("contrast_prompt", attribution_model.attribute(**given, **other), normalize=False)
    for name, target in (("contrast_shorter", "Let there be water"), ("contrast_longer", "Let there be light in the heaven, and there was water")):
        keep(name, attribution_model.attribute(**given, attributed_fn="contrast_prob_diff", contrast_targets=target), normalize=False)
    unprompted = {"input_texts": "", "generated_texts": "Let there be light", "show_progress": False}
    keep("no_prompt", attribution_model.attribute(**unprompted), normalize=False)
    return found


def of_words() -> dict[str, Any]:
    """Methods with a baseline, on a text without special tokens: a random GPT-2, whose tokenizer knows words by their number."""
    golden = HERE.parents[2] / "tests" / "goldens" / "models" / "gpt2"
    model = AutoModelForCausalLM.from_pretrained(golden, attn_implementation="eager", dtype=torch.float32).eval()
    words = models.WordLevel({f"w{number}": number for number in range(model.config.vocab_size)}, unk_token="w3")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = f"w{model.config.vocab_size - 1}"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w3", bos_token=end, eos_token=end, pad_token=end)
    attribution_model = inseq.load_model(model, "saliency", tokenizer=fast)
    given = {"input_texts": "w5 w9 w7", "generated_texts": "w5 w9 w7 w11 w13", "show_progress": False}
    lm = scorer.IncrementalLMScorer(model, "cpu", tokenizer=fast)
    found: dict[str, Any] = {"one_token": lm.token_score(["w5", "w5 w9 w7"]), "one_token_surprisal": lm.token_score(["w5"], surprisal=True, rank=True)}
    for method, options in (("occlusion", {}), ("integrated_gradients", {"n_steps": 64}), ("sequential_integrated_gradients", {"n_steps": 20})):
        out = attribution_model.attribute(**given, method=method, **options)
        found[method] = {"target": out.aggregate(normalize=False).sequence_attributions[0].target_attributions}
    return found


if __name__ == "__main__":
    every = {"minicons": of_minicons(), "inseq": of_inseq(), "words": of_words()}

    def plain(value: Any) -> Any:
        return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else rounded(value)

    (HERE / "golden" / "compat.json").write_text(json.dumps(plain(every)) + "\n")
