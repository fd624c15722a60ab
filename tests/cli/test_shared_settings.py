"""Settings that a configuration gives once for tasks of several methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
