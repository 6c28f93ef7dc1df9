#!/usr/bin/env python3
"""Writes what tests of context reliance compare with: inseq's attribute-context on tiny models.

    pip install --no-deps -r requirements.txt
    python make.py                # a minute on one core

README.md says what the file holds, and what inseq gets wrong.
"""

import os

os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import importlib.metadata
import json
import random
import sys
from pathlib import Path

import numpy
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(HERE.parent / "attribution"))

import inseq  # noqa: E402
import inseq.commands.attribute_context.attribute_context as command  # noqa: E402
import peers  # noqa: E402
from inseq.utils import alignment_utils  # noqa: E402
from inseq.commands.attribute_context.attribute_context_args import AttributeContextArgs  # noqa: E402

FOLDERS = {
    "verse": ROOT / "crates/stepfn-zoo/models/verse",
    "gpt2": HERE.parent / "models/gpt2",
    "t5": HERE.parent / "models/t5",
    "marian": HERE.parent / "models/marian",
}
# A token of the tiny models that is special, as a mark between context and current text may be.
BREAK = 7


def word_tokenizer(name, config):
    """Token 17 is the word `<17>`; encoder-decoders have their end token after every text."""
    vocabulary = {f"<{i}>": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<3>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    eos = config.eos_token_id
    if config.is_encoder_decoder:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A <{eos}>", special_tokens=[(f"<{eos}>", eos)])
    special = {
        "eos_token": eos, "pad_token": config.pad_token_id if config.pad_token_id is not None else eos,
        "bos_token": getattr(config, "bos_token_id", None), "unk_token": 3,
    }
    special = {role: f"<{i}>" for role, i in special.items() if i is not None}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=[f"<{BREAK}>"], clean_up_tokenization_spaces=False, **special
    )
    (HERE / name).mkdir(exist_ok=True)
    (HERE / name / "tokenizer.json").write_text(wrapped.backend_tokenizer.to_str() + "\n")
    return wrapped


def load(name, method):
    seq2seq = name in ("t5", "marian")
    model = peers.load(FOLDERS[name], seq2seq).float()
    if name == "verse":
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FOLDERS[name] / "tokenizer.json"))
        names = {"bos_token": model.config.bos_token_id, "eos_token": model.config.eos_token_id}
        names["pad_token"] = model.config.eos_token_id
        for role, token in names.items():
            setattr(tokenizer, role, tokenizer.convert_ids_to_tokens(token))
    else:
        tokenizer = word_tokenizer(name, model.config)
    return inseq.load_model(model, method, tokenizer=tokenizer)


SLICED = command.get_source_target_cci_scores


def mended(model, output, *arguments):
    """inseq counts the rows of a context without the start token that the scores have: all are one too early."""
    is_start = output.target[0].token in model.special_tokens
    if output.target_attributions is not None and is_start:
        output.target_attributions = output.target_attributions[1:]
    return SLICED(model, output, *arguments)


command.get_source_target_cci_scores = mended


def words(model, count, seed):
    """Words of the tiny models, none of them special."""
    drawn = random.Random(seed).sample(range(10, 90), count)
    return " ".join(f"<{i}>" for i in drawn)


def cases():
    """Name of a model, and the arguments of attribute-context."""
    # The output's first token is one token with and without the space before it: inseq counts its tokens without.
    verse = dict(
        input_context_text="And the king said unto his servants, Bring me bread.",
        input_current_text="And they brought him",
        output_current_text="and he did eat of the bread.",
    )
    yield "verse", verse
    yield "verse", verse | dict(context_sensitivity_metric="pcxmi", context_sensitivity_std_threshold=0.0)
    yield "verse", verse | dict(
        context_sensitivity_metric="contrast_prob_diff", context_sensitivity_topk=2, attributed_fn="probability",
        context_sensitivity_std_threshold=None,
    )
    yield "verse", verse | dict(attributed_fn="kl_divergence", attribution_method="input_x_gradient")
    yield "verse", verse | dict(
        input_template="{context}\n{current}", output_context_text="and the water; and he said,",
        output_template="{context} {current}", output_current_text="and ye shall eat the bread also.",
        context_sensitivity_std_threshold=0.5,
    )
    yield "verse", verse | dict(attribution_aggregators=["vnorm"], normalize_attributions=True)
    for name in ("gpt2", "t5", "marian"):
        seq2seq = name != "gpt2"
        plain = dict(
            input_context_text=words(name, 5, 1), input_current_text=words(name, 4, 2), output_current_text=words(name, 6, 3),
        )
        if seq2seq:
            plain["generation_kwargs"] = dict(forced_eos_token_id=1 if name == "t5" else 0, bad_words_ids=None)
        yield name, plain
        yield name, plain | dict(context_sensitivity_std_threshold=0.0, context_sensitivity_topk=3)
        for metric in ("contrast_logits_diff", "contrast_prob", "in_context_pvi"):
            yield name, plain | dict(context_sensitivity_metric=metric, attributed_fn="contrast_logits_diff")
        both = plain | dict(
            input_template=f"{{context}} <{BREAK}> {{current}}", output_template=f"{{context}} <{BREAK}> {{current}}",
            output_context_text=words(name, 3, 4), special_tokens_to_keep=[f"<{BREAK}>"],
        )
        yield name, both
        around = both | dict(
            input_template=f"<11> {{current}} <{BREAK}> {{context}}", contextless_input_current_text="<12> {current}",
            output_template="<13> {context} {current}", context_sensitivity_std_threshold=-1.0,
        )
        yield name, around
        if not seq2seq:
            # inseq adds the output's beginning to the input once more for each token, and leaves it out in an encoder-decoder.
            yield name, around | dict(contextless_output_current_text="<14> {current}", context_sensitivity_topk=1)
        yield name, plain | dict(
            context_sensitivity_std_threshold=None, context_sensitivity_topk=2,
            contextless_output_next_tokens=["<20>", "<21>"],
        )
        yield name, both | dict(attribution_method="input_x_gradient", attributed_fn="logit")


def is_special(args, name, cue):
    """Whether the run without context prefers a special token: inseq drops it, and compares with the token before."""
    if cue["contextless_output"] is None:
        return False
    before = "" if name != "gpt2" else args.contextless_input_current_text + " " + args.contextless_output_current_text
    before = before.replace("{current}", args.input_current_text, 1).replace("{current}", "")
    return len(cue["contextless_output"].split()) != len(before.split()) + cue["cti_idx"] + 1


def number(value):
    return float(numpy.format_float_positional(numpy.float32(value), unique=True)) if value is not None else None


def rounded(values):
    return None if values is None else [number(value) for value in values]


def check_versions():
    for line in (HERE / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, pinned = line.split("==")
            found = importlib.metadata.version(name)
            if found != pinned:
                sys.exit(f"{name} is {found}, not {pinned}: pip install --no-deps -r requirements.txt")


class Aligner:
    """A model and a tokenizer that inseq aligns with: pieces of three letters, with hidden states that are drawn."""

    model_max_length = 512

    def __init__(self, seed):
        self.generator = numpy.random.default_rng(seed)
        self.states = []

    def tokenize(self, word):
        return pieces(word, 3)

    def convert_tokens_to_ids(self, tokens):
        return [0] * len(tokens)

    def prepare_for_model(self, ids, **_):
        return {"input_ids": torch.tensor([0, *ids, 0])}

    def eval(self):
        return self

    def __call__(self, ids, **_):
        count = ids.shape[1] - 2
        drawn = self.generator.normal(size=(count, 6)).round(3) * 2
        if self.states:
            # Some of the other text's states are like those of the first text, in another order.
            own = numpy.array(self.states[0])
            drawn[: len(own)] = 0.3 * drawn[: len(own)] + 1.5 * own[::-1][:count]
        self.states.append(drawn.astype("float32").tolist())
        states = torch.tensor([[[0.0] * 6, *self.states[-1], [0.0] * 6]])
        return None, None, {8: states}


def pieces(word, letters):
    return [word[at : at + letters] for at in range(0, len(word), letters)]


def alignments():
    """What inseq makes of hidden states: aligned words, and one partner for each token, of four letters each."""
    texts = [
        ("The girls were away .", "Les filles étaient absentes ."), ("yes", "oui certainement"),
        ("a considerable misunderstanding", "ein Missverständnis"), ("one two three four five", "five four three two one"),
    ]
    for seed, (own, other) in enumerate(texts):
        aligner = Aligner(seed)
        alignment_utils.get_aligner_model = alignment_utils.get_aligner_tokenizer = lambda aligner=aligner: aligner
        sides = [text.split() for text in (own, other)]
        found = alignment_utils.compute_word_aligns(own, other)
        states = aligner.states
        aligner.states = []
        aligner.generator = numpy.random.default_rng(seed)
        tokens = [[piece for word in words for piece in pieces(word, 4)] for words in sides]
        pairs = alignment_utils.get_adjusted_alignments(
            "auto", own, tokens[0], other, tokens[1], end_pos=len(tokens[0]),
        )
        of = lambda letters: [[at for at, word in enumerate(words) for _ in pieces(word, letters)] for words in sides]  # noqa: E731
        yield {"states": states, "pieces": of(3), "tokens": of(4), "words": found.alignments, "alignment": sorted(pairs)}


def main():
    check_versions()
    lines = ",\n".join(json.dumps(case) for case in alignments())
    (HERE / "alignments.json").write_text(f"[\n{lines}\n]\n")
    torch.manual_seed(0)
    written = []
    loaded = {}
    for name, arguments in cases():
        method = arguments.get("attribution_method", "saliency")
        if (name, method) not in loaded:
            loaded[name, method] = load(name, method)
        args = AttributeContextArgs(
            model_name_or_path=name, show_viz=False, **{"attribution_method": method, "attributed_fn": "contrast_prob_diff"}
            | arguments,
        )
        model = loaded[name, method]
        result = command.attribute_context_with_model(args, model).to_dict()
        result.pop("info")
        plain = lambda tokens: tokens and [token.replace("Ġ", " ").replace("Ċ", "\n") for token in tokens]  # noqa: E731
        for field in ("input_context_tokens", "output_context_tokens", "output_current_tokens"):
            result[field] = plain(result[field])
        result["cti_scores"] = rounded(result["cti_scores"])
        for cue in result["cci_scores"]:
            cue["cti_score"] = number(cue["cti_score"])
            cue["cti_token"], = plain([cue["cti_token"]])
            cue["contrast_token"] = cue["contrast_token"] and plain([cue["contrast_token"]])[0]
            for field in ("input_context_scores", "output_context_scores"):
                cue[field] = rounded(cue[field])
        # Where nothing of the output is written yet, inseq lets a causal model write after a lone space, which no text of these tokens has.
        left_out = [0] if name == "verse" else [cue["cti_idx"] for cue in result["cci_scores"] if is_special(args, name, cue)]
        result["cci_scores"] = [cue for cue in result["cci_scores"] if cue["cti_idx"] not in left_out]
        arguments = {key: value for key, value in arguments.items() if key != "generation_kwargs"}
        written.append({"model": name, "arguments": arguments, "left_out": left_out, "result": result})
        print(name, arguments, json.dumps(result)[:400], file=sys.stderr)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in written)
    (HERE / "expected.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
