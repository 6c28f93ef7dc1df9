"""Texts per second with Ray, by the number of workers with one thread each, beside one process without Ray.

python benches/peers/ray_workers.py [--model NAME] [--texts N] [--workers 1,2] [--rounds N]

Wants the packages stepfn and ray[data]. A worker's rate is measured from the first batch that comes to the last, so that starting Ray and loading models is
not in it; "all" is from the call to the last batch. Rounds alternate; numbers are medians with minimum and maximum.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"

import pyarrow
import ray
import stepfn.arrow
import stepfn.ray
from pyarrow import parquet

WORDS = "the light of day and waters king was upon earth in heaven said unto people great".split()
BATCH = 512


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def rates(batches: object, start: float) -> tuple[float, float]:
    """Rows per second after the first batch, and of all."""
    rows, first = 0, None
    for batch in batches:  # type: ignore[attr-defined]
        rows += batch.num_rows
        if first is None:
            first = time.monotonic(), batch.num_rows
    end = time.monotonic()
    assert first is not None
    return (rows - first[1]) / (end - first[0]), rows / (end - start)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="verse")
    options.add_argument("--texts", type=int, default=50_000)
    options.add_argument("--workers", default="1,2")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    chance = random.Random(1)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(6, 15))) for _ in range(given.texts)]
    folder = tempfile.TemporaryDirectory()
    file = str(Path(folder.name) / "texts.parquet")
    parquet.write_table(pyarrow.table({"text": texts}), file)
    ray.init(num_cpus=max(int(number) for number in given.workers.split(",")) + 1, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    plans: dict[str, list[tuple[float, float]]] = {}
    for _ in range(given.rounds):
        scorer = stepfn.arrow.Scorer(given.model, "surprisal")
        scorer.load()
        start = time.monotonic()
        batches = scorer.batches(parquet.ParquetFile(file).iter_batches(BATCH))
        plans.setdefault("one process", []).append(rates(batches, start))
        for workers in given.workers.split(","):
            read = ray.data.read_parquet(file).repartition(given.texts // (2 * BATCH))
            start = time.monotonic()
            scored = stepfn.ray.score(read, given.model, "surprisal", workers=int(workers), num_cpus=0.5, threads=1)
            plans.setdefault(f"Ray, {workers} workers", []).append(rates(scored.iter_batches(batch_format="pyarrow", batch_size=None), start))
    print(f"| {given.texts} texts, {given.model} | texts per second | all |\n|---|---:|---:|")
    for name, runs in plans.items():
        print(f"| {name} | {shown([rate for rate, _ in runs])} | {shown([rate for _, rate in runs])} |")
    ray.shutdown()


if __name__ == "__main__":
    main()
