"""Measures of a text from passes with dropout: `python make.py`, with the packages of requirements.txt installed.

Writes `uncertainty.json`: logits of predictions and of passes with dropout, and the measures of them in double precision. The formulas of the ensembles are those of
lm-polygraph 0.7.0 (`EnsembleGreedyMixin.greedy_search`, whose "pe" figures are of products of expectations), in double precision. Its package says that its ensembles
don't work with current versions of transformers, and stops; that function runs, though, on a model that is a table of logits, and all figures are checked against what it returns. The others are
those of Fomicheva et al. 2020, section 3.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace

import torch
from scipy.stats import entropy

HERE = Path(__file__).resolve().parent
CASES = [(2, 3, 5, 0.5), (5, 4, 7, 1.0), (3, 6, 11, 3.0), (8, 1, 6, 0.1)]


def of_ensembles(passes: torch.Tensor) -> dict[str, float]:
    """Means over tokens of lm-polygraph's figures of each token; `passes` has log-probabilities `[passes, tokens, vocab]`."""
    num_models = passes.shape[0]
    scores = passes.logsumexp(dim=0) - torch.tensor(num_models).double().log()
    probas = scores.exp()
    total_unc = torch.tensor(entropy(probas.numpy(), axis=-1))
    data_unc = torch.stack([torch.tensor(entropy(one.exp().numpy(), axis=-1)) for one in passes]).mean(0)
    epkl_total_unc = -(passes.mean(0) * probas).sum(-1)
    tokens = {
        "total_uncertainty": total_unc,
        "data_uncertainty": data_unc,
        "knowledge_uncertainty": total_unc - data_unc,
        "expected_pairwise_kl": epkl_total_unc - data_unc,
        "reverse_mutual_information": epkl_total_unc - total_unc,
    }
    return {name: values.mean().item() for name, values in tokens.items()}


def of_package(passes: torch.Tensor) -> dict[str, float]:
    """The same figures by lm-polygraph's own code. Its package imports much that is not needed here, so its file is loaded alone."""
    file = importlib.metadata.distribution("lm-polygraph").locate_file("lm_polygraph/utils/ensemble_utils/ensemble_greedy.py")
    spec = importlib.util.spec_from_file_location("ensemble_greedy", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Table(module.EnsembleGreedyMixin):
        """An ensemble whose members are passes, and whose predictions are rows of a table."""

        config = SimpleNamespace(is_encoder_decoder=True)
        generation_config = SimpleNamespace(pad_token_id=0, eos_token_id=None, output_scores=True)
        device = torch.device("cpu")
        mc, mc_models_num, mc_seeds, base_seed, ensembling_mode = True, len(passes), list(range(len(passes))), 0, "pe"

        def prepare_inputs_for_generation(self, input_ids, encoder_outputs, **rest):
            return {"member": encoder_outputs, "step": input_ids.shape[1] - 1}

        def __call__(self, member, step, **rest):
            return SimpleNamespace(logits=passes[member, step][None, None])

        def _update_model_kwargs_for_generation(self, outputs, model_kwargs, **rest):
            return model_kwargs

    steps = passes.shape[1]
    # It seeds the members.
    with torch.random.fork_rng():
        found = Table().greedy_search(
            torch.zeros(1, 1, dtype=torch.long),
            stopping_criteria=lambda ids, scores: ids.shape[1] > steps,
            encoder_outputs=range(len(passes)),
            return_dict_in_generate=True,
            output_attentions=False,
            output_hidden_states=False,
        ).pe_uncertainties
    names = {
        "total_uncertainty": "total_uncertainty",
        "data_uncertainty": "data_uncertainty",
        "knowledge_uncertainty": "mutual_information",
        "expected_pairwise_kl": "epkl",
        "reverse_mutual_information": "rmi",
    }
    return {name: torch.stack(found[theirs]).mean().item() for name, theirs in names.items()}


def of_quality(logs: torch.Tensor, passes: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """`logs` has the log-probabilities `[tokens, vocab]` of the pass without dropout."""
    own = logs[torch.arange(len(target)), target]
    noisy = passes[:, torch.arange(len(target)), target].mean(1)
    d_tp, d_var = noisy.mean().item(), noisy.var(unbiased=False).item()
    return {
        "tp": own.mean().item(),
        "softmax_entropy": entropy(logs.exp().numpy(), axis=-1).mean().item(),
        "sent_std": own.std(unbiased=False).item(),
        "d_tp": d_tp,
        "d_var": d_var,
        "d_combo": 1 - d_tp / d_var,
    }


def main() -> None:
    torch.manual_seed(3)
    found = []
    for n, tokens, vocab, noise in CASES:
        # Numbers that single precision has, too.
        logits = (torch.randn(tokens, vocab) * 2).mul(64).round().div(64)
        noisy = (logits + noise * torch.randn(n, tokens, vocab)).mul(64).round().div(64)
        target = torch.randint(vocab, (tokens,))
        logs, passes = logits.double().log_softmax(-1), noisy.double().log_softmax(-1)
        ensembles, package = of_ensembles(passes), of_package(passes)
        # Its logarithm of the number of models is in single precision.
        assert all(math.isclose(ensembles[name], package[name], abs_tol=1e-6) for name in package), (ensembles, package)
        measures = {**of_quality(logs, passes, target), **ensembles}
        assert all(math.isfinite(value) for value in measures.values())
        found.append({"logits": logits.tolist(), "noisy": noisy.tolist(), "target": target.tolist(), "measures": measures})
    (HERE / "uncertainty.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
