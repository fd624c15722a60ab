"""Mistaken input to commands: the message names the mistake in plain words, and no user's file is lost."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import yaml
from torch import nn

import taskfold as tfold
from taskfold.config import ConfigError
from taskfold.config.run import load_config
from taskfold.data import ArrayImages, ImageSet, TaskData, parse_source, sound
from taskfold.tasks import Store

from . import project
from .conftest import Run


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The output of a run with one task."""
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.LoRA(rank=1))
    model.add_task("one")
    Store(tmp_path / "runs" / "tasks").publish(model.save_task("one", tmp_path / "one.safetensors"))
    (tmp_path / "net.py").write_text(project.BACKBONE)
    noted = {"model": "net.py:build", "weights": None, "base": "..", "inventory": None}
    (tmp_path / "runs" / "run.json").write_text(json.dumps(noted))
    return tmp_path


def refused(run: Run, *words: object) -> str:
    """The message of a command that ends with one."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith("Error: ") and "Errno" not in result.stderr
    return result.stderr


def test_a_file_of_another_kind_is_not_written_over(made: Path, run: Run) -> None:
    mine = made / "config.yaml"
    mine.write_text("of months\n")
    for words in (["pack", made / "runs", "-f", mine], ["schema", "-o", mine]):
        assert "so that no other file is replaced by mistake; found" in refused(run, *words)
    assert mine.read_text() == "of months\n"


def test_a_place_that_is_not_there_is_named_and_no_draft(made: Path, run: Run) -> None:
    said = refused(run, "pack", made / "runs", "-f", made / "no" / "where.zip")
    assert f"cannot write where.zip: folder '{made / 'no'}' does not exist; create it first" in said.replace("\n", " ")
    (made / "a.zip").mkdir()
    assert "is a folder; name a file in it" in refused(run, "pack", made / "runs", "-f", made / "a.zip")
    said = refused(run, "unpack", made / "no.zip", made / "x")
    assert said == f"Error: {made / 'no.zip'}: no such file or directory\n"


def test_a_pack_that_was_damaged_on_its_way_is_refused(made: Path, run: Run) -> None:
    run("pack", made / "runs", "-f", made / "a.zip")
    whole = (made / "a.zip").read_bytes()
    for place in range(60, len(whole), len(whole) // 29):
        data = bytearray(whole)
        data[place] ^= 0xFF
        (made / "b.zip").write_bytes(data)
        with suppress(Exception), ZipFile(made / "a.zip") as one, ZipFile(made / "b.zip") as other:
            if [*map(other.read, other.namelist())] == [*map(one.read, one.namelist())]:
                continue  # a byte that nobody reads, such as one of a time
        said = refused(run, "unpack", made / "b.zip", made / "mine")
        assert "is no file of taskfold pack, or damaged" in said
        assert not (made / "mine").exists() and not [*made.glob(".mine*")]


def test_what_is_given_for_nothing_is_refused(made: Path, run: Run) -> None:
    file, image = made / "runs" / "tasks" / "one.safetensors", made / "a.png"
    said = refused(run, "predict", file, image, "--inventory", file)
    assert "none of these tasks shares an inventory; leave it out" in said
    assert "no.pth" in refused(run, "predict", file, image, "--weights", made / "no.pth")
    assert "--data must be a folder, a file or a source, found ''" in refused(run, "evaluate", file, "--data", "")
    assert "--data {kind: folder}: root: is missing" in refused(run, "evaluate", file, "--data", "{kind: folder}")


def test_an_empty_version_and_a_name_that_it_has_are_no_choice(made: Path, run: Run) -> None:
    assert "has no versions that begin with ''" in refused(run, "tasks", "diff", made / "runs", "one", "")
    assert "has no versions that begin with ''" in refused(run, "tasks", "diff", made / "runs", "one", "a", "")
    said = refused(run, "tasks", "rename", made / "runs", "one", "one")
    assert "task 'one' has that name already; choose another name" in said


def test_a_configuration_of_another_command_is_named(tmp_path: Path, run: Run) -> None:
    config = project.write(tmp_path)
    assert f"use it with taskfold train {config}" in refused(run, "transfer", config)
    assert "taskfold affinity: groups: must be ≥ 1, found 0" in refused(run, "affinity", config, "--groups", 0)


def test_a_folder_without_tasks_is_not_served(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("uvicorn")
    said = refused(run, "serve", tmp_path, "--port", 0)
    assert "has no tasks and no run.json; give the output of taskfold train, or --backbone" in said


def test_a_pin_that_is_no_task_is_refused(made: Path, run: Run) -> None:
    pytest.importorskip("uvicorn")
    said = refused(run, "serve", made / "runs", "--resident", 2, "--pin", "on")
    assert "--pin on: there is no such task; there are one" in said


@pytest.mark.parametrize("name", ["a[1]", "b{2}", "c, d", "e: f", "#g", "h*"])
def test_a_folder_of_any_name_becomes_tasks(name: str, tmp_path: Path, run: Run) -> None:
    for task in ("x", "y"):
        project.images(tmp_path / name / "data" / task, ["blue", "red"], 4)
    data = tmp_path / name / "data"
    for place in (tmp_path, data):  # by a pattern; one by one, as the pattern would match the configuration too
        result = run("init", data, "-c", place / "config.yaml")
        assert result.exit_code == 0, result.stderr
        assert ("glob" in (place / "config.yaml").read_text()) == (place == tmp_path)
        assert [task.name for task in load_config(place / "config.yaml").tasks] == ["x", "y"]
    assert "would lie among the classes of" in refused(run, "init", data / "x", "-c", data / "x" / "config.yaml")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"train": {"epochs": True}}, "train.epochs"),
        ({"train": {"optimizers": {"head": {"lr": True}}}}, "train.optimizers.head.lr"),
        ({"image_size": True}, "image_size"),
        ({"split_seed": False}, "split_seed"),
    ],
)
def test_true_is_no_number(changes: dict[str, object], place: str, tmp_path: Path) -> None:
    document = yaml.safe_load(project.write(tmp_path).read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**document, **changes}))
    with pytest.raises(ConfigError, match=rf"config.yaml: {place}: must be a number, found (true|false)$"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": ""}, "output: must be a path, found ''"),
        ({"output": "no\0where"}, "line .*: text has a NUL character"),
        ({"output": "data/warm"}, "output: is in .*warm, whose folders are classes of task 'warm'; choose another"),
        ({"output": "data/warm/runs"}, "output: is in .*warm, whose folders are classes of task 'warm'"),
        ({"output": "data/runs", "tasks": {"glob": "data/*"}}, r"output: 'data/runs' matches tasks.glob 'data/\*'"),
        ({"image_size": 10**6}, "image_size: must be ≤ 16384, found 1000000"),
        ({"train": {"class_weights": [0, 0]}}, r"train.class_weights: must have a number above 0, found \[0.0, 0.0\]"),
        ({"train": {"lr": 1e-3}}, r"train.lr: must be auto, found 0.001; .* optimizers: {head: {lr: 0.001}}"),
    ],
)
def test_what_would_be_read_otherwise_than_it_was_meant_is_refused(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    document = yaml.safe_load(project.write(tmp_path).read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**document, **changes}))
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("path,label\na.png,caf\xe9\n".encode("latin-1"), "list.csv: not UTF-8 text: .* at byte 20; save it as UTF-8"),
        ("path,label\n".encode("utf-16"), "list.csv: not UTF-8 text: invalid start byte at byte 0; save it as UTF-8"),
        (b"path,label\na.png,x\na\0.png,x\n", "list.csv, line 3: text has a NUL character; leave it out"),
        (b'path,label\na.png,"' + b"x" * 200_000, "list.csv, line .: cannot be read: field larger than field limit"),
        (b"path;label\na.png;x\n", "list.csv: must have a column 'path', found path;label; commas part columns"),
    ],
)
def test_a_list_in_another_encoding_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        parse_source({"kind": "csv", "file": tmp_path / "list.csv"}).load()


def test_classes_that_differ_in_case_alone_are_said() -> None:
    pixels = np.arange(6, dtype=np.uint8).repeat(16).reshape(6, 4, 4)
    sets = [ImageSet([0, 1], ArrayImages(pixels[[n, n + 1]]), ["a", "b"]) for n in (0, 2, 4)]
    [data] = sound([TaskData("one", ("Cat", "cat"), *sets)])
    assert data.notes == ("classes that differ in the case of letters alone: 'Cat' and 'cat'",)
