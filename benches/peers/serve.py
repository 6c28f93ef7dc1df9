"""What peers have in common: requests in, times out.

Speaks JSON, one object per line. First it says {"torch": version, "transformers": version, "threads": n,
"device": name}, with the versions of other packages before; then it answers

    {"setup": {"shape": "gpt2-small", ...}}  with {"ok": true}
    {"time": "saliency", "repeats": k}       with {"seconds": [k floats]}
    {"peak_memory": true}                    with {"bytes": n}, of this process since its start

and anything it cannot do with {"error": "..."}. It ends with its input. Threads: STEPFN_THREADS, default 2;
device: STEPFN_DEVICE, default cpu. There is no warm-up: the first repeats are the caller's to discard. No
repeats at all only ask whether the work is known.
"""

import importlib.metadata
import json
import os
import resource
import sys
import time

import torch

DEVICE = os.environ.get("STEPFN_DEVICE", "cpu")


def wait():
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def seconds(run, repeats):
    times = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return times


def serve(make, works, *packages):
    """Answers until the input ends. `make(**setup)` makes ready; what it returns does each of `works` by `run(work)`."""
    torch.set_num_threads(int(os.environ.get("STEPFN_THREADS", "2")))
    # Whatever a library prints, or a compiler that it starts, must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    say({
        **{package: importlib.metadata.version(package) for package in packages},
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "threads": torch.get_num_threads(),
        "device": DEVICE,
    })
    ready = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "setup" in request:
                # Freed before the next is built: both may not fit.
                ready = None
                ready = make(**request["setup"])
                say({"ok": True})
            elif "peak_memory" in request:
                # In KiB, but bytes on a Mac.
                unit = 1 if sys.platform == "darwin" else 1024
                say({"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit})
            elif (work := request.get("time")) not in works:
                say({"error": f"unknown work {work!r}; known: {', '.join(works)}"})
            elif ready is None:
                say({"error": "nothing to run on: send a setup first"})
            else:
                say({"seconds": seconds(lambda: ready.run(work), request.get("repeats", 1))})
        except (TypeError, ValueError) as error:
            say({"error": str(error)})
