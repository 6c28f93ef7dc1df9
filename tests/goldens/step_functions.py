"""Golden values of the step functions, computed by PyTorch in float64.

    pip install -r requirements.txt && python step_functions.py

writes `step_functions.json` beside this file: a list of cases, each with its logits, its contrast, its noisy
passes `[n_noisy, rows, vocab]` and, for every step function and setting, one expected value per row. Logits
are multiples of a power of two that float32 holds exactly, so that every reader starts from the same numbers.
A case leaves out the functions whose values float32 cannot hold, and z-scores without a spread.
"""

import json
import math
import pathlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

SEED = 20240229
# Masses this close to a `top_p` would let rounding in float32 decide how many tokens are kept.
LEAST_DISTANCE_TO_TOP_P = 1e-4
# Below this spread a z-score in float32 is the rounding error of its numerator.
LEAST_STD = 1e-6
TOP_PS = [0.1, 0.5, 0.9]
# (top_k, top_p, min_tokens_to_keep)
KL_SETTINGS = [
    (0, 1.0, 1),
    (20, 1.0, 1),
    (0, 0.9, 1),
    (20, 0.9, 1),
    (5, 0.5, 1),
    (0, 0.1, 5),
    (2, 0.5, 3),
]


@dataclass
class Row:
    """How a row is drawn: `offset + scale · normal`; the other passes add noise in units of `scale`."""

    scale: float
    offset: float = 0.0
    contrast_noise: float = 0.5
    dropout_noise: float = 0.3


@dataclass
class Case:
    name: str
    vocab: int
    rows: list
    n_noisy: int = 10
    # Logits are multiples of this.
    step: float = 2.0**-10
    skip: tuple = ()


CASES = [
    Case("two tokens", vocab=2, rows=[Row(1.0)]),
    Case("moderate", vocab=50, rows=[Row(3.0)] * 7),
    Case("peaked", vocab=333, rows=[Row(10.0)] * 4, n_noisy=3),
    Case("near uniform", vocab=200, rows=[Row(0.01)] * 3, step=2.0**-16),
    # One-hot with an unrelated contrast; moderate but far from zero; less extreme; and several likely tokens
    # that the contrast all but excludes, whose mass underflows unless it stays in logarithms.
    Case(
        "huge logits",
        vocab=64,
        rows=[
            Row(3000.0, contrast_noise=1.5),
            Row(3.0, offset=9980.0),
            Row(300.0),
            Row(3.0, offset=-9000.0, contrast_noise=150.0),
        ],
        step=2.0**-6,
        skip=("perplexity",),
    ),
]


def draw(case, rng):
    """Original, contrast and noisy logits, and both target ids, as numpy arrays."""

    def quantize(x):
        x = np.clip(np.round(x / case.step) * case.step, -1e4, 1e4)
        assert (x.astype(np.float32) == x).all()
        return x + 0.0  # no negative zeros

    def is_clear(row):
        mass = np.cumsum(np.sort(torch.softmax(torch.tensor(row), -1).numpy())[::-1])
        near = np.abs(mass[:, None] - np.array(TOP_PS)) <= LEAST_DISTANCE_TO_TOP_P
        return len(np.unique(row)) == case.vocab and not near.any()

    logits, contrast, noisy, targets, contrast_targets = [], [], [], [], []
    for index, row in enumerate(case.rows):
        while True:
            z = quantize(row.offset + row.scale * rng.standard_normal(case.vocab))
            if is_clear(z):
                break
        logits.append(z)
        contrast.append(quantize(z + row.contrast_noise * row.scale * rng.standard_normal(case.vocab)))
        noise = rng.standard_normal((case.n_noisy, case.vocab))
        noisy.append(quantize(z + row.dropout_noise * row.scale * noise))
        # Likely targets, which have probabilities to compare, take turns with any.
        likely = int(np.argsort(-z)[rng.integers(min(3, case.vocab))])
        targets.append(likely if index % 2 == 0 else int(rng.integers(case.vocab)))
        contrast_targets.append(targets[-1] if index % 4 == 2 else int(rng.integers(case.vocab)))
    return np.stack(logits), np.stack(contrast), np.stack(noisy, axis=1), targets, contrast_targets


def at(rows, ids):
    """`rows[…, ids]`: from `[…, rows, vocab]` and `[rows]` to `[…, rows]`."""
    index = ids.unsqueeze(-1).expand(*rows.shape[:-1], 1)
    return rows.gather(-1, index).squeeze(-1)


def kl(log_p, log_q):
    """`KL(p‖q)` in nats; tokens that p excludes (`-inf`) count nothing."""
    terms = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    return terms.masked_fill(log_p.isneginf(), 0.0).sum(-1)


def nucleus_size(p, top_p):
    """Size of the smallest set of most likely tokens whose mass is at least `top_p`."""
    if top_p >= 1.0:
        return torch.full(p.shape[:-1], p.shape[-1])
    mass = p.sort(-1, descending=True).values.cumsum(-1)
    assert ((mass - top_p).abs() > LEAST_DISTANCE_TO_TOP_P).all()
    return (mass < top_p).sum(-1) + 1


def filtered_kl(z, contrast, top_k, top_p, min_tokens_to_keep):
    """`kl` over the tokens that the original finds likely, both sides renormalized over them."""
    vocab = z.shape[-1]
    size = nucleus_size(F.softmax(z, -1), top_p)
    if top_k > 0:
        size = size.clamp(max=top_k)
    size = size.clamp(min=min(min_tokens_to_keep, vocab), max=vocab)
    threshold = at(z.sort(-1, descending=True).values, size - 1)
    dropped = z < threshold.unsqueeze(-1)

    def renormalized(logits):
        return F.log_softmax(logits.masked_fill(dropped, -math.inf), -1)

    return kl(renormalized(z), renormalized(contrast))


def spread_statistics(original, noisy):
    """The statistics of `mc_dropout_prob_avg`; the spreads are Bessel's, and a z-score needs one."""
    std, mean = torch.std_mean(noisy, dim=0)
    yield "mean", mean
    yield "std", std
    yield "var", noisy.var(dim=0)
    if (std >= LEAST_STD).all():
        yield "zscore", (original - mean) / std


def expectations(z, contrast, noisy, y, contrast_y):
    """Every step function with its parameters and values, `(function, parameters, [rows])`."""
    n_noisy = noisy.shape[0]
    mcd = {"n_mcd_steps": n_noisy}
    log_p, log_q, log_noisy = (F.log_softmax(logits, -1) for logits in (z, contrast, noisy))
    target_log_p, target_log_q, target_log_noisy = at(log_p, y), at(log_q, contrast_y), at(log_noisy, y)
    # `logprob`: what the probability functions return without and with it.
    target_p = {False: target_log_p.exp(), True: target_log_p}
    target_q = {False: target_log_q.exp(), True: target_log_q}
    target_noisy = {False: target_log_noisy.exp(), True: target_log_noisy}
    cross_entropy = F.cross_entropy(z, y, reduction="none")
    contrast_cross_entropy = F.cross_entropy(contrast, contrast_y, reduction="none")
    entropy = Categorical(logits=z).entropy()

    yield "logit", {}, at(z, y)
    yield "entropy", {}, entropy
    yield "crossentropy", {}, cross_entropy
    yield "perplexity", {}, cross_entropy.exp()
    yield "perplexity", {"compat": "inseq"}, torch.exp2(cross_entropy)

    yield "contrast_logits", {}, at(contrast, contrast_y)
    yield "contrast_logits_diff", {}, at(z, y) - at(contrast, contrast_y)
    for logprob in (False, True):
        parameters = {"logprob": logprob}
        yield "probability", parameters, target_p[logprob]
        yield "contrast_prob", parameters, target_q[logprob]
        yield "contrast_prob_diff", parameters, target_p[logprob] - target_q[logprob]
        for statistic, values in spread_statistics(target_p[logprob], target_noisy[logprob]):
            yield "mc_dropout_prob_avg", mcd | parameters | {"statistic": statistic}, values

    yield "in_context_pvi", {}, cross_entropy - contrast_cross_entropy
    yield "pcxmi", {}, (cross_entropy - contrast_cross_entropy) / math.log(2)
    for top_k, top_p, least in KL_SETTINGS:
        parameters = {"top_k": top_k, "top_p": top_p, "min_tokens_to_keep": least}
        yield "kl_divergence", parameters, filtered_kl(z, contrast, top_k, top_p, least)
    log_mixture = torch.logaddexp(log_p, log_q) - math.log(2)
    yield "js_divergence", {}, (kl(log_p, log_mixture) + kl(log_q, log_mixture)) / 2

    for top_p in [*TOP_PS, 1.0]:
        yield "top_p_size", {"top_p": top_p}, nucleus_size(log_p.exp(), top_p)
    yield "surprisal", {}, cross_entropy / math.log(2)
    yield "rank", {}, (z > at(z, y).unsqueeze(-1)).sum(-1) + 1
    others = log_p.exp().scatter(-1, y.unsqueeze(-1), -math.inf)
    yield "margin", {}, target_p[False] - others.amax(-1)
    yield "typicality", {}, (cross_entropy - entropy).abs()
    yield "renyi_entropy", {"alpha": 1.0}, entropy
    for alpha in (0.5, 2.0):
        yield "renyi_entropy", {"alpha": alpha}, torch.logsumexp(alpha * log_p, -1) / (1 - alpha)

    log_mean = torch.logsumexp(log_noisy, 0) - math.log(n_noisy)
    entropy_of_mean = Categorical(logits=log_mean).entropy()
    yield "mc_dropout_entropy", mcd, entropy_of_mean
    mean_entropy = Categorical(logits=noisy).entropy().mean(0)
    yield "mc_dropout_mutual_information", mcd, entropy_of_mean - mean_entropy
    yield "mc_dropout_variance", mcd, target_noisy[False].var(dim=0)

    # torch.distributions calls a divergence infinite where q underflows; elsewhere it must agree.
    reference = kl_divergence(Categorical(logits=z), Categorical(logits=contrast))
    finite = reference.isfinite()
    torch.testing.assert_close(kl(log_p, log_q)[finite], reference[finite], rtol=1e-9, atol=1e-12)


def keepable(values):
    """Whether float32 can hold every value."""
    return bool((values.isfinite() & (values.abs() <= torch.finfo(torch.float32).max)).all())


def shortened(value):
    # Twelve digits outlast any tolerance, and hide the last bits, in which processors differ.
    return float(f"{value:.12g}") + 0.0


def golden(case, rng):
    logits, contrast, noisy, target_ids, contrast_target_ids = draw(case, rng)
    tensors = (torch.tensor(array, dtype=torch.float64) for array in (logits, contrast, noisy))
    ids = (torch.tensor(ids) for ids in (target_ids, contrast_target_ids))
    expected = [
        {"function": name, "parameters": parameters, "values": [shortened(v) for v in values.tolist()]}
        for name, parameters, values in expectations(*tensors, *ids)
        if name not in case.skip and keepable(values)
    ]
    return {
        "name": case.name,
        "rows": len(case.rows),
        "vocab": case.vocab,
        "n_noisy": case.n_noisy,
        "target_ids": target_ids,
        "contrast_target_ids": contrast_target_ids,
        "logits": logits.ravel().tolist(),
        "contrast_logits": contrast.ravel().tolist(),
        "noisy_logits": noisy.ravel().tolist(),
        "expected": expected,
    }


def main():
    here = pathlib.Path(__file__).parent
    pins = dict(line.split("==") for line in (here / "requirements.txt").read_text().split())
    # A build suffix such as "+cpu" doesn't count.
    installed = {module.__name__: str(module.__version__).split("+")[0] for module in (torch, np)}
    assert installed == pins, f"expected {pins} as pinned in requirements.txt, found {installed}"

    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    cases = [golden(case, rng) for case in CASES]

    def lines(case):
        fields = (f'"{key}": {json.dumps(value)}' for key, value in case.items() if key != "expected")
        expected = ",\n".join(json.dumps(entry) for entry in case["expected"])
        return "{\n" + ",\n".join(fields) + ',\n"expected": [\n' + expected + "\n]\n}"

    (here / "step_functions.json").write_text("[\n" + ",\n".join(lines(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
