"""A run that is interrupted at any moment ends as if it had not been."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from taskfold.train import train_task

from .cases import QUICK, Noisy, bits, data, make
from .processes import run_module


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    done = run_module("tests.train.interrupted", tmp_path)
    killed_at = json.loads(done)
    assert len([step for step in killed_at if 0 < step < 36]) >= 3
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert (killed / "a.safetensors").read_bytes() == (whole / "a.safetensors").read_bytes()
    assert [timeless(line) for line in lines(killed)] == [timeless(line) for line in lines(whole)]
    assert [line["step"] for line in lines(killed) if line["event"] == "step"] == list(range(1, 37))


class Interrupted(Noisy):
    """Stops the run when a sample of some epoch is asked for."""

    def __init__(self, *args: Any, epoch: int, index: int) -> None:
        super().__init__(*args)
        self.when = epoch, index

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if (self.epoch, index) == self.when:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize(("precision", "epoch"), [("no", 0), ("no", 1), ("bf16", 2)])
def test_what_an_interruption_leaves_is_whole(precision: str, epoch: int, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"precision": precision})
    whole, model = make("a"), make("a")
    result = train_task(whole, "a", Noisy(data(30)), data(9, 1), settings)
    start = bits(model, "a")
    with pytest.raises(KeyboardInterrupt):
        train_task(model, "a", Interrupted(data(30), epoch=epoch, index=7), data(9, 1), settings, folder=tmp_path)
    assert (bits(model, "a") == start) == (epoch == 0)
    assert all(parameter.grad is None for parameter in model["a"].parameters())
    assert not model.training
    later = train_task(model, "a", Noisy(data(30)), data(9, 1), settings, folder=tmp_path)
    assert later.resumed
    assert bits(model, "a") == bits(whole, "a")
    assert [timeless(point) for point in later.curve] == [timeless(point) for point in result.curve]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("time", "seconds", "samples_per_second")}
