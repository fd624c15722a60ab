"""Packs on the command line: side by side in one process, and in several."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from taskfold.report import read_results
from taskfold.tasks import read
from taskfold.train import _packs

from . import project
from .conftest import Run

TRAIN = {"epochs": 3, "batch_size": 8, "optimizers": {"factors": {"lr": 0.02}, "head": {"lr": 0.05}}}


def tensors(folder: Path, name: str) -> dict[str, Tensor]:
    return dict(read(folder / "runs" / "tasks" / f"{name}.safetensors").tensors)


@pytest.mark.drawn
def test_a_pack_leaves_what_a_run_leaves_and_a_rerun_skips_what_is_finished(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    do_all = _packs.do_all
    monkeypatch.setattr(_packs, "do_all", lambda steps: passes.append(len(steps)) or do_all(steps))
    config = project.write(tmp_path, train=TRAIN)
    result = run("train", config, "--pack")
    assert result.exit_code == 0, result.stderr
    assert max(passes) == 2
    results = read_results(tmp_path / "runs" / "results.json")
    assert [one.task for one in results.runs] == ["warm", "all"]
    assert (tmp_path / "runs" / "report.html").exists()
    assert not [*(tmp_path / "runs" / "train").glob("*.safetensors")]
    before, steps = tensors(tmp_path, "all"), len(passes)
    again = run("train", config)
    assert again.exit_code == 0, again.stderr
    assert "all: finished before" in again.stderr
    assert len(passes) == steps
    assert tensors(tmp_path, "all").keys() == before.keys()
    fresh = run("train", config, "--pack", "--task", "all", "--fresh")
    assert fresh.exit_code == 0, fresh.stderr
    assert len(passes) > steps


@pytest.mark.parametrize(
    ("more", "options", "words"),
    [
        ({"together": {}}, ["--pack"], "--pack: .* trains its tasks together; leave --pack out"),
        ({}, ["--cluster", "local"], "--cluster local needs --processes"),
        ({}, ["--processes", "2", "--threads", "2"], "each of the --processes has one thread"),
    ],
)
def test_refused(tmp_path: Path, run: Run, more: dict[str, Any], options: list[str], words: str) -> None:
    result = run("train", project.write(tmp_path, **more), *options)
    assert result.exit_code == 1
    assert re.search(words, " ".join(result.stderr.split()))


def test_processes_get_the_tasks_in_turn_and_one_that_is_lost_loses_no_finished_task(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    lost, lines = {"all"}, list[list[str]]()

    class Executor:
        """Runs what it is sent at once, in this process."""

        def __init__(self, folder: Path, cluster: str) -> None:
            assert (folder, cluster) == (tmp_path / "runs" / "jobs", "local")

        def update_parameters(self, **parameters: Any) -> None:
            pass

        def submit(self, function: Any) -> Any:
            words = function.command[function.command.index("train") :]
            lines.append(words[4:])
            error = RuntimeError("what it said\n\nKilled\n") if lost.intersection(words) else None
            if error is None:
                result = run(*words)
                assert result.exit_code == 0, result.stderr
            return SimpleNamespace(job_id=len(lines), exception=lambda: error)

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    config = project.write(tmp_path, train=TRAIN)
    result = run("train", config, "--processes", "2")
    assert result.exit_code == 1
    assert "1 of 2 processes have failed, the first is 2: Killed; what was finished is kept" in result.stderr
    assert lines == [["--worker", "1", "--task", "warm"], ["--worker", "2", "--task", "all"]]
    assert [path.stem for path in (tmp_path / "runs" / "tasks").glob("*.safetensors")] == ["warm"]
    assert not (tmp_path / "runs" / "results.json").exists()
    lost.clear()
    result = run("train", config, "--processes", "1")
    assert result.exit_code == 0, result.stderr
    assert lines[2:] == [["--worker", "1", "--task", "warm", "--task", "all"]]
    assert "all: finished before" in result.stderr
    found = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert [one["task"] for one in found["runs"]] == ["warm", "all"]


@pytest.mark.whole
@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_finished_task(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("submitit")
    config, dies = project.write(tmp_path, train=TRAIN), tmp_path / "dies"
    dies.touch()
    (tmp_path / "net.py").write_text(f"""{project.BACKBONE}
import os, signal, sys
if os.path.exists({str(dies)!r}) and "--worker" in sys.argv and "all" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
""")
    result = run("train", config, "--processes", "2")
    assert result.exit_code == 1
    assert "1 of 2 processes have failed, the first is 2" in result.stderr
    assert [path.stem for path in (tmp_path / "runs" / "tasks").glob("*.safetensors")] == ["warm"]
    dies.unlink()
    result = run("train", config, "--processes", "1")  # which gets the other's task
    assert result.exit_code == 0, result.stderr
    assert "warm: finished before" in result.stderr
    found = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert [one["task"] for one in found["runs"]] == ["warm", "all"]
    assert not [*(tmp_path / "runs" / "train").glob("pack*")]
