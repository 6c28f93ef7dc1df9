#!/usr/bin/env python3
"""Writes expected.json: the chats of conversations.json, written with each of our templates by transformers.

The templates use what those of published models use, but their texts are our own.

    pip install -r requirements.txt
    python make.py
"""

import datetime
import importlib.metadata
import json
from pathlib import Path

import transformers.utils.chat_template_utils as chats

for name, version in [("transformers", "4.57.6"), ("jinja2", "3.1.6")]:
    assert importlib.metadata.version(name) == version, f"{name} {importlib.metadata.version(name)}, not {version}"
HERE = Path(__file__).resolve().parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 1, 14, 5, 9, 1000)


chats.datetime = Clock


def written(template, conversation, prompt):
    """The text and, for templates that have them, the spans of what the model says, in characters."""
    marks = "endgeneration" in template
    try:
        [text], spans = chats.render_jinja_template(
            [conversation["messages"]],
            tools=conversation.get("tools"),
            chat_template=template,
            return_assistant_tokens_mask=marks,
            add_generation_prompt=prompt,
            **SPECIAL,
            **conversation.get("variables", {}),
        )
    except Exception as error:
        return {"error": str(error)}
    return {"text": text, "generated": spans[0]} if marks else {"text": text}


def main():
    conversations = json.loads((HERE / "conversations.json").read_text())
    expected = {}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        # The line break at the end belongs to the file's form; Jinja drops one of several.
        template = path.read_text()
        expected[path.stem] = {
            name: [written(template, conversation, prompt) for prompt in (False, True)]
            for name, conversation in conversations.items()
        }
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
    for template, chats_of in expected.items():
        errors = sum("error" in chat for pair in chats_of.values() for chat in pair)
        print(f"{template}: {2 * len(chats_of)} chats, {errors} refused")


main()
