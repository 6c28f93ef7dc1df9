"""Generation and scoring with CTranslate2, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py. A setup:

    {"shape": "gpt2-small", "folder": "/…", "texts": [[ids], …], "new_tokens": N}

It builds a model of a published shape with random weights, saves it with transformers in the folder, where stepfn reads
it, and converts it for CTranslate2, in the folder's `converted`. Shapes: gpt2-small, smollm2-135m, opus-mt-base. A
causal model continues the texts, an encoder–decoder reads them. Options: "beams" (1), "type", the type that
CTranslate2 computes in (float32; int8 is another), and "weights", the type in which the weights are saved (float32; both
sides read the same rounded numbers).

Work: "generate" writes N tokens for every text, without an end token before them, and results in their ids. "score" is
of the texts themselves, for an encoder–decoder of each text as the target of the one before it, and results in the
log-probabilities of their tokens but the first of a causal model, and with the end token of an encoder–decoder.
Needs the package `ctranslate2` besides those of the other peers.
"""

import os
import sys

# This file has the name of the package that it needs.
here = sys.path.pop(0)
import ctranslate2
from ctranslate2.converters import transformers as converters

sys.path.insert(0, here)

import torch

from serve import serve
from shapes import build


class Names:
    """What a conversion asks of a tokenizer: the name of token 7 is "7"."""

    def __init__(self, config):
        self.names = [str(token) for token in range(config.vocab_size)]
        if config.model_type == "marian":
            # A conversion knows Marian's padding, which it leaves out, by this name.
            self.names[config.pad_token_id] = "<pad>"
        self.bos_token, self.eos_token = self.names[config.bos_token_id], self.names[config.eos_token_id]
        # No text of a benchmark has it.
        self.unk_token = self.names[3]

    def get_vocab(self):
        return {name: token for token, name in enumerate(self.names)}

    def convert_ids_to_tokens(self, token):
        return self.names[token]


def convert(shape, folder, weights):
    """Saves the model for both sides, if that is not done yet."""
    converted = os.path.join(folder, "converted")
    if not os.path.exists(converted):
        model = build(shape)
        if type(model.config).__name__ not in converters._MODEL_LOADERS:
            raise ValueError(f"CTranslate2 has no models of the shape {shape}")
        model = model.to(getattr(torch, weights))
        model.save_pretrained(folder)
        model = model.float()
        with torch.no_grad():
            spec = converters._MODEL_LOADERS[type(model.config).__name__](model, Names(model.config))
        spec.validate()
        spec.optimize(None)
        os.makedirs(converted)
        spec.save(converted)
    return converted


class Writer:
    def __init__(self, shape, folder, texts, new_tokens=64, beams=1, type="float32", weights="float32"):
        self.texts = [[str(token) for token in text] for text in texts]
        self.new_tokens, self.beams = new_tokens, beams
        threads = int(os.environ.get("STEPFN_THREADS", "2"))
        options = {"device": "cpu", "compute_type": type, "inter_threads": 1, "intra_threads": threads}
        converted = convert(shape, folder, weights)
        self.pairs = shape == "opus-mt-base"
        self.model = (ctranslate2.Translator if self.pairs else ctranslate2.Generator)(converted, **options)

    def generate(self):
        ids = lambda tokens: [int(token) for token in tokens]
        options = {"beam_size": self.beams}
        if self.pairs:
            lengths = {"max_decoding_length": self.new_tokens, "min_decoding_length": self.new_tokens}
            written = self.model.translate_batch(self.texts, **options, **lengths)
            return [ids(text.hypotheses[0]) for text in written]
        lengths = {"max_length": self.new_tokens, "min_length": self.new_tokens}
        written = self.model.generate_batch(self.texts, **options, **lengths, include_prompt_in_result=False)
        return [ids(text.sequences[0]) for text in written]

    def score(self):
        options = {"max_batch_size": 1024, "batch_type": "tokens"}
        if self.pairs:
            scores = self.model.score_batch(self.texts, self.texts[1:] + self.texts[:1], **options)
        else:
            scores = self.model.score_batch(self.texts, **options)
        return [text.log_probs for text in scores]

    def run(self, work):
        return WORK[work](self)


WORK = {"generate": Writer.generate, "score": Writer.score}


if __name__ == "__main__":
    serve(Writer, WORK, "ctranslate2")
