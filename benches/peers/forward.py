"""Forward passes of transformers: the other side of an interleaved benchmark.

Speaks JSON, one object per line. First it says
{"torch": version, "transformers": version, "threads": n, "device": name}; then it answers

    {"setup": {"shape": "gpt2-small", "batch": B, "length": N}}  with {"ok": true}
    {"time": "last", "repeats": k}                               with {"seconds": [k floats]}

and anything it cannot do with {"error": "..."}. It ends with its input. Threads: STEPFN_THREADS, default 2;
device: STEPFN_DEVICE, default cpu. There is no warm-up: the first repeats are the caller's to discard.

Shapes: gpt2-small, smollm2-135m, opus-mt-base, t5-small, with random weights in float32. An encoder–decoder
reads N source tokens and N target tokens. Work: "last" has logits at the last position only, "all" at every
position. `"attention": "sdpa"` in the setup replaces the eager attention.
"""

import json
import os
import sys
import time

import torch
import transformers

from shapes import build, random_ids


DEVICE = os.environ.get("STEPFN_DEVICE", "cpu")


class Forward:
    def __init__(self, shape, batch, length, attention="eager"):
        self.model = build(shape, attention).to(DEVICE)
        ids = random_ids(self.model.config, batch, length).to(DEVICE)
        self.inputs = {"input_ids": ids}
        if self.model.config.is_encoder_decoder:
            self.inputs["decoder_input_ids"] = ids.flip(-1)

    def all(self):
        return self.model(**self.inputs, use_cache=False).logits

    def last(self):
        config = self.model.config
        if not config.is_encoder_decoder:
            return self.model(**self.inputs, use_cache=False, logits_to_keep=1).logits
        # These have no such option: their own parts, the head on the last state alone.
        if config.model_type == "marian":
            states = self.model.model(**self.inputs, use_cache=False).last_hidden_state[:, -1]
            return self.model.lm_head(states) + self.model.final_logits_bias
        memory = self.model.encoder(self.inputs["input_ids"]).last_hidden_state
        states = self.model.decoder(
            input_ids=self.inputs["decoder_input_ids"], encoder_hidden_states=memory, use_cache=False
        ).last_hidden_state[:, -1]
        return self.model.lm_head(states * config.d_model**-0.5)


WORK = {"last": Forward.last, "all": Forward.all}


def seconds(work, forward, repeats):
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            wait()
            start = time.perf_counter()
            work(forward)
            wait()
            times.append(time.perf_counter() - start)
    return times


def wait():
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def main():
    torch.set_num_threads(int(os.environ.get("STEPFN_THREADS", "2")))
    # Whatever a library prints must not stand between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    say({
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "device": DEVICE,
    })
    forward = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "setup" in request:
                # Freed before the next is built: both may not fit.
                forward = None
                forward = Forward(**request["setup"])
                say({"ok": True})
            elif request.get("time") not in WORK:
                say({"error": f"unknown work {request.get('time')!r}; known: {', '.join(WORK)}"})
            elif forward is None:
                say({"error": "nothing to run on: send a setup first"})
            else:
                say({"seconds": seconds(WORK[request["time"]], forward, request.get("repeats", 1))})
        except (TypeError, ValueError) as error:
            say({"error": str(error)})


if __name__ == "__main__":
    main()
