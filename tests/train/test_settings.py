"""Settings refuse what cannot work, and can express the paper's recipe."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from taskfold.methods import Phase, Turn
from taskfold.train import OptimizerSettings, Settings


def test_the_papers_recipe_can_be_said() -> None:
    sgd = {"optimizer": "sgd", "lr": 8e-3}
    groups = {"factors": {"optimizer": "adam", "lr": 5e-3}, "norm": sgd, "head": sgd}
    paper = Settings.model_validate({"optimizers": groups}).optimizers
    parameters = [nn.Parameter(torch.zeros(2))]
    norm = paper["norm"].build(parameters)
    assert isinstance(norm, torch.optim.SGD)
    assert norm.defaults["lr"] == 8e-3
    assert norm.defaults["momentum"] == 0.9
    assert type(paper["factors"].build(parameters)) is torch.optim.Adam
    decoupled = OptimizerSettings(optimizer="adamw", lr=1e-3, weight_decay=0.1).build(parameters)
    assert type(decoupled) is torch.optim.AdamW
    assert decoupled.defaults["weight_decay"] == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"warmup": 1.0},
        {"clip_norm": 0},
        {"label_smoothing": 1.0},
        {"patience": 0},
        {"norm_momentum": 0},
        {"checkpoint_every": -1},
        {"precision": "fp8"},
        {"optimizers": {"head": {"lr": 0}}},
        {"optimizers": {"head": {"lr": float("nan")}}},
        {"optimizers": {"head": {"lr": 1e-3, "momentum": 0.9}}},
        {"phases": []},
        {"phases": [{"groups": ["head"], "epochs": 0}]},
        {"phases": [{"groups": ["head", "head"]}]},
        {"phases": [{"groups": ["head"], "turns": [{"groups": ["factors"]}, {}]}]},
        {"phases": [{"turns": [{"groups": ["head"]}, {"groups": ["head"]}]}]},
        {"phases": [{"group": ["head"]}]},
        {"phases": [{"turns": [{"own": True}, {}]}]},
        {"phases": [{}, {"groups": ["head"]}]},
        {"phases": [{"epochs": 10}, {"groups": ["head"]}], "epochs": 10},
        {"phases": [{"epochs": 3}], "epochs": 10},
        {"learning_rate": 1e-3},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings.model_validate(wrong)


def test_fp16_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValidationError, match="fp16 needs a GPU"):
        Settings(precision="fp16")


def test_every_setting_is_described_and_survives_json() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    phases = (Phase(("head",), epochs=1), Phase(turns=(Turn(("factors",), own_loss=True), Turn())))
    full = Settings(patience=3, phases=phases, optimizers={"mask": OptimizerSettings(lr=1e-3)})
    assert Settings.model_validate_json(full.model_dump_json()) == full
    assert Settings.unseen() <= Settings.model_fields.keys()
