"""Attribution by captum's classes for language models: the other side of an interleaved benchmark.

Speaks as serve.py says, with the version of captum first, of a setup such as

    {"shape": "gpt2-small", "prompt": 13, "target": 22}

Shapes: gpt2-small and smollm2-135m (`prompt` tokens go on by `target` tokens), with random weights in float32:
these classes are of causal models, and of one text. The target is forced. A time is that of making the input
and of one whole `attribute()`, which is what a user calls. Packages: those of
tests/goldens/attribution/requirements.txt.

Attributed is the log-probability of each target token, the default and for gradients the only choice: a score
for each target token and each token *of the prompt*, `[target, prompt]`. stepfn and inseq attribute to the target
tokens so far as well. For the gradients that is no less work: captum goes forwards and backwards over all of them
at every step, and drops theirs (of `integrated_gradients`, they stay in place on the path). "occlusion" is less:
target tokens are not hidden.

By default "occlusion" decodes the target a token at a time and keeps keys and values in between. With captum
0.9.0 under transformers 5 that gives other numbers: captum leaves it to `prepare_inputs_for_generation` to cut
the ids down to the new one, which since then does so only when told, and so each pass appends the whole text to
what it kept. Measured is the fastest way that gives the right ones: `forward_in_tokens=False`, one pass over the
whole text for each hidden token. Hiding several at once (`perturbations_per_eval`) raises.
"""

import warnings

warnings.filterwarnings("ignore")

from captum.attr import (
    FeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)

from serve import DEVICE, serve
from shapes import build, random_ids
from words import word_tokenizer, words

N_STEPS = 20

# Arguments of `attribute`.
WORK = {
    "input_x_gradient": {},
    "integrated_gradients": dict(n_steps=N_STEPS),
    "occlusion": dict(forward_in_tokens=False),
}


class Attributor:
    def __init__(self, shape, prompt, target):
        model = build(shape).to(DEVICE)
        if model.config.is_encoder_decoder:
            raise ValueError(f"{shape} is an encoder–decoder; captum's classes for language models are of causal ones")
        first, then = random_ids(model.config, prompt + target).split([prompt, target])
        self.prompt, self.target = words(first.tolist()), words(then.tolist())
        self.tokenizer = word_tokenizer(model.config)
        embeddings = model.get_input_embeddings()
        self.methods = {
            "input_x_gradient": LLMGradientAttribution(LayerGradientXActivation(model, embeddings), self.tokenizer),
            "integrated_gradients": LLMGradientAttribution(LayerIntegratedGradients(model, embeddings), self.tokenizer),
            "occlusion": LLMAttribution(FeatureAblation(model), self.tokenizer),
        }

    def run(self, work):
        text = TextTokenInput(self.prompt, self.tokenizer)
        return self.methods[work].attribute(text, self.target, **WORK[work])


if __name__ == "__main__":
    serve(Attributor, WORK, "captum")
