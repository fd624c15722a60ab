"""New tasks from a few examples, on the inventory of a joint training."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskfold.report import read_results
from taskfold.tasks import read

from . import project, texts
from .conftest import Run, trained_in


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def few(together: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of a joint training and of a transfer from it; not to be changed."""
    folder = tmp_path_factory.mktemp("transfer") / "all"
    shutil.copytree(together, folder)
    result = run("transfer", texts.transfer(folder))
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize(
    ("mode", "own"),  # what a task of its own adds to the file: its routing; its copy of the factors; both
    [pytest.param("z", (True, False), marks=pytest.mark.drawn), ("mu", (False, True)), ("all", (True, True))],
)
def test_a_task_file_holds_what_its_mode_learns(
    mode: str, own: tuple[bool, bool], few: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(few, folder)
    before = {file: digest(file) for file in (folder / "runs").rglob("*.safetensors")}
    result = run("transfer", texts.transfer(folder, "other", mode=mode))
    assert result.exit_code == 0, result.stderr
    assert {file: digest(file) for file in before} == before
    inventory = read(folder / "runs" / "inventory.safetensors", "inventory")
    factors = sum(tensor.numel() for tensor in inventory.tensors.values())
    routing = texts.LAYERS * texts.SKILLS
    results = read_results(folder / "other" / "results.json")
    [table] = [table for table in results.comparisons if table.title == "Each task"]
    cells = dict(zip([column.title for column in table.columns], table.rows[0].cells, strict=True))
    assert cells["mode"].text == mode
    assert cells["numbers"].mean == own[0] * routing + own[1] * factors
    [card] = json.loads(run("inspect", folder / "other" / "tasks" / "second.safetensors", "--json").stdout)
    assert (card["transfer"], card["parameters"]["factors"]) == (mode, own[1] * factors)
    assert cells["bytes"].mean == sum(card["bytes"].values())
    assert (folder / "other" / "report.html").is_file() == (mode == "z")


def test_the_file_is_found_measured_and_used_with_nothing_said_of_what_it_stands_on(
    few: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(few, folder)
    file = folder / "few" / "tasks" / "second.safetensors"
    by_config = json.loads(run("evaluate", folder / "few.yaml", "--json").stdout)["tasks"][0]
    assert by_config["count"] == 2  # a fifth of 12
    assert read(file).header["info"]["metrics"]["test_rank_accuracy"] == by_config["rank_accuracy"]
    whole = run("evaluate", file, "--data", folder / "second.jsonl", "--json")
    [one] = json.loads(whole.stdout)["tasks"]
    assert (one["count"], one["left_out"]) == (7, len(texts.WORDS) - 7)  # the shots trained it, and val chose its epoch
    said = run("predict", file, "ant", "--json")
    assert [one["task"] for one in json.loads(said.stdout)["predictions"]] == ["second"]


def test_the_same_command_again_trains_nothing(few: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(few, folder)
    file, log = (folder / "few" / at for at in ("tasks/second.safetensors", "train/second/log.jsonl"))
    before = digest(file), log.read_bytes()
    assert run("transfer", folder / "few.yaml").exit_code == 0
    assert (digest(file), log.read_bytes()) == before


def test_results_follow_a_renamed_task(few: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(few, folder)
    [before] = json.loads(run("tasks", "list", folder / "few", "--json").stdout)
    assert before["scores"].startswith("test ")  # the sentence that was said when it was tested
    result = run("tasks", "rename", folder / "few", "second", "2nd")
    assert result.exit_code == 0, result.stderr
    assert "keeps what it said" not in result.stderr
    assert [task["name"] for task in json.loads((folder / "few" / "results.json").read_text())["tasks"]] == ["2nd"]


def test_shots_are_drawn_by_seed(few: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(few, folder)
    result = run("transfer", texts.transfer(folder, seed=1))
    assert result.exit_code == 1
    assert "train was '4 examples" in result.stderr


def test_another_beginning_is_another_run(few: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(few, folder)
    result = run("transfer", texts.transfer(folder, begin="even"))
    assert result.exit_code == 1
    assert "checkpoint.safetensors is of another run: begin was 'mean', is now 'even'" in result.stderr
    assert "choose another output, or start over with --fresh" in result.stderr


def test_a_task_that_has_gone_from_the_joint_training_is_in_nobodys_way(
    together: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(together, folder)
    config = yaml.safe_load((folder / "together.yaml").read_text())
    gone = config["tasks"].pop()["name"]
    (folder / "together.yaml").write_text(yaml.safe_dump(config))
    assert run("train", folder / "together.yaml", "--fresh").exit_code == 0
    assert not (folder / "runs" / "tasks" / f"{gone}.safetensors").exists()
    result = run("transfer", texts.transfer(folder))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("mode", ["mu", "all"])
def test_a_joint_training_done_anew_is_noticed(
    mode: str, together: Path, other: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(together, folder)
    config, file = texts.transfer(folder, mode=mode), folder / "few" / "tasks" / "second.safetensors"
    assert run("transfer", config).exit_code == 0
    before = digest(file)
    shutil.rmtree(folder / "runs")
    shutil.copytree(other / "runs", folder / "runs")
    result = run("transfer", config)
    assert result.exit_code == 1
    assert "inventory at its beginning was" in result.stderr
    assert run("transfer", config, "--fresh").exit_code == 0
    assert digest(file) != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from": "nowhere"}, "few.yaml: from: must be the output folder of taskfold train, and there is no run.json"),
        ({"output": "runs"}, "few.yaml: output: is the folder of the joint training"),
        ({"shots": 10}, "few.yaml: shots: tasks[0] (second): shots must be 1 to the 9 examples available, found 10"),
        ({"method": {"allocaton": "sigmoid"}}, "few.yaml: method: method 'poly' has no setting 'allocaton'"),
        ({"method": {"skills": 5}}, "few.yaml: method: the model's inventory"),
        ({"method": {"allocation": "random"}}, "few.yaml: method: task 'second' has allocation='random', which learns"),
        (
            {"method": {"allocation": "random"}},
            "with allocation='sigmoid': method: {allocation: sigmoid}",
        ),
        ({"output": "net.py"}, "few.yaml: output: must be a folder, and "),
        ({"output": "net.py/few"}, "net.py is a file; choose another"),
        (
            {"tasks": [{"name": "double", "source": {"kind": "examples", "file": "second.jsonl"}}]},
            "few.yaml: tasks[0].name: there is a task 'double' already among those that this one follows",
        ),
        ({"tasks": [{"name": "x", "source": {"kind": "examples", "file": "none.csv"}}]}, "tasks[0].source: "),
    ],
)
def test_what_cannot_be_transferred_is_said_before_training(
    changes: dict[str, Any], message: str, together: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(together, folder)
    result = run("transfer", texts.transfer(folder, **changes))
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("few.yaml") == 1
    assert not (folder / "few").exists()


def test_a_run_without_an_inventory_is_no_ground(trained: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copy(trained / "runs" / "run.json", tmp_path / "runs")
    assert "share no inventory" in run("transfer", texts.transfer(tmp_path)).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "need --backbone"),
        (["--backbone", "{0}/net.py:build"], "name it with --inventory FILE"),
        (["--backbone", "{0}/net.py:build", "--inventory", "{0}/nowhere.safetensors"], "there is no inventory file"),
        (["--backbone", "{0}/net.py:build", "--inventory", "{0}/runs"], "it is a folder"),
        (
            ["--backbone", "{0}/net.py:build", "--inventory", "{0}/runs/tasks/first.safetensors"],
            "not an inventory; give",
        ),
        (["--backbone", "{0}/net.py:other", "--inventory", "{0}/runs/inventory.safetensors"], "another backbone"),
        (["--backbone", "{0}/net.py:build", "--inventory", "{1}/runs/inventory.safetensors"], "with --inventory FILE"),
        (["--backbone", "{0}/net.py:build", "--inventory", "{0}/runs/inventory.safetensors"], None),
    ],
)
def test_a_file_on_its_own_needs_what_it_stands_on(
    options: list[str], message: str | None, few: Path, other: Path, tmp_path: Path, run: Run
) -> None:
    alone = shutil.copy(few / "few" / "tasks" / "second.safetensors", tmp_path)
    result = run("predict", alone, "ant", *(option.format(few, other) for option in options), "--json")
    assert result.exit_code == (0 if message is None else 1)
    assert message is None or message in result.stderr


def test_files_of_two_inventories_are_named(together: Path, other: Path, run: Run) -> None:
    files = [
        folder / "runs" / "tasks" / f"{name}.safetensors" for folder, name in ((together, "first"), (other, "last"))
    ]
    result = run("predict", *files, "ant")
    assert result.exit_code == 1
    assert f"{files[1]} stands on {other / 'runs' / 'inventory.safetensors'}, and {files[0]} on " in result.stderr
    assert "give the files of one inventory at a time" in result.stderr


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Another joint training: another inventory for the same backbone."""
    settings = {"epochs": 1, "batch_size": 8, "seed": 1}
    return trained_in(tmp_path_factory.mktemp("other"), lambda folder: texts.write(folder, together=settings), run)


def test_images_too(tmp_path: Path, run: Run) -> None:
    tasks = [{"name": name, "source": {"kind": "folder", "root": f"data/{name}"}} for name in ("warm", "all")]
    method = {"name": "ftn", "rank": 4, "sharing": "tensorpoly-i"}
    config = project.write(
        tmp_path, backbone="named.py:build", method=method, together={"epochs": 10}, train=train(), tasks=tasks
    )
    (tmp_path / "named.py").write_text(NAMED)
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    [routing] = read_results(tmp_path / "runs" / "results.json").routing
    assert [layer.layer for layer in routing.layers] == ["second"]  # the first reads colours
    few = train(epochs=3, optimizers={"head": {"lr": 0.1}})
    changes = {"mode": "z", "shots": 6, "train": few, "tasks": [{**tasks[1], "name": "few"}]}
    result = run("transfer", texts.transfer(tmp_path, **changes))
    assert result.exit_code == 0, result.stderr
    file = tmp_path / "few" / "tasks" / "few.safetensors"
    [card] = json.loads(run("inspect", file, "--json").stdout)
    assert (card["parameters"]["routing"], card["parameters"]["factors"]) == (4, 0)
    assert card["preprocessing"]["size"] == 8  # as the others have it
    said = run("predict", file, tmp_path / "data" / "all" / "red" / "0.png", "--json")
    assert json.loads(said.stdout)["predictions"][0]["label"] == "red"
    wrong = {**changes, "train": {**few, "optimizers": {"heads": {"lr": 0.1}}}}
    refused = run("transfer", texts.transfer(tmp_path, **wrong), "--fresh")
    assert "train: optimizers: no parameters of a group 'heads' are trained; there are: head" in refused.stderr
    assert "epoch" not in refused.stdout + refused.stderr


def train(**more: Any) -> dict[str, Any]:
    optimizers = {"factors": {"lr": 0.02}, "head": {"lr": 0.1}}
    return {"epochs": 10, "batch_size": 6, "optimizers": optimizers, **more}


NAMED = """
import torch
from torch import nn

class Net(nn.Module):
    num_features = 8

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.second(torch.relu(self.first(x)))).mean((2, 3))

def build():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return Net()
"""
