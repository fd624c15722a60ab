"""What is the same for all commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from taskfold import __version__
from taskfold.cli import _app
from taskfold.cli._app import COMMANDS

from .conftest import Run


def test_the_help_lists_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(f" {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"taskfold {name}" in result.stdout or f" {name} [OPTIONS]" in result.stdout


def test_the_help_of_all_imports_none() -> None:
    code = (
        "import sys, taskfold.cli\ntry: taskfold.cli.app(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'accelerate', 'timm', 'matplotlib', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"taskfold {__version__}\n"


def test_a_misspelt_command_is_a_usage_error(run: Run) -> None:
    result = run("cuont")
    assert result.exit_code == 2
    assert "count" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("dense", "--quick"), ("--help",)])
def test_a_command_of_a_package_that_is_not_here_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, run: Run, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(_app.plugins, "registered", lambda group: {})
    result = run("demo", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: taskfold demo comes with the package taskfold-demos: pip install taskfold-demos, or ./demos from a "
        "checkout of Taskfold\n"
    )
    assert "pip install taskfold-demos" in run("--help").stdout


def test_an_error_is_one_message_and_debug_shows_where_it_comes_from(run: Run) -> None:
    plain = run("count", "--model", "tim:resnet18")
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert plain.stderr.startswith("Error: backbone 'tim:resnet18' is not known")
    assert "Traceback" not in plain.stderr
    assert isinstance(run("--debug", "count", "--model", "tim:resnet18").exception, ValueError)
