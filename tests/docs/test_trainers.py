"""docs/trainers.md: a task trains in Lightning, in Trainer, and in two processes as in one."""

from __future__ import annotations

import os
import re
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

import taskfold as tfold

AcceleratorState = pytest.importorskip("accelerate.state").AcceleratorState

PAGE = Path(__file__).parents[2] / "docs/trainers.md"
HERE = {"Lightning": "pytorch_lightning", "transformers' Trainer": "transformers"}
SCRIPTS = ("DistributedDataParallel", "A sharded backbone")


def blocks() -> dict[str, str]:
    """The code of each section; that of the introduction is ''."""
    sections = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = zip(["", *sections[1::2]], sections[::2], strict=True)
    found = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in named}
    return {name: codes[0] for name, codes in found.items() if codes}


def run(section: str) -> tuple[dict[str, Any], set[str]]:
    """The names of a section's code after the introduction's, and which tensors of the task have had gradients."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(blocks()[""], f"{PAGE.name}: introduction", "exec"), names)
    build, seen = names["build"], set[str]()

    def watched() -> tfold.MultiTask:
        model = build()
        for name, parameter in model["bakery"].named_parameters():
            parameter.register_hook(lambda grad, name=name: seen.add(name) if grad.any() else None)
        return model

    names |= {"build": watched, "model": watched()}
    exec(compile(blocks()[section], f"{PAGE.name}: {section}", "exec"), names)
    return names | {"build": build}, seen


def check(names: dict[str, Any], seen: set[str], backbone: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """All of the task has had gradients and has moved, nothing of the backbone has; and the task's file is the task."""
    model, start = names["model"], names["build"]()
    trained = dict(model["bakery"].named_parameters())
    assert seen == {*trained}
    for name, tensor in (backbone or model.backbone.state_dict()).items():
        assert torch.equal(tensor, start.backbone.state_dict()[name]), name
    saved = dict(start.load_task("bakery.safetensors", name="saved").named_parameters())
    for name, parameter in trained.items():
        assert not torch.equal(parameter, start["bakery"].get_parameter(name)), name
        assert torch.equal(parameter, saved[name]), name
    return {name: parameter.detach().clone() for name, parameter in saved.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("section", HERE)
def test_a_task_trains_where_modules_train(section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(HERE[section])
    monkeypatch.chdir(tmp_path)
    check(*run(section))


def script(section: str, rank: int, world: int, port: int) -> dict[str, Tensor]:
    """What a script ends with, as one process of so many."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    names, seen = run(section)
    model, file = names["model"], Path("bakery.safetensors")
    backbone = {name: whole(tensor) for name, tensor in model.backbone.state_dict().items()}
    if not file.exists():
        model.save_task("bakery", file)
    found = check(names, seen, backbone)
    torch.distributed.destroy_process_group()
    return found


def _work(rank: int, ports: list[int], folder: str) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for section, port in zip(SCRIPTS, ports, strict=True):
        place = Path(folder, section, str(rank))
        place.mkdir(parents=True)
        os.chdir(place)
        torch.save(script(section, rank, 2, port), "ended")


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # type: ignore[operator]


def free_ports(number: int) -> list[int]:
    places = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [place.getsockname()[1] for place in places]
    for place in places:
        place.close()
    return ports


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    torch.multiprocessing.spawn(_work, (free_ports(2), str(folder)), nprocs=2)  # type: ignore[attr-defined]
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("section", SCRIPTS)
def test_two_processes_end_where_one_does(
    section: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (torch.load(trained / section / str(rank) / "ended") for rank in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", os.environ.copy())
        alone = script(section, 0, 1, *free_ports(1))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert first.keys() == alone.keys()
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-6)
