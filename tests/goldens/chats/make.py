#!/usr/bin/env python3
"""Renders every conversation with every template, as transformers does, and writes expected.json.

    pip install -r requirements.txt
    python make.py
"""

import importlib.metadata
import json
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split() if "==" in line)
for name, version in PINS.items():
    assert importlib.metadata.version(name) == version, f"{name} {version} is needed"

from transformers.utils import chat_template_utils

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
NOW = datetime(2025, 2, 3, 16, 5, 9)


class FixedDate(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FixedDate


def render(source, conversation):
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[conversation["messages"]],
            chat_template=source,
            add_generation_prompt=conversation["add_generation_prompt"],
            **{**SPECIAL, **conversation["variables"]},
        )
        return texts[0]
    except Exception as problem:
        print(f"  {type(problem).__name__}: {problem}")
        return None


conversations = json.loads((HERE / "conversations.json").read_text())
expected = {}
for path in sorted((HERE / "templates").glob("*.jinja")):
    source = path.read_bytes().decode()
    print(path.stem)
    expected[path.stem] = {name: render(source, each) for name, each in conversations.items()}
written = {"special": SPECIAL, "now": NOW.isoformat(), "texts": expected}
(HERE / "expected.json").write_text(json.dumps(written, ensure_ascii=False, indent=1) + "\n")
