"""A checkpoint restores exactly the saved state, or the error says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from taskfold.train import CheckpointError
from taskfold.train import _checkpoint as checkpoint
from taskfold.train._log import Log
from taskfold.train._pack import pack, unpack
from taskfold.train.differences import differences

IDENTITY = {"task": "a", "settings": {"epochs": 3, "head": {"lr": 0.1}}}


def optimiser(kind: type[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    torch.manual_seed(0)
    made = kind([nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(2, 2))], lr=0.1)  # type: ignore[call-arg]
    for group in made.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    made.step()
    return made


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_optimisers_come_back_exactly(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    state = {"optimiser": optimiser(kind).state_dict(), "loss": 0.1 + 0.2, "none": None, 3: [True, {}, ()]}
    checkpoint.save(tmp_path / "c", IDENTITY, state)
    assert same(checkpoint.load(tmp_path / "c", IDENTITY), state)
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_what_would_need_pickling_is_refused() -> None:
    with pytest.raises(TypeError, match="neither a tensor nor JSON"):
        pack({"a": object()})
    a = torch.ones(2)
    assert same(unpack(*pack({"dict": {"tensor": a}, "view": a[:1]})), {"dict": {"tensor": a}, "view": a[:1]})


def test_another_run_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", IDENTITY, {})
    other = {"task": "a", "settings": {"epochs": 4, "head": {"lr": 0.1}}}
    with pytest.raises(CheckpointError, match=r"settings\.epochs was 3, is now 4; choose another folder.*fresh=True"):
        checkpoint.load(tmp_path / "c", other)


def described(rank: int, *names: str, layers: int = 300) -> dict[str, Any]:
    """What makes a run on a deep network that run."""
    shapes = {f"sites.layer{n}.updates.0.down": [rank, 8] for n in range(layers)}
    task = {"method": {"name": "lora", "settings": {"rank": rank, "targets": "*"}}, "shapes": shapes}
    return {"tasks": dict.fromkeys(names, task), "settings": {"lr": 0.1}, "shared": shapes, "inventory": "ab" * 32}


RANK = "tasks.a.method.settings.rank was 2, is now 3; tasks.b.method.settings.rank was 2, is now 3; "


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (described(2, "a", "b"), described(3, "a", "b"), f"{RANK}and the shapes of 900 tensors"),
        (described(2, "a", "b"), described(2, "a", "c"), "task 'b' is not among the tasks any more, task 'c' is new"),
        (described(2, "a"), described(2, "a", *"bcdefg"), "tasks 'b', 'c', 'd', 'e' and 2 more are new"),
        (
            described(2, "a"),
            described(2, "a") | {"inventory": "cd" * 32},
            "inventory was 'abababababab…', is now 'cdcdcdcdcdcd…'",
        ),
        (
            {"settings": dict.fromkeys("abcdef", 1)},
            {"settings": dict.fromkeys("abcdef", 2)},
            "; ".join([*(f"settings.{key} was 1, is now 2" for key in "abcd"), "and 2 more"]),
        ),
        ({"shapes": {"a": [1, 2]}}, {"shapes": {"a": [1, 3]}}, "shapes.a was [1, 2], is now [1, 3]"),
        (described(2, "a"), described(2, "a"), ""),
    ],
)
def test_what_differs_is_said_in_a_few_words(there: dict[str, Any], here: dict[str, Any], said: str) -> None:
    assert differences(there, here) == said


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty", "newer"])
def test_damage_is_noticed(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, IDENTITY, {"weights": torch.arange(100.0)})
    whole = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(whole[:-8])
    elif damage == "flipped":
        whole[-3] ^= 1
        path.write_bytes(whole)
    elif damage == "foreign":
        safetensors.torch.save_file({"a": torch.ones(1)}, path)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        monkeypatch.setattr(checkpoint, "VERSION", checkpoint.VERSION - 1)
    with pytest.raises(CheckpointError, match="newer" if damage == "newer" else "damaged"):
        checkpoint.load(path, IDENTITY)


def test_a_log_is_cut_back_to_its_checkpoint(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write("step", loss=float("nan"), lr={"head": float("inf")})
    offset = log.sync()
    log.write("step", loss=2.0)
    log.close()
    log = Log(tmp_path / "log", offset)
    log.write("step", loss=3.0)
    log.close()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert '"loss": null, "lr": {"head": null}' in first
    assert '"loss": 3.0' in second
