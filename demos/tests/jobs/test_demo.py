"""The main job in its small form, on the packaged data and weights, and its plan."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from taskfold.report import read_results
from taskfold.tasks import read_header
from taskfold_demos.jobs import plan, run_demo


def test_the_quick_demo_does_every_step(tmp_path: Path) -> None:
    with (tmp_path / "said.txt").open("w") as said:
        run_demo(plan(quick=True), tmp_path / "out", console=Console(file=said, width=100))
    results = read_results(tmp_path / "out" / "results.json")
    assert {(run.task, run.label) for run in results.runs} == {
        (task, label) for task in ("mnist", "digits") for label in ("head only", "FTN R=16", "fine-tuning")
    }
    assert not [run.failed for run in results.runs if run.failed]
    assert [one.identical for one in results.isolation] == [True, True]
    assert results.mixed_batch is not None
    assert results.mixed_batch.agreement == 1.0
    assert results.mixed_batch.max_abs_difference < 1e-3
    header = read_header(tmp_path / "out" / "tasks" / "mnist.safetensors")
    assert header["info"]["labels"] == [str(n) for n in range(10)]
    assert "test_accuracy" in header["info"]["metrics"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=.https?:", report), "the report stands by itself"
    said_text = (tmp_path / "said.txt").read_text()
    assert "No forgetting: 2 of 2 tasks bit-identical" in said_text
    assert json.loads((tmp_path / "out" / "results.json").read_text())["version"] == 1


def test_plans() -> None:
    labels = [entry.label for entry in plan("all").entries]
    assert labels == ["head only", "head + norm", "LoRA r=4 + norm", "FTN R=1", "FTN R=4", "FTN R=16", "fine-tuning"]
    assert len(plan().sources) >= 4
    with pytest.raises(ValueError, match="compare='most' is not known; choose one of default, all"):
        plan("most")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds must be ≥ 1, found 0"):
        plan(seeds=0)
