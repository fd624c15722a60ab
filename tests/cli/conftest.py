from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from taskfold.cli import _story, app

from . import project, rooms, texts

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """The command line in this process."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


def trained_in(folder: Path, write: Callable[[Path], Path], run: Run, *, drawn: bool = False) -> Path:
    """The folder, with a configuration that has been trained; with the report, if it is to be drawn."""
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            undraw(patch)
        result = run("train", write(folder))
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of a project that has been trained; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("project"), project.write, run, drawn=True)


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of text tasks that have been trained together; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("texts"), texts.write, run, drawn=True)


def undraw(patch: pytest.MonkeyPatch) -> None:
    """Runs without the report, whose drawings take longer than the training."""
    patch.setattr(_story, "write_report", lambda document, path: path)


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a report but those that look at one and are marked `drawn`."""
    if request.node.get_closest_marker("drawn") is None:
        undraw(monkeypatch)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of tasks that have been trained one by one; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("alone"), rooms.write, run)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of tasks that have been trained on one network; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("joint"), rooms.together, run)
