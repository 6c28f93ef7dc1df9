"""Step functions and feature attribution for generative language models.

>>> import stepfn
>>> answer = stepfn.load("g2p").attribute("phonetics")  # `answer.show()` shows the page in a notebook
>>> scores = stepfn.load("verse").score("Let there be light", "surprisal")

========================  ==========================================================
you have                  you call
========================  ==========================================================
a text                    :meth:`LanguageModel.attribute`, ``score``, ``generate``
many texts                the same with a list; :meth:`LanguageModel.score_all` streams
a transformers model      :func:`from_torch`
methods to compare        :meth:`LanguageModel.evaluate`
pairs of texts            :meth:`LanguageModel.compare`, ``similarity``
a function of your own    :func:`step_function`, :func:`method`
a file of attributions    :func:`read`
tables of Arrow           :class:`stepfn.arrow.Scorer`
a cluster                 :func:`stepfn.ray.score`
scripts for inseq         ``stepfn.compat.inseq``
scripts for minicons      ``stepfn.compat.minicons``
========================  ==========================================================
"""

from __future__ import annotations

from typing import Any

from . import _stepfn
from ._errors import (
    Cancelled,
    DeviceError,
    Error,
    FileError,
    ModelError,
    NumbersError,
    NumbersWarning,
    SavedError,
    UsageError,
)
from ._evaluation import Evaluation
from ._load import load
from ._many import Answers, ScoredTexts, read
from ._model import LanguageModel
from ._own import Passes
from ._pairs import Comparison, Comparisons, Similarity
from ._registry import (
    Method,
    StepFunction,
    describe,
    list_methods,
    list_step_functions,
    method,
    register_method,
    register_step_function,
    step_function,
)
from ._reliance import Cues, Reliance
from ._results import Answer, ScoredText
from ._tokens import Alternative, ScoredUnit, Token
from ._torch import from_torch
from ._writing import write
from ._written import Written

__version__: str = _stepfn.__version__

_ELSEWHERE = {
    "load_model": "stepfn.load",
    "list_feature_attribution_methods": "stepfn.list_methods",
    "merge_attributions": "`+` of what attribute returned for lists",
    "FeatureAttributionOutput": "stepfn.Answer, which stepfn.read loads",
    "LLMAttribution": "stepfn.load(…).attribute",
    "ContextCiter": "stepfn.load(…).context",
    "scorer": "stepfn.load(…).score",
}


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        raise AttributeError(f"stepfn has no `{name}`: it is {_ELSEWHERE[name]}; whole scripts run with stepfn.compat.inseq and stepfn.compat.minicons")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def list_models() -> list[str]:
    """The names of the models that are compiled in.

    >>> list_models()
    ['g2p', 'verse']
    """
    return [name for name, _, _ in _stepfn.models()]


def list_families() -> list[str]:
    """The families of models that can be read."""
    return _stepfn.families()


def list_backends() -> dict[str, str]:
    """The backends of this build, each with its first device, or why it has none."""
    return dict(_stepfn.backends())


def list_aggregators() -> dict[str, str]:
    """The stages of aggregation, with what they do."""
    return dict(_stepfn.stages())


__all__ = [
    "Alternative",
    "Answer",
    "Answers",
    "Cancelled",
    "Comparison",
    "Comparisons",
    "DeviceError",
    "Error",
    "Evaluation",
    "FileError",
    "LanguageModel",
    "Method",
    "ModelError",
    "NumbersError",
    "NumbersWarning",
    "Passes",
    "SavedError",
    "ScoredText",
    "ScoredTexts",
    "ScoredUnit",
    "Similarity",
    "StepFunction",
    "Token",
    "UsageError",
    "Cues",
    "Reliance",
    "Written",
    "__version__",
    "describe",
    "from_torch",
    "list_aggregators",
    "list_backends",
    "list_families",
    "list_methods",
    "list_models",
    "list_step_functions",
    "load",
    "method",
    "read",
    "register_method",
    "register_step_function",
    "step_function",
    "write",
]
