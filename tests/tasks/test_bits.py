"""Masks in files, counts, cards and banks are bits, without scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask, TaskFileError
from taskfold.tasks import read, write

WEIGHTS = 3 * 8 * 9 + 8 * 4 * 9 + 16 * 12 + 12 * 5  # the second convolution has two groups


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(),
        nn.Linear(16, 12),
        nn.GELU(),
        nn.Linear(12, 5),
    )


def built(*methods: tfold.Method) -> MultiTask:
    model = MultiTask(network(), num_features=5).eval()
    for n, method in enumerate(methods):
        task = model.add_task(f"t{n}", head=3 + n, method=method)
        torch.manual_seed(n + 1)
        for parameter in task.parameters():
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    return model


def images() -> Tensor:
    return torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(1))


BOTH = pytest.mark.parametrize("method", [tfold.Piggyback(), tfold.Piggyback(ternary=True)], ids=["binary", "ternary"])


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_file_holds_bits_and_says_so(method: tfold.Piggyback, dtype: torch.dtype, tmp_path: Path) -> None:
    model = built(method).to(dtype)
    path, width = tmp_path / "a.safetensors", 1 + method.ternary
    model.save_task("t0", path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["taskfold"])
    assert [one["shape"] for one in header["stored"].values()] == [[8, 3, 3, 3], [8, 4, 3, 3], [12, 16], [5, 12]]
    assert {(one["as"], one["width"]) for one in header["stored"].values()} == {("bits", width)}
    held = read(path).tensors
    assert sum(held[name].nbytes for name in header["stored"]) == width * (27 + 36 + 24 + 8)  # ⌈n / 8⌉ of each
    other = MultiTask(network().to(dtype), num_features=5).eval()
    other.load_task(path)
    with torch.no_grad():
        x = images().to(dtype)
        assert torch.equal(other(x, task="t0"), model(x, task="t0"))
        head = other["t0"].head
        assert isinstance(head, nn.Linear)
        plain = nn.functional.linear(model.backbone(x), head.weight.to(dtype), head.bias.to(dtype))
        assert not torch.equal(other(x, task="t0"), plain)
    other.save_task("t0", tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_a_file_of_a_larger_network_is_a_bit_per_weight_and_a_head(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(256, 256) for _ in range(8)))
    model = MultiTask(net, tfold.Piggyback(), num_features=256)
    model.add_task("a", head=10)
    model.save_task("a", tmp_path / "a.safetensors")
    size = (tmp_path / "a.safetensors").stat().st_size
    bits, head = 8 * 256 * 256 // 8, 4 * 10 * 257
    assert bits + head < size < bits + head + 6_000  # what the header takes


def test_a_file_that_keeps_other_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    built(tfold.Piggyback()).save_task("t0", path)
    contents = read(path)
    header = {key: v for key, v in contents.header.items() if key not in ("digest", "format_version")}
    name = next(iter(header["stored"]))

    def refused(message: str, stored: dict, tensors: dict[str, Tensor]) -> None:
        write(path, {**header, "stored": stored}, tensors)
        with pytest.raises(TaskFileError, match=message):
            MultiTask(network(), num_features=5).load_task(path)

    refused("as values, and its method on this backbone as bits of", {}, contents.tensors)
    wider = {**header["stored"], name: {"as": "bits", "shape": [8, 3, 3, 3], "width": 2}}
    refused(r"bits of \[8, 3, 3, 3\], 2 per number, and its method", wider, contents.tensors)
    short = {**contents.tensors, name: contents.tensors[name][:, 1:]}
    refused(r"is \[1, 26\] of torch.uint8, and its 216 numbers need \[1, 27\] bytes", header["stored"], short)
    floats = {**contents.tensors, name: contents.tensors[name].float()}
    refused(r"is \[1, 27\] of torch.float32", header["stored"], floats)


@BOTH
def test_counts_have_bits_apart(method: tfold.Piggyback) -> None:
    found = tfold.count(network(), method, tasks=3, head=nn.Linear(5, 7))
    width = 1 + method.ternary
    assert found.per_task == {"factors": 0, "norm": 0, "head": 42, "bits": width * WEIGHTS}
    assert found.adapter_total == 0
    assert built(method)["t0"].counts() == {"factors": 0, "routing": 0, "norm": 0, "head": 18, "mask": WEIGHTS}


@BOTH
def test_cards_have_bits_apart(method: tfold.Piggyback, tmp_path: Path) -> None:
    cards = pytest.importorskip("taskfold.cli._cards", reason="needs the extra cli", exc_type=ImportError)
    width = 1 + method.ternary
    built(method).save_task("t0", tmp_path / "a.safetensors")
    said = cards.card(tmp_path / "a.safetensors", tensors=True)
    assert said["parameters"]["mask"] == WEIGHTS
    assert said["bits"] == {"mask": width * WEIGHTS}
    assert said["bytes"]["mask"] == width * (27 + 36 + 24 + 8)
    assert {"kind": "mask", "shape": [5, 12], "dtype": "bits"} in said["tensors"].values()


def test_a_bank_holds_bits() -> None:
    model = built(*[tfold.Piggyback()] * 20)
    bank = model.bank()
    assert bank.table.numbers.shape[1] == 0
    assert bank.table.bits.shape[1] == 27 + 36 + 24 + 8
    assert bank.table.bits.dtype == torch.uint8
    agree(bank, model)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_bank_holds_masks_beside_other_tasks(order: tuple[int, ...]) -> None:
    """Binary beside ternary ones, whole copies, updates of low rank; their rows are laid out anew for one another."""
    methods = [tfold.Piggyback(), tfold.Piggyback(ternary=True, norm=True), tfold.FineTuning(), tfold.LoRA(rank=2)]
    model = built(*(methods[n] for n in order))
    bank = model.bank([])
    for n in range(4):
        bank.add(model[f"t{n}"])
        agree(bank, model)
    bank.remove("t1")
    agree(bank, model)
    bank.add(model["t1"])
    agree(bank, model)


def agree(bank: tfold.Bank, model: MultiTask) -> None:
    names, x = list(bank), images()
    rows = [names[(3 * n + 1) % len(names)] for n in range(len(x))]
    with torch.no_grad():
        wanted = [model(x, task=name)[n] for n, name in enumerate(rows)]
        for found in (bank(x, task=rows), model(x, task=rows)):
            for one, mine in zip(found, wanted, strict=True):
                torch.testing.assert_close(one, mine)
        for name, found in bank(x, task=names, broadcast=True).items():
            torch.testing.assert_close(found, model(x, task=name))
