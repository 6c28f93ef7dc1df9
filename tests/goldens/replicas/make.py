"""Writes tiny models in the layouts that people have on disk: file names, tensor names and odd fields as published, random weights.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python make.py

Tokenizers are those of ../tokenizers, whose ids are those of transformers 4. What the model says of them is computed here, by transformers 5.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import safetensors
import safetensors.torch
import sentencepiece
import tokenizers
import torch
import transformers
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

PINS = {
    "torch": (torch, "2.15.0"),
    "transformers": (transformers, "5.23.0"),
    "tokenizers": (tokenizers, "0.23.3"),
    "safetensors": (safetensors, "0.8.0"),
    "numpy": (numpy, "2.4.6"),
    "sentencepiece": (sentencepiece, "0.2.3"),
}
ROOT = Path(__file__).parent
TEXTS = ["the ship sails at dawn", "two  spaces   and three", "wei\u00df, K\u00e4se, \u00c4pfel"]
SMALL = dict(d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
             encoder_ffn_dim=24, decoder_ffn_dim=24)
SMALL_T5 = dict(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_decoder_layers=1, num_heads=2, decoder_start_token_id=0,
                pad_token_id=0, eos_token_id=1)


@dataclass
class Replica:
    tokenizer: str  # a folder of ../tokenizers
    config: dict
    write: str  # how the weights are written
    seq2seq: bool = True
    published: dict = field(default_factory=dict)  # fields of config.json that published files have, or lack (None)
    generation: dict = field(default_factory=dict)  # generation_config.json
    forced: str = ""  # the token that a target starts with
    masked: bool = False  # predicts masked tokens


def vocabulary(kind):
    """The size that the embeddings need."""
    cases = json.loads((ROOT / "../tokenizers" / kind / "expected.json").read_text())["cases"]
    ids = [i for case in cases for i in case["ids"] + case.get("target_ids", [])]
    return 2 * ((max(ids) + 2) // 2)


def marian(kind, **more):
    vocab = json.loads((ROOT / "../tokenizers" / kind / "vocab.json").read_text())
    pad = vocab["<pad>"]
    return dict(model_type="marian", vocab_size=len(vocab), pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad,
                activation_function="swish", scale_embedding=True, max_position_embeddings=64, forced_eos_token_id=0, **SMALL) | more


def target_vocabulary():
    return json.loads((ROOT / "../tokenizers/marian_separate/target_vocab.json").read_text())


BEAMS = dict(num_beams=4, renormalize_logits=True, max_length=32, forced_eos_token_id=0, eos_token_id=0)

REPLICAS = {
    # Helsinki-NLP/opus-mt-en-de and its kin.
    "opus_mt": Replica("marian", marian("marian"), "zip",
                       published={"normalize_before": False, "static_position_embeddings": True, "add_bias_logits": False},
                       generation=BEAMS),
    # Models of the Tatoeba challenge with a vocabulary for each side.
    "opus_mt_separate": Replica(
        "marian_separate",
        marian("marian_separate", decoder_vocab_size=len(target_vocabulary()), share_encoder_decoder_embeddings=False,
               pad_token_id=target_vocabulary()["<pad>"] % 90, decoder_start_token_id=target_vocabulary()["<pad>"] % 90),
        "zip", generation=BEAMS),
    "m2m100": Replica("m2m_100", dict(model_type="m2m_100", vocab_size=264, max_position_embeddings=64, scale_embedding=True,
                                      decoder_start_token_id=2, **SMALL), "legacy", forced="__de__"),
    "nllb": Replica("nllb", dict(model_type="m2m_100", vocab_size=366, max_position_embeddings=64, scale_embedding=True,
                                 decoder_start_token_id=2, **SMALL), "zip", forced="deu_Latn"),
    "mbart50": Replica("mbart50", dict(model_type="mbart", vocab_size=216, max_position_embeddings=64, scale_embedding=True,
                                       decoder_start_token_id=2, forced_eos_token_id=2, **SMALL), "zip", forced="de_DE"),
    "t5_v1_1": Replica("t5", dict(model_type="t5", feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                                  vocab_size=vocabulary("t5"), **SMALL_T5), "zip", published={"tie_word_embeddings": False}),
    "mt5": Replica("t5_no_legacy", dict(model_type="mt5", vocab_size=vocabulary("t5_no_legacy"), **SMALL_T5), "legacy",
                   published={"tie_word_embeddings": False}),
    "byt5": Replica("byt5", dict(model_type="t5", feed_forward_proj="gated-gelu", tie_word_embeddings=False, vocab_size=384,
                                 **SMALL_T5), "zip", published={"tie_word_embeddings": False}),
    "bart_cnn": Replica("bart", dict(model_type="bart", vocab_size=326, max_position_embeddings=64, bos_token_id=0, pad_token_id=1,
                                     eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2, **SMALL), "zip"),
    "opt": Replica("opt", dict(model_type="opt", vocab_size=330, hidden_size=16, word_embed_proj_dim=16, num_hidden_layers=2,
                               ffn_dim=24, num_attention_heads=2, max_position_embeddings=64, pad_token_id=1, bos_token_id=2,
                               eos_token_id=2), "legacy", seq2seq=False),
    # No number of positions, and a padding token that is none.
    "vicuna": Replica("llama", dict(model_type="llama", vocab_size=420, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                    num_attention_heads=2), "shards", seq2seq=False,
                      published={"max_position_embeddings": None, "pad_token_id": -1}),
    # A fine-tuned GPT-2 with a value head, compiled when it was saved.
    "gpt2_value_head": Replica("gpt2", dict(model_type="gpt2", vocab_size=330, n_positions=64, n_embd=16, n_layer=2, n_head=2),
                               "value_head", seq2seq=False),
    "llama_fp16": Replica("llama_no_legacy", dict(model_type="llama", vocab_size=420, hidden_size=16, intermediate_size=24,
                                                  num_hidden_layers=1, num_attention_heads=2), "fp16", seq2seq=False),
    # The first BERTs: norms with other names, and parts for other tasks.
    "bert": Replica("bert", dict(model_type="bert", vocab_size=146, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                 num_attention_heads=2, max_position_embeddings=64), "bert", seq2seq=False, masked=True,
                    published={"architectures": ["BertForMaskedLM"], "position_embedding_type": "absolute", "gradient_checkpointing": False}),
    "xlm_roberta": Replica("xlm_roberta_old", dict(model_type="xlm-roberta", vocab_size=vocabulary("xlm_roberta_old"), hidden_size=16,
                                                   intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, type_vocab_size=1,
                                                   max_position_embeddings=66, layer_norm_eps=1e-5, output_past=True), "zip",
                           seq2seq=False, masked=True),
    # Experts as MXFP4, all else in half precision.
    "gpt_oss": Replica(
        "gpt2",
        dict(model_type="gpt_oss", vocab_size=330, hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=4, max_position_embeddings=64,
             rope_parameters={"rope_type": "yarn", "rope_theta": 150000.0, "factor": 8.0, "original_max_position_embeddings": 8,
                              "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}),
        "mxfp4", seq2seq=False,
        published={"swiglu_alpha": None, "experts_per_token": 2, "initial_context_length": 8, "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}}),
}


def check_versions():
    for name, (module, wanted) in PINS.items():
        found = module.__version__.split("+")[0]
        if found != wanted:
            raise SystemExit(f"{name} {wanted} is needed, and this is {found}")


def build(replica, seed):
    config = dict(replica.config)
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    kind = transformers.AutoModelForSeq2SeqLM if replica.seq2seq else transformers.AutoModelForCausalLM
    kind = transformers.AutoModelForMaskedLM if replica.masked else kind
    model = kind.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    if config.model_type in ("t5", "mt5"):  # the published ones are untied
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or "embed_positions" not in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(1.0 + 0.2 * noise if parameter.dim() == 1 and "norm" in name else 0.4 * noise)
        if replica.write == "mxfp4":
            model.packed = pack_experts(model, generator)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(0.5 * torch.randn(model.final_logits_bias.shape, generator=generator))
    return model


def pack_experts(model, generator):
    """Gives experts the values of random codes, which it returns by their names, and everything else those of half precision."""
    packed = {}
    for name, parameter in model.named_parameters():
        if not name.endswith(("gate_up_proj", "down_proj")):
            parameter.copy_(parameter.bfloat16().float())
            continue
        experts, inputs, outputs = parameter.shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(122, 126, (experts, outputs, inputs // 32), dtype=torch.uint8, generator=generator)
        values = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        assert values.shape == parameter.shape, name
        parameter.copy_(values)
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    return packed


def tensors_of(model):
    """As published: what is tied is saved once, under each of its names."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def write_weights(folder, model, how):
    tensors = tensors_of(model)
    whole = folder / "pytorch_model.bin"
    if how == "zip":
        torch.save(tensors, whole)
    elif how == "legacy":
        torch.save(tensors, whole, _use_new_zipfile_serialization=False)
    elif how == "shards":
        names = sorted(tensors)
        parts = [names[::2], names[1::2]]
        files = [f"pytorch_model-0000{i + 1}-of-00002.bin" for i in range(2)]
        for part, file in zip(parts, files):
            torch.save({name: tensors[name] for name in part}, folder / file)
        index = {"metadata": {}, "weight_map": {name: file for part, file in zip(parts, files) for name in part}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1))
    elif how == "value_head":
        tensors = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
        tensors["_orig_mod.v_head.summary.weight"] = torch.zeros(1, 16)
        tensors["_orig_mod.v_head.summary.bias"] = torch.zeros(1)
        torch.save(tensors, whole)
    elif how == "bert":
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        tensors.pop("cls.predictions.decoder.bias", None)
        tensors |= {"bert.pooler.dense.weight": torch.zeros(16, 16), "bert.pooler.dense.bias": torch.zeros(16),
                    "cls.seq_relationship.weight": torch.zeros(2, 16), "cls.seq_relationship.bias": torch.zeros(2)}
        for new, name in old.items():
            tensors = {key.replace(new, name): tensor for key, tensor in tensors.items()}
        safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors",
                                    metadata={"format": "pt"})
    elif how == "mxfp4":
        halves = {name: tensor.bfloat16() for name, tensor in tensors.items() if f"{name}_blocks" not in model.packed}
        safetensors.torch.save_file(halves | model.packed, folder / "model.safetensors", metadata={"format": "pt"})
    elif how == "fp16":
        halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
        safetensors.torch.save_file(halves, folder / "model.fp16.safetensors", metadata={"format": "pt"})


def pseudo(replica, model, ids, by_word):
    """Log-probabilities of tokens that are masked, alone or with what follows them in their word."""
    folder = ROOT / "../tokenizers" / replica.tokenizer
    if (folder / "vocab.txt").exists():
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        mask, continues = tokens.index("[MASK]"), lambda i: tokens[i].startswith("##")
    else:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
        mask = pieces.get_piece_size() + 1  # fairseq's ids are greater by one
        continues = lambda i: i > 3 and not pieces.id_to_piece(i - 1).startswith("\u2581")
    found = []
    for step in range(1, len(ids) - 1):
        copy = list(ids)
        copy[step] = mask
        for place in range(step + 1, len(ids) - 1):
            if not by_word or not continues(ids[place]):
                break
            copy[place] = mask
        found.append(model(input_ids=torch.tensor([copy])).logits[0, step].log_softmax(-1)[ids[step]].item())
    return found


@torch.no_grad()
def says(replica, model, tokens):
    """Log-probabilities of the tokens of each text."""
    if replica.write == "fp16":
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    out = []
    known = {case["text"]: case for case in tokens["cases"]}
    start = getattr(model.config, "decoder_start_token_id", None)
    for text in TEXTS:
        case = known[text]
        ids = case.get("fast_ids", case["ids"])
        if replica.masked:
            by_token, by_word = (pseudo(replica, model, ids, by_word) for by_word in (False, True))
            out.append({"text": text, "source": None, "target": ids, "log_probs": by_token, "word_log_probs": by_word})
            continue
        if replica.seq2seq:
            target = case.get("target_ids", ids)
            eos = target.index(model.config.eos_token_id)
            target = [start, *target[: eos + 1]]
            logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([target[:-1]])).logits[0]
        else:
            target = ids
            logits = model(input_ids=torch.tensor([target[:-1]])).logits[0]
        chosen = logits.log_softmax(-1).gather(-1, torch.tensor(target[1:])[:, None])[:, 0]
        out.append({"text": text, "source": ids if replica.seq2seq else None, "target": target, "log_probs": chosen.tolist()})
    return out


def make(name, replica, seed):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "../tokenizers" / replica.tokenizer, folder)
    tokens = json.loads((folder / "expected.json").read_text())
    model = build(replica, seed)
    config = model.config.to_dict() | replica.published
    # What files of version 4 have.
    config = {key: value for key, value in config.items() if key not in replica.published or value is not None}
    config["torch_dtype"] = config.pop("dtype", None) or "float32"
    config["transformers_version"] = "4.30.0"
    for new in ("is_decoder", "scale_decoder_outputs", "dense_act_fn", "is_gated_act"):
        config.pop(new, None)
    rope = config.pop("rope_parameters", None)
    if rope:
        theta = rope.pop("rope_theta")
        config |= {"rope_theta": theta, "rope_scaling": None if rope["rope_type"] == "default" else rope}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    if replica.generation:
        (folder / "generation_config.json").write_text(json.dumps(replica.generation, indent=1) + "\n")
    write_weights(folder, model, replica.write)
    expected = {
        "languages": tokens["languages"],
        "versions": {key: wanted for key, (_, wanted) in PINS.items()},
        "texts": says(replica, model, tokens),
    }
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1024
    print(f"{name:18} {size:7.1f} KiB", flush=True)


def main():
    check_versions()
    for seed, (name, replica) in enumerate(REPLICAS.items()):
        make(name, replica, seed)


if __name__ == "__main__":
    main()
