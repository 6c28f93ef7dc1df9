"""What inseq's ``attribute`` returns."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import stepfn
from stepfn import Answer, UsageError
from stepfn._writing import path_of

from . import Mirror, not_mirrored
from ._stages import stages_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Scores = npt.NDArray[np.float32]

Out = TypeVar("Out", "FeatureAttributionSequenceOutput", "FeatureAttributionOutput")


class TokenWithId(NamedTuple):
    """A token, readable, and its number in the vocabulary; -1 where several were merged."""

    token: str
    id: int


def _shown(out: Out, aggregator: Any, do_aggregation: bool, options: Mapping[str, Any]) -> Out:
    """What is shown of an attribution: that after aggregators, or itself."""
    if do_aggregation:
        return out.aggregate(aggregator, **options)
    unused = next(iter(options), None if aggregator is None else "aggregator")
    if unused is not None:
        raise UsageError(f"`{unused}` is given, and do_aggregation is False", "leave out one of them")
    return out


class FeatureAttributionSequenceOutput(Mirror):
    """The attribution of one text."""

    __module__ = "stepfn.compat.inseq"

    def __init__(self, answer: Answer, is_causal: bool) -> None:
        self.answer = answer
        self._is_causal = is_causal

    @staticmethod
    def _rows(tokens: Sequence[stepfn.Token]) -> list[TokenWithId]:
        return [TokenWithId(token.text, -1 if token.id is None else token.id) for token in tokens]

    @property
    def source(self) -> list[TokenWithId]:
        """What the encoder read, or the prompt of a causal model."""
        if not self._is_causal:
            return self._rows(self.answer.source)
        return self._rows(self.answer.target[: self.answer.steps.start])

    @property
    def target(self) -> list[TokenWithId]:
        """What the decoder read and predicted, prompt included."""
        return self._rows(self.answer.target)

    @property
    def source_attributions(self) -> Scores | None:
        """``[source tokens, steps, …]``; ``None`` for a causal model."""
        return self.answer.source_scores

    @property
    def target_attributions(self) -> Scores | None:
        """``[target tokens, steps, …]``, up to the last step; NaN where a step doesn't see a token."""
        scores = self.answer.target_scores
        return None if scores is None else scores[: self.attr_pos_end]

    @property
    def step_scores(self) -> dict[str, Scores]:
        """Values of step functions, and ``deltas``, ``[steps]``."""
        return dict(self._step_scores)

    @property
    def _step_scores(self) -> dict[str, Scores]:
        deltas = self.answer.deltas
        return self.answer.step_scores if deltas is None else {**self.answer.step_scores, "deltas": deltas}

    @property
    def sequence_scores(self) -> dict[str, Scores]:
        """Empty: what inseq puts here, attention within one side, is not computed."""
        return {}

    @property
    def attr_pos_start(self) -> int:
        """The first position of the target that was attributed."""
        return self.answer.steps.start

    @property
    def attr_pos_end(self) -> int:
        """The position after the last one."""
        return self.answer.steps.stop

    def aggregate(self, aggregator: Any = None, **options: Any) -> FeatureAttributionSequenceOutput:
        """With one number for each token and step, after inseq's aggregators; shares of each step unless ``normalize`` is ``False``."""
        stages = stages_of(aggregator, options, self.answer.axes)
        return FeatureAttributionSequenceOutput(self.answer.aggregate(*stages) if stages else self.answer, self._is_causal)

    def __sub__(self, other: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        if not isinstance(other, FeatureAttributionSequenceOutput):
            raise UsageError(f"there is no difference to {type(other).__name__}", "give another attribution of a text: out[0]")
        return FeatureAttributionSequenceOutput(self.answer.minus(other.answer), self._is_causal)

    def get_scores_dicts(self, aggregator: Any = None, do_aggregation: bool = True, **options: Any) -> dict[str, dict[tuple[int, str], Any]]:
        """Scores by position and token: ``{"source_attributions": {(step, token): {(position, token): score}}, "target_attributions": …, "step_scores": …}``."""
        shown = _shown(self, aggregator, do_aggregation, options)
        steps = [(step, shown.target[step].token) for step in range(shown.attr_pos_start, shown.attr_pos_end)]

        def side(scores: Scores | None, tokens: list[TokenWithId]) -> dict[tuple[int, str], Any]:
            if scores is None:
                return {}
            if scores.ndim > 2:
                raise UsageError("there are several scores for a token and a step", "aggregate them: do_aggregation=True")
            rows = {step: scores[:, place] for place, step in enumerate(steps)}
            return {step: {(at, tokens[at].token): float(score) for at, score in enumerate(row) if score == score} for step, row in rows.items()}

        return {
            "source_attributions": side(shown.source_attributions, shown.source),
            "target_attributions": side(shown.target_attributions, shown.target),
            "step_scores": {step: {name: float(values[place]) for name, values in shown.step_scores.items()} for place, step in enumerate(steps)},
        }

    def show(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: Any = None,
        slice_dims: Any = None,
        display: bool = True,
        return_html: bool = False,
        return_figure: bool = False,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **options: Any,
    ) -> str | None:
        """Shows the page in a notebook, or prints the table; returns the page if ``return_html``."""
        several = FeatureAttributionOutput([self], {})
        return several.show(min_val, max_val, max_show_size, show_dim, slice_dims, display, return_html, return_figure, aggregator, do_aggregation, **options)


class FeatureAttributionOutput(Mirror):
    """Attributions of texts."""

    __module__ = "stepfn.compat.inseq"

    def __init__(self, sequence_attributions: list[FeatureAttributionSequenceOutput], info: dict[str, Any]) -> None:
        self.sequence_attributions = sequence_attributions
        self.step_attributions = None
        self.info = info

    def __len__(self) -> int:
        return len(self.sequence_attributions)

    def __iter__(self) -> Iterator[FeatureAttributionSequenceOutput]:
        return iter(self.sequence_attributions)

    @overload
    def __getitem__(self, place: int) -> FeatureAttributionSequenceOutput: ...
    @overload
    def __getitem__(self, place: slice) -> FeatureAttributionOutput: ...
    def __getitem__(self, place: int | slice) -> FeatureAttributionSequenceOutput | FeatureAttributionOutput:
        if isinstance(place, slice):
            return FeatureAttributionOutput(self.sequence_attributions[place], self.info)
        return self.sequence_attributions[place]

    def __add__(self, other: FeatureAttributionOutput) -> FeatureAttributionOutput:
        if not isinstance(other, FeatureAttributionOutput):
            raise UsageError(f"there is no sum with {type(other).__name__}", "give another attribution")
        same = ("attribute_target", "attribution_method", "model_name", "constrained_decoding")
        differs = [name for name in same if self.info.get(name) != other.info.get(name)]
        if differs:
            raise UsageError(f"the two have another {differs[0]}", "join attributions that were made in one way")
        texts = {name: [*self.info.get(name, []), *other.info.get(name, [])] for name in ("input_texts", "generated_texts")}
        return FeatureAttributionOutput([*self.sequence_attributions, *other.sequence_attributions], {**self.info, **texts})

    def aggregate(self, aggregator: Any = None, **options: Any) -> FeatureAttributionOutput:
        """Each after inseq's aggregators."""
        return FeatureAttributionOutput([one.aggregate(aggregator, **options) for one in self], self.info)

    def get_scores_dicts(self, aggregator: Any = None, do_aggregation: bool = True, **options: Any) -> list[dict[str, dict[tuple[int, str], Any]]]:
        """Scores of each text by position and token."""
        return [one.get_scores_dicts(aggregator, do_aggregation, **options) for one in self]

    def show(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: Any = None,
        slice_dims: Any = None,
        display: bool = True,
        return_html: bool = False,
        return_figure: bool = False,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **options: Any,
    ) -> str | None:
        """Shows the page in a notebook, or prints the tables; returns the page if ``return_html``."""
        given = {"min_val": min_val, "max_val": max_val, "max_show_size": max_show_size, "show_dim": show_dim, "slice_dims": slice_dims}
        for name, value in given.items():
            if value is not None:
                raise not_mirrored(name, "leave it out: the page has a choice of scales, and select_idx chooses units")
        if return_figure:
            raise not_mirrored("return_figure", "use return_html")
        shown = _shown(self, aggregator, do_aggregation, options)
        answers = stepfn.Answers([one.answer for one in shown])
        if display:
            answers.show()
        return answers.html() if return_html else None

    def save(
        self,
        path: str | Path,
        overwrite: bool = False,
        compress: bool = False,
        ndarray_compact: bool = True,
        use_primitives: bool = False,
        split_sequences: bool = False,
        scores_precision: str = "float32",
    ) -> None:
        """Saves it as inseq does, so that inseq loads it, too."""
        if use_primitives or not ndarray_compact or scores_precision != "float32":
            raise not_mirrored("another way to write numbers", "save in float32, or as JSON by answer.save")
        path = Path(path_of(path))
        groups = [[one] for one in self] if split_sequences else [self.sequence_attributions]
        names = [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(len(groups))] if split_sequences else [path]
        for name, group in zip(names, groups, strict=True):
            if name.exists() and not overwrite:
                raise UsageError(f"{name} exists", "give another place, or overwrite=True")
            text = stepfn.write([one.answer for one in group], "inseq").encode()
            try:
                name.write_bytes(gzip.compress(text, 5, mtime=0) if compress else text)
            except OSError as error:
                raise stepfn.FileError(f"{name} can't be written: {error.strerror}", "give a place that can be written to") from error

    @staticmethod
    def load(path: str | Path, decompress: bool = False) -> FeatureAttributionOutput:
        """Loads what inseq or :meth:`save` wrote."""
        if decompress:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                plain = Path(folder) / "attribution.json"
                try:
                    plain.write_bytes(gzip.decompress(Path(path_of(path)).read_bytes()))
                except (OSError, EOFError) as error:
                    raise stepfn.FileError(f"{path} can't be read: {error}", "give a file that was compressed, or leave out decompress") from error
                return FeatureAttributionOutput.load(plain)
        answers = stepfn.read(path)
        return FeatureAttributionOutput([FeatureAttributionSequenceOutput(one, not one.source) for one in answers.ok], {})


def merge_attributions(attributions: Sequence[FeatureAttributionOutput]) -> FeatureAttributionOutput:
    """Attributions that were made in one way, as one."""
    if not attributions or not all(isinstance(one, FeatureAttributionOutput) for one in attributions):
        raise UsageError("only attributions can be merged", "give a list of what attribute returned")
    merged, *rest = attributions
    for other in rest:
        merged = merged + other
    return merged
