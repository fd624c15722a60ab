"""Groups of parameters: a rate that tasks name, or an optimiser that the settings list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from torch import nn

from taskfold import LoRA, MultiTask, Task
from taskfold.factors import Group, Leaf, LowRank, Modes
from taskfold.routing import Sharing, sharing
from taskfold.train import (
    Settings,
    group_rates,
    train_task,
    train_together,
)

from .by_hand import lines
from .joint import PRIVATE, QUICK, SGD, points, sets, team


@dataclass(frozen=True)
class Split(LowRank):
    """Low rank, one of whose two matrices is of a group of its own."""

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        leaves = super().leaves(modes)
        return {**leaves, "up": replace(leaves["up"], group=Group("scale", 1e-2))}


@dataclass(frozen=True)
class SplitLoRA(LoRA):
    """LoRA whose groups are told apart by leaf."""

    name: ClassVar[str] = "split-lora"

    def update(self) -> tuple[LowRank, Sharing]:
        return Split(self.rank), sharing("private")


def test_a_group_that_nobody_knows_trains_at_its_tasks_rate_and_may_be_listed(tmp_path: Path) -> None:
    method = SplitLoRA(rank=2, layers="linear")
    model = MultiTask(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), method, num_features=6)
    model.add_task("a", head=2)
    assert model["a"].rates() == {"factors": 1e-2, "head": 5e-3, "scale": 1e-2}
    assert group_rates(model, ["a"]) == model["a"].rates()
    settings = Settings(epochs=2, batch_size=8, log_every=1, warmup=0, schedule="constant")
    train_task(model, "a", points("a", 20), points("a", 7), settings, folder=tmp_path / "default")
    assert lines(tmp_path / "default")[0]["lr"] == {"factors": 1e-2, "head": 5e-3, "scale": 1e-2}
    listed = settings.model_copy(update={"optimizers": {"scale": SGD}})
    with pytest.raises(ValueError, match=r"optimizers\.scale\.lr was 0\.01, is now 0\.1"):
        train_task(model, "a", points("a", 20), points("a", 7), listed, folder=tmp_path / "default")
    train_task(model, "a", points("a", 20), points("a", 7), listed, folder=tmp_path / "listed")
    assert lines(tmp_path / "listed")[0]["lr"] == {"factors": 1e-2, "head": 5e-3, "scale": 0.1}
    unknown = settings.model_copy(update={"optimizers": {"mask": SGD}})
    with pytest.raises(ValueError, match=r"optimizers lists 'mask'.*there are: factors, head, scale"):
        train_task(model, "a", points("a", 20), points("a", 7), unknown)


def test_the_default_rate_listed_is_the_same_run(tmp_path: Path) -> None:
    train_task(team(PRIVATE), "a", points("a", 20), points("a", 7), Settings(epochs=1), folder=tmp_path)
    said = {"optimizers": {"head": {"lr": 5e-3}}, "phases": [{}]}
    settings = Settings.model_validate({"epochs": 1, **said})
    assert train_task(team(PRIVATE), "a", points("a", 20), points("a", 7), settings, folder=tmp_path).resumed


def test_tasks_that_name_different_rates_for_a_group_need_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "rates", lambda task: {"factors": 1e-2 if task.name == "a" else 1e-3, "head": 5e-3})
    with pytest.raises(ValueError, match=r"group 'factors' \(0\.01 by 'a', 0\.001 by 'b', 0\.001 by 'c'\)"):
        train_together(team(PRIVATE), sets(), QUICK)
    train_together(team(PRIVATE), sets(), QUICK.model_copy(update={"optimizers": {"factors": SGD}}))
