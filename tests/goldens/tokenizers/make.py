"""Writes tiny tokenizers in the layouts that checkpoints without a `tokenizer.json` have, and the ids that transformers gives with them.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python make.py

Vocabularies are trained by the sentencepiece package on the sentences below; folders are written by `save_pretrained` of the published
classes of transformers 4, with which most published results were made. README.md says what is in a folder.
"""

import collections
import json
import random
import shutil
import tempfile
from pathlib import Path

import google.protobuf
import sacremoses
import sentencepiece
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2

PINS = {
    "transformers": (transformers, "4.57.6"),
    "tokenizers": (tokenizers, "0.22.2"),
    "sentencepiece": (sentencepiece, "0.2.3"),
    "protobuf": (google.protobuf, "7.36.2"),
    "sacremoses": (sacremoses, "0.2.0"),
}

ENGLISH = """the ship sails at dawn and the crew sings
a small light burns in the window of the old house
she counts the stars until she falls asleep
nobody knows where the river begins or where it ends
he writes letters to his sister every other week
the children run down the hill and laugh
in winter the lake freezes and the birds leave
we bought bread, cheese and three red apples
it's a long way to the station, isn't it?
prices rose by 12.5 percent in 1999 and again in 2024"""

GERMAN = """das Schiff segelt in der Dämmerung und die Mannschaft singt
ein kleines Licht brennt im Fenster des alten Hauses
sie zählt die Sterne, bis sie einschläft
niemand weiß, wo der Fluss beginnt oder wo er endet
er schreibt seiner Schwester jede zweite Woche Briefe
die Kinder rennen den Hügel hinunter und lachen
im Winter friert der See zu und die Vögel ziehen fort
wir kauften Brot, Käse und drei rote Äpfel
bis zum Bahnhof ist es weit, nicht wahr?
die Preise stiegen 1999 um 12,5 Prozent und 2024 noch einmal"""

TEXTS = [
    "the ship sails at dawn",
    "The children, the stars and 12.5 percent!",
    " a leading space",
    "a trailing space ",
    "two  spaces   and three",
    "a\ttab and a\nline break",
    "\n",
    " ",
    "na\u00efve caf\u00e9",
    "cafe\u0301 with a combining accent",
    "\uff21\uff22\uff23 full width \uff11\uff12",
    "\ufb01ne ligature of\ufb01ce",
    "\u65e5\u672c\u8a9e and \u4e2d\u6587",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "emoji \U0001f600\U0001f469\u200d\U0001f680 here",
    "zero\u200bwidth and soft\u00adhyphen",
    "no-break\u00a0space and \u3000ideographic",
    "\u201cquotes\u201d \u2014 dash \u2026",
    "wei\u00df, K\u00e4se, \u00c4pfel",
    "it's isn't they're",
    "</s> the end",
    "before <unk> after",
    "x<pad>y",
    "<s> begins",
    "\u2581marked \u2581 text",
    "<0x41> and <0xF0>",
    "1234567890",
    "ALL CAPITALS",
    "a" * 40,
    "",
]


def check_versions():
    for name, (module, wanted) in PINS.items():
        if module.__version__ != wanted:
            raise SystemExit(f"{name} {wanted} is needed, and this is {module.__version__}")


def train(folder, name, text, **options):
    """A SentencePiece model, in a file."""
    (folder / "text").write_text(text, encoding="utf-8")
    if options.pop("few_rules", False):
        rules = "".join(f"{source}\t{target}\n" for source, target in RULES.items())
        (folder / "rules.tsv").write_text(rules)
        options["normalization_rule_tsv"] = str(folder / "rules.tsv")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / name), minloglevel=2, num_threads=1, **options
    )
    path = folder / f"{name}.model"
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    # Where the files of the training were, which differs each time.
    for field in ("input", "model_prefix"):
        model.trainer_spec.ClearField(field)
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


UNIGRAM = dict(model_type="unigram", vocab_size=160, hard_vocab_limit=False)
# A part of the rules that most published models have, whose table takes a quarter of a megabyte. One has them all.
RULES = {
    "9": "20", "A": "20", "D": "20", "A0": "20", "3000": "20", "200B": "20", "AD": "", "2026": "2E 2E 2E", "FB01": "66 69",
    "65 301": "E9", "FF21": "41", "FF22": "42", "FF23": "43", "FF11": "31", "FF12": "32",
}
BPE = dict(model_type="bpe", vocab_size=420, byte_fallback=True, normalization_rule_name="identity",
           remove_extra_whitespaces=False, split_digits=True, character_coverage=0.999)
GEMMA = dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
             add_dummy_prefix=False)
FEW = UNIGRAM | dict(few_rules=True)
FAIRSEQ = FEW | dict(unk_id=0, bos_id=1, eos_id=2)


def save(root, name, tokenizer, keep, more=None):
    """A folder with just the files that published ones of this class have."""
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer.save_pretrained(temporary)
        folder.mkdir(parents=True)
        for file in Path(temporary).iterdir():
            if file.name in keep:
                shutil.copy(file, folder / file.name)
    for file, content in (more or {}).items():
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return folder


SMALL = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def is_code(token):
    return token.startswith(("__", ">>")) and token.endswith(("__", "<<"))


def expect(folder, tokenizer, fast=None, targets=False, languages=None):
    """The ids of all texts. Where the class that is made of the files differs, its ids too."""
    cases = []
    for text in TEXTS:
        case = {"text": text, "ids": tokenizer(text)["input_ids"]}
        if fast is not None:
            encoded = fast(text, return_offsets_mapping=True)
            if encoded["input_ids"] != case["ids"]:
                case["fast_ids"] = encoded["input_ids"]
        # Special tokens that are written in a target get ids of the source's vocabulary there, whatever the target's is.
        if targets and "<pad>" not in text:
            case["target_ids"] = (fast or tokenizer)(text_target=text)["input_ids"]
        # Slow classes show codes of languages, and Marian's reads all ids as the target's.
        if not targets or "target_ids" in case:
            ids = [i for i in case.get("target_ids", case["ids"]) if not is_code(tokenizer.convert_ids_to_tokens(i))]
            decoder = fast or tokenizer
            case["decoded"] = decoder.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        cases.append(case)
    versions = {name: wanted for name, (_, wanted) in PINS.items()}
    content = {"class": type(tokenizer).__name__, "versions": versions, "languages": languages, "cases": cases}
    (folder / "expected.json").write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    differing = sum("fast_ids" in case for case in cases)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1024
    print(f"{folder.name:16} {len(tokenizer):6} tokens {size:7.1f} KiB   {differing} differ in the fast class", flush=True)


def pieces_of(model):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def marian(root, scratch, separate):
    source = train(scratch, "source", ENGLISH, **FEW)
    target = train(scratch, "target", GERMAN, **FEW)
    shuffle = random.Random(1)

    def vocabulary(models, codes):
        pieces = sorted({piece for model in models for piece in pieces_of(model)} - {"<s>", "</s>", "<unk>"})
        shuffle.shuffle(pieces)
        names = ["</s>", "<unk>", *codes, *pieces, "<pad>"]
        return {name: i for i, name in enumerate(names)}

    codes = [">>deu<<", ">>nds<<"]
    (scratch / "vocab.json").write_text(json.dumps(vocabulary([source] if separate else [source, target], codes)))
    options = dict(source_spm=str(source), target_spm=str(target), vocab=str(scratch / "vocab.json"))
    if separate:
        (scratch / "target_vocab.json").write_text(json.dumps(vocabulary([target], [])))
        options |= dict(target_vocab_file=str(scratch / "target_vocab.json"), separate_vocabs=True)
    tokenizer = transformers.MarianTokenizer(**options, source_lang="en", target_lang="de")
    name = "marian_separate" if separate else "marian"
    keep = (*SMALL, "vocab.json", "target_vocab.json", "source.spm", "target.spm")
    folder = save(root, name, tokenizer, keep, {"config.json": {"model_type": "marian"}})
    TEXTS.extend([">>deu<< the ship sails", ">>xxx<< the ship", "in the middle >>deu<< of it"])
    expect(folder, tokenizer, targets=True)
    del TEXTS[-3:]


def m2m_100(root, scratch):
    model = train(scratch, "m2m", ENGLISH + "\n" + GERMAN, **FAIRSEQ)
    pieces = [piece for piece in pieces_of(model) if piece not in ("<s>", "</s>", "<unk>")]
    random.Random(2).shuffle(pieces)
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    (scratch / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    tokenizer = transformers.M2M100Tokenizer(
        vocab_file=str(scratch / "vocab.json"), spm_file=str(model), src_lang="en", tgt_lang="de"
    )
    keep = (*SMALL, "vocab.json", "sentencepiece.bpe.model")
    folder = save(root, "m2m_100", tokenizer, keep, {"config.json": {"model_type": "m2m_100"}})
    expect(folder, tokenizer, targets=True, languages=["en", "de"])


def xlm_roberta_old(root, scratch):
    model = train(scratch, "xlm_roberta_old", ENGLISH + "\n" + GERMAN, **FAIRSEQ)
    tokenizer = transformers.XLMRobertaTokenizer(str(model))
    keep = ("tokenizer_config.json", "sentencepiece.bpe.model")
    folder = save(root, "xlm_roberta_old", tokenizer, keep, {"config.json": {"model_type": "xlm-roberta"}})
    mask = dict(content="<mask>", lstrip=True, rstrip=False, normalized=True, single_word=False)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>"}
    older(folder, names | {"sep_token": "</s>", "mask_token": mask}, {})
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    fast = transformers.XLMRobertaTokenizerFast.from_pretrained(folder, from_slow=True)
    more = ["the <mask> sails", "the   <mask>  sails", "\t<mask>"]
    TEXTS.extend(more)
    expect(folder, tokenizer, fast)
    del TEXTS[-len(more):]


def fairseq(root, scratch, name, cls, family, file, languages=None, **options):
    model = train(scratch, name, ENGLISH + "\n" + GERMAN, **FAIRSEQ)
    tokenizer = cls(str(model), **options)
    folder = save(root, name, tokenizer, (*SMALL, file), {"config.json": {"model_type": family}})
    fast = getattr(transformers, cls.__name__ + "Fast").from_pretrained(folder, **options)
    expect(folder, tokenizer, fast, targets=languages is not None, languages=languages)


def older(folder, special, added):
    """Makes a folder one of version 4.33 or before, which lists special tokens without their ids, and added ones without details."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for field in ("added_tokens_decoder", "additional_special_tokens"):
        settings.pop(field, None)
    for name, content in (("tokenizer_config", settings), ("special_tokens_map", special), ("added_tokens", added)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def llama(root, scratch, name, **options):
    model = train(scratch, name, ENGLISH + "\n" + GERMAN, **BPE)
    tokenizer = transformers.LlamaTokenizer(str(model), **options)
    folder = save(root, name, tokenizer, (*SMALL, "tokenizer.model"), {"config.json": {"model_type": "llama"}})
    fast = transformers.LlamaTokenizerFast.from_pretrained(folder, from_slow=True)
    expect(folder, tokenizer, fast)


def llama_old(root, scratch):
    model = train(scratch, "llama_old", ENGLISH + "\n" + GERMAN, **BPE)
    tokenizer = transformers.LlamaTokenizer(str(model), legacy=True)
    keep = ("tokenizer_config.json", "tokenizer.model")
    folder = save(root, "llama_old", tokenizer, keep, {"config.json": {"model_type": "llama"}})
    details = dict(lstrip=False, rstrip=False, normalized=True, single_word=False)
    # Two tokens are new, and one of them is listed with its id; the user's end is not in the vocabulary.
    special = {name: details | {"content": content} for name, content in
               (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"))}
    special |= {"pad_token": "[PAD]", "additional_special_tokens": ["<|user|>", "<|end|>"]}
    older(folder, special, {"<|user|>": len(tokenizer), "<tool>": len(tokenizer) + 1})
    tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
    fast = transformers.LlamaTokenizerFast.from_pretrained(folder, from_slow=True)
    more = ["<|user|> the ship<|end|>[PAD]", "x<|user|>y <|end|> z", " [PAD] <tool> the ship"]
    TEXTS.extend(more)
    expect(folder, tokenizer, fast)
    del TEXTS[-len(more):]


def gemma_flags(root, scratch):
    # Published models have tags of HTML among their pieces.
    model = train(scratch, "gemma_flags", ENGLISH + "\n" + GERMAN, **BPE, **GEMMA,
                  user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\t", "<s>", "</s>"])
    tokenizer = transformers.GemmaTokenizer(str(model), add_bos_token=False, add_eos_token=True)
    more = {"config.json": {"model_type": "gemma2"}}
    folder = save(root, "gemma_flags", tokenizer, (*SMALL, "tokenizer.model"), more)
    fast = transformers.GemmaTokenizerFast.from_pretrained(folder, from_slow=True)
    expect(folder, tokenizer, fast)


def gemma(root, scratch):
    model = train(scratch, "gemma", ENGLISH + "\n" + GERMAN, **BPE, **GEMMA,
                  user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\t"])
    tokenizer = transformers.GemmaTokenizer(str(model))
    folder = save(root, "gemma", tokenizer, (*SMALL, "tokenizer.model"), {"config.json": {"model_type": "gemma2"}})
    fast = transformers.GemmaTokenizerFast.from_pretrained(folder, from_slow=True)
    TEXTS.append("<start_of_turn>user\nthe ship<end_of_turn>\n")
    expect(folder, tokenizer, fast)
    del TEXTS[-1:]


def t5(root, scratch, name, legacy, **options):
    rules = UNIGRAM if name == "t5_no_legacy" else FEW
    model = train(scratch, name, ENGLISH + "\n" + GERMAN, **rules, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    tokenizer = transformers.T5Tokenizer(str(model), legacy=legacy, **options)
    folder = save(root, name, tokenizer, (*SMALL, "spiece.model"), {"config.json": {"model_type": "t5"}})
    fast = transformers.T5TokenizerFast.from_pretrained(folder, from_slow=True)
    TEXTS.append("a gap <extra_id_0> and <extra_id_99>.")
    expect(folder, tokenizer, fast)
    del TEXTS[-1:]


def pegasus(root, scratch):
    model = train(scratch, "pegasus", ENGLISH, **FEW, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    tokenizer = transformers.PegasusTokenizer(str(model))
    folder = save(root, "pegasus", tokenizer, (*SMALL, "spiece.model"), {"config.json": {"model_type": "pegasus"}})
    fast = transformers.PegasusTokenizerFast.from_pretrained(folder, from_slow=True)
    TEXTS.append("a gap <mask_1> and <mask_2> and <unk_7>.")
    expect(folder, tokenizer, fast)
    del TEXTS[-1:]


def plbart(root, scratch, name, codes, languages, **options):
    """The class can't tell targets from sources where it is asked for both, and there is no fast one."""
    model = train(scratch, name, ENGLISH + "\n" + GERMAN, **FAIRSEQ)
    tokenizer = transformers.PLBartTokenizer(str(model), language_codes=codes, **options)
    folder = save(root, name, tokenizer, (*SMALL, "sentencepiece.bpe.model"), {"config.json": {"model_type": "plbart"}})
    expect(folder, tokenizer, targets=languages is not None, languages=languages)


def byte_level(root, scratch, name, cls, family, **options):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if family != "gpt2" else ["<|endoftext|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.train_from_iterator((ENGLISH + "\n" + GERMAN).split("\n"), trainer)
    learner.model.save(str(scratch))
    tokenizer = cls(str(scratch / "vocab.json"), str(scratch / "merges.txt"), **options)
    keep = (*SMALL, "vocab.json", "merges.txt")
    folder = save(root, name, tokenizer, keep, {"config.json": {"model_type": family}})
    # With a space before a text, classes disagree on what a text is.
    fast = transformers.BlenderbotTokenizerFast.from_pretrained(folder, from_slow=True) if family == "blenderbot" else None
    expect(folder, tokenizer, fast)


def blenderbot_small(root, scratch):
    """Words of small letters; parts of a word have `@@` behind them in the vocabulary, and its end `</w>` in the merges."""
    words = (ENGLISH + "\n" + GERMAN).lower().replace("'", " ' ")
    for mark in ".,!?()":
        words = words.replace(mark, f" {mark}")
    words = collections.Counter((*word[:-1], word[-1] + "</w>") for word in words.split())
    symbols, merges = sorted({symbol for word in words for symbol in word}), []
    # The package's trainer breaks ties by hashes.
    for _ in range(90):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        symbols.append("".join(best))
        joined = collections.Counter()
        for word, count in words.items():
            parts = []
            for symbol in word:
                if parts and (parts[-1], symbol) == best:
                    parts[-1] += symbol
                else:
                    parts.append(symbol)
            joined[tuple(parts)] += count
        words = joined
    (scratch / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in merges))
    names = [symbol.removesuffix("</w>") if symbol.endswith("</w>") else symbol + "@@" for symbol in symbols]
    # Some are no tokens, so that what merges make is unknown.
    names = ["__null__", "__start__", "__end__", "__unk__", *names[:60], *names[64:]]
    (scratch / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    tokenizer = transformers.BlenderbotSmallTokenizer(str(scratch / "vocab.json"), str(scratch / "merges.txt"))
    keep = (*SMALL, "vocab.json", "merges.txt")
    folder = save(root, "blenderbot_small", tokenizer, keep, {"config.json": {"model_type": "blenderbot-small"}})
    TEXTS.extend(["__start__ the ship __end__", "Don't (stop)!? a.b,c", "one\n\n two\nthree"])
    expect(folder, tokenizer)
    del TEXTS[-3:]


def byt5(root):
    tokenizer = transformers.ByT5Tokenizer()
    folder = save(root, "byt5", tokenizer, SMALL, {"config.json": {"model_type": "t5"}})
    expect(folder, tokenizer)


def word_piece(root, scratch, name, cls, family, old=False, **options):
    """Whole words that come twice, and letters alone and inside words."""
    words = (ENGLISH + "\n" + GERMAN).replace("'", " ' ")
    for mark in ".,!?":
        words = words.replace(mark, f" {mark} ")
    if options.get("do_lower_case", True):
        words = words.lower()
    letters = sorted({letter for word in words.split() for letter in word} | set("abcdefghijklmnopqrstuvwxyz0123456789<>/_-"))
    counted = collections.Counter(words.split())
    whole = sorted(word for word, count in counted.items() if count > 1 and len(word) > 1)
    ends = sorted(ending for ending, count in collections.Counter(word[-2:] for word in counted if len(word) > 3).items() if count > 1)
    tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "\u65e5", "\u672c", "\u65e5\u672c", *whole]
    tokens += [f"##{part}" for part in (*letters, *ends, "\u8a9e")]
    (scratch / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    tokenizer = cls(str(scratch / "vocab.txt"), **options)
    folder = save(root, name, tokenizer, ("vocab.txt",) if old else (*SMALL, "vocab.txt"), {"config.json": {"model_type": family}})
    if old:
        # As the first folders: nothing but the one setting that differs.
        (folder / "tokenizer_config.json").write_text(json.dumps({k: options[k] for k in options}), encoding="utf-8")
    fast = getattr(transformers, cls.__name__ + "Fast").from_pretrained(folder, **options)
    more = ["the [MASK] sails[SEP]", "[MASK][MASK] x[mask]", "un##der ## #", "A\u00c4\u00e4 \u0130stanbul \u03a3\u03a3", "\u65e5\u672c\u8a9eabc",
            "ab\x00c\ufffd d\u0007e", "x" * 101, "the-ship's (crew)"]
    TEXTS.extend(more)
    expect(folder, tokenizer, fast)
    del TEXTS[-len(more):]


def main():
    check_versions()
    root = Path(__file__).parent
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        marian(root, scratch, separate=False)
        marian(root, scratch, separate=True)
        m2m_100(root, scratch)
        fairseq(root, scratch, "mbart", transformers.MBartTokenizer, "mbart", "sentencepiece.bpe.model",
                ["en_XX", "ro_RO"], src_lang="en_XX", tgt_lang="ro_RO")
        fairseq(root, scratch, "mbart50", transformers.MBart50Tokenizer, "mbart", "sentencepiece.bpe.model",
                ["en_XX", "de_DE"], src_lang="en_XX", tgt_lang="de_DE")
        fairseq(root, scratch, "nllb", transformers.NllbTokenizer, "m2m_100", "sentencepiece.bpe.model",
                ["fra_Latn", "deu_Latn"], src_lang="fra_Latn", tgt_lang="deu_Latn")
        fairseq(root, scratch, "xlm_roberta", transformers.XLMRobertaTokenizer, "xlm-roberta", "sentencepiece.bpe.model")
        fairseq(root, scratch, "xglm", transformers.XGLMTokenizer, "xglm", "sentencepiece.bpe.model")
        xlm_roberta_old(root, scratch)
        llama(root, scratch, "llama", legacy=True)
        llama(root, scratch, "llama_no_legacy", legacy=False, add_eos_token=True)
        llama_old(root, scratch)
        gemma(root, scratch)
        gemma_flags(root, scratch)
        t5(root, scratch, "t5", True)
        t5(root, scratch, "t5_no_legacy", False)
        t5(root, scratch, "t5_no_prefix", False, add_prefix_space=False)
        byte_level(root, scratch, "gpt2", transformers.GPT2Tokenizer, "gpt2")
        byte_level(root, scratch, "opt", transformers.GPT2Tokenizer, "opt", add_bos_token=True, bos_token="</s>",
                   eos_token="</s>", unk_token="</s>", pad_token="<pad>")
        byte_level(root, scratch, "bart", transformers.BartTokenizer, "bart")
        byte_level(root, scratch, "blenderbot", transformers.BlenderbotTokenizer, "blenderbot", add_prefix_space=True)
        blenderbot_small(root, scratch)
        byt5(root)
        pegasus(root, scratch)
        plbart(root, scratch, "plbart", "base", None)
        word_piece(root, scratch, "bert", transformers.BertTokenizer, "bert")
        word_piece(root, scratch, "bert_cased", transformers.BertTokenizer, "bert", old=True, do_lower_case=False)
        word_piece(root, scratch, "bert_accents", transformers.BertTokenizer, "bert", strip_accents=False,
                   tokenize_chinese_chars=False)
        word_piece(root, scratch, "electra", transformers.ElectraTokenizer, "electra", old=True)
        plbart(root, scratch, "plbart_multi", "multi", ["java", "en_XX"], src_lang="java", tgt_lang="en_XX")


if __name__ == "__main__":
    main()
