from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import taskfold as tfold
from taskfold import threads as measured
from taskfold.train import Result, Settings, train_task

STEPS = 12


class Seen(Dataset[tuple[Tensor, int]]):
    """Points that two lines divide; remembers which were asked for."""

    def __init__(self, count: int) -> None:
        self.x = torch.randn(count, 6, generator=torch.Generator().manual_seed(count))
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.asked.append(index)
        return self.x[index], int(self.x[index, 0] > 0)


class Stop(Exception):
    pass


def train(
    folder: Path | None = None, stop: int | None = None, epochs: int = 2, **settings: Any
) -> tuple[Result, Tensor, Seen]:
    """A network with dropout; interrupted at that step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 8))
        model = tfold.MultiTask(network, tfold.LoRA(rank=2), num_features=8)
        model.add_task("side", head=2)
    data, steps = Seen(4 * (STEPS if epochs > 1 else 1)), 0
    if stop is not None:

        def interrupt(module: nn.Module, *_: object) -> None:
            nonlocal steps
            steps += module.training
            if steps > stop:
                raise Stop

        model.register_forward_pre_hook(interrupt)
    made = Settings(epochs=epochs, batch_size=4, checkpoint_every=0, log_every=1, **settings)
    result = train_task(model, "side", data, Seen(20), made, folder=folder)
    return result, torch.cat([leaf.detach().flatten() for leaf in model["side"].parameters()]), data


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is a turn, and there are two cores wherever this runs."""
    monkeypatch.setattr(measured, "TURN", 0.0)
    monkeypatch.setattr(measured, "cores", lambda: 2)


def test_measuring_changes_nothing_but_rounding(tmp_path: Path) -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    fixed, weights, data = train(threads=1)
    result, found, seen = train(tmp_path, threads="auto")
    torch.testing.assert_close(found, weights, atol=1e-5, rtol=1e-4)
    assert seen.asked == data.asked  # each batch once, in the same order
    assert torch.get_num_threads() == before and torch.equal(torch.get_rng_state(), state)
    assert fixed.threads == 1 and result.threads in (1, 2)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    said = [line for line in lines if line["event"] == "threads"]
    assert said[0]["why"] == "start" and said[-1]["threads"] == result.threads
    assert said[0]["seconds"].keys() <= {"1", "2"}


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    _, weights, _ = train(threads=1)
    for stop in 3, 14:  # while threads are measured, and later
        with pytest.raises(Stop):
            train(tmp_path, stop, threads="auto")
        assert torch.get_num_threads() == before
    result, found, _ = train(tmp_path, threads=1)  # no other run than with `auto`
    assert result.resumed and result.threads == 1
    torch.testing.assert_close(found, weights, atol=1e-5, rtol=1e-4)


def test_loader_processes_and_measuring_go_together() -> None:
    _, weights, _ = train(threads=1)
    _, found, _ = train(threads="auto", workers=1)
    torch.testing.assert_close(found, weights, atol=1e-5, rtol=1e-4)


def test_a_number_is_set_and_null_leaves_torch_as_it_is() -> None:
    before = torch.get_num_threads()
    assert train(epochs=1, threads=2)[0].threads == 2
    assert train(epochs=1)[0].threads == before == torch.get_num_threads()


@pytest.mark.parametrize("threads", [0, "many", 1.5])
def test_other_values_are_refused(threads: object) -> None:
    with pytest.raises(ValueError, match="threads"):
        Settings(threads=threads)  # type: ignore[arg-type]
