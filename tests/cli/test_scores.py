"""The results of a task that has learned nothing say so."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from taskfold.cli._scored import doubt_of
from taskfold.cli._texts import _of_choices
from taskfold.tasks import read_header
from taskfold.text import Example

from . import project
from .conftest import Run


def test_a_task_that_finds_no_defect_is_no_better_than_its_largest_class(tmp_path: Path, run: Run) -> None:
    """71 % of the images are sound, and nothing tells the others from them."""
    config = project.write(tmp_path)
    for name, count in (("crack", 29), ("sound", 71)):
        for number in range(count):
            project.square(tmp_path / "data" / "parts" / name / f"{number}.png", (120, 120, 120), 100 * count + number)
    document = yaml.safe_load(config.read_text()) | {
        "tasks": [{"name": "parts", "source": {"kind": "folder", "root": "data/parts"}}],
        "train": {"epochs": 2, "optimizers": {"factors": {"lr": 1e-4}, "head": {"lr": 1e-3}}},
    }
    config.write_text(yaml.safe_dump(document))
    trained = run("train", config)
    assert trained.exit_code == 0, trained.stderr
    measured = run("evaluate", config)
    for said in (trained, measured):
        words = " ".join((said.stdout + said.stderr).split())
        assert "Note: parts: accuracy" in words
        assert "are no better than always answering 'sound'" in words
    assert "largest class" in measured.stdout
    assert "taken for" in measured.stdout
    [task] = json.loads(run("evaluate", config, "--json").stdout)["tasks"]
    assert task["verdict"] == "no better"
    assert task["balanced_accuracy"] <= 0.5
    assert task["interval"][0] < task["accuracy"] < task["interval"][1]
    assert task["labels"] == ["crack", "sound"]
    cracks, sound = task["confusion"]
    assert (cracks[0] / sum(cracks), sound[1] / sum(sound)) == tuple(task["recall"])
    results = json.loads((config.parent / "runs" / "results.json").read_text())
    assert results["confusions"] == [{"task": "parts", "labels": task["labels"], "cells": task["confusion"]}]


def test_a_small_task_is_cross_validated_and_trained_on_all(tmp_path: Path, run: Run) -> None:
    config = project.write(tmp_path)
    document = yaml.safe_load(config.read_text())
    document["tasks"] = document["tasks"][:1]
    document["train"] = {**document.get("train", {}), "epochs": 1, "folds": 2, "class_weights": "balanced"}
    document["preprocessing"] = {"augment": "default"}
    config.write_text(yaml.safe_dump(document))
    first = run("train", config)
    assert first.exit_code == 0, first.stderr
    name = document["tasks"][0]["name"]
    folder = tmp_path / "runs" / "train" / name
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"fold-1", "fold-2"}
    [result] = json.loads((tmp_path / "runs" / "results.json").read_text())["runs"]
    metrics = read_header(tmp_path / "runs" / "tasks" / f"{name}.safetensors")["info"]["metrics"]
    assert metrics["folds"] == 2
    assert metrics["val_accuracy"] == result["metrics"]["val_accuracy"]
    again = run("train", config)
    assert again.exit_code == 0, again.stderr
    assert json.loads((tmp_path / "runs" / "results.json").read_text())["runs"][0]["metrics"] == result["metrics"]


def test_texts_with_the_same_choices_have_scores_of_classes() -> None:
    examples = [Example(f"{n}", answer, choices=("no", "yes")) for n, answer in enumerate(["no"] * 5 + ["yes"] * 2)]
    found = _of_choices(("no", "yes"), examples, [0] * 7)
    assert found is not None
    assert found.confusion == [[5, 0], [2, 0]]
    assert doubt_of(found, ("no", "yes"), "examples").endswith("no better than always answering 'no', which has 71.4%")
    assert _of_choices((), examples, [0] * 7) is None


def test_classes_that_were_not_measured_are_named() -> None:
    labels = ("no", "yes", *"abcdef")
    examples = [Example(f"{n}", answer, choices=labels) for n, answer in enumerate(["no", "yes"] * 20)]
    found = _of_choices(labels, examples, [0, 1] * 20)
    assert found is not None
    assert doubt_of(found, labels, "images") == (
        "the scores say nothing about classes without images: 'a', 'b', 'c', 'd', 'e' and 1 more"
    )
