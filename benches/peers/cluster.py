"""How long a corpus takes on many machines, and what they wait for: a simulation from measured times, with nothing but Python.

python benches/peers/cluster.py [--texts N] [--workers N,N,…] [--shards N] [--files N] [--parquet] [--skew S] … (--help lists all)

What is simulated, for jobs of `stepfn score --shard I/N` ("fixed": job I does the shards I, I + N, …) and for a queue that gives each worker the next shard when it is done with
one ("queue", as Ray does):

1. Starting. A scheduler starts `--starts` jobs per second. Each job loads the model from storage that all share.
2. Opening. The first job counts the records (Parquet says their number), and the others wait. Each job reads three samples of each input file, and lists the
   folder of results, a thousand names at a time, and asks for the lengths of its own shards: requests that the storage serves at `--requests` per second, all jobs together.
3. Scoring. A shard takes its tokens divided by the worker's rate, and the time for opening, ending and syncing a shard. Its bytes come at the worker's share of the storage's
   bandwidth; reading happens while the model runs, so only what takes longer than the model is waited for.
4. Skew. The mean length of a shard's texts is lognormal with `--skew` as standard deviation of its logarithm, and so is the speed of a machine with
   `--speed-skew`: a corpus sorted by source has long shards, and machines of a kind differ by some percent. A worker that is lost does its shard again after a new start.

Not simulated: networks other than the storage, memory, preemption, stragglers that come and go, and a storage that becomes slower than its share.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--texts", type=float, default=1e9, help="texts of the corpus")
    add("--tokens", type=float, default=20, help="mean tokens of a text")
    add("--bytes", type=float, default=100, help="mean bytes of a text in its file")
    add("--files", type=int, default=1000, help="input files")
    add("--shards", type=int, default=0, help="shards; 0 is ten for each worker")
    add("--workers", default="1,2,10,100,1000,10000", help="numbers of workers")
    add("--rate", type=float, default=686, help="tokens per second of a worker (measured: GPT-2 small on two cores, 32 texts of 32 tokens)")
    add("--load", type=float, default=2.0, help="seconds to load the model from a local disk (assumed)")
    add("--model-bytes", type=float, default=0.5e9, help="bytes of the model's files")
    add("--shard-cost", type=float, default=0.02, help="seconds for opening, ending and syncing a shard (measured: 10,000 shards of a text each)")
    add("--count-rate", type=float, default=0.15e9, help="bytes per second that are counted (measured: a million lines)")
    add("--parquet", action="store_true", help="the files say how many records they have")
    add("--bandwidth", type=float, default=10e9, help="bytes per second of the storage, all workers together (assumed)")
    add("--worker-bandwidth", type=float, default=0.5e9, help="bytes per second of the storage for one worker (assumed)")
    add("--requests", type=float, default=20_000, help="requests per second of the storage, all workers together (assumed)")
    add("--starts", type=float, default=50, help="jobs that the scheduler starts per second (assumed)")
    add("--skew", type=float, default=0.3, help="spread of the lengths of shards (assumed)")
    add("--speed-skew", type=float, default=0.05, help="spread of the speeds of machines (assumed)")
    add("--lost", type=float, default=0.001, help="the part of shards whose worker is lost on the way (assumed)")
    add("--seed", type=int, default=1)
    return options.parse_args()


def spread(chance: random.Random, deviation: float, count: int) -> list[float]:
    """Lognormal factors whose mean is 1."""
    factors = [math.exp(chance.gauss(0, deviation)) for _ in range(count)]
    mean = statistics.fmean(factors)
    return [factor / mean for factor in factors]


class Run:
    """A corpus on some workers: when each of them is ready, and how long it takes for each shard."""

    def __init__(self, given: argparse.Namespace, workers: int) -> None:
        chance = random.Random(given.seed)
        shards = given.shards or 10 * workers
        self.given, self.workers = given, workers
        share = min(given.worker_bandwidth, given.bandwidth / workers)
        counting = 0.0 if given.parquet else given.texts * given.bytes / min(given.count_rate, given.worker_bandwidth)
        listing = (workers * (3 * given.files + shards / 1000) + shards) / given.requests
        loading = given.load + given.model_bytes / share
        self.parts = {"start": workers / given.starts, "load": loading, "count": counting, "list": listing}
        opened = 1 / given.starts + loading + counting
        self.ready = [max((1 + worker) / given.starts + loading, opened) + listing for worker in range(workers)]
        self.speeds = spread(chance, given.speed_skew, workers)
        texts = given.texts / shards
        self.model = [texts * given.tokens * length / given.rate for length in spread(chance, given.skew, shards)]
        self.reading = texts * given.bytes / share
        self.again = [chance.random() < given.lost for _ in range(shards)]
        self.loading = loading

    def took(self, worker: int, shard: int) -> float:
        """Seconds for a shard. A worker that is lost has done half of it, and starts anew."""
        once = max(self.model[shard] / self.speeds[worker], self.reading) + self.given.shard_cost
        return once + (once / 2 + self.loading if self.again[shard] else 0.0)

    def fixed(self) -> list[float]:
        """When each worker is done, if job I does the shards I, I + N, …"""
        ends = list(self.ready)
        for shard in range(len(self.model)):
            worker = shard % self.workers
            ends[worker] += self.took(worker, shard)
        return ends

    def queue(self) -> list[float]:
        """The same if whoever is done takes the next shard."""
        free = [(ready, worker) for worker, ready in enumerate(self.ready)]
        heapq.heapify(free)
        for shard in range(len(self.model)):
            now, worker = heapq.heappop(free)
            heapq.heappush(free, (now + self.took(worker, shard), worker))
        return [end for end, _ in free]


def main() -> None:
    given = arguments()
    alone = given.texts * given.tokens / given.rate
    print(f"{given.texts:.3g} texts of {given.tokens:g} tokens: {alone / 3600:.4g} hours of one worker\n")
    print("| workers | shards | plan | hours | of it before the first text | efficiency | waits most for |")
    print("|---:|---:|---|---:|---:|---:|---|")
    for workers in (int(number) for number in given.workers.split(",")):
        run = Run(given, workers)
        shards = len(run.model)
        for plan, ends in (("fixed", run.fixed()), ("queue", run.queue())):
            end, first = max(ends), max(run.ready)
            # What each cause adds to the time that workers without any would take.
            model = alone / workers
            causes = {
                **run.parts,
                "reading": shards / workers * max(run.reading - statistics.fmean(run.model), 0.0),
                "shards": shards / workers * given.shard_cost,
                "skew": end - statistics.fmean(ends),
            }
            cause = max(causes, key=lambda name: causes[name])
            share = causes[cause] / end
            worst = f"{cause}, {100 * share:.2g} %" if share >= 0.001 else "nothing"
            print(f"| {workers} | {shards} | {plan} | {end / 3600:.4g} | {first:.0f} s | {100 * model / end:.1f} % | {worst} |")


if __name__ == "__main__":
    main()
