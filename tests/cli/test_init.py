"""From folders of images to a configuration, and tasks by a pattern."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from taskfold.config import ConfigError
from taskfold.config.run import load_config

from . import project
from .conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cust-01", "cust-02"):
        project.images(tmp_path / "data" / name, ["blue", "red"], 4)
    return tmp_path


def roots(config: Path) -> dict[str, Path]:
    return {task.name: task.source.root.resolve() for task in load_config(config).tasks}  # type: ignore[attr-defined]


def test_every_folder_becomes_a_task_and_so_does_the_next(folder: Path, run: Run) -> None:
    config = folder / "config.yaml"
    result = run("init", folder / "data", "--config", config)
    assert result.exit_code == 0, result.output
    assert "cust-02" in result.stdout and "glob" in config.read_text()
    assert roots(config) == {name: folder / "data" / name for name in ("cust-01", "cust-02")}
    project.images(folder / "data" / "cust-03", ["blue", "red"], 4)
    assert list(roots(config)) == ["cust-01", "cust-02", "cust-03"]
    result = run("init", folder / "data", "--config", config)
    assert result.exit_code == 1 and "exists already" in result.stderr


def test_what_is_no_task_is_left_out_and_names_are_made_fit(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.images(folder / "data" / "shop:3", ["blue", "red"], 4)
    (folder / "data" / "notes").mkdir()
    (folder / "configs").mkdir()
    monkeypatch.chdir(folder)
    result = run("init", "data", "-c", "configs/all.yaml")
    assert result.exit_code == 0, result.output
    assert "data/notes is left out" in result.stderr
    assert roots(folder / "configs" / "all.yaml") == {
        "cust-01": folder / "data" / "cust-01",
        "cust-02": folder / "data" / "cust-02",
        "shop-3": folder / "data" / "shop:3",
    }


def test_a_folder_of_classes_is_one_task(folder: Path, run: Run) -> None:
    config = folder / "one.yaml"
    assert run("init", folder / "data" / "cust-01", "-c", config).exit_code == 0
    assert list(roots(config)) == ["cust-01"]
    for split in ("train", "val"):
        project.images(folder / "split" / split, ["blue", "red"], 4)
    assert run("init", folder / "split", "-c", folder / "split.yaml").exit_code == 0
    assert list(roots(folder / "split.yaml")) == ["split"]
    (folder / "empty").mkdir()
    result = run("init", folder / "empty", "-c", folder / "other.yaml")
    assert result.exit_code == 1 and "has no tasks" in result.stderr and not (folder / "other.yaml").exists()


def test_a_network_that_is_not_known_is_refused_before_a_file_is_written(folder: Path, run: Run) -> None:
    config = folder / "config.yaml"
    result = run("init", folder / "data", "--config", config, "--backbone", "timm:resnet81")
    assert result.exit_code == 1 and "did you mean resnet18" in result.stderr and not config.exists()
    assert run("init", folder / "data", "--config", config, "--backbone", "timm:resnet26").exit_code == 0


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"glob": "nowhere/*"}, "tasks.glob: nothing matches 'nowhere/\\*'"),
        ({"glob": 3}, "tasks.glob: must be a pattern"),
        ({"glob": "data/*", "name": "x"}, "tasks.name: tasks of a pattern are named after what matches"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(folder: Path, tasks: object, message: str) -> None:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"backbone": "timm:resnet18", "output": "runs", "tasks": tasks}))
    with pytest.raises(ConfigError, match=message):
        load_config(config)


def test_what_stands_beside_a_pattern_holds_for_each(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.csv").write_text("path,label\n")
    config = folder / "config.yaml"
    tasks = {"glob": "*.csv", "method": {"rank": 3}, "source": {"val_fraction": 0.3}}
    config.write_text(yaml.safe_dump({"backbone": "timm:resnet18", "output": "runs", "tasks": tasks}))
    found = load_config(config).tasks
    assert [(task.name, task.method.rank, task.source.kind) for task in found] == [  # type: ignore[attr-defined]
        ("one", 3, "csv"),
        ("two", 3, "csv"),
    ]
    assert all(task.source.val_fraction == 0.3 for task in found)  # type: ignore[attr-defined]
