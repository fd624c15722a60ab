"""A new kind of problem costs one class: every command then has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from taskfold.cli._tasks import load_tasks, reading_of
from taskfold.problems import PROBLEMS, Cells, Loss, Problem, TargetError
from taskfold.serve import Asked
from taskfold.tasks import read_header

from .conftest import Run
from .test_problems import TASKS, files, write


def poisson(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.exp() - targets * outputs)[:, 0]


@dataclass(frozen=True, kw_only=True)
class Counts(Problem):
    """How many of something there are."""

    kind: ClassVar[str] = "counts"
    words: ClassVar[str] = "counts"
    losses: ClassVar[Mapping[str, Loss]] = {"poisson": poisson}
    better: ClassVar[Mapping[str, bool]] = {"off": False}

    def read(self, cells: Cells) -> int:
        if not str(cells[0]).isdecimal():
            raise TargetError(f"{self.columns[0]} must be a whole number, found {cells[0]!r}")
        return int(str(cells[0]))

    def fitted(self, labels: Sequence[int]) -> tuple[Counts, tuple[str, ...]]:
        return self, self.columns

    def target(self, label: int, names: Sequence[str]) -> tuple[float, ...]:
        return (float(label),)

    def check_rows(self, outputs: Tensor, targets: Tensor, name: str) -> None:
        if float(targets.min()) < 0:
            raise TargetError(f"task {name!r}: counts are not below 0")

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"off": (outputs.exp() - targets).abs()[:, 0]}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return {"off": float(self.measures(outputs, targets)["off"].mean())}

    def answer(self, output: Tensor, names: Sequence[str], top: int = 0) -> dict[str, Any]:
        return {"count": float(output.exp()), "said": f"{float(output.exp()):.1f}"}

    def said(self, target: tuple[float, ...], names: Sequence[str]) -> str:
        return f"{target[0]:.0f}"


def test_every_command_knows_a_new_kind(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBLEMS, "counts", Counts)  # type: ignore[arg-type]
    problem = {"kind": "counts", "columns": ["count"]}
    train = {"epochs": 30, "batch_size": 8, "optimizers": {"factors": {"lr": 0.02}, "head": {"lr": 0.2}}}
    config = write(tmp_path, tasks=[{**TASKS[0], "problem": problem}, TASKS[2]], train=train)
    lines = (tmp_path / "squares.csv").read_text().splitlines()
    counts = ["count", *(str(1 + 4 * line.startswith("red")) for line in lines[1:])]
    (tmp_path / "squares.csv").write_text("\n".join(map(",".join, zip(lines, counts, strict=True))))
    result = run("train", config)
    assert result.exit_code == 0, result.output
    [file] = files(tmp_path, "price")
    info = read_header(file)["info"]
    assert info["problem"] == {"kind": "counts", "columns": ["count"]}
    [one, _] = json.loads(run("evaluate", config, "--json").stdout)["tasks"]
    assert one["off"] == info["metrics"]["test_off"]
    image = tmp_path / "red0.png"
    [said] = json.loads(run("predict", file, image, "--json").stdout)["predictions"]
    assert said["count"] == pytest.approx(5, abs=2.5)
    assert "counts" in run("inspect", file).stdout
    assert run("export", file, "-o", tmp_path / "price.pt2").exit_code == 0
    assert json.loads((tmp_path / "price.json").read_text())["tasks"][0]["problem"]["kind"] == "counts"
    assert "must be a whole number, found '1.5'" in refused(tmp_path, run, config)


def refused(folder: Path, run: Run, config: Path) -> str:
    text = (folder / "squares.csv").read_text().replace(",5", ",1.5", 1)
    (folder / "squares.csv").write_text(text)
    return run("train", config, "--fresh").stderr


def test_a_server_words_answers_as_predict_does(tmp_path: Path, run: Run) -> None:
    assert run("train", write(tmp_path, tasks=[TASKS[0], TASKS[3]])).exit_code == 0
    model, loaded = load_tasks(None, None, files(tmp_path, "price", "grade"))
    outputs = {"price": torch.tensor([12.5]), "grade": torch.tensor([0.0, 1.0, 3.0])}
    said = {}
    for name, output in outputs.items():
        reading = reading_of(model[name], loaded)
        said[name] = reading.said(output, None, Asked(top=2))  # type: ignore[arg-type]
    assert said["price"]["value"] == 12.5
    assert [one["label"] for one in said["grade"]["probabilities"]] == ["good", "fair"]
