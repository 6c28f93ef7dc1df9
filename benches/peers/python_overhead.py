"""What Python costs: the program `stepfn` and the package on the same texts, whole processes, alternately.

    python benches/peers/python_overhead.py --program target/release/stepfn

Both load the model, do the work and write the results as JSON lines; the files must say the same. Run it where the package is installed from the sources that the program was built from, with a release
build of both. Without `--model`, the model has the shape of GPT-2 small and random weights (torch and transformers write it).

Printed for each task: the median time of each with minimum and maximum, the ratio of the medians with that of each pair of neighbouring runs, the same of the time of all cores, where Python's time went (the
import, the model, the work, the file), and how many bytes of scores the package copied out of the engine, for how many bytes of scores there are.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCORED = ["surprisal", "entropy"]
METHOD = "saliency"


def work(task, model, texts, output):
    """The package's part, in a process of its own."""
    times, start = {}, time.perf_counter()

    def lap(name):
        nonlocal start
        times[name] = time.perf_counter() - start
        start = time.perf_counter()

    import stepfn

    lap("import")
    loaded = stepfn.load(model)
    records = [json.loads(line) for line in Path(texts).read_text().splitlines()]
    lap("load")
    results = loaded.score(records, SCORED, progress=False) if task == "score" else loaded.attribute(records, METHOD, progress=False)
    lap("work")
    results.save(output)
    lap("save")
    arrays = [array for result in results for array in result.numpy().values()]
    lap("arrays")
    # Each array is a copy of what the engine has; asked for again, it is the same array.
    again = [array for result in results for array in result.numpy().values()]
    own = {array.__array_interface__["data"][0]: array.nbytes for array in arrays + again}
    print(json.dumps({"times": times, "copied": sum(own.values()), "bytes": sum(array.nbytes for array in arrays)}))


def model_of(shape, folder):
    from shapes import build
    from words import word_tokenizer

    model = build(shape)
    model.save_pretrained(folder)
    word_tokenizer(model.config).save_pretrained(folder)
    return str(folder)


def texts_of(model, count, tokens):
    """Texts of words that the model knows, of different lengths."""
    import stepfn

    loaded = stepfn.load(model)
    chosen = random.Random(1)
    lengths = [chosen.randrange(tokens // 2, tokens + tokens // 2) for _ in range(count)]
    ids = [[chosen.randrange(10, loaded.vocab_size - 10) for _ in range(length)] for length in lengths]
    return [json.dumps({"id": f"t{number}", "target": loaded.decode(own)}) for number, own in enumerate(ids)]


def timed(command):
    """Seconds on the clock, and of all cores; and what it printed."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:3]))} failed: {done.stderr}")
    of_cores = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, of_cores, done.stdout


def same(one, other):
    """Whether two results say the same, but for how long they took."""
    lines = [[json.loads(line) for line in Path(path).read_text().splitlines()] for path in (one, other)]
    for record in lines[0] + lines[1]:
        record.get("about", {}).pop("seconds", None)
    return lines[0] == lines[1]


def shown(times):
    return f"{statistics.median(times):.2f} s ({min(times):.2f}–{max(times):.2f})"


def measure(task, options, model, texts, folder):
    outputs = [folder / f"{task}.{name}.jsonl" for name in ("program", "python")]
    asked = ["--step-fn", ",".join(SCORED)] if task == "score" else ["--method", METHOD]
    program = [options.program, task, "-m", model, "--input", texts, *asked, "--format", "jsonl", "-o", outputs[0], "-q"]
    python = [sys.executable, __file__, "--work", task, model, texts, outputs[1]]
    times, cores, told = ([], []), ([], []), []
    for number in range(options.runs + 1):
        for which, command in enumerate((program, python) if number % 2 else (python, program)):
            seconds, of_cores, said = timed(command)
            is_python = command is python
            # The first pair warms up what is read from the disk.
            if number:
                times[is_python].append(seconds)
                cores[is_python].append(of_cores)
                told += [json.loads(said)] if is_python else []
    if not same(*outputs):
        sys.exit(f"{task}: the program and the package say different things: compare {outputs[0]} with {outputs[1]}")
    ratios = [own / other for other, own in zip(*times)]
    ratio = statistics.median(times[1]) / statistics.median(times[0])
    print(f"{task}: program {shown(times[0])}, Python {shown(times[1])}; ratio {ratio:.3f}, of pairs {min(ratios):.3f}–{max(ratios):.3f}")
    of_cores = [statistics.median(one) for one in cores]
    print(f"  time of all cores, which other work on the machine changes less: program {of_cores[0]:.2f} s, Python {of_cores[1]:.2f} s; ratio {of_cores[1] / of_cores[0]:.3f}")
    parts = {name: statistics.median(one["times"][name] for one in told) for name in told[0]["times"]}
    print("  of Python's: " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in parts.items()))
    print(f"  scores: {told[0]['bytes']} bytes, of which {told[0]['copied']} copied once")


def main():
    if sys.argv[1:2] == ["--work"]:
        return work(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/stepfn", help="the program")
    parser.add_argument("--model", help="a folder or a name; by default, one is made in --shape")
    parser.add_argument("--shape", default="gpt2-small", help="of the model that is made")
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=64, help="of a text, on average")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", default="score,attribute")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or model_of(options.shape, folder / "model")
        texts = folder / "texts.jsonl"
        texts.write_text("\n".join(texts_of(model, options.texts, options.tokens)) + "\n")
        for task in options.tasks.split(","):
            measure(task, options, model, texts, folder)


if __name__ == "__main__":
    main()
