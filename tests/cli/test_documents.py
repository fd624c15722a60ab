"""Whole texts with a class, numbers, labels or a level, on an encoder with a head for each task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskfold.tasks import read_header

from .conftest import Run, trained_in
from .served import answers, holds, served
from .test_words import BACKBONE

pytest.importorskip("transformers")

SOURCE = {"kind": "documents", "file": "texts.csv", "max_tokens": 8}
TASKS: list[dict[str, Any]] = [
    {"name": "stars", "problem": {"kind": "regression", "columns": ["stars"]}},
    {"name": "both", "problem": {"kind": "regression", "columns": ["stars", "length"], "loss": "huber"}},
    {"name": "people", "problem": {"kind": "multi-label", "columns": ["people"]}},
    {"name": "grade", "problem": {"kind": "ordinal", "columns": ["grade"], "order": ["poor", "fair", "good"]}},
    {"name": "place", "problem": {"columns": ["place"]}},
]


def write(folder: Path, **changes: Any) -> Path:
    """Texts about who lives where, and a task for every kind of label."""
    (folder / "net.py").write_text(BACKBONE)
    lines = ["text,stars,length,people,grade,place"]
    for who in ("ann", "bob", "ann and bob", "bobs"):
        for where in ("rome", "oslo"):
            for more in ("", " and ann", " in"):
                people = ";".join(name for name in ("ann", "bob") if name in f"{who}{more}".split())
                stars, place = (140, "rome") if where == "rome" else (110, "oslo")
                level = ("good" if more else "fair") if where == "rome" else "poor"
                text = (
                    f"{where} {who} lives{more}"  # the first word says the place: a network drawn at random learns that
                )
                lines.append(f"{text},{stars},{len(text.split()) / 10},{people},{level},{place}")
    (folder / "texts.csv").write_text("\n".join(lines))
    document = {
        "backbone": "net.py:build",
        "method": {"name": "lora", "rank": 2},
        "train": {"epochs": 25, "batch_size": 8, "optimizers": {"head": {"lr": 0.05}}},
        "source": SOURCE,
        "output": "runs",
        "tasks": TASKS,
    }
    path = folder / "config.yaml"
    whole = {key: value for key, value in {**document, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The folder of a trained project; not to be changed."""
    return trained_in(tmp_path_factory.mktemp("documents"), write, run)


def test_whole_texts_are_learned_measured_and_answered(trained: Path, run: Run) -> None:
    files = {one["name"]: trained / "runs" / "tasks" / f"{one['name']}.safetensors" for one in TASKS}
    info = {name: read_header(file)["info"] for name, file in files.items()}
    assert info["stars"]["preprocessing"] == {"kind": "documents", "max_tokens": 8}
    assert info["people"]["labels"] == ["ann", "bob"] and info["grade"]["problem"]["order"] == ["poor", "fair", "good"]
    found = {one["task"]: one for one in json.loads(run("evaluate", trained / "config.yaml", "--json").stdout)["tasks"]}
    assert found["stars"]["mae"] < 5  # of 110 to 140: the head puts out stars
    assert found["place"]["accuracy"] == info["place"]["metrics"]["test_accuracy"]
    for name, score in (("both", "mae"), ("people", "macro_f1"), ("grade", "accuracy")):
        assert found[name][score] == pytest.approx(info[name]["metrics"][f"test_{score}"], abs=1e-5)
    whole = run("evaluate", files["place"], "--data", f"{{kind: documents, file: {trained}/texts.csv}}", "--json")
    [one] = json.loads(whole.stdout)["tasks"]
    assert (one["count"], one["left_out"]) == (4, 20)  # a fifth of each class was held out
    result = run("predict", *files.values(), "rome ann lives", "oslo bob lives", "--json")
    assert result.exit_code == 0, result.stderr
    said = {(one["task"], one["input"]): one for one in json.loads(result.stdout)["predictions"]}
    assert said["place", "oslo bob lives"]["said"] in ("oslo", "rome")
    assert len(said) == 2 * len(TASKS)
    alone = json.loads(run("predict", files["stars"], "rome ann lives", "--json").stdout)["predictions"][0]
    beside = run("predict", files["stars"], "rome ann lives", "rome ann and bob lives in", "--json")
    assert json.loads(beside.stdout)["predictions"][0]["said"] == alone["said"]  # padding changes nothing
    assert "documents" in run("inspect", files["stars"]).stdout
    again = run("train", trained / "config.yaml")
    assert again.exit_code == 0 and "place: finished before" in again.stderr


def test_a_server_says_of_whole_texts_what_predict_says(trained: Path, run: Run) -> None:
    files = [trained / "runs" / "tasks" / f"{one['name']}.safetensors" for one in TASKS]
    texts = ["ann lives in rome", "bob lives in oslo and"]
    wanted = json.loads(run("predict", *files, *texts, "--json").stdout)["predictions"]
    with served(run, trained / "runs") as client:
        asked = client.post("/predict", json={"task": "*", "text": texts})
        found = {(one["task"], texts[one["input"]]): one for one in answers(asked)}
        assert len(found) == len(wanted) == 2 * len(TASKS)
        for one in wanted:
            said = {key: value for key, value in one.items() if key != "input"}
            assert holds(found[one["task"], one["input"]], said)
        long = client.post("/predict", json={"task": "place", "text": " ".join(["ann"] * 9)})
        assert (long.status_code, "9 tokens, more than 8" in long.text) == (400, True)


def test_a_text_that_is_too_long_is_an_error_and_no_shorter_answer(trained: Path, run: Run) -> None:
    file = trained / "runs" / "tasks" / "place.safetensors"
    result = run("predict", file, " ".join(["ann"] * 9), "rome ann lives", "--json")
    assert result.exit_code == 1 and "9 tokens, more than 8: give shorter texts" in result.stderr
    assert len(json.loads(result.stdout)["predictions"]) == 1


def test_new_problems_are_transferred_from_a_joint_training(tmp_path: Path, run: Run) -> None:
    method, brief = {"name": "poly", "rank": 1, "skills": 2}, {"epochs": 1, "batch_size": 8}
    config = write(tmp_path, method=method, train=..., together=brief, tasks=[TASKS[0], TASKS[4]])
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    few = tmp_path / "few.yaml"
    document = {"from": "runs", "shots": 8, "train": brief, "source": SOURCE, "output": "few"}
    few.write_text(yaml.safe_dump({**document, "tasks": TASKS[1:4]}))
    result = run("transfer", few)
    assert result.exit_code == 0, result.stderr
    found = json.loads(run("evaluate", few, "--json").stdout)["tasks"]
    assert [one["problem"] for one in found] == ["regression", "multi-label", "ordinal"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": [{"name": "a", "problem": {"kind": "regression", "columns": ["place"]}}]}, "line 2: place must be"),
        ({"tasks": [{"name": "a", "problem": {"columns": ["colour"]}}]}, "line 2: has no colour; the problem's"),
        ({"tasks": [{"name": "a", "problem": "token-classification"}]}, "is for words of texts; give kind: words"),
        (
            {"tasks": [{"name": "a", "problem": {"columns": ["text"]}}]},
            "test: 24 different texts of 24 classes are too few to set some aside",
        ),
        ({"backbone": "net.py:no_text"}, "has no fast tokenizer"),
        (
            {"source": SOURCE | {"max_tokens": 17}},
            "max_tokens=17 is more than net.py:build runs, whose max_position_emb",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, run: Run, changes: dict[str, Any], message: str) -> None:
    result = run("train", write(tmp_path, **changes))
    assert result.exit_code == 1 and message in result.stderr, result.stderr
    assert not (tmp_path / "runs").exists()
