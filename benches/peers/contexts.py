"""Ablations of sources and a span's saliency in plain PyTorch, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py. A setup:

    {"shape": "smollm2-135m", "sources": 32, "tokens": 40, "answer": 64}

The prompt is `sources` sources of `tokens` random tokens each, behind four others; then comes the answer. Work:

- "context_cite": the answer's log-probability with 64 random halves of the sources, those left out removed
- "leave_one_out": the same without each source, and with all
- "saliency": the gradient of the answer's log-probability with respect to the embeddings: one forward and one backward pass
- "forward": one forward pass of everything, logits of the answer alone

A strong peer: batches of variants of like length padded on the left, as many as are fastest here (STEPFN_BATCH, default 8), attention by
`scaled_dot_product_attention`, no gradients where none are needed, and logits of the answer's tokens alone.
"""

import os

import torch

from serve import DEVICE, serve
from shapes import build, random_ids

BATCH = int(os.environ.get("STEPFN_BATCH", "8"))
BEFORE = 4
ABLATIONS = 64


class Contexts:
    def __init__(self, shape, sources, tokens, answer):
        self.model = build(shape, attention="sdpa").to(DEVICE).requires_grad_(False)
        ids = random_ids(self.model.config, BEFORE + sources * tokens + answer)
        self.before, rest = ids[:BEFORE], ids[BEFORE:]
        self.sources = rest[: sources * tokens].split(tokens)
        self.answer = rest[sources * tokens :]
        drawn = torch.Generator().manual_seed(2)
        self.halves = torch.rand(ABLATIONS, sources, generator=drawn) < 0.5

    def ids(self, kept):
        chosen = [source for source, kept in zip(self.sources, kept) if kept]
        return torch.cat([self.before, *chosen, self.answer])

    @torch.no_grad()
    def log_probs(self, subsets):
        texts = sorted((self.ids(kept) for kept in subsets), key=len)
        found = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            width = max(map(len, batch))
            ids = torch.zeros(len(batch), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, text in enumerate(batch):
                ids[row, width - len(text) :] = text
                mask[row, width - len(text) :] = 1
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            answer = len(self.answer)
            logits = self.model(
                input_ids=ids.to(DEVICE), attention_mask=mask.to(DEVICE), position_ids=positions.to(DEVICE),
                logits_to_keep=answer + 1, use_cache=False,
            ).logits[:, :-1]
            log_probs = logits.log_softmax(-1).gather(-1, self.answer.to(DEVICE).expand(len(batch), -1)[..., None])
            found += log_probs.sum((1, 2)).tolist()
        return found

    def run(self, work):
        n = len(self.sources)
        if work == "context_cite":
            self.log_probs(self.halves.tolist())
        elif work == "leave_one_out":
            self.log_probs([[True] * n] + [[other != source for other in range(n)] for source in range(n)])
        elif work == "forward":
            self.log_probs([[True] * n])
        else:
            self.saliency()

    def saliency(self):
        ids = self.ids([True] * len(self.sources)).to(DEVICE)
        embedded = self.model.get_input_embeddings()(ids[None]).detach().requires_grad_()
        answer = len(self.answer)
        logits = self.model(inputs_embeds=embedded, logits_to_keep=answer + 1, use_cache=False).logits[0, :-1]
        logits.log_softmax(-1).gather(-1, self.answer.to(DEVICE)[:, None]).sum().backward()
        embedded.grad.norm(dim=-1)


if __name__ == "__main__":
    serve(Contexts, ["context_cite", "leave_one_out", "saliency", "forward"])
