"""The main job in several processes: methods side by side."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from taskfold.data import parse_source
from taskfold.methods import FTN, HeadOnly
from taskfold.processes import side_by_side
from taskfold.threads import Choice
from taskfold_demos.jobs import DEMOS, Entry, Plan, plan, run_demo
from taskfold_demos.jobs import _demos as demos
from taskfold_demos.trainings import Bench, Training

SOURCE = parse_source({"kind": "packaged", "name": "digits", "train_size": 20, "val_size": 10, "test_size": 20})
ENTRIES = (Entry("head only", HeadOnly()), Entry("FTN R=1", FTN(rank=1)))
SMALL = Plan({"digits": SOURCE}, ENTRIES, size=32, epochs=1, batch_size=10, proof=4, threads=1)


def test_another_process_finds_the_same_bits(tmp_path: Path) -> None:
    pieces = [Training(SMALL.entries[1], 0, tmp_path, keep=False, quiet=True)]
    bench = Bench(SMALL)
    alone, apart = ([*side_by_side(bench, pieces, processes)] for processes in (1, 2))
    assert timeless([part for _, (_, part) in alone]) == timeless([part for _, (_, part) in apart])
    assert re.match(r" *FTN R=1 · digits .* on test", apart[0][1][0])


@pytest.mark.whole
def test_two_processes_find_what_one_finds_bit_for_bit(tmp_path: Path) -> None:
    found = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        with (tmp_path / f"{processes}.txt").open("w") as said:
            document = run_demo(replace(SMALL, processes=processes), out, console=Console(file=said, width=100))
        found.append((document, (out / "tasks" / "digits.safetensors").read_bytes()))
    (alone, file), (apart, other) = [(timeless(document), file) for document, file in found]
    assert [run["label"] for run in alone["runs"]] == ["head only", "FTN R=1"]
    assert alone == apart
    assert file == other
    lines = (tmp_path / "2.txt").read_text()
    assert len(re.findall(r"· digits .* on test", lines)) == 2
    assert "No forgetting: 1 of 1" in lines


def timeless(found: Any) -> Any:
    """The document without times."""
    if isinstance(found, list):
        return [timeless(one) for one in found]
    if isinstance(found, dict):
        return {key: timeless(one) for key, one in found.items() if key not in ("seconds", "samples_per_second")}
    return found


def test_as_many_processes_as_pay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Plan] = []
    monkeypatch.setattr(demos, "run_demo", lambda made, *_, **__: asked.append(made))
    monkeypatch.setattr(demos, "worthwhile", lambda pieces, threads: 2)
    choices: list[tuple[bool, Choice, int | None]] = [
        (False, "auto", None),
        (False, 1, None),
        (True, "auto", None),
        (True, 1, 3),
    ]
    for quick, threads, processes in choices:
        DEMOS["tasks"]("default", 1, quick, threads, processes)(tmp_path)
    assert [(one.processes, one.threads) for one in asked] == [(2, None), (2, 1), (1, "auto"), (3, 1)]
    assert plan().processes == 1
