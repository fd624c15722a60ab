"""The cut of a network after its frozen part, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskfold import FTN, HeadOnly, LoRA, Method
from taskfold.model import Features, FeaturesError, Store, keeping
from taskfold.train import train_task

from .cases import data
from .test_features import Counted, make, network, settings


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
