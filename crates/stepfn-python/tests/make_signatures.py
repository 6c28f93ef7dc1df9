"""What scripts can write for inseq 0.7.1 and minicons 0.3.39: `python make_signatures.py`, with these installed, writes `golden/signatures.json`.

Of each library: the parameters of what is mirrored, in order (`**` before what takes any name), and the public names of modules and classes.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def parameters(function: Any) -> list[str]:
    marks = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    found = inspect.signature(function).parameters.values()
    return [marks.get(one.kind, "") + one.name for one in found if one.name != "self"]


def public(owner: Any, beside: Any = object) -> list[str]:
    return sorted(name for name in dir(owner) if not name.startswith("_") and not hasattr(beside, name))


def signatures() -> dict[str, Any]:
    """What the installed libraries have."""
    import inseq
    from inseq.data import FeatureAttributionSequenceOutput
    from inseq.models import HuggingfaceDecoderOnlyModel
    from minicons import scorer
    from torch import nn

    output, sequence, model = inseq.FeatureAttributionOutput, FeatureAttributionSequenceOutput, HuggingfaceDecoderOnlyModel
    of_inseq = {
        "load_model": inseq.load_model,
        "register_step_function": inseq.register_step_function,
        "merge_attributions": inseq.merge_attributions,
        **{name: getattr(inseq, name) for name in dir(inseq) if name.startswith("list_") and name != "list_supported_frameworks"},
        **{f"AttributionModel.{name}": getattr(model, name) for name in ("attribute", "generate")},
        **{f"FeatureAttributionOutput.{name}": getattr(output, name) for name in ("aggregate", "get_scores_dicts", "show", "save", "load")},
        **{f"FeatureAttributionSequenceOutput.{name}": getattr(sequence, name) for name in ("aggregate", "get_scores_dicts", "show")},
    }
    of_scorers = {
        "IncrementalLMScorer": ("token_score", "sequence_score", "conditional_score", "compute_stats", "prepare_text"),
        "MaskedLMScorer": ("token_score", "sequence_score"),
        "Seq2SeqScorer": ("conditional_score", "conditional_token_score", "token_score", "sequence_score"),
    }
    of_minicons: dict[str, Any] = {}
    for name, methods in of_scorers.items():
        kind = getattr(scorer, name)
        of_minicons[name] = kind.__init__
        of_minicons |= {f"{name}.{method}": getattr(kind, method) for method in methods}
    return {
        "inseq": {name: parameters(function) for name, function in of_inseq.items()},
        "minicons": {name: parameters(function) for name, function in of_minicons.items()},
        "names": {
            "inseq": sorted(inseq.__all__),
            "inseq.AttributionModel": public(model, nn.Module),
            "inseq.FeatureAttributionOutput": public(output),
            "inseq.FeatureAttributionSequenceOutput": public(sequence),
            **{f"minicons.{name}": public(getattr(scorer, name)) for name in of_scorers},
        },
    }


if __name__ == "__main__":
    (HERE / "golden" / "signatures.json").write_text(json.dumps(signatures(), indent=1) + "\n")
