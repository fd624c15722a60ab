"""`taskfold demo`, as Taskfold's command line finds it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import taskfold
from taskfold.cli import app
from taskfold_demos import command


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_is_a_command_of_taskfold() -> None:
    assert asked("--help").stdout.count(" demo ") == 1
    assert "taskfold demo routing --compare all" in asked("demo", "--help").stdout


def test_the_two_packages_are_of_one_version() -> None:
    assert version("taskfold-demos") == taskfold.__version__


@pytest.mark.parametrize("name", ["tasks", "routing"])
def test_the_demonstration_is_called_as_asked(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[object, ...]] = []

    def stand_in(*settings: object) -> Callable[..., None]:
        return lambda out, command: calls.append((*settings, out, command))

    monkeypatch.setattr(command, "DEMOS", {name: stand_in})
    said = [] if name == "tasks" else [name]
    result = asked(
        "demo", *said, "--quick", "--compare", "all", "--seeds", 2, "--threads", 3, "--processes", 2, "--out", tmp_path
    )
    assert result.exit_code == 0, result.stderr
    options = f"--quick --compare all --seeds 2 --threads 3 --processes 2 --out {tmp_path}"
    assert calls == [("all", 2, True, 3, 2, tmp_path, " ".join(["taskfold demo", *said, options]))]
    assert asked("demo", *said, "--compare", "some").exit_code == 2
    assert "there is no demonstration 'nothing'" in asked("demo", "nothing").stderr


def test_processes_are_of_the_demonstration_of_tasks() -> None:
    for name in ("routing", "dense"):
        said = " ".join(asked("demo", name, "--processes", 2).stderr.split())
        assert f"--processes 2: the demonstration '{name}' runs in one process; leave --processes out" in said
