"""Affinities on the command line: measured once, saved, and used for groups."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskfold.report import read_results
from taskfold.tasks import read_header

from . import project, texts
from .conftest import Run

GROUPED = {"epochs": 1, "batch_size": 8, "groups": "auto", "affinity": {"steps": 4, "every": 2, "samples": 3}}


@pytest.fixture(name="grouped", scope="module")
def _grouped(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A project whose affinities were measured; its configuration."""
    path = texts.write(tmp_path_factory.mktemp("groups"), together=GROUPED)
    result = run("affinity", path, "--json", "--groups", 2)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["tasks"] == [*texts.TASKS]
    assert len(said["groups"]) == 2
    assert said["measurements"] == 2
    return path


def test_the_report_has_a_map_of_each_measure(grouped: Path) -> None:
    folder = grouped.parent / "runs" / "affinity"
    [found] = read_results(folder / "results.json").affinity
    assert [one.measure for one in found.matrices] == ["linear", "lookahead", "cosine"]
    page = (folder / "report.html").read_text()
    assert all(f'id="affinity-0-{measure}"' in page for measure in ("linear", "lookahead", "cosine"))
    assert "Who trains with whom" in page


def test_training_goes_by_what_was_measured(grouped: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskfold.cli._groups.affinity", None)  # it is not measured again
    grouped = texts.write(grouped.parent, together={**GROUPED, "affinity": {**GROUPED["affinity"], "groups": 2}})
    result = run("train", grouped)
    assert result.exit_code == 0, result.output
    runs = grouped.parent / "runs"
    results = read_results(runs / "results.json")
    groups = results.affinity[0].groups
    for number, names in enumerate(groups, 1):
        files = (runs / f"group-{number}" / "tasks").glob("*.safetensors")
        assert sorted(file.stem for file in files) == sorted(names)
        assert (runs / f"group-{number}" / "inventory.safetensors").is_file()
    assert all(read_header(file)["inventory"]["standalone"] for file in (runs / "tasks").glob("*.safetensors"))
    before = (runs / "group-1" / "together" / "log.jsonl").read_bytes()
    assert run("train", grouped).exit_code == 0
    assert (runs / "group-1" / "together" / "log.jsonl").read_bytes() == before
    result = run("evaluate", grouped, "--json")
    assert result.exit_code == 0, result.output
    assert [one["task"] for one in json.loads(result.stdout)["tasks"]] == [*texts.TASKS]
    changes = {"from": str(runs / "group-1"), "train": {"epochs": 1, "batch_size": 4}}
    assert run("transfer", texts.transfer(grouped.parent, **changes)).exit_code == 0


def test_tasks_that_share_nothing_are_refused(tmp_path: Path, run: Run) -> None:
    result = run("affinity", project.write(tmp_path))
    assert result.exit_code == 1
    assert "'warm' (ftn), 'all' (ftn) share nothing; choose a method that shares" in result.stderr
    result = run("affinity", project.write(tmp_path), "--groups", 3)
    assert "groups=3 must be at most the number of tasks, 2" in result.stderr
    result = run("affinity", project.write(tmp_path), "--steps", 5)
    assert "steps=5 and every=10 make 0 measurements" in result.stderr
