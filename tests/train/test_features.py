"""What the frozen part of a network puts out is kept: nothing is computed twice, and nothing comes out otherwise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskfold import FTN, HeadOnly, LoRA, Method, MultiTask
from taskfold.layers import AbsentError, absent_in
from taskfold.layers._absent import Absent
from taskfold.model import Features, FeaturesError, Store, keeping
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


class Mixes(nn.Module):
    """Rows of a batch change one another."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Parts(nn.Module):
    """Two frozen parts and a rest; `join` says what lies between them."""

    def __init__(self, join: Callable[[Parts, Tensor], Tensor], add: Callable[[Parts, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, _, self.two, self.three, self.rest = *(net := network())[:1], None, *net[1:]
        self.join, self.add = join, add

    def forward(self, x: Tensor) -> Tensor:
        self.one.seen = x.mean((1, 2, 3), keepdim=True)
        self.first = self.one(x)
        y = self.two(self.join(self, self.first))
        return self.rest(self.three(y + self.add(self, y)))


def passes(net: nn.Module, method: Method, training: bool = True) -> Features:
    """Passes of new rows, of known ones in another order, and of both, which come out as without what is kept."""
    model = make(method, net=net).train(training)
    features = Features(model._runner, set(model["a"].sites), Store(2**20), "")
    for n, rows in enumerate(torch.randn(3, 6, 3, 6, 6)):
        for x in (rows, rows.flip(0)):
            torch.manual_seed(n)
            plain = model(x, task="a")
            torch.manual_seed(n)
            with keeping(features):
                kept = model(x, task="a")
            assert kept.equal(plain)
    some, made = torch.cat([rows[1:4], torch.randn(2, 3, 6, 6)]), list[Tensor]()
    for chosen in (features, None):  # rows known and new: the new ones pass beside fewer others
        torch.manual_seed(0)
        with keeping(chosen):
            made.append(model(some, task="a"))
    torch.testing.assert_close(*made)
    return features


FOUR = FTN(rank=2, frozen_stages=4)
"""Convolution and norm of two blocks."""
JOINED = {
    "nothing": (lambda _, y: y, lambda _, y: 0 * y, 1),
    "functions": (lambda _, y: y.flip(1).relu_() * 2 + torch.ones(8, 1, 1), lambda _, y: y[:, :1] * 2, 1),
    "a connection past the second": (lambda _, y: y, lambda net, _: net.first, 2),
    "an input past both": (lambda _, y: y, lambda net, _: net.one.seen, 1),
}


@pytest.mark.parametrize(("join", "add", "needed"), JOINED.values(), ids=JOINED)
def test_cut_where_it_can_be(join: Any, add: Any, needed: int) -> None:
    features = passes(Parts(join, add), FOUR)
    (cut,) = features.cuts.values()
    assert (len(cut.needed), features.why, features.kept[0]) == (needed, "", 20)


class Leaves(nn.Module):
    """A frozen module leaves a tensor where another one finds it, and nobody sees it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.box = Counted(3, 8, 3, padding=1), list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.box[:] = [self.layer(x)]
        return self.box[0].relu()


class Finds(nn.Module):
    def __init__(self, leaves: Leaves) -> None:
        super().__init__()
        self.layer, self.box = nn.Conv2d(8, 16, 3), leaves.box

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.box[0])


def boxed() -> nn.Module:
    leaves = Leaves()
    return nn.Sequential(leaves, Finds(leaves), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def hooked() -> nn.Module:
    net = network()
    net[0].register_forward_hook(lambda *_: None)
    return net


BEFORE = FTN(rank=2, frozen_stages=2)
REFUSED = {
    "dropout in a function": (
        Parts(lambda net, y: nn.functional.dropout(y, 0.5, net.training), lambda _, y: 0 * y),
        FOUR,
        "draws random numbers in training, and not in a module of its own",
    ),
    "dropout at the start": (
        nn.Sequential(nn.Dropout(0.1), *network()),
        BEFORE,
        "0 of 3 layers run before the first that can't be kept, module '0', which draws random numbers in training",
    ),
    "rows that change one another": (network(Mixes()), BEFORE, "depends on the other rows"),
    "a tensor that nobody sees pass": (boxed(), LoRA(rank=1, layers="convolution", frozen_stages=1), "has more from"),
    "hooks": (hooked(), BEFORE, "forward hooks stand on the network"),
    "nothing frozen": (
        network(),
        FTN(rank=2, stem=True),
        "0 of 3 layers run before the first that can't be kept, layer '0.0', which the tasks change",
    ),
    "a small part": (
        nn.Sequential(nn.Conv2d(3, 3, 1), *(nn.Conv2d(3, 3, 1) for _ in range(5)), *network()),
        LoRA(rank=1, layers="convolution", frozen_stages=1),
        "1 of 9 layers run before the first that can't be kept, layer '1', which",
    ),
}


@pytest.mark.parametrize(("net", "method", "why"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(net: nn.Module, method: Method, why: str) -> None:
    features = passes(net, method)
    assert why in features.why and not features.kept[0]


def test_refused_where_it_is_required() -> None:
    sets, chosen = (data(16), data(8, 1)), settings(cache_features="always")
    with pytest.raises(
        ValueError, match=r"the tasks change layers from '0.0' on, and few stand before it; freeze more"
    ):
        train_task(make(FTN(rank=2, stem=True)), "a", *sets, chosen)
    words = (
        "features of the frozen part can't be kept: forward hooks stand on the network; choose cache_features='auto'"
    )
    with pytest.raises(FeaturesError, match=words):
        train_task(make(BEFORE, net=hooked()), "a", *sets, chosen)


def test_random_numbers_of_training_alone() -> None:
    """Dropout in the frozen part: what evaluates is kept."""
    net = nn.Sequential(nn.Dropout(0.1), *network())
    assert passes(net, BEFORE, training=False).kept[0] == 20


def test_rows_of_a_network_with_other_code(tmp_path: Path) -> None:
    """Its tensors are the same; the first batch shows that rows on disk are not its own."""
    x = torch.randn(4, 3, 8, 8)
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)):
        model = make(HeadOnly(), net=nn.Sequential(*network()[:-1], pool, nn.Flatten())).eval()
        features = Features(model._runner, (), Store(2**20, tmp_path, 2**20), "the same")
        with torch.no_grad(), keeping(features):
            kept = [model(x, task="a") for _ in range(2)]
        features.store.close()
        with torch.no_grad():
            plain = model(x, task="a")
        assert kept[0].equal(plain) and kept[1].equal(plain)
    assert len(list(tmp_path.glob("*.rows"))) == 1


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
