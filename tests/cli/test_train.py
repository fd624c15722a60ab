"""From a configuration to task files, results and a report; interrupted, continued, refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from taskfold.cli._held import held
from taskfold.cli._trainings import retold
from taskfold.report import read_results
from taskfold.tasks import read_header
from taskfold.train import CollapseWarning, _range_test

from . import project
from .conftest import Run


def source(root: str) -> dict[str, str]:
    return {"kind": "folder", "root": root}


def test_what_a_run_leaves_behind(trained: Path) -> None:
    results = read_results(trained / "runs" / "results.json")
    assert [(run.task, run.label) for run in results.runs] == [("warm", "FTN"), ("all", "FTN")]  # ranks differ
    assert all(run.accuracy == 1.0 for run in results.runs)
    assert [len(run.curve) for run in results.runs] == [20, 20]
    assert all(run.layers and run.predictions for run in results.runs)
    assert results.tasks[1].labels == ("blue", "green", "red")
    assert "<html" in (trained / "runs" / "report.html").read_text()
    header = read_header(trained / "runs" / "tasks" / "all.safetensors")
    assert header["method"]["settings"]["rank"] == 3
    assert header["info"]["metrics"]["test_accuracy"] == 1.0
    assert header["info"]["preprocessing"]["size"] == 8


def test_optimisers_of_all_tasks_need_to_be_of_one_of_them_and_those_of_a_task_its_own(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_range_test, "LEAST", 4)
    monkeypatch.setattr(_range_test, "FURTHEST", 1)
    tasks: list[dict[str, Any]] = [
        {"name": "warm", "source": source("data/warm")},
        {"name": "all", "source": source("data/all"), "method": "head-only"},
    ]
    train: dict[str, Any] = {"epochs": 1, "batch_size": 8, "optimizers": {"factors": {"lr": 0.02}}, "lr": "auto"}
    result = run("train", project.write(tmp_path, train=train, tasks=tasks))
    assert result.exit_code == 0, result.stderr
    found = read_header(tmp_path / "runs" / "tasks" / "warm.safetensors")["info"]["metrics"]["lr"]
    assert [*found] == ["head", "norm"]  # not those that are listed
    assert f"warm: learning rates head {found['head']:.2g}, norm {found['norm']:.2g}: a little below" in result.stderr
    logs = [(tmp_path / "runs" / "train" / name / "log.jsonl").read_text().splitlines() for name in ("warm", "all")]
    rates = [next(line["lr"] for line in map(json.loads, log) if line["event"] == "epoch") for log in logs]
    assert [{*one} for one in rates] == [{"factors", "norm", "head"}, {"head"}]
    wrong = {**train, "optimizers": {"factor": {"lr": 0.02}}}
    result = run("train", project.write(tmp_path, train=wrong, tasks=tasks, output="other"))
    assert result.exit_code == 1
    assert "train.optimizers: no parameters of a group 'factor' are trained; there are: factors, head" in result.stderr
    tasks[1]["train"] = {"optimizers": {"factors": {"lr": 0.01}}}
    result = run("train", project.write(tmp_path, train=train, tasks=tasks, output="other"))
    assert result.exit_code == 1
    said = "tasks[1].train.optimizers: no parameters of a group 'factors' are trained; there are: head"
    assert said in result.stderr
    assert not (tmp_path / "other" / "train").exists()


def test_a_finished_run_is_not_trained_again(trained: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    before = digests(tmp_path / "copy")
    log = tmp_path / "copy" / "runs" / "train" / "warm" / "log.jsonl"
    written = log.read_bytes()
    result = run("train", tmp_path / "copy" / "config.yaml")
    assert result.exit_code == 0
    assert "FTN" in result.stdout
    assert log.read_bytes() == written
    assert digests(tmp_path / "copy") == before


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on_and_ends_in_the_same_bits(
    trained: Path, tmp_path: Path, run: Run
) -> None:
    train = {"epochs": 20, "batch_size": 8, "optimizers": {"factors": {"lr": 0.02}, "head": {"lr": 0.05}}}
    config = project.write(tmp_path, train={**train, "checkpoint_every": 0.1, "log_every": 1})
    log = tmp_path / "runs" / "train" / "warm" / "log.jsonl"
    line = [sys.executable, "-m", "taskfold", "train", str(config)]
    process = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 10):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == f"Interrupted. To go on from the last checkpoint: taskfold train {config}"
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    assert digests(tmp_path) == digests(trained)
    steps = [line["step"] for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "step"]
    assert steps == sorted(set(steps))


def test_a_run_stopped_before_its_first_step_may_begin_otherwise(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "runs" / "train" / "warm"
    folder.mkdir(parents=True)
    (folder / "data.json").write_text('{"labels": ["of other data"]}')
    result = run("train", project.write(tmp_path, train={"epochs": 1, "batch_size": 8}))
    assert result.exit_code == 0, result.stderr


def test_every_problem_is_said_before_training(tmp_path: Path, run: Run) -> None:
    project.images(tmp_path / "one", ["red"])
    project.images(tmp_path / "corrupt", ["red", "blue"])
    (tmp_path / "corrupt" / "red" / "3.png").write_bytes(b"no image")
    project.images(tmp_path / "empty" / "train", ["red", "blue"])
    (tmp_path / "empty" / "train" / "green").mkdir()
    tasks: list[dict[str, Any]] = [
        {"name": "a", "source": source("one")},
        {"name": "b", "source": source("corrupt")},
        {"name": "c", "source": source("empty")},
        {"name": "d", "source": source("nowhere")},
        {"name": "e", "source": source("data/warm"), "method": "ftn-qv"},
    ]
    result = run("train", project.write(tmp_path, tasks=tasks))
    assert result.exit_code == 1
    for place, message in enumerate(
        ["needs at least 2 classes", "1 train images cannot be read", "green", "does not exist"]
    ):
        [line] = [line for line in result.stderr.splitlines() if f"config.yaml: tasks[{place}].source: " in line]
        assert message in line
    assert "tasks[4].method: " in result.stderr
    assert "red/3.png cannot be read" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_the_backbone_is_among_the_problems(tmp_path: Path, run: Run) -> None:
    tasks = [{"name": "a", "source": source("nowhere")}]
    result = run("train", project.write(tmp_path, backbone="nowhere.py:build", tasks=tasks))
    assert "config.yaml: backbone: " in result.stderr
    assert "config.yaml: tasks[0].source: " in result.stderr


def test_unreadable_images_can_be_left_out(tmp_path: Path, run: Run) -> None:
    config = project.write(tmp_path, corrupt="skip", train={"epochs": 1, "batch_size": 8})
    (tmp_path / "data" / "warm" / "red" / "3.png").write_bytes(b"no image")
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    notes = read_results(tmp_path / "runs" / "results.json").tasks[0].notes
    assert any("1 unreadable" in note and "3.png" in note for note in notes)


def digests(folder: Path) -> dict[str, str]:
    files = sorted((folder / "runs" / "tasks").glob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_collapse_is_a_remark_and_other_warnings_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    def training() -> str:
        for name in "first", "second":
            warnings.warn(f"task {name!r} has collapsed", CollapseWarning, stacklevel=1)
        return "trained"

    assert retold(training) == "trained"
    assert capsys.readouterr().err == "Warning: task 'first' has collapsed\nWarning: task 'second' has collapsed\n"
    with pytest.warns(UserWarning, match="something else"):
        retold(lambda: warnings.warn("something else", stacklevel=1))


def test_two_runs_do_not_work_in_one_output_and_drafts_of_killed_ones_go(trained: Path, run: Run) -> None:
    with held(trained / "runs"):
        result = run("train", trained / "config.yaml")
    assert (result.exit_code, result.stderr.count("another taskfold command works in")) == (1, 1)
    draft = trained / "runs" / "tasks" / ".all.safetensors.0a1b2c3d"
    draft.write_bytes(b"half")
    assert run("train", trained / "config.yaml").exit_code == 0
    assert not draft.exists()
