#!/usr/bin/env python3
"""Writes tiny vocabularies as llama.cpp's converter writes them, what SentencePiece makes of some texts with them
(spm_*.gguf, spm.json), and how byte-level vocabularies split texts (splitting.json).

    pip install -r requirements.txt
    python vocabularies.py
"""

import importlib.metadata
import io
import json
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

PINS = {"gguf": "0.19.0", "sentencepiece": "0.2.3", "tokenizers": "0.23.3", "transformers": "5.23.0"}

# ---------------------------------------------------------------------------------------------- SentencePiece

SENTENCES = """
The capital of France is Paris, and the capital of Italy is Rome.
She sells sea shells by the sea shore; the shells she sells are surely sea shells.
A language model writes one token at a time, and a step function turns what it predicted into one number.
An attribution says which input tokens that number came from, and by how much.
Le renard brun rapide saute par-dessus le chien paresseux, déjà fatigué après l'été.
Der schnelle braune Fuchs springt über den faulen Hund. Straße, Größe, Übung.
It's 2024 already: 1, 2, 3, 10, 100, 1000 and 3.14159; don't you think we'll see?
def add(a, b): return a + b  # the sum
""".strip().split("\n")

TEXTS = [
    "The capital of France is Paris.",
    " leading and  double   spaces ",
    "déjà vu: l'été à la plage",
    "東京 is Tokyo; emoji 😀!",
    "tabs\tand\nnew lines\n\n",
    "ﬁne ½ ＡＢＣ",
    "it's 3.14159",
    "one<turn>two </s>three",
    "",
]
# Normalization like NFKC, but small.
RULES = {"ﬁ": "fi", "½": "1/2", "Ａ": "A", "Ｂ": "B", "Ｃ": "C", "\t": " ", "\n": " "}

MODELS = {
    # As Llama's.
    "spm_llama": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 420, "normalization_rule_name": "identity",
                  "remove_extra_whitespaces": False},
    # As Gemma's: no space before the text, runs of spaces and new lines are symbols.
    "spm_gemma": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 420, "normalization_rule_name": "identity",
                  "remove_extra_whitespaces": False, "add_dummy_prefix": False, "control_symbols": ["<turn>"],
                  "user_defined_symbols": ["\n", "\n\n", "▁▁", "▁▁▁"]},
    # As T5's.
    "spm_t5": {"model_type": "unigram", "vocab_size": 230, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1,
               "control_symbols": ["<turn>"]},
}


def trained(options, folder):
    if options["model_type"] == "unigram":
        code = lambda text: " ".join(f"{ord(c):X}" for c in text)
        rules = folder / "rules.tsv"
        rules.write_text("".join(f"{code(a)}\t{code(b)}\n" for a, b in RULES.items()))
        options = options | {"normalization_rule_tsv": str(rules)}
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=out, num_threads=1, minloglevel=2, hard_vocab_limit=False,
        **options,
    )
    return out.getvalue()


def write_vocabulary(path, architecture, model_type, processor, proto):
    writer = gguf.GGUFWriter(path, architecture)
    ids = range(processor.vocab_size())
    kinds = []
    tokens = []
    for i in ids:
        kind = gguf.TokenType.NORMAL
        if processor.IsUnknown(i):
            kind = gguf.TokenType.UNKNOWN
        elif processor.IsControl(i):
            kind = gguf.TokenType.CONTROL
        elif processor.IsByte(i):
            kind = gguf.TokenType.BYTE
        elif proto.pieces[i].type == sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED:
            kind = gguf.TokenType.USER_DEFINED
        kinds.append(kind)
        piece = processor.IdToPiece(i)
        tokens.append(piece.replace("▁", " ") if kind == gguf.TokenType.USER_DEFINED else piece)
    writer.add_tokenizer_model("t5" if model_type == "unigram" else "llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([processor.GetScore(i) for i in ids])
    writer.add_token_types(kinds)
    if model_type == "unigram":
        writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
        writer.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
        writer.add_pad_token_id(processor.pad_id())
    else:
        writer.add_bos_token_id(processor.bos_id())
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)
        if not proto.normalizer_spec.add_dummy_prefix:
            writer.add_add_space_prefix(False)
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())
    writer.add_chat_template("{{ messages }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sentence_pieces(processor, text, specials):
    """Ids of a text in which special tokens are written: SentencePiece itself takes them for text."""
    for special in specials:
        before, found, after = text.partition(special)
        if found:
            first = processor.encode(before) if before else []
            return first + [processor.PieceToId(special)] + sentence_pieces(processor, after, specials)
    return processor.encode(text)


def spm():
    cases = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in MODELS.items():
            blob = trained(options, Path(folder))
            processor = sentencepiece.SentencePieceProcessor(model_proto=blob)
            proto = sentencepiece_model_pb2.ModelProto.FromString(blob)
            path = HERE / f"{name}.gguf"
            write_vocabulary(path, name.removeprefix("spm_"), options["model_type"], processor, proto)
            specials = [p for p in ("<turn>", "</s>") if processor.PieceToId(p) != processor.unk_id()]
            cases[name] = [{"text": text, "ids": sentence_pieces(processor, text, specials)} for text in TEXTS]
            print(f"{name:10} {path.stat().st_size / 1024:5.1f} KiB, {processor.vocab_size()} tokens")
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(c) for c in of) + "\n]" for name, of in cases.items()]
    (HERE / "spm.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


# ---------------------------------------------------------------------------------------------- byte-level

DENSE = [
    "I've been 'told he's there, 'RE you sure?\n \n\n \t\t\t  \n   x  3 33 333 3333 1234567 3.3 3..3 =====--- $5+<a>^~|`b`",
    "déjà-vu Größe HTTPServer camelCase iPhone15Pro нещо на Български 東京タワーは333m 天1314～ កាន់ 한국어 ไทย e\u0301🚀 (normal) 😶\u200d🌫️ »ok« ½²",
    "def f(x):\r\n\treturn [x**2, {'k': \"v\"}] // done/\n\n  end… well،no。yes   ",
]

WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


def matches(*patterns):
    return [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]


CASED = GGUF_PRE_TOKENIZER_SPLITS["gpt-4o"]
LLAMA_3 = GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"]
QWEN_2 = GGUF_PRE_TOKENIZER_SPLITS["qwen2"]
PUNCTUATION = "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
# As published: a normalizer, and what splits in turn. Where transformers has the pattern, it is taken from there.
SPLITTINGS = {
    "gpt-2": (None, [WORDS]),
    "mpt": ("NFC", [WORDS]),
    "starcoder": (None, [DIGITS, WORDS]),
    "command-r": ("NFC", [DIGITS, WORDS]),
    "llama-bpe": (None, [*matches(LLAMA_3), BYTES]),
    "dbrx": (None, [*matches(LLAMA_3), BYTES]),
    "glm4": (None, [*matches(LLAMA_3), BYTES]),
    "qwen2": ("NFC", [*matches(QWEN_2), BYTES]),
    "stablelm2": (None, [*matches(QWEN_2), BYTES]),
    "qwen35": ("NFC", [*matches(GGUF_PRE_TOKENIZER_SPLITS["qwen35"]), BYTES]),
    "gpt-4o": (None, [*matches(CASED), BYTES]),
    "tekken": (None, [*matches(GGUF_PRE_TOKENIZER_SPLITS["tekken"]), BYTES]),
    "tiny_aya": (None, [*matches(r"\d{1,3}(?=(?:\d{3})*\b)", CASED), BYTES]),
    "seed-coder": (None, [*matches(QWEN_2.replace(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}\r\n]+")), BYTES]),
    "bailingmoe": (None, [*matches(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ), BYTES]),
    "bloom": (None, [*matches(BLOOM), BYTES]),
    "viking": (None, [*matches(BLOOM), DIGITS, BYTES]),
    "falcon": (None, [pre_tokenizers.Punctuation(behavior="contiguous"), WORDS, *matches("[0-9][0-9][0-9]")]),
    "deepseek-llm": (None, [
        *matches("[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", rf"\s?[{PUNCTUATION}]+", r"\s+$", "[一-龥ࠀ-一가-\ud7ff]+"),
        DIGITS, BYTES,
    ]),
    "deepseek-coder": (None, [
        *matches("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"), DIGITS, BYTES,
    ]),
    "deepseek-v3": (None, [
        *matches(
            r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ), BYTES,
    ]),
}


def splitting():
    lines = []
    for name, (normalizer, steps) in SPLITTINGS.items():
        sequence = pre_tokenizers.Sequence(steps)
        normalized = [normalizers.NFC().normalize_str(text) if normalizer else text for text in DENSE]
        pieces = [[piece for piece, _ in sequence.pre_tokenize_str(text)] for text in normalized]
        lines.append(f'"{name}": {json.dumps(pieces)}')
    head = f'"texts": {json.dumps(DENSE)}'
    (HERE / "splitting.json").write_text("{\n" + ",\n".join([head, *lines]) + "\n}\n")


if __name__ == "__main__":
    for name, version in PINS.items():
        found = importlib.metadata.version(name)
        assert found == version, f"{name} is {found}; these files are made with {version}"
    spm()
    splitting()
