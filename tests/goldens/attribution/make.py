#!/usr/bin/env python3
"""Writes what the tests of attribution compare with: scores of the tiny models by inseq, captum and PyTorch.

    pip install --no-deps -r requirements.txt
    python make.py                # everything, a few minutes on one core
    python make.py gpt2 marian    # some of it

README.md says what each file holds, and what inseq and captum get wrong.
"""

import os

# Before any import that reads them: one thread, so that sums are added in one order.
os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")

import argparse
import functools
import importlib.metadata
import itertools
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy
import torch

import methods
import peers
from methods import BASELINE_ID, FUNCTIONS, Step, Text
from transformer import Transformer

HERE = Path(__file__).parent
MODELS = HERE.parent / "models"
# (prompt or source, predicted tokens) of the two texts.
LENGTHS = {False: [(6, 3), (4, 2)], True: [(5, 3), (3, 2)]}
# Of two programs' values that agree this well, relative to the step's largest, the better known's are kept.
AGREEMENT = 1e-4
N_STEPS = 8
ALPHA = 0.4
PATH = dict(n_steps=6, n_neighbors=50)
LAYERS = {
    "gpt2": [("decoder", 0)], "llama": [("decoder", 0)],
    "marian": [("encoder", 0), ("decoder", 1)], "t5": [("encoder", 1), ("decoder", 0)],
}
# For what no other model has, the soft caps: inseq, captum and lxt are not asked.
ALONE = ("gemma2",)
# One causal model, one encoder–decoder: an attribution as inseq saves it.
SAVED = ("gpt2", "t5")


def check_versions():
    for line in (HERE / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, pinned = line.split("==")
            found = importlib.metadata.version(name)
            if found != pinned:
                sys.exit(f"{name} is {found}, not {pinned}: pip install --no-deps -r requirements.txt")


def versions(name):
    peers = () if name in ALONE else ("inseq", "captum", "lxt", "transformers")
    return {n: importlib.metadata.version(n) for n in (*peers, "torch", "numpy")}


def draw_texts(model, config, seed):
    """Random prompts; each predicted token has a probability near 0.35, its contrast one near 0.15."""
    g = torch.Generator().manual_seed(seed)
    special = {BASELINE_ID} | {v for k, v in config.items() if k.endswith("_token_id") and isinstance(v, int)}
    free = [i for i in range(len(model.embeddings)) if i not in special]
    texts, probabilities = [], []
    for context, predicted in LENGTHS[model.seq2seq]:
        ids = [free[i] for i in torch.randint(len(free), (context,), generator=g).tolist()]
        start = [config.get("decoder_start_token_id", 0)]
        text = Text(ids, start, 1, []) if model.seq2seq else Text([], ids, context, [])
        for _ in range(predicted):
            inputs = [model.embed(x) for x in text.inputs(len(text.target))]
            p = model.logits(inputs)[0, -1].softmax(-1).clone()
            p[list(special)] = -9.0
            token = (p - 0.35).abs().argmin().item()
            probabilities.append(p[token].item())
            p[token] = -9.0
            contrast = (p - 0.15).abs().argmin().item()
            probabilities.append(p[contrast].item())
            text.contrast.append(contrast)
            text.target.append(token)
        texts.append(text)
    return texts, probabilities


def random_texts(model, config):
    """The first seed whose probabilities aren't so near to 0 or 1 that nothing matters; it, and its texts."""
    for seed in itertools.count():
        texts, probabilities = draw_texts(model, config, seed)
        if min(probabilities) > 0.02 and min(probabilities[::2]) > 0.1 and max(probabilities) < 0.85:
            return seed, texts


def collect(text, by_step):
    """From one tensor per step and input to `[token, step, ...]` per input, with NaN where a step sees nothing."""
    sources = [len(text.source), len(text.target)] if text.source else [len(text.target)]
    arrays = []
    for which, length in enumerate(sources):
        columns = [scores[which] for scores, _ in by_step]
        if columns[0] is None:
            arrays.append(None)
            continue
        array = numpy.full((length, len(columns), *columns[0].shape[1:]), numpy.nan)
        for k, column in enumerate(columns):
            array[: len(column), k] = column.numpy()
        arrays.append(array)
    deltas = [delta for _, delta in by_step]
    return arrays, None if deltas[0] is None else numpy.array(deltas)


def each_step(text, compute):
    return collect(text, [compute(position) for position in text.steps])


def difference(found, exact):
    """The largest difference of any step, relative to the largest value of that step; infinite if NaN differ."""
    worst = 0.0
    for k in range(exact[-1 if exact[-1] is not None else 0].shape[1]):
        pairs = [(f[:, k], e[:, k]) for f, e in zip(found, exact) if e is not None]
        if any(f.shape != e.shape or (numpy.isnan(f) != numpy.isnan(e)).any() for f, e in pairs):
            return numpy.inf
        largest = max(numpy.nanmax(numpy.abs(e)) for _, e in pairs)
        worst = max(worst, max(numpy.nanmax(numpy.abs(f - e)) for f, e in pairs) / largest)
    return worst


def mended_weights(result):
    """captum's trapezoidal weights add up to (n − 1)/n."""
    scores, deltas = result
    right = N_STEPS / (N_STEPS - 1)
    sums = sum(numpy.nansum(s, axis=(0, 2)) for s in scores)
    return [s * right for s in scores], deltas + sums * (right - 1)


class Goldens:
    """The results of one model."""

    def __init__(self, name):
        self.name = name
        self.exact = Transformer(MODELS / name)
        config = self.exact.config
        if name not in ALONE:
            self.model = peers.load(MODELS / name, self.exact.seq2seq)
            self.inseq = peers.Inseq(self.model)
            config = config | self.model.config.to_dict()
        self.mended = ", embeddings mended" if name == "marian" else ""
        self.seed, self.texts = random_texts(self.exact, config)
        self.results = []

    def add(self, number, method, function, parameters, axes, exact, candidates):
        """The first of the candidates that agrees with float64, or float64 itself; and how each of them fared."""
        text = self.texts[number]
        exact = each_step(text, exact)
        kept, source, others = exact, "torch", {}
        for name, compute in candidates.items():
            name = name if "unmended" in name else name + self.mended
            try:
                found = compute()
            except Exception as error:  # whatever a peer raises is what we want to know
                others[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
                continue
            apart = difference(found[0], exact[0])
            others[name] = float(f"{apart:.1e}") if numpy.isfinite(apart) else "other shape, or other tokens are NaN"
            if apart <= AGREEMENT and source == "torch":
                kept, source = (found[0], found[1] if found[1] is not None else exact[1]), name
        print(f"{self.name} {number} {method} {function or ''} {parameters}: {source} {others}", flush=True)
        result = dict(text=number, method=method, attributed_fn=function, parameters=parameters)
        names = ["source_scores", "target_scores"] if self.exact.seq2seq else ["target_scores"]
        for name, array in zip(names, kept[0]):
            if array is not None:
                result[name] = scores_json(array, axes)
        if kept[1] is not None:
            result["deltas"] = numbers(kept[1])
        result.update({"from": source, "difference": others})
        self.results.append(result)

    def by_captum(self, function, number, name, **parameters):
        text = self.texts[number]
        compute = getattr(peers, f"captum_{name}")
        return lambda: each_step(
            text, lambda t: compute(self.model, Step(self.exact, text, t, function), **parameters)
        )

    def gradient_methods(self, number, function):
        text, raw = self.texts[number], ["token", "step", "hidden"]
        step = functools.partial(Step, self.exact, text, function=function)
        by_inseq = functools.partial(self.inseq, text, function=function)
        for method in ("saliency", "input_x_gradient"):
            candidates = {"inseq": lambda: by_inseq(method), "captum": self.by_captum(function, number, method)}
            if self.mended:
                unmended = peers.Inseq(peers.load(MODELS / self.name, True, mended=False))
                candidates["inseq, unmended"] = lambda: unmended(text, method, function)
            self.add(
                number, method, function, {}, raw, lambda t: getattr(methods, method)(step(position=t)), candidates
            )
        for quadrature in ("gausslegendre", "riemann_trapezoid"):
            parameters = dict(n_steps=N_STEPS, quadrature_name=quadrature)

            def inseq_ig():
                return by_inseq(
                    "integrated_gradients", n_steps=N_STEPS, return_convergence_delta=True,
                    attribution_args={"method": quadrature},
                )

            candidates = {
                "inseq": inseq_ig, "captum": self.by_captum(function, number, "integrated_gradients", **parameters),
            }
            if quadrature == "riemann_trapezoid":
                for name, compute in list(candidates.items()):
                    candidates[f"{name}, weights mended"] = lambda compute=compute: mended_weights(compute())
            self.add(
                number, "integrated_gradients", function, dict(n_steps=N_STEPS, quadrature=quadrature), raw,
                lambda t: methods.integrated_gradients(step(position=t), **parameters), candidates,
            )

    def other_methods(self, number):
        text, function = self.texts[number], "probability"
        step = functools.partial(Step, self.exact, text)
        raw, per_token = ["token", "step", "hidden"], ["token", "step"]
        heads, layers = ["token", "step", "layer", "head"], ["token", "step", "layer"]

        def on(method, **parameters):
            return lambda t: getattr(methods, method)(step(position=t), **parameters)

        self.add(
            number, "sequential_integrated_gradients", function, dict(n_steps=N_STEPS), raw,
            on("sequential_integrated_gradients", n_steps=N_STEPS),
            {
                "inseq": lambda: self.inseq(text, "sequential_integrated_gradients", n_steps=N_STEPS),
                "captum": self.by_captum(function, number, "sequential", n_steps=N_STEPS),
            },
        )
        self.add(
            number, "gradient_shap", function, dict(n_samples=1, stdevs=0.0, alpha=ALPHA), raw,
            on("gradient_shap", alpha=ALPHA),
            {
                "inseq": self.inseq_gradient_shap(text),
                "captum": self.by_captum(function, number, "gradient_shap", alpha=ALPHA),
            },
        )
        for stack, layer in LAYERS[self.name]:
            where = dict(stack=stack, layer=layer)
            layer_methods = {"layer_gradient_x_activation": {}, "layer_integrated_gradients": dict(n_steps=N_STEPS)}
            for method, extra in layer_methods.items():
                self.add(
                    number, method, function, where | extra, raw, on(method, **where, **extra),
                    {
                        "inseq": self.inseq_layer(text, method, stack, layer, extra),
                        "captum": self.by_captum(function, number, method, **where, **extra),
                    },
                )
        self.add(
            number, "occlusion", function, {}, per_token, on("occlusion"),
            {
                "inseq": lambda: self.inseq(text, "occlusion"),
                "captum": self.by_captum(function, number, "occlusion"),
            },
        )
        # captum adds up all orders of the tokens: for the shorter text alone.
        captum = {"captum": self.by_captum(function, number, "shapley")} if number == 1 else {}
        self.add(number, "shapley", function, {}, per_token, on("shapley"), captum)
        by_inseq = {"inseq": lambda: self.inseq(text, "attention")}
        self.add(number, "attention", None, {}, heads, on("attention"), by_inseq)
        for positive in (False, True):
            self.add(
                number, "grad_x_attention", function, dict(positive=positive), heads,
                on("grad_x_attention", positive=positive), {},
            )
        for method in ("attention_rollout", "attention_flow"):
            self.add(number, method, None, {}, per_token, on(method), {})
        for after in (True, False):
            candidates = {"inseq": lambda: self.inseq(text, "value_zeroing")} if after else {}
            parameters = dict(after_final_norm=after)
            self.add(number, "value_zeroing", None, parameters, layers, on("value_zeroing", **parameters), candidates)
        for target in ("logit", "probability"):
            self.add(
                number, "attn_lrp", target, {}, raw,
                lambda t: methods.attn_lrp(Step(self.exact, text, t, target)), self.lxt(text, target),
            )
        for strategy in ("greedy", "maxcount"):
            self.add(
                number, "discretized_integrated_gradients", function, PATH | dict(strategy=strategy), raw,
                on("discretized_integrated_gradients", strategy=strategy, **PATH),
                {"inseq": self.inseq_path(text, strategy)},
            )

    def alone(self, number):
        """The float64 values of gradients and of relevance."""
        text = self.texts[number]
        for function in ("logit", "probability"):
            for method in ("saliency", "input_x_gradient", "attn_lrp"):
                compute = getattr(methods, method)
                self.add(
                    number, method, function, {}, ["token", "step", "hidden"],
                    lambda t: compute(Step(self.exact, text, t, function)), {},
                )

    def inseq_gradient_shap(self, text):
        def compute():
            with peers.drawing(ALPHA):
                return self.inseq(
                    text, "gradient_shap", n_samples=1, stdevs=0.0, return_convergence_delta=True
                )

        return compute

    def inseq_layer(self, text, method, stack, layer, extra):
        """It attributes source tokens only."""
        path = {
            "gpt2": "transformer.h", "llama": "model.layers", "marian": f"model.{stack}.layers", "t5": f"{stack}.block",
        }[self.name]
        options = dict(attribute_target=False) if self.exact.seq2seq else {}
        load_time = dict(target_layer=f"{path}.{layer}")
        return lambda: self.inseq(text, method, load_time=load_time, **options, **extra)

    def inseq_path(self, text, strategy):
        load_time = dict(n_neighbors=PATH["n_neighbors"], cache_dir=peers.artifacts(), save_cache=False, n_jobs=1)
        return lambda: self.inseq(
            text, "discretized_integrated_gradients", load_time=load_time, keep_start=True, n_steps=PATH["n_steps"],
            attribution_args={"method": strategy},
        )

    def lxt(self, text, function):
        """Of the four families it knows the causal two."""
        def compute():
            steps = [Step(self.exact, text, t, function) for t in text.steps]
            relevance = peers.lxt_relevance(MODELS / self.name, steps)
            return collect(text, [([torch.from_numpy(r)], None) for r in relevance])

        return {} if self.exact.seq2seq else {"lxt": compute}

    def deeplift(self):
        """How far captum's DeepLIFT is from input × gradient, of which it is a refinement."""
        apart = []
        for text in self.texts:
            def plain(t):
                step = Step(self.exact, text, t)
                gradients = step.gradient(step.x)
                return [((x - b) * g)[0] for x, b, g in zip(step.x, step.baseline, gradients)], None

            found = each_step(text, lambda t: peers.captum_deeplift(self.model, Step(self.exact, text, t)))
            apart.append(difference(found[0], each_step(text, plain)[0]))
        return float(f"{max(apart):.1e}")

    def encoder_value_zeroing(self):
        """`[query, key, layer]` of each text: not scores of any step."""
        if not self.exact.seq2seq:
            return None
        steps = [Step(self.exact, text, text.first) for text in self.texts]
        found = [methods.value_zeroing_scores(step, "encoder", "self", True).numpy() for step in steps]
        return [{"shape": list(f.shape), "values": numbers(f)} for f in found]

    def step_scores(self, text):
        def value(function, t):
            step = Step(self.exact, text, t, function)
            return step(step.x).item()

        return {f: numbers(numpy.array([value(f, t) for t in text.steps])) for f in FUNCTIONS}

    def text_json(self, text):
        found = dict(target=text.target, steps=[text.first, len(text.target)], contrast=text.contrast)
        if text.source:
            found["source"] = text.source
        return found | {"step_scores": self.step_scores(text)}

    def write(self):
        head = dict(model=self.name, baseline_id=BASELINE_ID, versions=versions(self.name), seed=self.seed)
        head["texts"] = [self.text_json(text) for text in self.texts]
        if self.name not in ALONE:
            try:
                head["deeplift_from_gradient"] = self.deeplift()
            except Exception as error:
                head["deeplift_from_gradient"] = f"{type(error).__name__}: {error}"
        if self.exact.seq2seq:
            head["encoder_value_zeroing"] = self.encoder_value_zeroing()
        lines = ["{"] + [f"{json.dumps(k)}: {compact(v)}," for k, v in head.items()] + ['"results": [']
        lines += [",\n".join(compact(r) for r in self.results), "]}"]
        path = HERE / f"{self.name}.json"
        path.write_text("\n".join(lines) + "\n")
        json.loads(path.read_text())
        print(f"{path.name}: {path.stat().st_size} bytes, {len(self.results)} results")


def write_saved(goldens, text):
    """A file as inseq itself saves it, without what differs from run to run."""
    output = goldens.inseq.output(text, "saliency", "probability", step_scores=["probability", "entropy"])
    output.info.update(model_name=goldens.name, exec_time=0.0)
    path = HERE / f"inseq_{goldens.name}.json"
    output.save(str(path), overwrite=True)
    print(f"{path.name}: {path.stat().st_size} bytes")


class Number(float):
    """Written with as few digits as give the same float32."""

    def __repr__(self):
        return str(numpy.float32(self))


def numbers(array):
    return [None if numpy.isnan(x) else Number(x) for x in array.ravel()]


def compact(value):
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{compact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(compact(v) for v in value) + "]"
    return repr(value) if isinstance(value, Number) else json.dumps(value)


def scores_json(array, axes):
    return dict(axes=axes, shape=list(array.shape), values=numbers(array))


def make(name):
    goldens = Goldens(name)
    for number in range(len(goldens.texts)):
        if name in ALONE:
            goldens.alone(number)
            continue
        for function in FUNCTIONS:
            goldens.gradient_methods(number, function)
        goldens.other_methods(number)
    goldens.write()
    if name in SAVED:
        write_saved(goldens, goldens.texts[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="gpt2, llama, marian, t5, gemma2; default all")
    names = parser.parse_args().models or [*LAYERS, *ALONE]
    check_versions()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    for name in names:
        make(name)


if __name__ == "__main__":
    main()
