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
from pathlib import Path

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


PARTS = {"torch": make_torch}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    check_versions()
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()
