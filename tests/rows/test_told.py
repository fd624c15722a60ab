"""A value of any single row that affects all rows is found; so are places that the first batch does not show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .networks import Rows
from .test_rows import METHODS, built

NAMES = list("aabbc")  # rows of tasks in unequal numbers
Between = Callable[[Tensor], Tensor]


class Middle(Rows):
    """Does something to the rows between two layers."""

    def __init__(self, between: Between, least: int = 1) -> None:
        super().__init__()
        self.between, self.least = between, least

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < self.least:
            raise ValueError(f"fewer than {self.least} rows")
        return self.second(self.between(self.first(x)))


HELD: dict[str, Between] = {
    "maximum": lambda h: h / h.abs().max(),
    "quantised": lambda h: (h * 7 / h.abs().amax()).round() / 7,
    "minimum": lambda h: h - h.min(),
    "clamped": lambda h: torch.maximum(h, h.max() - 1),
    "any": lambda h: torch.where((h.abs() > 2.5).any(), h, h / 2),
    "second largest": lambda h: h / h.norm(dim=1).sort()[0][-2:][0],
    "median": lambda h: h - h.median(0).values,
    "top two": lambda h: h - h.norm(dim=1).topk(min(2, len(h))).values[-1],
    "distinct numbers": lambda h: h / len(h.round().unique()),
    "counts of numbers": lambda h: h / h.round().unique(return_counts=True)[1].max(),
    "sums so far": lambda h: h.cumsum(0),
    "order of one row": lambda h: h[:, h[h.norm(dim=1).argmax()].argsort()],
    "largest number of signs": lambda h: h / (1 + (h > 0).sum(1).max()),
}


def batch(largest: int, rows: int = 5, seed: int = 0) -> Tensor:
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))
    x[largest] *= 3
    return x


def runs(model: tfold.MultiTask) -> list[Any]:
    return [model, model.bank()]


def own(model: tfold.MultiTask, x: Tensor, names: list[str]) -> Tensor:
    """What each task says of its own rows alone."""
    found = torch.empty(len(x), 3)
    for name in set(names):
        rows = [n for n, one in enumerate(names) if one == name]
        found[rows] = model(x[rows], task=name)
    return found


def checked(run: Any, model: tfold.MultiTask, x: Tensor, names: list[str] | None = None) -> None:
    names = names or (NAMES * 2)[: len(x)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.stack(list(run(x, task=names)))
    torch.testing.assert_close(found, own(model, x, names))


@pytest.mark.parametrize("largest", range(5))
@pytest.mark.parametrize("held", HELD)
def test_a_number_that_any_row_holds_is_found(held: str, largest: int) -> None:
    for rows in (5,) if largest else (5, 6, 2, 3):
        model, x = built(Middle(HELD[held]), METHODS["lora"]), batch(largest, rows)
        names, refused = (NAMES[1:] + NAMES)[:rows], 0
        whole = torch.stack([model(x, task=name)[n] for n, name in enumerate(names)])
        for run in runs(model):
            try:
                checked(run, model, x, names)
            except ValueError as error:
                assert "can't answer" in str(error)  # noqa: PT017  refused, or right
                refused += 1
        if held in ("maximum", "sums so far") and (whole - own(model, x, names)).abs().max() > 0.01:
            assert refused == 2


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bound", [4.0, 6.0])
def test_a_number_that_binds_in_a_later_batch_is_found_then(bound: float, training: bool) -> None:
    model = built(Middle(lambda h: torch.maximum(h, h.max() - bound)), METHODS["lora"]).train(training)
    for run in runs(model)[: 2 - training]:
        checked(run, model, batch(0) / 10)
        with pytest.raises(ValueError, match="can't answer"):
            run(batch(0) * 10, task=NAMES)
        checked(run, model, batch(1) / 10)


@pytest.mark.parametrize(("least", "rows"), [(2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5)])
def test_networks_that_run_a_few_rows_are_served_with_one_more(least: int, rows: int) -> None:
    model = built(Middle(torch.tanh, least), METHODS["lora"])
    names = (NAMES * 2)[:rows]
    found = torch.stack(list(model(x := batch(0, rows), task=names)))
    torch.testing.assert_close(found, torch.stack([model(x, task=name)[n] for n, name in enumerate(names)]))
    held = built(Middle(HELD["maximum"], least), METHODS["lora"])
    for largest in range(rows):
        with pytest.raises(ValueError, match="each depends on several"):
            held(batch(largest, rows), task=names)


class Longest(Rows):
    """Reads as much of each row as the longest one has; what is padded counts for nothing."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, : int((x > -9).sum(1).max())]
        there = (x > -9)[..., None]
        h = self.first(x[..., None].expand(-1, -1, 6)).tanh()
        return self.second((h * there).sum(1) / there.sum(1))


@pytest.mark.parametrize("lengths", [[2, 3, 5, 1, 2], [5, 3, 2, 1, 2], [2, 3, 5, 5, 2], [2, 4, 1], [1, 1, 2, 6]])
def test_rows_padded_to_the_longest_share_a_pass(lengths: list[int]) -> None:
    model, x = built(Longest(), METHODS["lora"]), batch(0, len(lengths)).clamp(min=-8)
    for row, length in enumerate(lengths):
        x[row, length:] = -10
    names, sizes = NAMES[: len(x)], []
    wanted = own(model, x, names)
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(list(model(x, task=names))), wanted)
        model.backbone.second.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
        model(x, task=names)
    if len(x) > 3:
        assert sizes == [len(x)]


PLACES: dict[str, type[Blind]] = {}


class Blind(Rows):
    """Nothing of a negative input comes through the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8, bias=False)
        self.last = nn.Linear(8, 8)

    def __init_subclass__(cls) -> None:
        PLACES[cls.__name__] = cls

    def middle(self, h: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x.relu()).relu()).tanh())


class Straight(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return self.second(h)


class Reversed(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return self.second(h.flip(0)).flip(0)


class Rolled(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return self.second(h.roll(1, 0)).roll(-1, 0)


class TwoViews(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return (y := self.second(torch.cat([h, 2 * h])).tanh())[: len(h)] + y[len(h) :].sin()


class Beams(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return (y := self.second(h.repeat_interleave(2, 0)).tanh())[::2] + y[1::2].sin()


class TimeFirst(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return self.second(torch.stack([h, 2 * h, 3 * h])).tanh().mean(0)


class Shut(Blind):
    def middle(self, h: Tensor) -> Tensor:
        return h + h.amax(1, keepdim=True) * self.second(h.cos().flip(0)).flip(0)


BLIND = {"zeros": torch.zeros(5, 6), "negative": -batch(0).abs(), "tiny": batch(0) * 1e-30}


@pytest.mark.in_turn("targets")
@pytest.mark.parametrize("targets", ["*", "second", "last"])
@pytest.mark.parametrize("first", BLIND)
@pytest.mark.parametrize("network", PLACES)
def test_a_first_batch_that_says_nothing(network: str, first: str, targets: str) -> None:
    model = built(PLACES[network](), METHODS["lora"].with_settings(targets=targets))
    for training in (False, True):
        model.train(training)
        for run in runs(model)[: 2 - training]:
            for x in (BLIND[first], batch(1), batch(2, seed=3)):
                checked(run, model, x)


@pytest.mark.parametrize("targets", ["*", "second", "last"])
@pytest.mark.parametrize("first", BLIND)
def test_rows_that_mix_where_the_first_batch_says_nothing(first: str, targets: str) -> None:
    class Mixed(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x.relu()) - self.first(torch.zeros_like(x))
            return self.last(self.second(h) + h.abs().mean(0))

    model = built(Mixed(), METHODS["lora"].with_settings(targets=targets))
    for run in runs(model):
        with suppress(ValueError):
            checked(run, model, BLIND[first])
        with pytest.raises(ValueError, match="can't answer"):
            run(batch(1), task=NAMES)


class Queries(Rows):
    """Queries that are equal for all rows meet the rows late, as in DETR."""

    def __init__(self, reverse: bool = False) -> None:
        super().__init__()
        self.queries, self.reverse = nn.Parameter(torch.randn(3, 8)), reverse

    def forward(self, x: Tensor) -> Tensor:
        own = self.second(self.queries.expand(len(x), -1, -1))
        own = own.flip(0) if self.reverse else own
        return (own.sin() * self.first(x)[:, None].tanh()).sum(1)


def test_layers_that_always_see_equal_rows_share_a_pass() -> None:
    model, sizes = built(Queries(), METHODS["lora"]), []
    for run in runs(model):
        checked(run, model, batch(0))
    model.backbone.second.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    before = dict(model._runner.forms)
    model(batch(1), task=NAMES)
    assert sizes == [5] and model._runner.forms == before


def test_a_wrong_guess_of_equal_rows_is_found() -> None:
    model = built(Queries(reverse=True), METHODS["lora"])
    for seed in range(3):
        for run in runs(model):
            checked(run, model, batch(0, seed=seed))
