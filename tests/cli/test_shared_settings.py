"""Settings that a configuration gives once for tasks of several methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import project
from .conftest import Run

TASKS: list[dict[str, Any]] = [
    {"name": "warm", "source": {"kind": "folder", "root": "data/warm"}},
    {
        "name": "all",
        "source": {"kind": "folder", "root": "data/all"},
        "method": {"name": "head-norm", "statistics": "own"},
    },
]
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8}
JOINT = {"name": "ftn", "rank": 2, "sharing": "shared"}


def test_one_task_alone_takes_no_setting_of_the_others(tmp_path: Path, run: Run) -> None:
    train = {**SHORT, "optimizers": {"factors": {"lr": 0.02}}, "norm_momentum": 0.3}
    path = project.write(tmp_path, train=train, tasks=TASKS)
    for task in ("all", "warm"):
        result = run("train", path, "--task", task)
        assert result.exit_code == 0, result.stderr
    result = run("train", path)
    assert result.stderr.count("finished before") == 2, result.stderr


def test_a_setting_of_statistics_that_no_task_has_is_refused_by_its_place(tmp_path: Path, run: Run) -> None:
    result = run("train", project.write(tmp_path, train={**SHORT, "adapt_norm": 0.5}, tasks=TASKS))
    assert result.exit_code == 1
    assert "train.adapt_norm: is of BatchNorm with statistics: adapted" in result.stderr
    own = [{**TASKS[0], "train": {**SHORT, "norm_momentum": 0.5}}, TASKS[1]]
    result = run("train", project.write(tmp_path, train=SHORT, tasks=own))
    assert result.exit_code == 1
    assert "tasks[0].train.norm_momentum: is of BatchNorm with statistics: own" in result.stderr


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"train": {**SHORT, "optimizers": {"factor": {"lr": 0.02}}}}, "train.optimizers"),
        ({"train": {**SHORT, "phases": [{"groups": ["factor"]}]}}, "train.phases"),
        ({"tasks": [{**TASKS[0], "train": {**SHORT, "phases": [{"groups": ["factor"]}]}}]}, "tasks[0].train.phases"),
        ({"method": JOINT, "together": {"optimizers": {"factor": {"lr": 0.02}}}}, "together.optimizers"),
        ({"method": JOINT, "together": {"phases": [{"groups": ["factor"]}]}}, "together.phases"),
        ({"method": JOINT, "together": True, "train": {"optimizers": {"factor": {"lr": 1}}}}, "train.optimizers"),
    ],
)
def test_a_group_that_no_task_has_is_refused_before_the_data_are_read(
    tmp_path: Path, run: Run, changes: dict[str, Any], place: str
) -> None:
    path = project.write(tmp_path, **{"tasks": TASKS[:1], "train": SHORT, **changes})
    (tmp_path / "data" / "warm" / "red" / "broken.png").write_text("no image")
    result = run("train", path)
    assert result.exit_code == 1
    assert f"{place}: no parameters of a group 'factor' are trained; there are: factors, head" in result.stderr
    assert "broken.png" not in result.stderr


def test_errors_of_data_are_said_beside_those_of_a_backbone_that_is_asked_for_groups(tmp_path: Path, run: Run) -> None:
    train = {**SHORT, "optimizers": {"factor": {"lr": 0.02}}}
    path = project.write(tmp_path, tasks=TASKS[:1], train=train, backbone="net.py:absent")
    (tmp_path / "data" / "warm" / "red" / "broken.png").write_text("no image")
    result = run("train", path)
    assert result.exit_code == 1
    assert "absent" in result.stderr
    assert "broken.png" in result.stderr
