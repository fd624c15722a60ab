"""Cached outputs of the network's frozen part: nothing is computed twice, and no result changes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskfold import FTN, HeadOnly, LoRA, Method, MultiTask
from taskfold.layers import AbsentError, absent_in
from taskfold.layers._absent import Absent
from taskfold.model import Store
from taskfold.model._inputs import hashes
from taskfold.train import JointSettings, Settings, TaskSet, train_task, train_together

from .cases import Noisy, bits, data

RUNS: Counter[str] = Counter()


class Counted(nn.Conv2d):
    """Counts the images that it sees; those of the look, the checks and the trial among them."""

    def forward(self, input: Tensor) -> Tensor:
        RUNS["images"] += len(input)
        return super().forward(input)


def network(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(Counted(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        *middle,
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)),
    )


def make(method: Method, *names: str, net: nn.Module | None = None) -> MultiTask:
    model = MultiTask(net or network(), method, num_features=16)
    torch.manual_seed(1)
    for name in names or ("a",):
        model.add_task(name, 3)
    RUNS.clear()
    return model


def settings(**changes: Any) -> Settings:
    return Settings(**{"epochs": 3, "batch_size": 8, "log_every": 1, "checkpoint_every": 0, **changes})


def said(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "features"]


METHODS = {
    "head only": HeadOnly(),
    "own statistics": FTN(rank=2, frozen_stages=2, statistics="own"),
    "LoRA": LoRA(rank=2, layers="convolution", frozen_stages=1),
}


def losses(result: Any) -> list[tuple[float, ...]]:
    return [(point["train_loss"], point["val_loss"], point["val_accuracy"]) for point in result.curve]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nothing_comes_out_otherwise(method: Method, tmp_path: Path) -> None:
    """Weights and losses to the bit, dropout and running statistics included; the last batch is smaller."""
    found = {}
    for way in ("never", "always"):
        model = make(method)
        result = train_task(model, "a", data(30), data(14, 1), settings(cache_features=way), folder=tmp_path / way)
        found[way] = bits(model, "a"), losses(result), RUNS["images"]
    assert found["always"][:2] == found["never"][:2]
    assert found["always"][2] < found["never"][2] - 30 - 14
    assert said(tmp_path / "never") == []
    (line,) = said(tmp_path / "always")
    assert line["cached"] == f"features cached: 44 inputs, {line['bytes'] / 1e6:.1f} MB" and "off" not in line
    assert not list((tmp_path / "always" / "features").rglob("*.rows")), "a training that has ended needs none"


@pytest.mark.parametrize("method", [HeadOnly(), FTN(rank=2, frozen_stages=2)], ids=["head only", "FTN"])
def test_tasks_in_mixed_batches(method: Method) -> None:
    found = {}
    for way in ("never", "always"):
        model = make(method, "a", "b")
        sets = {"a": TaskSet(data(16), data(8, 1)), "b": TaskSet(data(16, 2), data(8, 3))}
        chosen = JointSettings(epochs=3, batch_size=8, cache_features=way)
        result = train_together(model, sets, chosen)
        found[way] = bits(model, "a"), bits(model, "b"), losses(result), RUNS["images"]
    assert found["always"][:3] == found["never"][:3]
    assert found["always"][3] < found["never"][3]


def test_of_a_task_beside_one_that_changes_the_frozen_part() -> None:
    """What one task leaves alone another may change: the first one's features are the plain network's."""
    found = {}
    for way in ("never", "always"):
        model = make(HeadOnly(), "a")
        model.add_task("b", 3, method=FTN(rank=2, stem=True, init="normal"))
        train_task(model, "a", data(16), data(8, 1), settings(cache_features=way))
        found[way] = bits(model, "a")
    assert found["always"] == found["never"]


class Killed(Exception):
    pass


class Fragile(torch.utils.data.Dataset):
    def __init__(self, after: int) -> None:
        self.data, self.left = data(30), after

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        self.left -= 1
        if not self.left:
            raise Killed
        return self.data[index]


def test_resumed_with_the_rows_that_it_had(tmp_path: Path) -> None:
    """In training as a kill leaves it: a group of rows is half written. Bits, though batches are cut otherwise now."""
    method, chosen = FTN(rank=2, frozen_stages=2), settings()
    whole = make(method)
    train_task(whole, "a", data(30), data(14, 1), chosen, folder=tmp_path / "whole")
    model = make(method)
    with pytest.raises(Killed):
        train_task(model, "a", Fragile(80), data(14, 1), chosen, folder=tmp_path / "cut")
    files = list((tmp_path / "cut" / "features").rglob("*.rows"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(file.read_bytes() + (2).to_bytes(4, "little") + bytes(50))
    model = make(method)
    assert train_task(model, "a", data(30), data(14, 1), chosen, folder=tmp_path / "cut").resumed
    assert bits(model, "a") == bits(whole, "a")
    assert RUNS["images"] < 60, "first batches are tried again; none of the 44 images is computed for its features"


def test_views_come_again() -> None:
    found = {}
    for way in ("never", "always"):
        model = make(HeadOnly())
        chosen = settings(cache_features=way, cache_views=2, epochs=6)
        result = train_task(model, "a", Noisy(data(16)), data(8, 1), chosen)
        found[way] = bits(model, "a"), losses(result), RUNS["images"]
    assert found["always"][:2] == found["never"][:2]
    assert found["always"][2] < found["never"][2] - 4 * 16 + 4 * 8  # the trials of two first batches


def test_augmented_inputs_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'always', and training samples differ from epoch to epoch; set cache_views"):
        train_task(make(HeadOnly()), "a", Noisy(data(16)), data(8, 1), settings(cache_features="always"))
    train_task(make(HeadOnly()), "a", Noisy(data(16)), data(8, 1), settings(epochs=2), folder=tmp_path)
    (line,) = said(tmp_path)
    assert line["off"] == "training samples differ from epoch to epoch, and cache_views is not set"
    assert line["inputs"] == 8, "those of validation"


def test_a_store_keeps_within_its_bounds(tmp_path: Path) -> None:
    keys = [bytes([n]) * 16 for n in range(8)]
    rows = torch.arange(32, dtype=torch.uint8).reshape(8, 4)
    memory = Store(memory=12)
    table = memory.table("t", 4)
    for n in (0, 2, 4):
        table.add(keys[n : n + 2], rows[n : n + 2])
    assert (len(table), table.full, memory.in_memory) == (2, True, 8)
    disk = Store(12, tmp_path, 20)
    table = disk.table("t", 4)
    for n in (0, 2, 4):
        table.add(keys[n : n + 2], rows[n : n + 2])
    assert (len(table), table.full, disk.in_memory, disk.on_disk) == (4, True, 8, 16)
    assert table.get(keys[3::-1]).equal(rows[:4].flip(0))  # two of them from disk
    disk.close()
    again = Store(0, tmp_path, 20).table("t", 4)
    assert again.get(keys[:4]).equal(rows[:4]) and again.store.on_disk == 16
    again.store.clear()
    assert not list(tmp_path.iterdir())


def test_hashes_where_rows_are() -> None:
    """Those of cards, which are tried here: one bit anywhere makes another."""
    rows = torch.randint(0, 256, (1, 13), dtype=torch.uint8).expand(105, -1).clone()
    for bit in range(104):
        rows[bit + 1, bit // 8] ^= 1 << (bit % 8)
    found = hashes(rows)
    assert found.shape == (105, 4) and len({tuple(row) for row in found.tolist()}) == 105
    assert hashes(rows[:1]).equal(found[:1])
    assert int(found.min()) < 0 < int(found.max()) and int(found.abs().max()) < 2**32


def test_absent_tensors_have_shapes_and_nothing_else() -> None:
    one = Absent.of(torch.empty(2, 3, device="meta"), torch.device("cpu"))
    made = torch.cat([one.mean(1, keepdim=True), torch.ones(2, 4)], 1)[:, 1:].to(torch.float64)
    assert isinstance(made, Absent) and (made.shape, made.dtype) == ((2, 4), torch.float64)
    assert made.device == torch.device("cpu") and torch.zeros(2, device=made.device).equal(torch.zeros(2))
    assert absent_in({"y": [made]}) and not absent_in([torch.ones(1)])
    for write in (lambda y: y.add_(one), lambda y: y.__setitem__(0, one[0]), lambda y: torch.add(one, 1, out=y)):
        with pytest.raises(AbsentError, match="writes what the frozen part puts out into another tensor"):
            write(torch.zeros(2, 3))
    with pytest.raises(RuntimeError):
        bool(one.sum() > 0)
