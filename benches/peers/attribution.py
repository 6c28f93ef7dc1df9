"""Attribution by inseq: the other side of an interleaved benchmark.

Speaks JSON, one object per line. First it says {"inseq": version, "torch": version, "threads": n}; then it answers

    {"setup": {"shape": "gpt2-small", "prompt": 13, "target": 22}}  with {"ok": true}
    {"time": "saliency", "repeats": k}                              with {"seconds": [k floats]}
    {"peak_memory": true}                                           with {"bytes": n}, of this process since its start

and anything it cannot do with {"error": "..."}. It ends with its input. Threads: STEPFN_THREADS, default 2;
device: STEPFN_DEVICE, default cpu. There is no warm-up: the first repeats are the caller's to discard.

Shapes: gpt2-small and smollm2-135m (`prompt` tokens go on by `target` tokens), opus-mt-base and t5-small
(`prompt` source tokens, `target` predicted tokens after the start token, attributed to both), with random
weights in float32. A setup may have `batch` such texts, which are one batch. The target is forced. A time is that of one whole `attribute()`, which is what a user calls; only
"forward" is one call of the model with ids. The attributed function is `probability`. Packages: those of
tests/goldens/attribution/requirements.txt.
"""

import importlib.metadata
import json
import os
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import inseq
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from shapes import build, random_ids

N_STEPS = 20
N_MCD_STEPS = 10

# `crossentropy` and `perplexity` of inseq 0.7.1 raise on a single text.
STEP_SCORES = ["logit", "probability", "entropy"]

# Arguments of `attribute`.
WORK = {
    "step_scores": dict(method="dummy", step_scores=STEP_SCORES),
    "mc_dropout_prob_avg": dict(method="dummy", step_scores=["mc_dropout_prob_avg"], n_mcd_steps=N_MCD_STEPS),
    "saliency": dict(method="saliency"),
    "input_x_gradient": dict(method="input_x_gradient"),
    "integrated_gradients": dict(method="integrated_gradients", n_steps=N_STEPS),
    "occlusion": dict(method="occlusion"),
    "attention": dict(method="attention"),
}


def word_tokenizer(config):
    """Token 17 is the word `<17>`, so that any ids are a text."""
    vocabulary = {f"<{i}>": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<3>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = f"<{config.eos_token_id}>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<3>", eos_token=end, pad_token=end)


def words(ids):
    return " ".join(f"<{i}>" for i in ids)


class Attributor:
    def __init__(self, shape, prompt, target, batch=1):
        self.device = os.environ.get("STEPFN_DEVICE", "cpu")
        model = build(shape)
        self.seq2seq = model.config.is_encoder_decoder
        first, then = random_ids(model.config, prompt + target).split([prompt, target])
        forced = then.tolist() if self.seq2seq else first.tolist() + then.tolist()
        self.prompt, self.forced = [words(first.tolist())] * batch, [words(forced)] * batch
        self.batch = batch
        self.inseq = inseq.load_model(model, "dummy", tokenizer=word_tokenizer(model.config), device=self.device)
        if self.seq2seq:
            start = torch.tensor([model.config.decoder_start_token_id])
            # Every target token is predicted from what stands before it: the last one is no input.
            self.ids = {"input_ids": first[None], "decoder_input_ids": torch.cat([start, then[:-1]])[None]}
        else:
            self.ids = {"input_ids": torch.cat([first, then[:-1]])[None]}
        self.ids = {name: ids.expand(batch, -1).to(self.device) for name, ids in self.ids.items()}

    def forward(self):
        with torch.no_grad():
            return self.inseq.model(**self.ids, use_cache=False).logits

    def run(self, work):
        if work == "forward":
            return self.forward()
        arguments = dict(WORK[work])
        # Without attributions there are none of the target either.
        if self.seq2seq and arguments["method"] != "dummy":
            arguments["attribute_target"] = True
        return self.inseq.attribute(
            self.prompt, self.forced, batch_size=self.batch, show_progress=False, pretty_progress=False, **arguments
        )

    def seconds(self, work, repeats):
        times = []
        for _ in range(repeats):
            # MC dropout leaves the model in training.
            self.inseq.model.eval()
            self.wait()
            start = time.perf_counter()
            self.run(work)
            self.wait()
            times.append(time.perf_counter() - start)
        return times

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()


def main():
    torch.set_num_threads(int(os.environ.get("STEPFN_THREADS", "2")))
    # Whatever a library prints must not stand between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    say({
        "inseq": importlib.metadata.version("inseq"),
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "threads": torch.get_num_threads(),
        "device": os.environ.get("STEPFN_DEVICE", "cpu"),
    })
    attributor = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "setup" in request:
                # Freed before the next is built: both may not fit.
                attributor = None
                attributor = Attributor(**request["setup"])
                say({"ok": True})
            elif "peak_memory" in request:
                # In KiB, but bytes on a Mac.
                unit = 1 if sys.platform == "darwin" else 1024
                say({"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit})
            elif request.get("time") not in {"forward", *WORK}:
                say({"error": f"unknown work {request.get('time')!r}; known: forward, {', '.join(WORK)}"})
            elif attributor is None:
                say({"error": "nothing to run on: send a setup first"})
            else:
                say({"seconds": attributor.seconds(request["time"], request.get("repeats", 1))})
        except (TypeError, ValueError) as error:
            say({"error": str(error)})


if __name__ == "__main__":
    main()
