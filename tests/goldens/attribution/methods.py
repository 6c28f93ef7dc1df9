"""Every method once more, slowly, on `transformer.py`: one step at a time, by autograd and by brute force.

A method takes a `Step` and gives one tensor for each input (the text, or source and target), `[token, ...]`, or
None where it has no scores for that input, and a convergence delta or None.
"""

import itertools
import math
from dataclasses import dataclass

import networkx
import numpy
import torch

from transformer import Run

BASELINE_ID = 0
FUNCTIONS = ("probability", "logit", "crossentropy", "contrast_prob_diff")


@dataclass
class Text:
    """Forced: `target[first:]` are the predicted tokens, and `contrast[k]` the other side of step k."""

    source: list
    target: list
    first: int
    contrast: list

    @property
    def steps(self):
        return range(self.first, len(self.target))

    def inputs(self, step):
        prefix = self.target[:step]
        return [self.source, prefix] if self.source else [prefix]


def score(function, logits, y, contrast):
    """`logits`: `[batch, vocabulary]` at the step."""
    log_p = logits.log_softmax(-1)
    return {
        "probability": lambda: log_p[:, y].exp(),
        "logit": lambda: logits[:, y],
        "crossentropy": lambda: -log_p[:, y],
        "contrast_prob_diff": lambda: log_p[:, y].exp() - log_p[:, contrast].exp(),
    }[function]()


@dataclass
class Step:
    """What is attributed: a function of the inputs at one position of one text."""

    model: object
    text: Text
    position: int
    function: str = "probability"

    def __post_init__(self):
        self.ids = self.text.inputs(self.position)
        self.x = [self.model.embed(ids) for ids in self.ids]
        self.baseline = [self.model.embed([BASELINE_ID] * len(ids)) for ids in self.ids]
        self.y = self.text.target[self.position]
        self.contrast = self.text.contrast[self.position - self.text.first]

    def __call__(self, inputs, run=None):
        logits = self.model.logits(inputs, run)[:, -1]
        return score(self.function, logits, self.y, self.contrast)

    def gradient(self, inputs, run=None):
        inputs = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad(self(inputs, run).sum(), inputs)

    def gap(self):
        """f(x) − f(x̄)"""
        return (self(self.x) - self(self.baseline)).item()


def total(tensors):
    return sum(t.sum().item() for t in tensors)


def saliency(step):
    return [g[0].abs() for g in step.gradient(step.x)], None


def input_x_gradient(step):
    return [(x * g)[0] for x, g in zip(step.x, step.gradient(step.x))], None


def quadrature(name, n):
    if name == "gausslegendre":
        points, weights = numpy.polynomial.legendre.leggauss(n)
        return (points + 1) / 2, weights / 2
    weights = numpy.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return numpy.linspace(0, 1, n), weights


def along(points, start, end):
    """`[points, token, hidden]`"""
    return start + torch.as_tensor(points)[:, None, None] * (end - start)


def integrated_gradients(step, n_steps, quadrature_name):
    points, weights = quadrature(quadrature_name, n_steps)
    gradients = step.gradient([along(points, b, x) for b, x in zip(step.baseline, step.x)])
    weights = torch.as_tensor(weights)[:, None, None]
    scores = [((x - b) * (weights * g).sum(0))[0] for b, x, g in zip(step.baseline, step.x, gradients)]
    return scores, total(scores) - step.gap()


def sequential_integrated_gradients(step, n_steps):
    """For each token alone: only it moves, from the baseline to itself."""
    points, weights = quadrature("gausslegendre", n_steps)
    found = []
    for which, (x, b) in enumerate(zip(step.x, step.baseline)):
        rows = []
        for token in range(x.shape[1]):
            inputs = [y.repeat(n_steps, 1, 1) for y in step.x]
            inputs[which][:, token] = along(points, b, x)[:, token]
            gradient = step.gradient(inputs)[which][:, token]
            rows.append((x - b)[0, token] * (torch.as_tensor(weights)[:, None] * gradient).sum(0))
        found.append(torch.stack(rows))
    return found, None


def gradient_shap(step, alpha):
    """One sample without noise, at a point that is told instead of drawn."""
    gradients = step.gradient([b + alpha * (x - b) for b, x in zip(step.baseline, step.x)])
    scores = [((x - b) * g)[0] for b, x, g in zip(step.baseline, step.x, gradients)]
    return scores, total(scores) - step.gap()


def layer_scores(step, stack, scores):
    """Scores of a layer's tokens belong to the input that the stack reads."""
    if len(step.x) == 1:
        return [scores]
    return [scores, None] if stack == "encoder" else [None, scores]


def layer_gradient_x_activation(step, stack, layer):
    run = Run()
    value = step([x.detach().requires_grad_() for x in step.x], run)
    block = run.block[stack, layer]
    return layer_scores(step, stack, (block * torch.autograd.grad(value.sum(), block)[0])[0].detach()), None


def layer_integrated_gradients(step, stack, layer, n_steps):
    """From what the block gives for the baselines to what it gives for the inputs; all else sees the inputs."""
    points, weights = quadrature("gausslegendre", n_steps)
    clean, empty = Run(), Run()
    step(step.x, clean), step(step.baseline, empty)
    clean, empty = clean.block[stack, layer], empty.block[stack, layer]
    path = along(points, empty, clean).requires_grad_()
    values = step([x.repeat(n_steps, 1, 1) for x in step.x], Run(replaced={(stack, layer): path}))
    gradient = torch.autograd.grad(values.sum(), path)[0]
    scores = ((clean - empty) * (torch.as_tensor(weights)[:, None, None] * gradient).sum(0))[0]
    gap = step(step.x) - step(step.x, Run(replaced={(stack, layer): empty}))
    return layer_scores(step, stack, scores), scores.sum().item() - gap.item()


def columns_of(step, attentions):
    """`[key, layer, head]` for what `[head, query, key]` of each layer says of the last query."""
    return torch.stack([a[0][:, -1].T for a in attentions], 1)


def per_input(step, source, target):
    return [source, target] if step.model.seq2seq else [target]


def attentions(step, run, kind, stack="decoder"):
    return [run.attention[stack, kind, layer] for layer in range(step.model.layers(stack))]


def attention(step):
    run = Run()
    step(step.x, run)
    source = columns_of(step, attentions(step, run, "cross")) if step.model.seq2seq else None
    return per_input(step, source, columns_of(step, attentions(step, run, "self"))), None


def occlusion(step):
    whole = step(step.x).item()
    found = []
    for which, x in enumerate(step.x):
        rows = []
        for token in range(x.shape[1]):
            inputs = [y.clone() for y in step.x]
            inputs[which][0, token] = step.baseline[which][0, token]
            rows.append(whole - step(inputs).item())
        found.append(torch.tensor(rows))
    return found, None


def shapley(step):
    """Exact: every set of tokens is present once, the others at their baseline. All inputs are one game."""
    lengths = [x.shape[1] for x in step.x]
    n = sum(lengths)
    sets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n))).double()
    masks = [m[..., None] for m in sets.split(lengths, 1)]
    values = step([b + m * (x - b) for b, m, x in zip(step.baseline, masks, step.x)])
    others = sets.sum(1)
    scores = []
    for token in range(n):
        have = sets[:, token] == 1
        weight = torch.tensor([1 / (n * math.comb(n - 1, int(k) - 1)) for k in others[have]])
        # The set without the token stands 2^(n − 1 − token) before the set with it.
        without = torch.where(have)[0] - 2 ** (n - 1 - token)
        scores.append((weight * (values[have] - values[without])).sum())
    scores = torch.stack(scores)
    return list(scores.split(lengths)), scores.sum().item() - step.gap()


def attn_lrp(step):
    """Relevance x ⊙ ∂f/∂x with the rules of `Run` in place of the derivatives, from ∂f/∂logits."""
    return [(x * g)[0] for x, g in zip(step.x, step.gradient(step.x, Run(lrp=True)))], None


def grad_x_attention(step, positive):
    """Σ over queries of A ⊙ ∂f/∂A, for each layer and head; with only positive derivatives it is Grad-SAM's."""
    run = Run()
    value = step([x.detach().requires_grad_() for x in step.x], run)

    def columns(stack, kind):
        layers = attentions(step, run, kind, stack)
        gradients = torch.autograd.grad(value.sum(), layers, retain_graph=True)
        gradients = [g.clamp(min=0) if positive else g for g in gradients]
        return torch.stack([(a * g)[0].sum(1).T.detach() for a, g in zip(layers, gradients)], 1)

    source = columns("decoder", "cross") if step.model.seq2seq else None
    return per_input(step, source, columns("decoder", "self")), None


def mean_heads(step, run, kind, stack="decoder"):
    return [a[0].mean(0) for a in attentions(step, run, kind, stack)]


def with_residual(a):
    return 0.5 * (a + torch.eye(len(a)).double())


def attention_rollout(step):
    """Products of ½(A + I), A the mean over heads; a cross-attention is ½ the state and ½ the encoder's rollout."""
    run = Run()
    step(step.x, run)
    n = step.x[-1].shape[1]
    own, source = torch.eye(n).double(), None
    if step.model.seq2seq:
        memory = torch.eye(step.x[0].shape[1]).double()
        for a in mean_heads(step, run, "self", "encoder"):
            memory = with_residual(a) @ memory
        source = torch.zeros(n, len(memory)).double()
    for layer, a in enumerate(mean_heads(step, run, "self")):
        own = with_residual(a) @ own
        if source is not None:
            across = mean_heads(step, run, "cross")[layer]
            own, source = 0.5 * own, 0.5 * (with_residual(a) @ source) + 0.5 * across @ memory
    return per_input(step, None if source is None else source[-1], own[-1]), None


def attention_flow(step):
    """Maximum flow from the last position of the top to each input token; capacities as in the rollout."""
    run = Run()
    step(step.x, run)
    graph = networkx.DiGraph()

    def connect(upper, lower, weights):
        for i, row in enumerate(weights.tolist()):
            for j, capacity in enumerate(row):
                if capacity > 0:
                    graph.add_edge((upper, i), (lower, j), capacity=capacity)

    below = "target"
    if step.model.seq2seq:
        under = "source"
        for layer, a in enumerate(mean_heads(step, run, "self", "encoder")):
            connect(("encoder", layer), under, with_residual(a))
            under = ("encoder", layer)
    for layer, a in enumerate(mean_heads(step, run, "self")):
        connect(("self", layer), below, with_residual(a))
        below = ("self", layer)
        if step.model.seq2seq:
            across = mean_heads(step, run, "cross")[layer]
            connect(("cross", layer), below, 0.5 * torch.eye(len(across)).double())
            connect(("cross", layer), under, 0.5 * across)
            below = ("cross", layer)
    top = (below, step.x[-1].shape[1] - 1)

    def flows(name, n):
        return torch.tensor([
            networkx.maximum_flow_value(graph, top, (name, i)) if graph.has_node((name, i)) else 0.0
            for i in range(n)
        ])

    source = flows("source", step.x[0].shape[1]) if step.model.seq2seq else None
    return per_input(step, source, flows("target", step.x[-1].shape[1])), None


def value_zeroing_scores(step, stack, kind, after_final_norm):
    """`[query, key, layer]`: 1 − cos(h, h without the value of a token), rows summing to one."""
    model, causal = step.model, stack == "decoder" and kind == "self"
    layers, clean = model.layers(stack), Run()
    step(step.x, clean)
    queries = step.x[0 if stack == "encoder" else -1].shape[1]
    keys = step.x[-1 if causal else 0].shape[1]
    found = torch.full((queries, keys, layers), math.nan).double()

    def state(run, layer):
        last = after_final_norm and layer == layers - 1
        return (run.final[stack] if last else run.block[stack, layer])[0]

    for layer, key in itertools.product(range(layers), range(keys)):
        run = Run(zeroed=(stack, kind, layer, key))
        step(step.x, run)
        distance = 1 - torch.cosine_similarity(state(clean, layer), state(run, layer), dim=-1)
        first = key if causal else 0
        found[first:, key, layer] = distance[first:]
    found = torch.where(found < 1e-5, 0.0, found)
    sums = found.nansum(1, keepdim=True)
    return found / torch.where(sums == 0, 1.0, sums)


def value_zeroing(step, after_final_norm):
    def last(kind):
        return value_zeroing_scores(step, "decoder", kind, after_final_norm)[-1]

    return per_input(step, last("cross") if step.model.seq2seq else None, last("self")), None


def discretized_path(embeddings, word, baseline, n_steps, n_neighbors, strategy, tied=()):
    """From the baseline to the word, through words made monotonic (Sanyal and Ren 2021)."""
    if word in tied or word == baseline:
        return embeddings[[word] * n_steps]
    end = embeddings[baseline]

    def monotonic(anchor, x):
        rising = (end > x) & (end >= anchor) & (anchor >= x)
        falling = (end < x) & (end <= anchor) & (anchor <= x)
        return rising | falling | ((end == x) & (end == anchor) & (anchor == x))

    def mended(anchor, x):
        return torch.where(monotonic(anchor, x), anchor, x - (x - end) / n_steps)

    def cost(anchor, x):
        if strategy == "greedy":
            return (anchor - mended(anchor, x)).norm().item()
        return -monotonic(anchor, x).sum().item()

    used, at, path = {word, baseline}, word, [embeddings[word]]
    for _ in range(n_steps - 2):
        if at != baseline:
            distances = (embeddings - embeddings[at]).norm(dim=-1)
            distances[at] = math.inf
            near = distances.argsort()[:n_neighbors].tolist()
            # The nearest first, so that it wins where several cost the same.
            costs = [(cost(embeddings[v], embeddings[at]), k, v) for k, v in enumerate(near) if v not in used]
            at = min(costs)[2] if costs else baseline
            used.add(at)
        path.append(mended(embeddings[at], path[-1]))
    return torch.stack([end] + path[::-1])


def discretized_integrated_gradients(step, n_steps, n_neighbors, strategy):
    """A left Riemann sum along the path. The start token of an encoder–decoder stays where it is."""
    tied = {step.text.target[0]} if step.model.seq2seq else set()
    paths = [
        torch.stack([
            discretized_path(step.model.embeddings, i, BASELINE_ID, n_steps, n_neighbors, strategy, tied) for i in ids
        ], 1)
        for ids in step.ids
    ]
    gradients = step.gradient(paths)
    return [(g[:-1] * (p[1:] - p[:-1])).sum(0) for g, p in zip(gradients, paths)], None
