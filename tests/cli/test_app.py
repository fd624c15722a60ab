"""The common behaviour of all commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import taskfold as tfold
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


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["inspect", "FILE"]], ids=" ".join)
def test_what_needs_no_torch_imports_none(command: list[str], tmp_path: Path) -> None:
    """Seconds of imports for a line of help are what people notice first."""
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.LoRA(rank=1))
    model.add_task("a")
    path = model.save_task("a", tmp_path / "a.safetensors")
    code = """
import sys
from taskfold.cli import app
try:
    app(sys.argv[1:])
finally:
    heavy = {"torch", "transformers", "timm", "PIL", "matplotlib"} & sys.modules.keys()
    assert not heavy and len(sys.modules) < 700, (heavy, len(sys.modules))
"""
    said = [str(path) if word == "FILE" else word for word in command]
    found = subprocess.run([sys.executable, "-c", code, *said], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout
