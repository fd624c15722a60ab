"""On the device, every way to run a task gives the outputs of the task alone on the CPU, in double precision."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import taskfold as tfold

from .cases import CASES, HEADS, ROWS, built, images

everywhere = pytest.mark.parametrize(("method", "network"), CASES)
NAMES = list(HEADS)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@cache
def expected(method: str, network: str) -> dict[str, Tensor]:
    """The output of each task alone, for all images, `[B, outputs]`; no two tasks say the same."""
    model, x = built(method, network), images()
    made = {name: model(x, task=name) for name in NAMES}
    assert not torch.allclose(made["a"], made["c"], rtol=1e-3)
    return made


def there(method: str, network: str, device: torch.device) -> tuple[tfold.MultiTask, Tensor]:
    """The model and the images, on the device."""
    return built(method, network).to(device), images().to(device)


def agree(found: Tensor, wanted: Tensor, device: torch.device) -> None:
    assert found.device.type == device.type
    assert wanted.abs().max() > 1e-2, "nothing is compared with nothing"
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-9, atol=1e-9)


@contextmanager
def waits() -> Iterator[list[str]]:
    """What CUDA says of each time that Python waits for it in a block; the list is filled when the block ends."""
    seen: list[str] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")  # it warns of itself, once in a process: a prototype
        said.clear()
        try:
            yield seen
        finally:
            seen += [str(one.message) for one in said]
            torch.cuda.set_sync_debug_mode("default")


@everywhere
def test_single(method: str, network: str, device: torch.device) -> None:
    model, x = there(method, network, device)
    for name, wanted in expected(method, network).items():
        agree(model(x, task=name), wanted, device)


@everywhere
def test_mixed(method: str, network: str, device: torch.device) -> None:
    model, x = there(method, network, device)
    wanted = expected(method, network)
    for row, (name, found) in enumerate(zip(ROWS, model(x, task=ROWS), strict=True)):
        agree(found, wanted[name][row], device)


@everywhere
def test_broadcast(method: str, network: str, device: torch.device) -> None:
    model, x = there(method, network, device)
    found = model(x, task=NAMES, broadcast=True)
    for name, wanted in expected(method, network).items():
        agree(found[name], wanted, device)


@pytest.mark.parametrize("moved", ["before", "after"])
@everywhere
def test_bank(method: str, network: str, moved: str, device: torch.device) -> None:
    """Filled from a model on the device, or moved there when it is full."""
    model, x = there(method, network, device)
    bank = model.bank() if moved == "before" else built(method, network).bank().to(device)
    wanted = expected(method, network)
    for row, (name, found) in enumerate(zip(ROWS, bank(x, task=ROWS), strict=True)):
        agree(found, wanted[name][row], device)


@everywhere
def test_fold(method: str, network: str, device: torch.device) -> None:
    model, x = there(method, network, device)
    for name, wanted in expected(method, network).items():
        agree(model.fold(name).eval()(x), wanted, device)


@everywhere
def test_file(method: str, network: str, device: torch.device, tmp_path: Path) -> None:
    """A file written on the device holds the bits that the CPU's holds; a model on the device reads it."""
    model, x = there(method, network, device)
    model.save_task("a", tmp_path / "there.safetensors", standalone=True)
    built(method, network).save_task("a", tmp_path / "here.safetensors", standalone=True)
    here, found = (load_file(tmp_path / f"{where}.safetensors") for where in ("here", "there"))
    assert here.keys() == found.keys()
    assert all(torch.equal(here[key], found[key]) for key in here)
    other = tfold.MultiTask(model.backbone, model.method).eval()
    other.load_task(tmp_path / "here.safetensors")
    agree(other(x, task="a"), expected(method, network)["a"], device)


@everywhere
def test_a_bank_never_waits_for_the_device(method: str, network: str, device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("only CUDA says when Python waits for it")
    model, x = there(method, network, device)
    bank = model.bank()
    index = bank.index(ROWS)
    bank(x, index)  # the first pass may choose forms
    torch.cuda.synchronize()
    with waits() as seen:
        bank(x, index)
    assert seen == []


def test_that_the_mode_is_a_prototype_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def switch(mode: str) -> None:
        modes.append(mode)
        warnings.warn("a prototype", UserWarning, stacklevel=2)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", switch)
    for expected in ([], ["waited"]):
        with waits() as seen:
            for text in expected:
                warnings.warn(text, UserWarning, stacklevel=1)
        assert seen == expected
    assert modes == ["warn", "default"] * 2
