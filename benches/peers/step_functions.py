"""The step functions as a PyTorch user would write them, for benchmarks that alternate with stepfn.

One JSON object per line. The greeting is {"torch": version, "threads": n}. Then requests are answered:

    {"setup": {"rows": R, "vocab": V, "n_noisy": N}}  with {"ok": true}
    {"time": "entropy", "repeats": k}                 with {"seconds": [k floats]}

Anything unsupported is answered with {"error": "..."}. The process ends when its input ends. Threads: STEPFN_THREADS,
default 2. There is no warm-up, so the caller should discard the first repeats of a function.

Eager PyTorch in float32 under `inference_mode`. Each function is written in one of the usual ways that are fastest on
a CPU at 64 × 50257: noisy passes one at a time, which is also how a model produces them; a fused softmax instead of
`logsumexp`, which is slower; in-place operations on tensors that nothing else reads. For a nucleus, people write a full
sort; `top_p_size_topk` is a faster variant that few people write.
"""

import json
import math
import os
import sys
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Standard deviations. A softmax of such logits has a 0.9-nucleus of a few percent of the vocabulary.
LOGIT_SCALE = 3.0
NOISE_SCALE = 1.0
TOP_P = 0.9
RENYI_ALPHA = 2.0


@dataclass
class Batch:
    logits: torch.Tensor  # [rows, vocab]
    contrast_logits: torch.Tensor  # [rows, vocab]
    noisy_logits: torch.Tensor  # [n_noisy, rows, vocab]
    target_ids: torch.Tensor  # [rows]
    contrast_target_ids: torch.Tensor  # [rows]

    @classmethod
    def random(cls, rows, vocab, n_noisy):
        generator = torch.Generator().manual_seed(0)

        def noise(*shape):
            # Scaled and shifted in place, because a second copy of the noisy logits may not fit.
            return torch.empty(*shape).normal_(0.0, NOISE_SCALE, generator=generator)

        logits = torch.empty(rows, vocab).normal_(0.0, LOGIT_SCALE, generator=generator)
        return cls(
            logits=logits,
            contrast_logits=noise(rows, vocab).add_(logits),
            noisy_logits=noise(n_noisy, rows, vocab).add_(logits),
            target_ids=torch.randint(vocab, (rows,), generator=generator),
            contrast_target_ids=torch.randint(vocab, (rows,), generator=generator),
        )


def at(rows, ids):
    return rows.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


# One pass.


def logit(b):
    return at(b.logits, b.target_ids)


def probability(b):
    return at(F.softmax(b.logits, dim=-1), b.target_ids)


def entropy_of(log_probs):
    return -log_probs.exp().mul_(log_probs).sum(-1)


def entropy(b):
    return entropy_of(F.log_softmax(b.logits, dim=-1))


def crossentropy(b):
    return F.cross_entropy(b.logits, b.target_ids, reduction="none")


def perplexity(b):
    return crossentropy(b).exp()


def all_five(b):
    log_probs = F.log_softmax(b.logits, dim=-1)
    target_log_probs = at(log_probs, b.target_ids)
    cross_entropy = -target_log_probs
    return logit(b), target_log_probs.exp(), entropy_of(log_probs), cross_entropy, cross_entropy.exp()


def surprisal(b):
    return crossentropy(b) / math.log(2)


def rank(b):
    better = b.logits > b.logits.gather(-1, b.target_ids.unsqueeze(-1))
    return better.count_nonzero(-1) + 1


def margin(b):
    probs = F.softmax(b.logits, dim=-1)
    target_probs = at(probs, b.target_ids)
    return target_probs - probs.scatter_(-1, b.target_ids.unsqueeze(-1), -1.0).amax(-1)


def renyi_entropy(b):
    return F.softmax(b.logits, dim=-1).pow(RENYI_ALPHA).sum(-1).log() / (1 - RENYI_ALPHA)


def typicality(b):
    log_probs = F.log_softmax(b.logits, dim=-1)
    return (at(log_probs, b.target_ids) + entropy_of(log_probs)).abs()


def nucleus_sizes(mass):
    return (mass < TOP_P).sum(-1).add_(1).clamp_(max=mass.shape[-1])


def top_p_size(b):
    probs = F.softmax(b.logits, dim=-1)
    return nucleus_sizes(probs.sort(dim=-1, descending=True).values.cumsum(-1))


def top_p_size_topk(b):
    """Without a full sort: takes more and more of the most likely tokens until they suffice in every row."""
    probs = F.softmax(b.logits, dim=-1)
    k, vocab = 64, probs.shape[-1]
    while True:
        k = min(k, vocab)
        mass = probs.topk(k, dim=-1).values.cumsum(-1)
        if k == vocab or (mass[:, -1] >= TOP_P).all():
            return nucleus_sizes(mass)
        k *= 8


# With a contrast.


def contrast_logits(b):
    return at(b.contrast_logits, b.contrast_target_ids)


def contrast_prob(b):
    return at(F.softmax(b.contrast_logits, dim=-1), b.contrast_target_ids)


def contrast_logits_diff(b):
    return logit(b) - contrast_logits(b)


def contrast_prob_diff(b):
    return probability(b) - contrast_prob(b)


def in_context_pvi(b):
    contrast = F.cross_entropy(b.contrast_logits, b.contrast_target_ids, reduction="none")
    return crossentropy(b) - contrast


def pcxmi(b):
    return in_context_pvi(b) / math.log(2)


def kl_divergence(b):
    log_p = F.log_softmax(b.logits, dim=-1)
    log_q = F.log_softmax(b.contrast_logits, dim=-1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def kl_divergence_top_p(b):
    probs = F.softmax(b.logits, dim=-1)
    likeliest = probs.sort(dim=-1, descending=True).values
    size = nucleus_sizes(likeliest.cumsum(-1)).unsqueeze(-1)
    dropped = probs < likeliest.gather(-1, size - 1)
    log_p = F.log_softmax(b.logits.masked_fill(dropped, -math.inf), dim=-1)
    log_q = F.log_softmax(b.contrast_logits.masked_fill(dropped, -math.inf), dim=-1)
    # If both are -inf, their difference is undefined.
    terms = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    return terms.masked_fill_(dropped, 0.0).sum(-1)


def js_divergence(b):
    log_p = F.log_softmax(b.logits, dim=-1)
    log_q = F.log_softmax(b.contrast_logits, dim=-1)
    p, q = log_p.exp(), log_q.exp()
    # If both underflow, 0 · log 0 must be 0.
    mixture = (p + q).mul_(0.5).clamp_min_(torch.finfo(p.dtype).tiny)
    log_mixture = mixture.log()
    entropies = p.mul_(log_p).add_(q.mul_(log_q)).mul_(0.5)
    return entropies.sub_(mixture.mul_(log_mixture)).sum(-1)


# With noisy passes.


def noisy_probs(b):
    """`[n_noisy, rows]`"""
    return torch.stack([at(F.softmax(noisy, dim=-1), b.target_ids) for noisy in b.noisy_logits])


def mc_dropout_prob_avg(b):
    return noisy_probs(b).mean(0)


def mc_dropout_variance(b):
    return noisy_probs(b).var(0)


def mc_dropout_entropy(b):
    mean = torch.zeros_like(b.logits)
    for noisy in b.noisy_logits:
        mean += F.softmax(noisy, dim=-1)
    return torch.special.entr(mean.div_(len(b.noisy_logits))).sum(-1)


def mc_dropout_mutual_information(b):
    mean = torch.zeros_like(b.logits)
    mean_entropy = torch.zeros_like(b.logits[:, 0])
    for noisy in b.noisy_logits:
        log_probs = F.log_softmax(noisy, dim=-1)
        probs = log_probs.exp()
        mean += probs
        mean_entropy -= probs.mul_(log_probs).sum(-1)
    n_noisy = len(b.noisy_logits)
    return torch.special.entr(mean.div_(n_noisy)).sum(-1) - mean_entropy / n_noisy


FUNCTIONS = {
    function.__name__: function
    for function in (
        logit,
        probability,
        entropy,
        crossentropy,
        perplexity,
        all_five,
        surprisal,
        rank,
        margin,
        renyi_entropy,
        typicality,
        top_p_size,
        top_p_size_topk,
        contrast_logits,
        contrast_prob,
        contrast_logits_diff,
        contrast_prob_diff,
        in_context_pvi,
        pcxmi,
        kl_divergence,
        kl_divergence_top_p,
        js_divergence,
        mc_dropout_prob_avg,
        mc_dropout_variance,
        mc_dropout_entropy,
        mc_dropout_mutual_information,
    )
}


def seconds(function, batch, repeats):
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            function(batch)
            times.append(time.perf_counter() - start)
    return times


def main():
    torch.set_num_threads(int(os.environ.get("STEPFN_THREADS", "2")))

    def say(answer):
        print(json.dumps(answer), flush=True)

    say({"torch": torch.__version__, "threads": torch.get_num_threads()})
    batch = None
    for line in sys.stdin:
        request = json.loads(line)
        if "setup" in request:
            # Freed before the next one is allocated, because both may not fit.
            batch = None
            batch = Batch.random(**request["setup"])
            say({"ok": True})
        elif (name := request.get("time")) not in FUNCTIONS:
            say({"error": f"unknown function {name!r}; known: {', '.join(FUNCTIONS)}"})
        elif batch is None:
            say({"error": "nothing to run on: send a setup first"})
        else:
            say({"seconds": seconds(FUNCTIONS[name], batch, request.get("repeats", 1))})


if __name__ == "__main__":
    main()
