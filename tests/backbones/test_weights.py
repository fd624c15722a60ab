"""Local files of weights: fitting ones are loaded, others refused by name, nothing is unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from taskfold.backbones import BackboneError, load

NAME = "resnet10t"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return timm.create_model(NAME, num_classes=11).state_dict()


def loaded(path: Path) -> dict[str, torch.Tensor]:
    return load(f"timm:{NAME}", weights=path).network.state_dict()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
def test_a_checkpoint_with_its_classifier(tmp_path: Path, state: dict[str, torch.Tensor], wrap: Any) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(state), path)
    found = loaded(path)
    assert all(torch.equal(found[name], state[name]) for name in found)
    assert state.keys() - found.keys() == {"fc.weight", "fc.bias"}


def test_safetensors(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    found = loaded(tmp_path / "weights.safetensors")
    assert torch.equal(found["conv1.0.weight"], state["conv1.0.weight"])


def test_torchvision_drops_the_classifier_of_the_file(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    plain = models.resnet18(weights=None)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    network = load("torchvision:resnet18", weights=tmp_path / "weights.pth").network
    assert torch.equal(network.layer4[0].conv1.weight, plain.layer4[0].conv1.weight)


def test_counters_that_old_files_lack_are_no_problem(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({name: t for name, t in state.items() if "num_batches" not in name}, tmp_path / "weights.pth")
    loaded(tmp_path / "weights.pth")


def test_every_kind_of_mismatch_is_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    wrong = {**state, "odd.weight": torch.zeros(1), "bn1.bias": torch.zeros(5)}
    del wrong["bn1.weight"]
    torch.save(wrong, tmp_path / "weights.pth")
    with pytest.raises(BackboneError) as error:
        loaded(tmp_path / "weights.pth")
    for part in ("1 missing: bn1.weight", "1 not in the network: odd.weight", "bn1.bias is [5], must be [64]"):
        assert part in str(error.value)


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(BackboneError, match="cannot be read as weights"):
        loaded(tmp_path / "weights.pth")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(("name", "content"), [("a.pth", b"junk"), ("a.safetensors", b"junk"), ("a.pth", b"")])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match="cannot be read as weights"):
        loaded(tmp_path / name)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "weights.pth")
    with pytest.raises(BackboneError, match="holds no state dict"):
        loaded(tmp_path / "weights.pth")


def test_a_missing_file_and_meta_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights file"):
        loaded(tmp_path / "none.pth")
    with pytest.raises(BackboneError, match="meta"):
        load(f"timm:{NAME}", weights=tmp_path / "none.pth", device="meta")
