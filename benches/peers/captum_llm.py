"""Attribution with captum's classes for language models, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py; the greeting includes the version of captum. A setup:

    {"shape": "gpt2-small", "prompt": 13, "target": 22}

Shapes: gpt2-small and smollm2-135m (`prompt` tokens, continued by `target` tokens), with random weights in float32.
These classes support causal models and one text at a time. The target is forced. Each time covers building the
input and one whole `attribute()`, as a user calls it. Packages: tests/goldens/attribution/requirements.txt.

The log-probability of each target token is attributed; this is the default, and for gradients the only choice. The
result has a score for each target token and each token *of the prompt*, `[target, prompt]`. stepfn and inseq also
attribute to the target prefix. For gradients captum saves no work by this: it still runs forward and backward over
the target prefix at every step, and drops those scores (`integrated_gradients` keeps the prefix fixed along the
path). "occlusion" is less work, because target tokens are not hidden.

By default "occlusion" decodes the target one token at a time and caches keys and values. With captum 0.9.0 under
transformers 5 that gives wrong numbers: captum relies on `prepare_inputs_for_generation` to keep only the new id,
which transformers 5 does only on request, so each pass appends the whole text to the cache. The benchmark uses the
fastest way that gives the right numbers: `forward_in_tokens=False`, one pass over the whole text per hidden token.
Hiding several tokens at once (`perturbations_per_eval`) raises an error.
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
