"""The five tiny models once more, written out in float64, so that what other programs compute can be checked.

Slow and short: every part is a function of tensors, and a `Run` says what is to be done differently (relevance
rules, a value vector set to zero, a block's output replaced) and keeps what was seen on the way.
"""

import json
import math
from dataclasses import dataclass, field

import safetensors.torch
import torch
import torch.nn.functional as F


@dataclass
class Run:
    """One forward pass: how it differs from the usual one, and what was seen."""

    lrp: bool = False  # the rules of AttnLRP (Achtibat et al. 2024) in place of the gradient
    zeroed: tuple = ()  # (stack, "self" or "cross", layer, token): that value vector is zero
    replaced: dict = field(default_factory=dict)  # (stack, layer): what the block gives instead
    attention: dict = field(default_factory=dict)  # (stack, "self" or "cross", layer): [batch, head, query, key]
    block: dict = field(default_factory=dict)  # (stack, layer): [batch, token, hidden]
    final: dict = field(default_factory=dict)  # stack: what its final norm gives

    def halve(self, product):
        """The uniform rule: each factor of a product of two gets half of the relevance."""
        return 0.5 * product + (0.5 * product).detach() if self.lrp else product

    def activate(self, function, u):
        """The identity rule: an activation passes the relevance of its output on."""
        return u * (function(u) / u).detach() if self.lrp else function(u)

    def normalise(self, x, weight, bias, eps, centred):
        """LayerNorm (centred) or RMSNorm; for relevance the factor is a constant."""
        if centred:
            x = x - x.mean(-1, keepdim=True)
        factor = (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
        y = x * (factor.detach() if self.lrp else factor) * weight
        return y if bias is None else y + bias

    def cap(self, u, most):
        """A soft cap: a nonlinearity like any other, so relevance passes it by the identity rule."""
        return self.activate(lambda u: most * (u / most).tanh(), u)

    def attend(self, site, heads, q, k, v, scale, bias=0.0, causal=False, most=None, window=None):
        """`q`, `k`, `v`: `[batch, token, head · size]`; there may be fewer heads of `k` and `v`."""
        stack, kind, layer = site
        if self.zeroed[:3] == site:
            v = v.clone()
            v[:, self.zeroed[3]] = 0.0
        size = q.shape[-1] // heads
        q, k, v = (y.unflatten(-1, (-1, size)).transpose(1, 2) for y in (q, k, v))
        k, v = (y.repeat_interleave(heads // y.shape[1], dim=1) for y in (k, v))
        scores = self.halve(q @ k.transpose(-1, -2)) * scale
        scores = (scores if most is None else self.cap(scores, most)) + bias
        if causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        if window is not None:
            past = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(-window)
            scores = scores.masked_fill(past, -math.inf)
        weights = scores.softmax(-1)
        self.attention[stack, kind, layer] = weights
        return self.halve(weights @ v).transpose(1, 2).flatten(2)

    def leave(self, stack, layer, x):
        x = self.replaced.get((stack, layer), x)
        self.block[stack, layer] = x
        return x


def rotate(x, heads):
    """Rotary positions, halves rotated against each other."""
    x = x.unflatten(-1, (heads, -1))
    n, size = x.shape[1], x.shape[-1]
    angles = torch.outer(torch.arange(n).double(), 10000.0 ** (-torch.arange(0, size, 2).double() / size))
    cos, sin = (torch.cat([y, y], -1)[:, None] for y in (angles.cos(), angles.sin()))
    left, right = x.chunk(2, -1)
    return (x * cos + torch.cat([-right, left], -1) * sin).flatten(2)


def sinusoids(n, width):
    """Marian's positions: all sines, then all cosines."""
    angles = torch.outer(torch.arange(n).double(), 10000.0 ** (-torch.arange(0, width, 2).double() / width))
    return torch.cat([angles.sin(), angles.cos()], -1)


def t5_buckets(queries, keys, buckets, longest, bidirectional):
    """Which of the learned biases a distance has."""
    found = torch.zeros(queries, keys, dtype=torch.long)
    for i in range(queries):
        for j in range(keys):
            distance, offset, half = i - j, 0, buckets
            if bidirectional:
                half = buckets // 2
                offset, distance = (half if j > i else 0), abs(distance)
            distance, exact = max(distance, 0), half // 2
            if distance >= exact:
                far = math.log(distance / exact) / math.log(longest / exact) * (half - exact)
                distance = min(exact + int(far), half - 1)
            found[i, j] = offset + distance
    return found


def gelu_new(u):
    return F.gelu(u, approximate="tanh")


class Transformer:
    """A checkpoint in float64. `logits` takes scaled embeddings, `[batch, token, hidden]`, before positions."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        self.w = {name: w.double() for name, w in weights.items()}
        self.kind = self.config["model_type"]
        self.seq2seq = self.kind in ("marian", "t5")
        name = {
            "gpt2": "transformer.wte", "llama": "model.embed_tokens", "marian": "model.shared", "t5": "shared",
            "gemma2": "model.embed_tokens",
        }[self.kind]
        width = {"marian": "d_model", "gemma2": "hidden_size"}.get(self.kind)
        scale = math.sqrt(self.config[width]) if width else 1.0
        self.embeddings = self.w[name + ".weight"] * scale
        self.table = self.w[name + ".weight"]

    def embed(self, ids):
        return self.embeddings[torch.as_tensor(ids)][None]

    def layers(self, stack):
        c = self.config
        return {
            "gpt2": lambda: c["n_layer"],
            "llama": lambda: c["num_hidden_layers"],
            "gemma2": lambda: c["num_hidden_layers"],
            "marian": lambda: c[f"{stack}_layers"],
            "t5": lambda: c["num_layers" if stack == "encoder" else "num_decoder_layers"],
        }[self.kind]()

    def linear(self, name, x):
        """`x W` where the weight is stored `[in, out]` (GPT-2's), `x Wᵀ` elsewhere."""
        weight = self.w[name + ".weight"]
        y = x @ (weight if self.kind == "gpt2" else weight.T)
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def norm(self, run, name, x):
        eps = {"gpt2": 1e-5, "llama": 1e-5, "marian": 1e-5, "t5": 1e-6, "gemma2": 1e-6}[self.kind]
        centred = self.kind in ("gpt2", "marian")
        weight = self.w[name + ".weight"] + (1.0 if self.kind == "gemma2" else 0.0)
        return run.normalise(x, weight, self.w.get(name + ".bias"), eps, centred)

    def logits(self, inputs, run=None):
        """`inputs`: the embeddings of the text, or of source and target. `[batch, token, vocabulary]`"""
        run = run or Run()
        if self.seq2seq:
            source, target = inputs
            memory = self.stack(run, "encoder", source, None)
            x = self.stack(run, "decoder", target, memory)
        else:
            x = self.stack(run, "decoder", inputs[0], None)
        if self.kind == "llama":
            return x @ self.w["lm_head.weight"].T
        if self.kind == "marian":
            return x @ self.table.T + self.w["final_logits_bias"]
        if self.kind == "gemma2":
            return run.cap(x @ self.table.T, self.config["final_logit_softcapping"])
        return x * self.config["d_model"] ** -0.5 @ self.table.T if self.kind == "t5" else x @ self.table.T

    def stack(self, run, stack, x, memory):
        return getattr(self, self.kind)(run, stack, x, memory)

    def gpt2(self, run, stack, x, _):
        x = x + self.w["transformer.wpe.weight"][: x.shape[1]]
        for layer in range(self.layers(stack)):
            at, heads = f"transformer.h.{layer}.", self.config["n_head"]
            q, k, v = self.linear(at + "attn.c_attn", self.norm(run, at + "ln_1", x)).chunk(3, -1)
            scale = (q.shape[-1] // heads) ** -0.5
            mixed = run.attend((stack, "self", layer), heads, q, k, v, scale, causal=True)
            x = x + self.linear(at + "attn.c_proj", mixed)
            inner = self.linear(at + "mlp.c_fc", self.norm(run, at + "ln_2", x))
            x = x + self.linear(at + "mlp.c_proj", run.activate(gelu_new, inner))
            x = run.leave(stack, layer, x)
        run.final[stack] = self.norm(run, "transformer.ln_f", x)
        return run.final[stack]

    def llama(self, run, stack, x, _):
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        for layer in range(self.layers(stack)):
            at = f"model.layers.{layer}."
            y = self.norm(run, at + "input_layernorm", x)
            q, k, v = (self.linear(f"{at}self_attn.{p}_proj", y) for p in "qkv")
            scale = (q.shape[-1] // heads) ** -0.5
            q, k = rotate(q, heads), rotate(k, kv_heads)
            mixed = run.attend((stack, "self", layer), heads, q, k, v, scale, causal=True)
            x = x + self.linear(at + "self_attn.o_proj", mixed)
            y = self.norm(run, at + "post_attention_layernorm", x)
            gate = run.activate(F.silu, self.linear(at + "mlp.gate_proj", y))
            x = x + self.linear(at + "mlp.down_proj", run.halve(gate * self.linear(at + "mlp.up_proj", y)))
            x = run.leave(stack, layer, x)
        run.final[stack] = self.norm(run, "model.norm", x)
        return run.final[stack]

    def gemma2(self, run, stack, x, _):
        c = self.config
        heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        scale, most = c["query_pre_attn_scalar"] ** -0.5, c["attn_logit_softcapping"]
        for layer, kind in enumerate(c["layer_types"]):
            at = f"model.layers.{layer}."
            y = self.norm(run, at + "input_layernorm", x)
            q, k, v = (self.linear(f"{at}self_attn.{p}_proj", y) for p in "qkv")
            q, k = rotate(q, heads), rotate(k, kv_heads)
            window = c["sliding_window"] if kind == "sliding_attention" else None
            site = (stack, "self", layer)
            mixed = run.attend(site, heads, q, k, v, scale, causal=True, most=most, window=window)
            mixed = self.linear(at + "self_attn.o_proj", mixed)
            x = x + self.norm(run, at + "post_attention_layernorm", mixed)
            y = self.norm(run, at + "pre_feedforward_layernorm", x)
            gate = run.activate(gelu_new, self.linear(at + "mlp.gate_proj", y))
            inner = run.halve(gate * self.linear(at + "mlp.up_proj", y))
            x = x + self.norm(run, at + "post_feedforward_layernorm", self.linear(at + "mlp.down_proj", inner))
            x = run.leave(stack, layer, x)
        run.final[stack] = self.norm(run, "model.norm", x)
        return run.final[stack]

    def marian(self, run, stack, x, memory):
        heads = self.config[f"{stack}_attention_heads"]
        x = x + sinusoids(x.shape[1], x.shape[2])
        for layer in range(self.layers(stack)):
            at = f"model.{stack}.layers.{layer}."

            def mix(kind, part, x, other):
                q = self.linear(f"{at}{part}.q_proj", x)
                k, v = (self.linear(f"{at}{part}.{p}_proj", other) for p in "kv")
                scale, causal = (q.shape[-1] // heads) ** -0.5, stack == "decoder" and kind == "self"
                mixed = run.attend((stack, kind, layer), heads, q, k, v, scale, causal=causal)
                return self.norm(run, f"{at}{part}_layer_norm", x + self.linear(f"{at}{part}.out_proj", mixed))

            x = mix("self", "self_attn", x, x)
            if memory is not None:
                x = mix("cross", "encoder_attn", x, memory)
            inner = run.activate(F.silu, self.linear(at + "fc1", x))
            x = self.norm(run, at + "final_layer_norm", x + self.linear(at + "fc2", inner))
            x = run.leave(stack, layer, x)
        run.final[stack] = x
        return x

    def t5(self, run, stack, x, memory):
        c, n = self.config, x.shape[1]
        buckets = t5_buckets(
            n, n, c["relative_attention_num_buckets"], c["relative_attention_max_distance"], stack == "encoder"
        )
        biases = self.w[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        bias = biases[buckets].permute(2, 0, 1)
        for layer in range(self.layers(stack)):
            at = f"{stack}.block.{layer}.layer."

            def mix(kind, part, x, other, bias):
                y = self.norm(run, f"{at}{part.split('.')[0]}.layer_norm", x)
                other = y if other is None else other
                q, k, v = (self.linear(f"{at}{part}.{p}", z) for p, z in zip("qkv", (y, other, other)))
                causal = stack == "decoder" and kind == "self"
                mixed = run.attend((stack, kind, layer), c["num_heads"], q, k, v, 1.0, bias, causal)
                return x + self.linear(f"{at}{part}.o", mixed)

            x = mix("self", "0.SelfAttention", x, None, bias)
            if memory is not None:
                x = mix("cross", "1.EncDecAttention", x, memory, 0.0)
            last = at + ("2" if memory is not None else "1")
            inner = self.linear(last + ".DenseReluDense.wi", self.norm(run, last + ".layer_norm", x))
            x = x + self.linear(last + ".DenseReluDense.wo", run.activate(F.relu, inner))
            x = run.leave(stack, layer, x)
        run.final[stack] = self.norm(run, f"{stack}.final_layer_norm", x)
        return run.final[stack]
