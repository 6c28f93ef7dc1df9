"""Forward passes with transformers, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py. A setup:

    {"shape": "gpt2-small", "batch": B, "length": N}

Shapes: gpt2-small, smollm2-135m, opus-mt-base, t5-small, with random weights in float32. An encoder–decoder
reads N source tokens and N target tokens. Work: "last" computes logits at the last position only, "all" at every
position. `"attention": "sdpa"` in the setup replaces the eager attention.

`"compile": true` in the setup runs each work through `torch.compile`, for these sizes only: the whole function below,
from ids to logits, including the parts of an encoder–decoder that "last" calls. Compilation happens before the reply
and takes seconds to minutes; on a CPU it needs a C++ compiler (g++, or the one in CXX) and the headers of Python.
TORCHINDUCTOR_FREEZING=1 allows it to change the layout of the weights.
"""

import traceback

import torch

from serve import DEVICE, serve
from shapes import build, random_ids


class Forward:
    def __init__(self, shape, batch, length, attention="eager", compile=False):
        self.work = dict(WORK)
        self.model = build(shape, attention).to(DEVICE)
        ids = random_ids(self.model.config, batch, length).to(DEVICE)
        self.inputs = {"input_ids": ids}
        if self.model.config.is_encoder_decoder:
            self.inputs["decoder_input_ids"] = ids.flip(-1)
        if compile:
            self.compile()

    def compile(self):
        # Code compiled for other models counts towards a limit.
        torch.compiler.reset()
        try:
            for name, work in WORK.items():
                self.work[name] = torch.compile(work, dynamic=False, fullgraph=True)
                # The first run compiles.
                for _ in range(2):
                    self.run(name)
        except Exception as error:
            # All kinds of errors can occur, and their messages contain pages of generated code.
            traceback.print_exc()
            raise ValueError(f"torch.compile: {(str(error).strip() or repr(error)).splitlines()[0]}") from error

    def all(self):
        return self.model(**self.inputs, use_cache=False).logits

    def last(self):
        config = self.model.config
        if not config.is_encoder_decoder:
            return self.model(**self.inputs, use_cache=False, logits_to_keep=1).logits
        # These models lack that option, so call their parts, and the head only on the last state.
        if config.model_type == "marian":
            states = self.model.model(**self.inputs, use_cache=False).last_hidden_state[:, -1]
            return self.model.lm_head(states) + self.model.final_logits_bias
        memory = self.model.encoder(self.inputs["input_ids"]).last_hidden_state
        states = self.model.decoder(
            input_ids=self.inputs["decoder_input_ids"], encoder_hidden_states=memory, use_cache=False
        ).last_hidden_state[:, -1]
        return self.model.lm_head(states * config.d_model**-0.5)

    @torch.no_grad()
    def run(self, work):
        return self.work[work](self)


WORK = {"last": Forward.last, "all": Forward.all}


if __name__ == "__main__":
    serve(Forward, WORK)
