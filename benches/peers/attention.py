"""Causal attention by `scaled_dot_product_attention`, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py. A setup: {"heads": 12, "head_dim": 64, "tokens": 512}. The text is one, in float32. Work:

- "forward": the values that all queries read
- "backward": the same, and the gradients of queries, keys and values for one cotangent
"""

import torch
from torch.nn.functional import scaled_dot_product_attention

from serve import DEVICE, serve


class Attention:
    def __init__(self, heads, head_dim, tokens):
        drawn = torch.Generator().manual_seed(1)
        size = (1, heads, tokens, head_dim)
        self.query, self.key, self.value, self.cotangent = (torch.randn(size, generator=drawn).to(DEVICE) for _ in range(4))

    def run(self, work):
        inputs = self.query, self.key, self.value
        if work == "forward":
            with torch.no_grad():
                scaled_dot_product_attention(*inputs, is_causal=True)
            return
        inputs = [part.detach().requires_grad_() for part in inputs]
        read = scaled_dot_product_attention(*inputs, is_causal=True)
        torch.autograd.grad(read, inputs, self.cotangent)


if __name__ == "__main__":
    serve(Attention, ("forward", "backward"))
