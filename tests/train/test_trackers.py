"""The numbers of a training go to Accelerate's trackers too.

TensorBoard's real writer runs here. W&B, MLflow and Trackio are not among the project's packages: W&B 0.31 alone
brings thirteen others, and pip finds no recent Trackio that fits the pinned ones. Accelerate calls all trackers by the
same methods, so one that records its arguments represents them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking

from taskfold.train import train_task

from .cases import QUICK, data, make


class Told(tracking.GeneralTracker):
    """Notes what it is told."""

    name = "wandb"
    requires_logging_directory = False
    runs: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, run_name: str) -> None:
        super().__init__()
        self.runs.append({"run": run_name, "lines": [], "over": False})

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        self.runs[-1]["started"] = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.runs[-1]["settings"] = values

    def log(self, values: dict[str, Any], step: int | None, **kwargs: Any) -> None:
        self.runs[-1]["lines"].append((step, values))

    def finish(self) -> None:
        self.runs[-1]["over"] = True


def test_a_tracker_gets_what_the_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Told)
    monkeypatch.setattr("taskfold.train._trackers.get_available_trackers", lambda: ["wandb"])
    monkeypatch.setattr(Told, "runs", [])
    settings = QUICK.model_copy(update={"epochs": 1, "log_every": 1, "log_with": ("wandb",)})
    for _ in range(2):  # the second time there is nothing left to do
        train_task(make("a"), "a", data(24), data(12, 1), settings, folder=tmp_path / "run")
    (run,) = Told.runs
    assert run["run"] == "taskfold" and run["started"] and run["over"] and run["settings"]["batch_size"]
    said = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    steps = [one for one in said if one["event"] == "step"]
    assert [(one["step"], one["loss"]) for one in steps] == [
        (step, values["step/loss"]) for step, values in run["lines"] if "step/loss" in values
    ]
    (epoch,) = [values for _, values in run["lines"] if "epoch/val_loss" in values]
    (wanted,) = [one for one in said if one["event"] == "epoch"]
    assert epoch["epoch/val_accuracy"] == wanted["val_accuracy"]
    assert epoch["epoch/tasks/a/val_loss"] == wanted["tasks"]["a"]["val_loss"]


class Failing(Told):
    """Fails at its second line."""

    def log(self, values: dict[str, Any], step: int | None, **kwargs: Any) -> None:
        super().log(values, step)
        if len(self.runs[-1]["lines"]) == 2:
            raise OSError("no network")


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Failing)
    monkeypatch.setattr("taskfold.train._trackers.get_available_trackers", lambda: ["wandb"])
    monkeypatch.setattr(Told, "runs", [])
    settings = QUICK.model_copy(update={"epochs": 2, "log_every": 1, "log_with": ("wandb",)})
    with pytest.warns(UserWarning, match=r"log_with='wandb' has failed \(OSError: no network\).* training goes on"):
        result = train_task(make("a"), "a", data(24), data(12, 1), settings, folder=tmp_path / "run")
    assert len(result.curve) == 2 and len(Told.runs[0]["lines"]) == 2


@pytest.mark.filterwarnings("ignore:.*tensorboard.*")
def test_tensorboard_writes_into_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    settings = QUICK.model_copy(update={"epochs": 1, "log_with": "tensorboard"})
    train_task(make("a"), "a", data(24), data(12, 1), settings, folder=tmp_path / "run")
    (events,) = (tmp_path / "run/taskfold").glob("events.*")
    assert b"epoch/val_loss" in events.read_bytes()
    with pytest.raises(ValueError, match="log_with='tensorboard' writes into the folder of the run, and there is none"):
        train_task(make("a"), "a", data(24), data(12, 1), settings)


def test_a_tracker_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskfold.train._trackers.get_available_trackers", list)
    settings = QUICK.model_copy(update={"log_with": "mlflow"})
    with pytest.raises(ImportError, match="log_with='mlflow' needs its package: pip install mlflow"):
        train_task(make("a"), "a", data(24), data(12, 1), settings)
