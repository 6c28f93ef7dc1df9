"""inseq and captum on the tiny models, driven by token ids."""

import contextlib
import copy
import multiprocessing
import sys
import tempfile
from pathlib import Path
from unittest import mock

import captum.attr
import inseq
import numpy
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from methods import BASELINE_ID, score

transformers.utils.logging.disable_progress_bar()


def load(folder, seq2seq, mended=True):
    """With `mended`, Marian's decoder takes embeddings as they are; transformers multiplies them once more."""
    cls = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    model = cls.from_pretrained(folder, attn_implementation="eager").eval()
    if seq2seq and getattr(model.config, "decoder_start_token_id", None) is None:
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id
    if mended and model.config.model_type == "marian":
        model.get_decoder().register_forward_pre_hook(unscaled, with_kwargs=True)
    return model


def unscaled(decoder, arguments, named):
    if named.get("inputs_embeds") is not None:
        named = named | {"inputs_embeds": named["inputs_embeds"] / decoder.embed_scale}
    return arguments, named


def words(ids):
    return " ".join(f"<{i}>" for i in ids)


def word_tokenizer(config):
    """Token 17 is the word `<17>`, so that a text can be any ids; no name begins with that of another."""
    vocabulary = {f"<{i}>": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=f"<{BASELINE_ID}>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {
        "eos_token": config.eos_token_id, "pad_token": config.pad_token_id or config.eos_token_id,
        "bos_token": getattr(config, "bos_token_id", None), "unk_token": BASELINE_ID,
    }
    special = {name: f"<{i}>" for name, i in special.items() if i is not None}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


class Inseq:
    """A fresh model per call, since what fails leaves its hooks behind; every baseline is `BASELINE_ID`."""

    def __init__(self, model):
        self.model = model
        self.seq2seq = model.config.is_encoder_decoder

    def load(self, method, **load_time):
        model = copy.deepcopy(self.model)
        wrapped = inseq.load_model(model, method, tokenizer=word_tokenizer(model.config), **load_time)
        encode = wrapped.encode

        def with_baseline(*args, **kwargs):
            batch = encode(*args, **kwargs)
            batch.baseline_ids = torch.full_like(batch.input_ids, BASELINE_ID)
            if self.keep_start and self.seq2seq and kwargs.get("as_targets"):
                batch.baseline_ids[:, 0] = batch.input_ids[:, 0]
            return batch

        wrapped.encode = with_baseline
        return wrapped

    def output(self, text, method, function=None, load_time=None, keep_start=False, **call):
        """What `attribute` returns; all of the target is forced."""
        self.keep_start = keep_start
        wrapped = self.load(method, **(load_time or {}))
        if function:
            call["attributed_fn"] = function
        if function == "contrast_prob_diff":
            context = [] if self.seq2seq else text.target[: text.first]
            call["contrast_targets"] = words(context + text.contrast)
        if self.seq2seq:
            call.setdefault("attribute_target", True)
        prompt = text.source or text.target[: text.first]
        forced = text.target[1:] if self.seq2seq else text.target
        return wrapped.attribute(
            words(prompt), words(forced), show_progress=False, pretty_progress=False, **call
        )

    def __call__(self, text, method, function=None, **call):
        """One array per input, `[token, step, ...]`, and the deltas or None."""
        sequence = self.output(text, method, function, **call).sequence_attributions[0]
        assert (sequence.attr_pos_start, sequence.attr_pos_end) == (text.first, len(text.target))
        scores = [sequence.target_attributions]
        if self.seq2seq:
            scores.insert(0, sequence.source_attributions)
        scores = [None if s is None else s.double().numpy() for s in scores]
        deltas = (sequence.step_scores or {}).get("deltas")
        return scores, None if deltas is None else deltas.double().numpy()


class Forward(torch.nn.Module):
    """From embeddings to the attributed function at the last position, for captum."""

    def __init__(self, model, step):
        super().__init__()
        self.model, self.step = model, step
        self.names = ["inputs_embeds", "decoder_inputs_embeds"][: len(step.x)]

    def forward(self, *embeddings):
        logits = self.model(**dict(zip(self.names, embeddings)), use_cache=False).logits[:, -1]
        return score(self.step.function, logits, self.step.y, self.step.contrast)

    def inputs(self):
        return tuple(x.float() for x in self.step.x)

    def baselines(self):
        return tuple(b.float() for b in self.step.baseline)

    def layer(self, stack, layer):
        kind = self.model.config.model_type
        path = {
            "gpt2": "transformer.h", "llama": "model.layers", "marian": f"model.{stack}.layers", "t5": f"{stack}.block",
        }[kind]
        return self.model.get_submodule(f"{path}.{layer}")


def tuple_of(scores):
    """The scores of one step: `[token, hidden]` each."""
    return [s[0].detach().double() for s in (scores if isinstance(scores, tuple) else (scores,))]


@contextlib.contextmanager
def drawing(alpha):
    """captum draws the point of gradient SHAP with numpy; here it always draws the same."""
    with mock.patch.object(numpy.random, "uniform", lambda low, high, size: numpy.full(size, alpha)):
        yield


def with_delta(forward, attribution, /, **call):
    scores, delta = attribution.attribute(forward.inputs(), forward.baselines(), return_convergence_delta=True, **call)
    return tuple_of(scores), delta.item()


def captum_saliency(model, step):
    forward = Forward(model, step)
    return tuple_of(captum.attr.Saliency(forward).attribute(forward.inputs())), None


def captum_input_x_gradient(model, step):
    forward = Forward(model, step)
    inputs = tuple(x.requires_grad_() for x in forward.inputs())
    return tuple_of(captum.attr.InputXGradient(forward).attribute(inputs)), None


def captum_integrated_gradients(model, step, n_steps, quadrature_name):
    forward = Forward(model, step)
    return with_delta(forward, captum.attr.IntegratedGradients(forward), n_steps=n_steps, method=quadrature_name)


def captum_gradient_shap(model, step, alpha):
    forward = Forward(model, step)
    with drawing(alpha):
        return with_delta(forward, captum.attr.GradientShap(forward), n_samples=1, stdevs=0.0)


def captum_deeplift(model, step):
    forward = Forward(model, step)
    return with_delta(forward, captum.attr.DeepLift(forward))


def captum_occlusion(model, step):
    forward = Forward(model, step)
    windows = tuple((1, x.shape[-1]) for x in step.x)
    occlusion = captum.attr.Occlusion(forward)
    scores = occlusion.attribute(forward.inputs(), baselines=forward.baselines(), sliding_window_shapes=windows)
    return [s[:, 0] for s in tuple_of(scores)], None


def captum_shapley(model, step):
    forward, first, masks = Forward(model, step), 0, []
    for x in step.x:
        masks.append(torch.arange(first, first + x.shape[1])[None, :, None])
        first += x.shape[1]
    with torch.no_grad():
        scores = captum.attr.ShapleyValues(forward).attribute(
            forward.inputs(), baselines=forward.baselines(), feature_mask=tuple(masks)
        )
    return [s[:, 0] for s in tuple_of(scores)], None


def layer_of(step, stack, scores):
    scores = scores[0] if isinstance(scores, tuple) else scores
    found = [None] * len(step.x)
    found[0 if stack == "encoder" else -1] = scores[0].detach().double()
    return found


def captum_layer_gradient_x_activation(model, step, stack, layer):
    forward = Forward(model, step)
    inputs = tuple(x.requires_grad_() for x in forward.inputs())
    method = captum.attr.LayerGradientXActivation(forward, forward.layer(stack, layer))
    return layer_of(step, stack, method.attribute(inputs)), None


def captum_layer_integrated_gradients(model, step, stack, layer, n_steps):
    forward = Forward(model, step)
    method = captum.attr.LayerIntegratedGradients(forward, forward.layer(stack, layer))
    scores = method.attribute(forward.inputs(), forward.baselines(), n_steps=n_steps)
    return layer_of(step, stack, scores), None


def captum_sequential(model, step, n_steps):
    """captum has no such method; its integrated gradients of one token at a time are the same."""
    forward = Forward(model, step)
    found = []
    for which, x in enumerate(forward.inputs()):
        rows = []
        for token in range(x.shape[1]):
            baselines = [y.clone() for y in forward.inputs()]
            baselines[which][:, token] = forward.baselines()[which][:, token]
            method = captum.attr.IntegratedGradients(forward)
            scores = method.attribute(forward.inputs(), tuple(baselines), n_steps=n_steps)
            rows.append(tuple_of(scores)[which][token])
        found.append(torch.stack(rows))
    return found, None


def lxt_relevance(folder, steps):
    """In a process of its own, because lxt changes transformers for good. `[token, hidden]` for each step."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(lxt_here, (folder, [(s.function, s.ids[0], s.y, s.contrast) for s in steps]))


def lxt_here(folder, steps):
    # lxt 2.1 imports models that this transformers lacks parts of, and looks up attention as older ones did.
    for name in ("models.bert", "models.gemma3", "models.vit_torch", "zennit_patches"):
        sys.modules[f"lxt.efficient.{name}"] = mock.MagicMock()
    from lxt.efficient import models, patches

    family = getattr(models, folder.name)
    module = getattr(family, f"modeling_{folder.name}")
    for target, patch in family.attnLRP.items():
        if target is not module:
            patch(target)
    module.eager_attention_forward = patches.wrap_attention_forward(module.eager_attention_forward)
    model, found = load(folder, False), []
    for function, ids, y, contrast in steps:
        x = model.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_()
        value = score(function, model(inputs_embeds=x, use_cache=False).logits[:, -1], y, contrast)
        found.append((x * torch.autograd.grad(value.sum(), x)[0])[0].detach().double().numpy())
    return found


def artifacts():
    """inseq keeps its graph of neighbours under the model's name; ours have none."""
    return Path(tempfile.mkdtemp())
