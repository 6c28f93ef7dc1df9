"""Metrics of faithfulness by loops in plain PyTorch, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py. A setup:

    {"shape": "gpt2-small", "prompt": 20, "answer": 20, "methods": 10, "unit": "token", "orders": 5}

A text of `prompt` and `answer` tokens. Each method has an order of the tokens before each step (`unit` "token") or of the prompt for the whole answer ("answer");
beside them are as many random orders as `orders`, and the text's own, from both ends. Hidden are the first 0, 1, 5, 10, 20, 50, … % of an order and the last, replaced
by token 0 or removed. Work:

- "loop": a forward pass for each order, set and step, as a metric is written down
- "batches": a strong peer: each set once for all orders of a step, in batches of like length padded on the left (STEPFN_BATCH, default 32), attention by
  `scaled_dot_product_attention`, logits of the steps alone
"""

import os

import torch

from serve import DEVICE, serve
from shapes import build, random_ids

BATCH = int(os.environ.get("STEPFN_BATCH", "32"))
TOP = [0.01, 0.05, 0.1, 0.2, 0.5]


def counts(features):
    top = [min(max(1, int(share * features + 0.5)), features) for share in TOP]
    return sorted({0, features, *top, *(features - count for count in top)})


class Evaluation:
    def __init__(self, shape, prompt, answer, methods, unit, orders):
        self.model = build(shape, attention="sdpa").to(DEVICE).requires_grad_(False)
        self.ids = random_ids(self.model.config, prompt + answer).tolist()
        whole = range(prompt, prompt + answer)
        self.columns = [(prompt, answer)] if unit == "answer" else [(step, 1) for step in whole]
        self.methods, self.orders = methods, orders

    def asked(self):
        """For each column, the sets of hidden tokens, in the order in which a metric asks for them."""
        drawn = torch.Generator().manual_seed(2)
        for column, (start, length) in enumerate(self.columns):
            def score(method):
                return lambda token: (method * 7919 + token * 104729 + column * 1299709 + token * token * 31) % 1009

            ranked = [sorted(range(start), key=score(method), reverse=True) for method in range(self.methods)]
            ranked += [torch.randperm(start, generator=drawn).tolist() for _ in range(self.orders)]
            ranked += [list(range(start)), list(reversed(range(start)))]
            sets = []
            for order in ranked:
                for count in counts(start):
                    sets += [frozenset(order[:count]), frozenset(order[start - count :])]
            yield start, length, sets

    def text(self, start, length, hidden, operator):
        if operator == "remove":
            before = [self.ids[token] for token in range(start) if token not in hidden] or [0]
        else:
            before = [0 if token in hidden else self.ids[token] for token in range(start)]
        return before + self.ids[start : start + length]

    @torch.no_grad()
    def log_probs(self, texts, length):
        width = max(map(len, texts))
        ids = torch.zeros(len(texts), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, width - len(text) :] = torch.tensor(text)
            mask[row, width - len(text) :] = 1
        options = {"input_ids": ids.to(DEVICE)}
        if len(texts) > 1:
            options |= {
                "attention_mask": mask.to(DEVICE),
                "position_ids": (mask.cumsum(1) - 1).clamp(min=0).to(DEVICE),
            }
        logits = self.model(**options, logits_to_keep=length + 1, use_cache=False).logits[:, :-1]
        answer = ids[:, width - length :].to(DEVICE)
        return logits.log_softmax(-1).gather(-1, answer[..., None]).sum((1, 2)).tolist()

    def run(self, work):
        for operator in ("baseline", "remove"):
            for start, length, sets in self.asked():
                if work == "loop":
                    for hidden in sets:
                        self.log_probs([self.text(start, length, hidden, operator)], length)
                    continue
                texts = sorted((self.text(start, length, hidden, operator) for hidden in set(sets)), key=len)
                for first in range(0, len(texts), BATCH):
                    self.log_probs(texts[first : first + BATCH], length)


if __name__ == "__main__":
    serve(Evaluation, ["loop", "batches"])
