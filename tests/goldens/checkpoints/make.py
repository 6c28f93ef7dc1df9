#!/usr/bin/env python3
"""Writes tiny weight files in formats other than plain safetensors, and the tensors that are in them.

    pip install -r requirements.txt
    python make.py            # everything
    python make.py torch      # some of it

README.md says what each file holds.
"""

import argparse
import collections
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy
import safetensors.torch
import torch

HERE = Path(__file__).parent


def check_versions():
    for line in (HERE / "requirements.txt").read_text().splitlines():
        if "==" in line:
            name, wanted = line.split("==")
            found = importlib.metadata.version(name).split("+")[0]
            assert found == wanted, f"{name} is {found}; README.md says how to get {wanted}"


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# PyTorch files


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 4)
        self.norm = torch.nn.BatchNorm1d(4)  # has an integer buffer
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight  # tied: one memory, two names
        with torch.no_grad():
            for seed, parameter in enumerate(self.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=seed))


def views():
    """Tensors of every kind that a state dict may hold."""
    base = normal(6, 5, seed=1)
    tensors = collections.OrderedDict()
    tensors["base"] = base
    tensors["transposed"] = base.t()
    tensors["strided"] = base[::2, 1::2]
    tensors["offset"] = base[3]
    tensors["column"] = base[:, 2]
    tensors["expanded"] = normal(3, 1, seed=2).expand(3, 4)
    tensors["permuted"] = normal(2, 3, 4, seed=3).permute(2, 0, 1)
    tensors["sliced"] = normal(4, 3, 2, seed=4)[1:3, 1:]
    tensors["ones"] = normal(3, seed=5)[1:].reshape(1, 2, 1)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["scalar_offset"] = base[2, 3]
    tensors["empty"] = torch.zeros(0, 3)
    tensors["empty_inside"] = base[:, 2:2]
    tensors["half"] = normal(3, 2, seed=6, dtype=torch.float16)
    tensors["bf16"] = normal(3, 2, seed=7, dtype=torch.bfloat16).t()
    tensors["f64"] = normal(2, 3, seed=8, dtype=torch.float64)
    tensors["f8_e4m3"] = normal(4, 2, seed=9).to(torch.float8_e4m3fn).t()
    tensors["f8_e5m2"] = normal(5, seed=10).to(torch.float8_e5m2)
    tensors["i64"] = torch.arange(6).expand(2, 6)
    tensors["i32"] = torch.arange(-3, 3, dtype=torch.int32)
    tensors["i16"] = torch.arange(-3, 3, dtype=torch.int16)[1::2]
    tensors["i8"] = torch.arange(-3, 3, dtype=torch.int8)
    tensors["u8"] = torch.arange(250, 256, dtype=torch.uint8)
    tensors["bool"] = torch.ones(3, 3).tril().bool()
    tensors["u16"] = torch.arange(65530, 65536).to(torch.uint16)
    tensors["parameter"] = torch.nn.Parameter(normal(2, 2, seed=11))
    tensors["frozen"] = torch.nn.Parameter(normal(2, 2, seed=12).t(), requires_grad=False)
    tensors["with.dots and spaces, é"] = normal(1, seed=13)
    with_state = torch.nn.Parameter(normal(2, seed=14))
    with_state.note = "attributes are saved too"
    tensors["with_state"] = with_state
    return tensors


def training():
    """What a training program saves: the state dict beside other things."""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.zero_grad()
    model.head(model.embedding(torch.arange(3))).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "loss": 0.25,
        "notes": ["a", None, True, 2**70, -1, 300, 70000, b"bytes"],
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "optimizer": optimizer.state_dict(),
        "state_dict": model.state_dict(),
    }


def make_torch():
    folder = HERE / "torch"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    nested = {"model": {"module": Model().state_dict()}}
    cases = {"views": views(), "module": Model().state_dict(), "training": training(), "nested": nested}
    for name, saved in cases.items():
        torch.save(saved, folder / f"{name}.zip.bin")
        for protocol in (3, 4, 5) if name == "views" else ():
            torch.save(saved, folder / f"{name}.protocol{protocol}.bin", pickle_protocol=protocol)
        expected = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in unwrapped(saved).items()}
        safetensors.torch.save_file(expected, folder / f"{name}.safetensors")
        if name == "views":
            # PyTorch writes these in the older format, but doesn't read them.
            saved = {key: value for key, value in saved.items() if value.dtype not in NEW_TYPES}
        torch.save(saved, folder / f"{name}.legacy.bin", _use_new_zipfile_serialization=False)
        for file in folder.glob(f"{name}.*.bin"):
            for key, value in unwrapped(torch.load(file, weights_only=False)).items():
                assert value.dtype == expected[key].dtype and value.tolist() == expected[key].tolist(), (file, key)


NEW_TYPES = (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16)


def unwrapped(saved):
    while not all(isinstance(value, torch.Tensor) for value in saved.values()):
        saved = next(saved[key] for key in ("state_dict", "model", "module") if key in saved)
    return saved


# Quantized weights: `case` writes what is stored for some layers, and what the method's own program makes of it.


def case(name, quantization, stored, expected, **config):
    folder = HERE / "quantized" / name
    folder.mkdir(parents=True, exist_ok=True)
    # A tensor that isn't quantized is in every file.
    plain = {"norm.weight": normal(8, seed=99)}
    stored = {key: value.detach().contiguous().clone() for key, value in (stored | plain).items()}
    expected = {key: value.detach().float().contiguous().clone() for key, value in (expected | plain).items()}
    safetensors.torch.save_file(stored, folder / "model.safetensors")
    safetensors.torch.save_file(expected, folder / "expected.safetensors")
    config = {"model_type": "llama"} | config | quantization
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def make_gptq():
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    def layer(bits, group, order, seed, symmetric, least_zero=0):
        inputs, outputs = 32, 32
        weight = normal(outputs, inputs, seed=seed)
        groups = inputs // group
        most = 2**bits - 1
        spread = weight.view(outputs, groups, group).abs().amax(2)
        scales = (2 * spread / most).half().float()
        middle = torch.full_like(scales, 2 ** (bits - 1))
        zeros = middle if symmetric else torch.randint(least_zero, most + 1, scales.shape).float()
        g_idx = torch.arange(inputs) // group
        if order:
            g_idx = g_idx[torch.randperm(inputs)]
        linear = torch.nn.Linear(inputs, outputs, bias=False)
        codes = torch.randint(0, most + 1, weight.shape).float()
        linear.weight.data = (codes - zeros[:, g_idx]) * scales[:, g_idx]
        module = TorchLinear(
            bits=bits, group_size=group, sym=symmetric, desc_act=order, in_features=inputs, out_features=outputs,
            bias=False, pack_dtype=torch.int32, register_buffers=True,
        )
        module.pack_block(linear, scales, zeros, g_idx.to(torch.int32))
        module.dequant_dtype = torch.int16
        module.post_init()
        found = module.dequantize_weight().T
        torch.testing.assert_close(found.float(), linear.weight.data, rtol=2e-3, atol=1e-3)
        # The same in single precision, which it doesn't offer.
        module.scales = module.scales.float()
        return module, module.dequantize_weight().T.clone()

    torch.manual_seed(1)
    for version in ("gptq", "gptq_v2"):
        stored, expected = {}, {}
        layers = {
            "bits4": (4, 16, False, 1, False), "order": (4, 16, True, 2, False), "symmetric": (4, 32, False, 3, True),
            "bits2": (2, 16, False, 4, False), "bits3": (3, 16, True, 5, False), "bits8": (8, 16, False, 6, False),
        }
        for name, arguments in layers.items():
            # A zero point of 0 can't be stored in the first version.
            module, weight = layer(*arguments, least_zero=1 if version == "gptq" else 0)
            scales = module.scales.half()
            if version == "gptq":
                convert_gptq_v2_to_v1_format_module(module, SimpleNamespace(bits=module.bits, pack_dtype=torch.int32))
            stored |= {
                f"{name}.qweight": module.qweight, f"{name}.qzeros": module.qzeros,
                f"{name}.scales": scales, f"{name}.g_idx": module.g_idx,
            }
            expected[f"{name}.weight"] = weight
        # Some programs leave it out where it says nothing.
        del stored["bits4.g_idx"]
        settings = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True, "sym": False}
        case(version, {"quantization_config": settings | {"checkpoint_format": version}}, stored, expected)
        if version == "gptq":
            # The linear layers of GPT-2 are stored the other way round.
            gpt2 = {key.replace("symmetric", "h.0.mlp.c_fc"): value for key, value in stored.items() if "symmetric" in key}
            turned = {"h.0.mlp.c_fc.weight": expected["symmetric.weight"].T}
            case("gptq_gpt2", {"quantization_config": settings}, gpt2, turned, model_type="gpt2")


def make_awq():
    # Its package asks for a GPU when it is imported.
    path = importlib.metadata.distribution("autoawq").locate_file("awq/utils/packing_utils.py")
    spec = importlib.util.spec_from_file_location("packing_utils", path)
    packing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packing)
    torch.manual_seed(2)
    stored, expected = {}, {}
    for name, (inputs, outputs, group) in {"a": (64, 32, 32), "b": (32, 64, 16), "c": (32, 8, 32)}.items():
        words = lambda *shape: torch.randint(-(2**31), 2**31, shape, dtype=torch.int32)
        qweight, qzeros = words(inputs, outputs // 8), words(inputs // group, outputs // 8)
        scales = (torch.rand(inputs // group, outputs) / 8).half()
        weight = packing.dequantize_gemm(qweight, qzeros, scales.float(), 4, group)
        stored |= {f"{name}.qweight": qweight, f"{name}.qzeros": qzeros, f"{name}.scales": scales}
        expected[f"{name}.weight"] = weight.T
    settings = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
    case("awq", {"quantization_config": settings}, stored, expected)


def make_fp8():
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    reference = Fp8Dequantize(None)
    float8 = lambda *shape, seed: (normal(*shape, seed=seed) * 100).to(torch.float8_e4m3fn)
    scale = lambda *shape, seed: normal(*shape, seed=seed).abs() / 100
    dequantize = lambda weight, scales: reference._dequantize_one(weight, scales, torch.float32)

    weights = {"blocks": float8(32, 48, seed=1), "uneven": float8(20, 24, seed=2), "experts": float8(2, 16, 32, seed=3)}
    scales = {"blocks": scale(2, 3, seed=4), "uneven": scale(2, 2, seed=5), "experts": scale(2, 1, 2, seed=6)}
    weights["power"], scales["power"] = float8(16, 16, seed=7), torch.tensor([[0.25]]).to(torch.float8_e8m0fnu)
    stored, expected = {}, {}
    for name, weight in weights.items():
        key = "experts.gate_up_proj" if name == "experts" else f"{name}.weight"
        stored |= {key: weight, f"{key}_scale_inv": scales[name]}
        if name == "uneven":
            # The reference refuses blocks that don't divide the matrix, as PyTorch's own models of this kind have: pad.
            padded = torch.zeros(32, 32, dtype=torch.float8_e4m3fn)
            padded.view(torch.uint8)[:20, :24] = weight.view(torch.uint8)
            expected[key] = dequantize(padded, scales[name])[:20, :24]
        else:
            expected[key] = dequantize(weight, scales[name])
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
    case("fp8_blocks", {"quantization_config": settings}, stored, expected)

    weight = float8(8, 16, seed=8)
    stored, expected = {}, {}
    for name, scales in {"tensor": scale(1, seed=9)[0], "one": scale(1, seed=10), "rows": scale(8, 1, seed=11)}.items():
        grid = scales if scales.dim() == 2 else scales.reshape(1, 1)
        stored |= {f"{name}.weight": weight, f"{name}.weight_scale": scales, f"{name}.input_scale": scale(1, seed=12)}
        expected[f"{name}.weight"] = dequantize(weight, grid)
    stored["layers.0.k_scale"] = scale(1, seed=13)
    case("fp8_scales", {"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}}, stored, expected)


def make_bitsandbytes():
    import bitsandbytes
    import bitsandbytes.functional as functional

    stored, expected = {}, {}
    kinds = {"nf4": ("nf4", 64, False), "fp4": ("fp4", 64, False), "nested": ("nf4", 64, True), "small": ("fp4", 32, True)}
    for seed, (name, (kind, block, nested)) in enumerate(kinds.items()):
        # Of the small blocks there are so many that their scales are in two blocks.
        rows = 260 if name == "small" else 6
        weight = normal(rows, block, seed=seed) * 0.1
        codes, state = functional.quantize_4bit(weight, blocksize=block, quant_type=kind, compress_statistics=nested)
        stored[f"{name}.weight"] = codes
        stored |= {f"{name}.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        expected[f"{name}.weight"] = functional.dequantize_4bit(codes, state)
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    case("bitsandbytes_4bit", {"quantization_config": settings}, stored, expected)

    weight = normal(12, 32, seed=9)
    codes, largest, _ = functional.int8_vectorwise_quant(weight.half())
    stored = {"a.weight": codes, "a.SCB": largest, "a.weight_format": torch.tensor(0, dtype=torch.uint8)}
    expected = {"a.weight": functional.int8_vectorwise_dequant(codes, largest)}
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    case("bitsandbytes_8bit", {"quantization_config": settings}, stored, expected)


def make_compressed_tensors():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    def layers(format, layers):
        stored, expected = {}, {}
        for seed, (name, (shape, arguments, zero_point)) in enumerate(layers.items()):
            arguments = QuantizationArgs(**arguments)
            scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
            weight = normal(*shape, seed=seed)
            groups = shape[1] // arguments.group_size if arguments.group_size else 1
            largest = 2 ** (arguments.num_bits - 1) if arguments.type == "int" else 448
            if arguments.strategy == "tensor":
                scales = (weight.abs().amax() / largest).reshape(1)
            else:
                scales = weight.view(shape[0], groups, -1).abs().amax(2) / largest
            state = {"weight": weight, "weight_scale": scales}
            if zero_point:
                state["weight_zero_point"] = torch.randint(-3, 4, scales.shape, dtype=torch.int8)
            compressor = BaseCompressor.get_value_from_registry(format)
            state = compressor.compress(state, scheme)
            stored |= {f"{name}.{key}": value for key, value in state.items()}
            expected[f"{name}.weight"] = compressor.decompress(state, scheme)["weight"]
        settings = {"quant_method": "compressed-tensors", "format": format, "config_groups": {}}
        case(f"compressed_{format.split('-')[0]}", {"quantization_config": settings}, stored, expected)

    group = dict(num_bits=4, strategy="group", group_size=16)
    layers("pack-quantized", {
        "group": ((24, 64), group | dict(symmetric=True), False),
        "zeros": ((24, 64), group | dict(symmetric=False), True),
        "channel": ((8, 36), dict(num_bits=8, strategy="channel", symmetric=True), False),
    })
    layers("int-quantized", {
        "channel": ((8, 32), dict(num_bits=8, strategy="channel", symmetric=True), False),
        "tensor": ((8, 32), dict(num_bits=8, strategy="tensor", symmetric=True), False),
    })
    layers("float-quantized", {
        "channel": ((8, 32), dict(num_bits=8, type="float", strategy="channel", symmetric=True), False),
        "tensor": ((8, 32), dict(num_bits=8, type="float", strategy="tensor", symmetric=True), False),
    })


def make_mxfp4():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    torch.manual_seed(3)
    stored, expected = {}, {}
    for name, (experts, outputs, groups) in {"gate_up_proj": (2, 12, 2), "down_proj": (2, 8, 1)}.items():
        name = f"model.layers.0.mlp.experts.{name}"
        blocks = torch.randint(0, 256, (experts, outputs, groups, 16), dtype=torch.uint8)
        scales = torch.randint(110, 135, (experts, outputs, groups), dtype=torch.uint8)
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales, f"{name}_bias": normal(experts, outputs)}
        expected[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        expected[f"{name}_bias"] = stored[f"{name}_bias"]
    case("mxfp4", {"quantization_config": {"quant_method": "mxfp4"}}, stored, expected)


def make_mlx():
    import mlx.core as mx

    stored, expected = {}, {}
    settings = {"group_size": 32, "bits": 4}
    own = {"bits8": (8, 64), "bits2": (2, 32), "bits3": (3, 32), "bits6": (6, 32)}
    for seed, (name, (bits, group)) in enumerate(({"bits4": (4, 32)} | own).items()):
        weight = mx.array(normal(6, 64, seed=seed).numpy())
        packed = mx.quantize(weight, group_size=group, bits=bits)
        for end, part in zip(("weight", "scales", "biases"), packed):
            stored[f"{name}.{end}"] = torch.from_numpy(numpy.array(part).view(numpy.int32 if end == "weight" else numpy.float32))
        stored[f"{name}.weight"] = stored[f"{name}.weight"].view(torch.uint32)
        expected[f"{name}.weight"] = torch.from_numpy(numpy.array(mx.dequantize(*packed, group_size=group, bits=bits)))
    settings |= {name: {"group_size": group, "bits": bits} for name, (bits, group) in own.items()}
    case("mlx", {"quantization": settings, "quantization_config": settings}, stored, expected)


def make_quantized():
    for make in (make_gptq, make_awq, make_fp8, make_bitsandbytes, make_compressed_tensors, make_mxfp4, make_mlx):
        make()


# Adapters: `adapter` writes a base model, an adapter of it, and every weight that PEFT changes when it merges the two.


def tiny(kind, tied=False):
    import transformers

    sizes = dict(vocab_size=20, tie_word_embeddings=tied)
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=16, **(sizes | {"tie_word_embeddings": True}))
    else:
        config = transformers.LlamaConfig(
            hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, **sizes
        )
    torch.manual_seed(4)
    return transformers.AutoModelForCausalLM.from_config(config)


def adapter(name, kind, file="safetensors", tied=False, **settings):
    import peft

    folder = HERE / "adapters" / name
    base = tiny(kind, tied)
    base_folder = HERE / "adapters" / (f"base_{kind}_tied" if tied else f"base_{kind}")
    base.save_pretrained(base_folder)
    (base_folder / "generation_config.json").unlink()
    before = {key: value.clone() for key, value in base.state_dict().items()}
    base.name_or_path = f"../{base_folder.name}"
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    model.peft_config["default"].base_model_name_or_path = f"../{base_folder.name}"
    with torch.no_grad():
        for seed, (key, parameter) in enumerate(model.named_parameters()):
            if parameter.requires_grad:
                parameter.copy_(normal(*parameter.shape, seed=seed))
    model.save_pretrained(folder, safe_serialization=file == "safetensors")
    (folder / "README.md").unlink(missing_ok=True)
    # A set, which has another order in every run.
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    # From the files, as a user would.
    merged = peft.PeftModel.from_pretrained(tiny(kind, tied), folder).merge_and_unload().state_dict()
    changed = {key: value.contiguous().clone() for key, value in merged.items() if not torch.equal(before[key], value)}
    assert changed
    safetensors.torch.save_file(changed, folder / "expected.safetensors")


def make_adapters():
    adapter("gpt2", "gpt2", r=2, lora_alpha=3, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    adapter("gpt2_bias", "gpt2", r=2, lora_alpha=4, target_modules=["c_proj"], fan_in_fan_out=True, bias="all")
    adapter("llama", "llama", r=2, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    adapter("llama_bin", "llama", file="bin", r=3, lora_alpha=8, target_modules="all-linear")
    adapter(
        "llama_patterns", "llama", r=4, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "k_proj", "gate_proj"],
        rank_pattern={"k_proj": 2, "model.layers.1.self_attn.q_proj": 3},
        alpha_pattern={"k_proj": 7, "^model.layers.0.mlp.gate_proj": 11},
    )
    adapter(
        "llama_saved", "llama", r=2, lora_alpha=2, target_modules=["o_proj", "embed_tokens"],
        modules_to_save=["lm_head", "norm"],
    )
    adapter(
        "llama_tied", "llama", tied=True, r=2, lora_alpha=2, target_modules=["o_proj"],
        modules_to_save=["lm_head", "embed_tokens"],
    )


PARTS = {"torch": make_torch, "quantized": make_quantized, "adapters": make_adapters}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    check_versions()
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()
