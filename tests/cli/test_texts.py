"""Text tasks: trained together, used, measured; interrupted and continued."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from taskfold.cli._texts import TextTask
from taskfold.config.run import load_config
from taskfold.report import read_results
from taskfold.tasks import read, read_header
from taskfold.train import TaskSet

from . import texts
from .conftest import Run
from .served import answers, holds, served


def test_what_a_joint_run_leaves_behind(together: Path) -> None:
    results = read_results(together / "runs" / "results.json")
    [table] = [table for table in results.comparisons if table.title == "Each task"]
    assert [row.label for row in table.rows] == [*texts.TASKS, "mean"]
    [routing] = results.routing
    assert (routing.tasks, len(routing.layers)) == (tuple(texts.TASKS), texts.LAYERS)
    [losses] = results.studies
    assert [series.label for series in losses.series] == ["mean of all tasks", *texts.TASKS]
    assert [len(series.x) for series in losses.series] == [3, 3, 3, 3]
    page = (together / "runs" / "report.html").read_text()
    assert all(word in page for word in ("<html", "Validation loss", "expert", *texts.TASKS))
    shared = read(together / "runs" / "inventory.safetensors", "inventory")
    for name in texts.TASKS:
        task = read(together / "runs" / "tasks" / f"{name}.safetensors")
        assert sum(tensor.numel() for tensor in task.tensors.values()) == texts.LAYERS * texts.SKILLS
        assert task.header["inventory"]["standalone"] is False
        assert not task.tensors.keys() & shared.tensors.keys()


def test_a_server_answers_texts_as_predict_does(together: Path, run: Run) -> None:
    files = [together / "runs" / "tasks" / f"{name}.safetensors" for name in texts.TASKS]
    asked = ["ant bee", "a much longer one"]
    with served(run, together / "runs") as client:
        for chosen in ({}, {"choices": ["yes", "no"]}):
            options = ["--choices", " ||| ".join(chosen["choices"])] if chosen else []
            wanted = json.loads(run("predict", *files, *asked, *options, "--json").stdout)["predictions"]
            found = answers(client.post("/predict", json={"task": [*texts.TASKS], "text": asked, **chosen}))
            said = {(one["task"], asked[one["input"]]): one for one in found}
            for one in wanted:
                answer = {key: value for key, value in one.items() if key != "input"}
                assert holds(said[one["task"], one["input"]], answer)
            assert len(said) == len(wanted)


def test_the_same_command_again_trains_nothing_and_ends_in_the_same_bytes(
    together: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(together, folder)
    log = (folder / "runs" / "together" / "log.jsonl").read_bytes()
    assert run("train", folder / "together.yaml").exit_code == 0
    assert digests(folder) == digests(together)
    assert (folder / "runs" / "together" / "log.jsonl").read_bytes() == log


class Interrupted:
    """Examples that end in Ctrl-C in the second epoch."""

    def __init__(self, examples: Any) -> None:
        self.examples, self.epoch = examples, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        if self.epoch:
            raise KeyboardInterrupt
        return self.examples[index]


def test_an_interrupted_run_says_how_to_go_on_and_ends_in_the_same_bytes(
    together: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = {**texts.TOGETHER, "checkpoint_every": 0, "log_every": 1}
    config, whole = texts.write(tmp_path, together=often), TextTask.sets

    def sets(self: TextTask, seed: int) -> TaskSet:
        found = whole(self, seed)
        return TaskSet(Interrupted(found.train), found.val)  # type: ignore[arg-type]

    monkeypatch.setattr(TextTask, "sets", sets)
    result = run("train", config)
    assert result.exit_code == 130
    assert f"To go on from the last checkpoint: taskfold train {config}" in result.stderr
    assert not (tmp_path / "runs" / "tasks").exists()
    log = tmp_path / "runs" / "together" / "log.jsonl"
    first = log.read_text().splitlines()[0]
    monkeypatch.setattr(TextTask, "sets", whole)
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    assert digests(tmp_path) == digests(together)
    assert log.read_text().splitlines()[0] == first  # with its time: what came before was not trained again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "tasks": [
                    {"name": name, "source": {"kind": "examples", "file": "first.jsonl"}} for name in ("first", "x")
                ]
            },
            "tasks 'double', 'last' are not in the configuration any more, task 'x' is new; choose another output",
        ),
        ({"text": {"max_input": 12, "max_target": 8}}, "double.text.max_input was 16, is now 12"),
        ({"split_seed": 1}, "double.train was '9 examples"),
        ({"method": {"name": "poly", "rank": 3, "skills": 3}}, "rank was 2, is now 3; and the shapes of "),
        ({"together": {**texts.TOGETHER, "epochs": 4}}, "epochs was 3, is now 4"),
        ({"backbone": "net.py:other"}, "backbone was"),
    ],
)
def test_a_run_of_other_settings_or_data_is_refused_and_kept(
    changes: dict[str, Any], message: str, together: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(together, folder)
    result = run("train", texts.write(folder, **changes))
    assert result.exit_code == 1
    assert message in result.stderr
    assert "--fresh" in result.stderr
    assert len(result.stderr) < 1200
    assert digests(folder) == digests(together)


def test_every_problem_of_data_and_method_is_said_before_training(tmp_path: Path, run: Run) -> None:
    def task(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "source": {"kind": "examples", "file": "first.jsonl"}, **more}

    tasks = [
        task("a", source={"kind": "examples", "file": "nowhere.csv"}),
        task("b", source={"kind": "topics", "texts": "nowhere.tsv"}),
        task("c", source={"kind": "topics", "texts": "packaged:nope"}),
        task("d", method={"name": "mhr", "splits": 7}),
        task("e", text={"metrics": ["rank"]}, source={"kind": "examples", "file": "open.csv"}),
    ]
    config = texts.write(tmp_path, tasks=tasks)
    (tmp_path / "open.csv").write_text("input,target\n" + "".join(f"{word},{word}\n" for word in texts.WORDS))
    result = run("train", config)
    assert result.exit_code == 1
    for place, message in [
        ("tasks[0].source", "nowhere.csv"),
        ("tasks[1].source", "nowhere.tsv"),
        ("tasks[2].source", "packaged:nope is not known"),
        ("tasks[3].method", "splits=7 does not divide"),
        ("tasks[4].source", "test examples without choices"),
    ]:
        assert any(f"together.yaml: {place}: " in line and message in line for line in result.stderr.splitlines())
    assert not (tmp_path / "runs").exists()


def test_a_backbone_that_writes_no_text_is_refused(tmp_path: Path, run: Run) -> None:
    result = run("train", texts.write(tmp_path, backbone="net.py:mute"))
    assert result.exit_code == 1
    assert "together.yaml: backbone: net.py:mute has no tokenizer" in result.stderr


class TestUse:
    def test_ranking_says_what_evaluate_counts(self, together: Path, run: Run) -> None:
        result = run("evaluate", together / "together.yaml", "--json")
        assert result.exit_code == 0, result.stderr
        for task in json.loads(result.stdout)["tasks"]:
            assert read_header(Path(task["file"]))["info"]["metrics"]["test_exact_match"] == task["exact_match"]
            config = load_config(together / "together.yaml")
            [source] = [one.source for one in config.tasks if one.name == task["task"]]
            right = 0
            for example in source.load("x", config.split_seed).test:  # type: ignore[union-attr]
                line = ["--choices", " ||| ".join(example.choices), "--json"]
                said = json.loads(run("predict", task["file"], example.input, *line).stdout)
                right += said["predictions"][0]["answer"] == example.target
            assert right / task["count"] == task["rank_accuracy"]

    def test_several_tasks_answer_lines_of_a_file(self, together: Path, tmp_path: Path, run: Run) -> None:
        (tmp_path / "lines.txt").write_text("ant\n\nbee\n")
        files = [together / "runs" / "tasks" / f"{name}.safetensors" for name in ("first", "last")]
        result = run("predict", *files, "--lines", tmp_path / "lines.txt", "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)["predictions"]
        assert [(one["input"], one["task"]) for one in found] == [
            (word, task) for word in ("ant", "bee") for task in ("first", "last")
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give at least one text"),
            (["ant", "--choices", "yes"], "--choices"),
            (["ant", "--choices", "yes ||| yes"], "--choices"),
            (["--lines", "nowhere.txt"], "nowhere.txt"),
        ],
    )
    def test_misuse_is_said(self, arguments: list[str], message: str, together: Path, run: Run) -> None:
        result = run("predict", together / "runs" / "tasks" / "first.safetensors", *arguments)
        assert result.exit_code == 1
        assert message in result.stderr

    def test_an_inventory_says_what_it_holds_and_who_stands_on_it(self, together: Path, run: Run) -> None:
        result = run("inspect", together / "runs" / "inventory.safetensors", "--json")
        [found] = json.loads(result.stdout)
        numbers = sum(tensor.numel() for tensor in read(Path(found["file"]), "inventory").tensors.values())
        poly = {"layers": texts.LAYERS, "experts": [texts.SKILLS], "numbers": numbers}
        assert (found["kind"], found["methods"], found["tasks"]) == ("inventory", {"poly": poly}, sorted(texts.TASKS))
        shown = run("inspect", together / "runs" / "inventory.safetensors").stdout
        assert f"{texts.LAYERS} layers, {numbers:,} numbers, {texts.SKILLS} experts in each" in shown


def digests(folder: Path) -> dict[str, str]:
    files = [*sorted((folder / "runs" / "tasks").glob("*.safetensors")), folder / "runs" / "inventory.safetensors"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
