"""The same training in two processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from taskfold.evaluate import evaluate
from taskfold.train import train_task, train_together

from . import images, joint
from .cases import QUICK, Noisy, data, make
from .processes import run_module
from .two_processes import DECAY, SAME_IMAGES, same_images_settings

# `accelerate launch --cpu` starts a single process unless it has mpirun; torchrun is what it calls for several GPUs.
LAUNCH = "-m torch.distributed.run --standalone --nproc-per-node 2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("processes")
    run_module("tests.train.two_processes", made, launcher=LAUNCH, ACCELERATE_USE_CPU="true")
    return made


def test_both_end_alike(folder: Path) -> None:
    assert (folder / "a0.safetensors").read_bytes() == (folder / "a1.safetensors").read_bytes()
    found = [json.loads((folder / f"result{rank}.json").read_text()) for rank in (0, 1)]
    assert [one["processes"] for one in found] == [2, 2]
    assert [one["again"] for one in found] == [True, True]
    assert found[0]["result"]["best"] == found[1]["result"]["best"]


def test_validation_counts_every_sample_once(folder: Path) -> None:
    model = make()
    model.load_task(folder / "a0.safetensors")
    best = json.loads((folder / "result0.json").read_text())["result"]["best"]
    found = evaluate(model, "a", data(31, 1))
    assert found.accuracy == best["val_accuracy"]
    assert found.loss == pytest.approx(best["val_loss"], rel=1e-5)


def test_it_is_nearly_what_one_process_does(folder: Path) -> None:
    """Nearly: each process normalises by its own share of the batch, and draws its own dropout."""
    result = json.loads((folder / "result0.json").read_text())["result"]
    settings = QUICK.model_copy(update={"epochs": 2, "batch_size": 6})
    one = train_task(make("a", "b"), "a", Noisy(data(41)), data(31, 1), settings)
    for ours, theirs in zip(result["curve"], one.curve, strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.1)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=0.1)


@pytest.mark.parametrize("balance", [None, "upgrad"])
def test_joint_training_is_what_one_process_does(balance: str | None, folder: Path) -> None:
    """Up to rounding: nothing here depends on which rows a process sees."""
    files = [folder / f"joint-{balance}-{rank}.safetensors" for rank in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()
    settings = joint.QUICK.model_copy(
        update={"batch_size": 4, "optimizers": {"factors": DECAY, "head": DECAY}, "select_by": "loss"}
    )
    model = joint.team()
    result = train_together(model, joint.sets(joint.EVEN), settings.model_copy(update={"balance": balance}))
    found = json.loads((folder / f"joint-{balance}-0.json").read_text())
    for ours, theirs in zip(found["curve"], result.curve, strict=True):
        for name, task in theirs["tasks"].items():
            for key in ("train_loss", "val_loss"):
                assert ours["tasks"][name][key] == pytest.approx(task[key], rel=1e-3)
    for key, tensor in load_file(files[0]).items():
        torch.testing.assert_close(tensor, model.state_dict()[key], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("balance", [None, "upgrad"])
def test_tasks_in_the_batch_of_no_process_keep_their_bits(balance: str | None, folder: Path) -> None:
    found = [json.loads((folder / f"joint-{balance}-{rank}.json").read_text())["steps"] for rank in (0, 1)]
    absent = [0, 0, 0]
    for (here, moved), (there, moved_there) in zip(*found, strict=True):
        assert moved == moved_there
        owners = {key.split(".")[1] for key in moved if key.startswith("tasks.")}
        assert owners == {*here, *there}
        absent[0] += len(owners) < 3
        absent[1] += not {*there} <= {*here}
        absent[2] += not {*here} <= {*there}
    assert min(absent) > 3


@pytest.mark.parametrize("name", SAME_IMAGES)
def test_samples_that_serve_all_tasks_train_as_in_one_process(name: str, folder: Path) -> None:
    files = [folder / f"same-{name}-{rank}.safetensors" for rank in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()
    found = [json.loads((folder / f"same-{name}-{rank}.json").read_text()) for rank in (0, 1)]
    settings, model = same_images_settings(name), joint.team(SAME_IMAGES[name][0])
    own = {"objective": images.losses, "collate": images.collate}
    result = train_together(model, images.images(32), settings, **own)
    for point, other, theirs in zip(found[0]["curve"], found[1]["curve"], result.curve, strict=True):
        assert point.get("weights") == other.get("weights")
        assert point.get("weights", {}) == pytest.approx(theirs.get("weights", {}), rel=1e-3)
        assert ("weights" in point) == (name == "uncertainty")
        for task, one in theirs["tasks"].items():
            assert point["tasks"][task] == pytest.approx(one, rel=1e-3)
            assert ("penalty" in one) == ("penalty" in name)
    for key, tensor in load_file(files[0]).items():
        torch.testing.assert_close(tensor, model.state_dict()[key], rtol=1e-2, atol=1e-4)
    apart = 0
    for (here, moved), (there, moved_there) in zip(found[0]["steps"], found[1]["steps"], strict=True):
        assert moved == moved_there
        owners = {key.split(".")[1] for key in moved if key.startswith("tasks.")}
        assert owners == {*here, *there}
        apart += here != there
    assert apart > 3


def test_only_the_first_process_writes(folder: Path) -> None:
    steps = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["event"] == "step"] == [2, 4, 6, 7, 8, 10, 12, 14]
    assert sorted(path.name for path in (folder / "run").iterdir()) == ["checkpoint.safetensors", "log.jsonl"]


def test_processes_with_different_backbones_are_refused(folder: Path) -> None:
    assert not torch.distributed.is_initialized()
    for rank in (0, 1):
        assert "the backbone differs between the processes" in (folder / f"error{rank}.txt").read_text()
