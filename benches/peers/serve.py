"""The protocol that all peers share: requests in, times out.

One JSON object per line. The greeting is {"torch": version, "transformers": version, "threads": n, "device": name},
preceded by the versions of other packages. Then requests are answered:

    {"setup": {"shape": "gpt2-small", ...}}  with {"ok": true}
    {"time": "saliency", "repeats": k}       with {"seconds": [k floats]}
    {"result": "generate"}                   with {"seconds": [float], "result": …}, for work that has a result
    {"peak_memory": true}                    with {"bytes": n}, of this process since its start

Anything unsupported is answered with {"error": "..."}. The process ends when its input ends. Threads: STEPFN_THREADS,
default 2; device: STEPFN_DEVICE, default cpu. There is no warm-up, so the caller should discard the first repeats.
With 0 repeats, a request only asks whether the work is supported.
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


def timed(run, repeats):
    """The seconds of each run, and the result of the last one."""
    times, result = [], None
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        result = run()
        wait()
        times.append(time.perf_counter() - start)
    return times, result


def serve(make, works, *packages, shown=lambda result: result):
    """Answers requests until the input ends. `make(**setup)` returns an object that runs each of `works` with `run(work)`. `shown` makes of a result what the reply has; it
    is not timed."""
    torch.set_num_threads(int(os.environ.get("STEPFN_THREADS", "2")))
    # Output of libraries, or of compilers that they start, must not mix with the replies.
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
                # Freed before the next one is built, because both may not fit.
                ready = None
                ready = make(**request["setup"])
                say({"ok": True})
            elif "peak_memory" in request:
                # In KiB; on macOS in bytes.
                unit = 1 if sys.platform == "darwin" else 1024
                say({"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit})
            elif (work := request.get("time", request.get("result"))) not in works:
                say({"error": f"unknown work {work!r}; known: {', '.join(works)}"})
            elif ready is None:
                say({"error": "nothing to run on: send a setup first"})
            else:
                times, result = timed(lambda: ready.run(work), request.get("repeats", 1))
                say({"seconds": times, **({"result": shown(result)} if "result" in request else {})})
        except (TypeError, ValueError) as error:
            say({"error": str(error)})
