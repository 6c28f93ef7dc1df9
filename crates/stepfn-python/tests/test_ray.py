"""A corpus on a cluster of two nodes, of which one is lost on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stepfn.arrow
import stepfn.ray

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

ray = pytest.importorskip("ray", reason="SKIPPED: ray is not installed, so no cluster is tested; pip install stepfn[ray]")
pytest.importorskip("ray.data")

_FILES, _ROWS = 6, 40
_SECONDS = 240


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, with two cores each as far as Ray knows."""
    from ray.cluster_utils import Cluster

    late = threading.Timer(_SECONDS, lambda: os.kill(os.getpid(), signal.SIGINT))
    late.daemon = True
    late.start()
    options = {"num_cpus": 2, "object_store_memory": 200 << 20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=options)
    nodes.add_node(num_cpus=2, object_store_memory=200 << 20)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    late.cancel()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of texts, some of which can't be scored."""
    folder = tmp_path_factory.mktemp("corpus")
    words = ["light", "darkness", "the waters", "heaven and earth", "the evening and the morning"]
    for file in range(_FILES):
        numbers = range(file * _ROWS, (file + 1) * _ROWS)
        texts = [None if number % 17 == 5 else f"And God called {words[number % 5]} number {number}" for number in numbers]
        table = pyarrow.table({"number": numbers, "verse": texts, "book": [{"file": file, "row": [number]} for number in numbers]})
        parquet.write_table(table, folder / f"{file}.parquet")
    return folder


class Mortal(stepfn.ray.Scorer):
    """A worker that leaves a file named after its node and process, and is killed when it gets the row 100 for the first time."""

    def __init__(self, *args: Any, signs: str, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self._signs = Path(signs)

    def __call__(self, batch: Any) -> Any:
        (self._signs / f"{ray.get_runtime_context().get_node_id()}-{os.getpid()}").touch()
        # The others are not done before.
        time.sleep(0.1)
        if 100 in batch["number"].to_pylist() and not (self._signs / "killed").exists():
            (self._signs / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


_COLUMNS = {"text_column": "verse", "keep": ["number", "book"], "number_column": "number"}


def read(corpus: Path) -> Any:
    """The corpus in several blocks, though it is small."""
    return ray.data.read_parquet(str(corpus)).repartition(2 * _FILES)


def expected(corpus: Path, functions: list[str], **arguments: Any) -> Any:
    """The scores of all rows from one process."""
    scorer = stepfn.arrow.Scorer("verse", functions, **_COLUMNS, **arguments)
    return pyarrow.concat_tables(scorer(parquet.read_table(file)) for file in sorted(corpus.glob("*.parquet")))


def rows_of(folder: Path) -> Any:
    return pyarrow.concat_tables(parquet.read_table(file) for file in sorted(folder.glob("*.parquet"))).sort_by("number")


def same(found: Any, wanted: Any, functions: list[str]) -> None:
    import numpy as np

    assert found.column_names == wanted.column_names and found.num_rows == wanted.num_rows
    # Batches of another size have other last digits.
    floats = {*functions, "logprob", "perplexity", "mean_entropy"}
    for name in found.column_names:
        if name not in floats:
            assert found[name].to_pylist() == wanted[name].to_pylist(), name
            continue
        for one, other in zip(found[name].to_pylist(), wanted[name].to_pylist(), strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_killed_worker_loses_and_repeats_no_row(cluster: Any, corpus: Path, tmp_path: Path) -> None:
    functions = ["surprisal", "mc_dropout_prob_avg"]
    noise = {"dropout": 0.1, "seed": 3, "n_mcd_steps": 2}
    texts = read(corpus)
    signs = tmp_path / "signs"
    signs.mkdir()
    # Half a core for each worker, so that the readers have some, too.
    scores = texts.map_batches(
        Mortal,
        fn_constructor_args=["verse", functions],
        fn_constructor_kwargs={**_COLUMNS, **noise, "signs": str(signs), "threads": 1},
        batch_format="pyarrow",
        batch_size=16,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=0.5,
    )
    scores.write_parquet(str(tmp_path / "scores"))
    workers = {sign.name.split("-")[0]: sign.name for sign in signs.iterdir() if sign.name != "killed"}
    assert (signs / "killed").exists(), "nobody was killed"
    assert len(workers) == 2, "both nodes worked"
    found = rows_of(tmp_path / "scores")
    assert found["number"].to_pylist() == list(range(_FILES * _ROWS))
    failed = [number for number, error in zip(found["number"].to_pylist(), found["error"].to_pylist(), strict=True) if error]
    assert failed == [number for number in range(_FILES * _ROWS) if number % 17 == 5]
    same(found, expected(corpus, functions, **noise), functions)


def test_a_lost_node_is_made_up_for(cluster: Any, corpus: Path, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=2, object_store_memory=200 << 20)
    scores = stepfn.ray.score(
        read(corpus), "verse", "surprisal", workers=4, batch_size=8, num_cpus=0.5, **_COLUMNS
    )
    seen: list[Any] = []
    for batch in scores.iter_batches(batch_format="pyarrow", batch_size=8):
        if not seen:
            cluster.remove_node(node, allow_graceful=False)
        seen.append(batch)
        time.sleep(0.01)
    same(pyarrow.concat_tables(seen).sort_by("number"), expected(corpus, ["surprisal"]), ["surprisal"])
