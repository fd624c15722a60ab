"""Torch's threads: the option, the key, the environment, and measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from taskfold.cli._threads import threaded
from taskfold.config.run import Config, load_config

from . import project, texts
from .conftest import Run


def said(plan: Config) -> list[object]:
    return [task.train.threads for task in plan.tasks]


def test_the_option_comes_before_the_key_and_that_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.write(tmp_path, train={"threads": 3})
    plan = load_config(path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert said(threaded(plan, "2")) == [2, 2] and said(threaded(plan, "auto")) == ["auto", "auto"]
    assert said(threaded(plan, None)) == [3, 3]
    plan = load_config(project.write(tmp_path))
    assert said(threaded(plan, None)) == [None, None]
    monkeypatch.delenv("OMP_NUM_THREADS")
    settled = threaded(plan, None)
    assert said(settled) == ["auto", "auto"]
    assert settled.path == plan.path and settled.output == plan.output


def test_tasks_that_train_together_have_the_threads_of_that(tmp_path: Path) -> None:
    settled = threaded(load_config(texts.write(tmp_path)), "2")
    assert settled.together is not None and settled.together.threads == 2


def test_a_run_says_how_many_it_had(tmp_path: Path, run: Run) -> None:
    before = torch.get_num_threads()
    tasks = [{"name": "warm", "source": {"kind": "folder", "root": "data/warm"}}]
    train = {"epochs": 2, "batch_size": 8, "threads": "auto"}
    result = run("train", project.write(tmp_path, train=train, tasks=tasks))
    assert result.exit_code == 0, result.stderr
    assert " s on 1 thread" in result.stderr or " s on 2 thread" in result.stderr
    assert torch.get_num_threads() == before


def test_predictions_are_the_same_however_many(trained: Path, run: Run) -> None:
    before = torch.get_num_threads()
    file = trained / "runs" / "tasks" / "warm.safetensors"
    found = [
        [answer["label"] for answer in json.loads(result.stdout)["predictions"]]
        for threads in ("auto", 1)
        if (
            result := run("predict", file, trained / "data" / "warm", "--batch-size", 2, "--json", "--threads", threads)
        )
    ]
    assert found[0] == found[1] and len(found[0]) == 24
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("value", ["0", "many", "-2", "1.5"])
def test_other_values_are_refused(tmp_path: Path, run: Run, value: str) -> None:
    result = run("train", project.write(tmp_path), "--threads", value)
    assert result.exit_code == 1 and "--threads must be a whole number ≥ 1 or auto, found" in result.stderr
