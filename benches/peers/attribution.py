"""Attribution with inseq, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py; the greeting includes the version of inseq. A setup:

    {"shape": "gpt2-small", "prompt": 13, "target": 22}

Shapes: gpt2-small and smollm2-135m (`prompt` tokens, continued by `target` tokens), opus-mt-base and t5-small
(`prompt` source tokens, then `target` predicted tokens after the start token, attributed to both), with random
weights in float32. A setup may have `batch` such texts, processed as one batch. The target is forced. Each time is
one whole `attribute()`, as a user calls it, except that "forward" is one call of the model with ids. The attributed
function is `probability`. Packages: tests/goldens/attribution/requirements.txt.
"""

import warnings

warnings.filterwarnings("ignore")

import inseq
import torch

from serve import DEVICE, serve
from shapes import build, random_ids
from words import word_tokenizer, words

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


class Attributor:
    def __init__(self, shape, prompt, target, batch=1):
        model = build(shape)
        self.seq2seq = model.config.is_encoder_decoder
        first, then = random_ids(model.config, prompt + target).split([prompt, target])
        forced = then.tolist() if self.seq2seq else first.tolist() + then.tolist()
        self.prompt, self.forced = [words(first.tolist())] * batch, [words(forced)] * batch
        self.batch = batch
        self.inseq = inseq.load_model(model, "dummy", tokenizer=word_tokenizer(model.config), device=DEVICE)
        if self.seq2seq:
            start = torch.tensor([model.config.decoder_start_token_id])
            # Every target token is predicted from the tokens before it, so the last one is not an input.
            self.ids = {"input_ids": first[None], "decoder_input_ids": torch.cat([start, then[:-1]])[None]}
        else:
            self.ids = {"input_ids": torch.cat([first, then[:-1]])[None]}
        self.ids = {name: ids.expand(batch, -1).to(DEVICE) for name, ids in self.ids.items()}

    def forward(self):
        with torch.no_grad():
            return self.inseq.model(**self.ids, use_cache=False).logits

    def run(self, work):
        if work == "forward":
            return self.forward()
        arguments = dict(WORK[work])
        # Without attributions there are no target attributions either.
        if self.seq2seq and arguments["method"] != "dummy":
            arguments["attribute_target"] = True
        attribution = self.inseq.attribute(
            self.prompt, self.forced, batch_size=self.batch, show_progress=False, pretty_progress=False, **arguments
        )
        if "n_mcd_steps" in arguments:
            # MC dropout leaves the model in training mode.
            self.inseq.model.eval()
        return attribution


if __name__ == "__main__":
    serve(Attributor, ["forward", *WORK], "inseq")
