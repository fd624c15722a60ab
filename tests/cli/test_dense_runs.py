"""Dense runs with other settings, data and methods: their results, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from taskfold.cli._dense import DenseTask
from taskfold.dense import DenseTensors
from taskfold.report import read_results
from taskfold.tasks import read_header
from taskfold.train import TaskSet

from . import project, rooms
from .conftest import Run
from .test_dense import NAMES, digest


def test_images_without_a_target_are_not_for_that_task(tmp_path: Path, run: Run) -> None:
    config = rooms.write(tmp_path, tasks=[{"name": "depth"}, {"name": "normals"}])
    for split, n in (("train", 2), ("val", 0), ("test", 3)):
        (tmp_path / "data" / split / "depth" / f"{n}.npy").unlink()
    assert run("train", config).exit_code == 0
    depth, normals = read_results(tmp_path / "runs" / "results.json").tasks
    assert (depth.train, depth.val, depth.test) == (5, 2, 3)
    assert (normals.train, normals.val, normals.test) == (6, 3, 4)
    assert any("have no depth: 2" in note for note in depth.notes)
    [task] = json.loads(run("evaluate", config, "--json").stdout)["tasks"][:1]
    assert task["count"] == 3


@pytest.mark.parametrize("method", ["over-parameterised", "expandnet", "repvgg"])
def test_methods_that_train_more_than_they_leave(method: str, tmp_path: Path, run: Run) -> None:
    settings = {**rooms.TOGETHER, "weighting": "uncertainty"}
    if method == "over-parameterised":
        diagonals = {"groups": ["diagonal"], "own_loss": True}
        settings |= {"phases": [{"turns": [diagonals], "epochs": 1}, {"turns": [diagonals, {}]}]}
    config = rooms.together(tmp_path, method=method, together=settings)
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    judged = run("evaluate", config, "--json")
    assert judged.exit_code == 0, judged.stderr
    for task in json.loads(judged.stdout)["tasks"]:
        kept = read_header(Path(task["file"]))["info"]["metrics"][f"test_{task['main']}"]
        assert task[task["main"]] == pytest.approx(kept, rel=1e-5, abs=1e-5)


def test_a_new_target_from_a_few_images_on_what_others_have_learned(tmp_path: Path, run: Run) -> None:
    poly = {"name": "poly", "rank": 2, "skills": 2}
    assert (
        run(
            "train",
            rooms.together(
                tmp_path, method=poly, tasks=[{"name": "classes", "target": "segmentation"}, {"name": "depth"}]
            ),
        ).exit_code
        == 0
    )
    before = digest(tmp_path, "depth")
    new = tmp_path / "few.yaml"
    new.write_text(
        "{from: runs, mode: z, shots: 3, output: few, train: {max_steps: 2, batch_size: 2},"
        " source: {kind: nyuv2, root: data, classes: 3}, tasks: [{name: normals}]}"
    )
    result = run("transfer", new)
    assert result.exit_code == 0, result.stderr
    assert digest(tmp_path, "depth") == before
    [task] = json.loads(run("evaluate", new, "--json").stdout)["tasks"]
    kept = read_header(tmp_path / "few" / "tasks" / "normals.safetensors")["info"]["metrics"]["test_mean"]
    assert task["mean"] == pytest.approx(kept, abs=1e-4)
    new.write_text(new.read_text().replace("shots: 3", "shots: 7"))
    assert (
        "shots: tasks[0] (normals): nyuv2:data has 6 training images with normals, not 7" in run("transfer", new).stderr
    )


def test_tasks_of_two_sources_are_trained_together(tmp_path: Path, run: Run) -> None:
    rooms.rooms(tmp_path / "more", counts={"train": 5, "val": 2})
    tasks = [{"name": "depth"}, {"name": "far", "target": "depth", "source": {"root": "more"}}]
    result = run("train", rooms.together(tmp_path, tasks=tasks))
    assert result.exit_code == 0, result.stderr
    depth, far = read_results(tmp_path / "runs" / "results.json").tasks
    assert (depth.train, far.train, far.test) == (6, 5, None)
    assert "no test split: measured on val, by which the epoch was chosen" in far.notes
    assert "val_rmse" in read_header(tmp_path / "runs" / "tasks" / "far.safetensors")["info"]["metrics"]


class Interrupted(DenseTensors):
    """Ctrl-C in the second epoch."""

    def __init__(self, whole: DenseTensors) -> None:
        self.__dict__ |= whole.__dict__
        self.at = 0

    def set_epoch(self, epoch: int) -> None:
        self.at = epoch
        super().set_epoch(epoch)

    def __getitem__(self, index: int) -> Any:
        if self.at:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize("way", ["alone", "joint"])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    way: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    often = {**rooms.TOGETHER, "checkpoint_every": 0, "log_every": 1}
    config = rooms.together(tmp_path, together=often) if way == "joint" else rooms.write(tmp_path, train=often)
    whole = DenseTask._sets

    def sets(self: DenseTask, targets: Any, seed: int) -> TaskSet:
        found = whole(self, targets, seed)
        return TaskSet(Interrupted(found.train), found.val, found.plain)  # type: ignore[arg-type]

    monkeypatch.setattr(DenseTask, "_sets", sets)
    result = run("train", config)
    assert result.exit_code == 130
    assert f"To go on from the last checkpoint: taskfold train {config}" in result.stderr
    monkeypatch.setattr(DenseTask, "_sets", whole)
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    finished: Path = request.getfixturevalue(way)
    assert [digest(tmp_path, name) for name in NAMES] == [digest(finished, name) for name in NAMES]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dense": {"augment": {"flip": 0.2}}}, "classes.dense.augment.flip was 0.5, is now 0.2"),
        ({"dense": {"size": [4, 8], "augment": {}}}, "classes.preprocessing.size was None, is now [4, 8]"),
        ({"backbone": {"network": "segnet", "width": 4, "stages": 2, "seed": 1}}, "backbone was"),
        ({"tasks": [{"name": "depth"}, {"name": "normals"}]}, "task 'classes' is not in the configuration any more"),
        ({"together": {**rooms.TOGETHER, "epochs": 3}}, "epochs was 2, is now 3"),
    ],
)
def test_a_run_of_other_settings_or_data_is_refused_and_kept(
    changes: dict[str, Any], message: str, joint: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(joint, folder)
    result = run("train", rooms.together(folder, **changes))
    assert result.exit_code == 1
    assert message in result.stderr
    assert "--fresh" in result.stderr
    assert [digest(folder, name) for name in NAMES] == [digest(joint, name) for name in NAMES]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"kind": "nyuv2", "root": "nowhere"}}, "rooms.yaml: source: root: must be a folder, but"),
        ({"source": {"kind": "nyuv2", "root": "."}}, "rooms.yaml: source: root: "),
        ({"source": {"kind": "nyuv2", "root": "data", "classes": 2}}, "source: train: 6 images cannot be used"),
        (
            {"tasks": [{"name": "edges"}]},
            "tasks[0].target: is missing, and the task's name, 'edges', is none of its data: nyuv2:data has",
        ),
        (
            {"tasks": [{"name": "a", "target": "dept"}]},
            "tasks[0].target: must be one that the data have, found 'dept'; nyuv2:data has segmentation, depth, "
            "normals; did you mean depth?",
        ),
        ({"backbone": {"network": "segnet"}}, "backbone: images must be at least 32 × 32 pixels for 5 stages"),
        ({"dense": {"augment": {"crop": [2, 2]}}}, "backbone: images must be at least 4 × 4 pixels"),
        ({"backbone": "net.py:build"}, "backbone: net.py:build has no heads that give every pixel an output"),
        ({"method": {"name": "ftn", "targets": ["nothing"]}}, "tasks[0].method: "),
    ],
)
def test_what_is_wrong_is_said_once_and_before_training(
    changes: dict[str, Any], message: str, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "net.py").write_text(project.BACKBONE)
    result = run("train", rooms.write(tmp_path, **changes))
    assert result.exit_code == 1
    assert result.stderr.count(message) == 1, result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("dense", "message"),
    [
        (
            {},
            "rooms.yaml: dense: train has images of 2 sizes (8 × 12, 12 × 8, …); give them one: size: [he",
        ),
        (
            {"augment": {"crop": [8, 8]}},
            "rooms.yaml: dense: val has images of 2 sizes (8 × 12, 12 × 8, …); give them one: size",
        ),
        ({"size": [8, 8]}, ""),
    ],
)
def test_images_of_several_sizes_need_one(dense: dict[str, Any], message: str, tmp_path: Path, run: Run) -> None:
    rooms.rooms(tmp_path / "data", (8, 12))
    rooms.rooms(tmp_path / "tall", (12, 8))
    for split in rooms.COUNTS:
        for folder in ("image", *rooms.TARGETS.values()):
            (tmp_path / "tall" / split / folder / "1.npy").rename(tmp_path / "data" / split / folder / "1.npy")
    result = run("train", rooms.write(tmp_path, dense=dense, tasks=[{"name": "depth"}]))
    assert result.exit_code == bool(message)
    assert message in result.stderr


def test_training_images_of_several_sizes_are_cropped_wherever_they_are_used(tmp_path: Path, run: Run) -> None:
    """Statistics are estimated anew on them, too."""
    rooms.rooms(tmp_path / "data", (8, 12))
    rooms.rooms(tmp_path / "tall", (12, 8))
    for folder in ("image", *rooms.TARGETS.values()):
        (tmp_path / "tall" / "train" / folder / "1.npy").rename(tmp_path / "data" / "train" / folder / "1.npy")
    for joint in (None, rooms.TRAIN):
        train = {"train": None, "together": joint} if joint else {}
        changes = {"dense": {"augment": {"crop": [8, 8]}}, "output": f"runs-{joint is None}", **train}
        result = run("train", rooms.write(tmp_path, **changes))
        assert result.exit_code == 0, result.stderr


def test_a_single_image_with_the_target_is_too_few_before_anything_trains(tmp_path: Path, run: Run) -> None:
    rooms.rooms(tmp_path / "data")
    for n in range(1, rooms.COUNTS["train"]):
        (tmp_path / "data" / "train" / "normal" / f"{n}.npy").unlink()
    result = run("train", rooms.write(tmp_path))
    assert result.exit_code == 1
    assert "task 'normals': 1 training image has normals; training needs at least 2" in result.stderr
    assert not (tmp_path / "runs" / "tasks").exists()


def test_a_task_of_images_has_no_use_for_such_a_network(tmp_path: Path, run: Run) -> None:
    result = run("train", project.write(tmp_path, backbone="segnet"))
    assert result.exit_code == 1
    assert "network segnet puts out maps, for dense targets" in result.stderr
