"""Scores of texts on many machines, with Ray Data.

>>> import ray, stepfn.ray  # doctest: +SKIP
>>> texts = ray.data.read_parquet("texts")  # doctest: +SKIP
>>> scores = stepfn.ray.score(texts, "gpt2", "surprisal", text_column="sentence", workers=8)  # doctest: +SKIP
>>> scores.write_parquet("scores")  # doctest: +SKIP
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from . import arrow
from ._options import whole

if TYPE_CHECKING:
    from ray.data import Dataset


class Scorer(arrow.Scorer):
    """An actor for ``map_batches(Scorer, batch_format="pyarrow", …)``: :class:`stepfn.arrow.Scorer` with a model that is loaded before the first batch comes.

    Args:
        threads: In how many threads it computes; by default as many as the machine has cores, also if Ray has other work for them.
    """

    def __init__(self, *args: Any, threads: int | None = None, **arguments: Any) -> None:
        if threads is not None:
            os.environ["RAYON_NUM_THREADS"] = str(max(whole("threads", threads), 1))
        super().__init__(*args, **arguments)
        self.load()


def score(
    dataset: Dataset,
    *args: Any,
    workers: int | tuple[int, int] = 1,
    batch_size: int = 512,
    num_cpus: float = 1,
    num_gpus: float = 0,
    ray_options: dict[str, Any] | None = None,
    **arguments: Any,
) -> Dataset:
    """The scores of all rows of a dataset, computed when they are asked for.

    Args:
        dataset: Of :mod:`ray.data`. Read only the columns that are needed.
        *args: The model and the step functions, as for :class:`stepfn.arrow.Scorer`.
        workers: How many processes have the model; or the least and the most, between which Ray chooses.
        batch_size: Rows in a batch. Texts of like length run together, so large batches have less padding.
        num_cpus: Cores that Ray counts for each worker, which computes in as many threads, rounded up. Leave some cores to the tasks that read and write: they
            wait as long as all are taken.
        num_gpus: Devices that Ray counts for each worker.
        ray_options: More arguments of ``map_batches``.
        **arguments: The columns and options of :class:`stepfn.arrow.Scorer`.
    """
    from ray.data import ActorPoolStrategy

    least, most = (workers, workers) if isinstance(workers, int) else workers
    return dataset.map_batches(
        Scorer,
        fn_constructor_args=args,
        fn_constructor_kwargs={"threads": math.ceil(num_cpus), **arguments},
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        **(ray_options or {}),
    )
