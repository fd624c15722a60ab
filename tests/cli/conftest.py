from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from taskfold.cli import app

from . import project

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """The command line in this process."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of a project that has been trained; not to be changed."""
    folder = tmp_path_factory.mktemp("project")
    result = run("train", project.write(folder))
    assert result.exit_code == 0, result.output
    return folder
