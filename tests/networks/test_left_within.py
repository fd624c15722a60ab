"""What passes write into lists, dicts and objects of modules is each task's own, or the network's if none reads it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .test_left_states import WAYS, WITHIN, Keeps, Tells, X, made, tuned


@torch.no_grad()
def test_a_pass_that_finds_what_others_have_left_begins_again() -> None:
    model = made("appended")
    right = [model(X, task="a"), made("appended")(X, task="b")]
    torch.testing.assert_close(model(X, task="b"), right[1], atol=0, rtol=0)
    alone = made("appended")
    alone(X, task="a")
    torch.testing.assert_close(model(X, task="a"), alone(X, task="a"), atol=0, rtol=0)


class WritesItsInput(Keeps):
    def forward(self, x: Tensor) -> Tensor:
        x += 1
        return super().forward(x)


@torch.no_grad()
def test_it_is_refused_where_it_has_written_into_its_input() -> None:
    torch.manual_seed(1)
    model = tuned(WritesItsInput("appended"))
    model(X.clone(), task="a")
    with pytest.raises(RuntimeError, match=r"'state' \(list\) holds what a task has left .* start once more"):
        model(X.clone(), task="b")
    torch.manual_seed(1)
    right = tuned(WritesItsInput("appended"))(X.clone(), task="b")
    torch.testing.assert_close(model(X.clone(), task="b"), right, atol=0, rtol=0)


class Fills(Tells):
    """Fills a list with losses that it does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.losses.append(y.square().mean())
        return y


def test_losses_in_a_list_are_all_there() -> None:
    model = tuned(Fills())
    for name in "aabab":
        model(X, task=name)
    losses: Any = model.backbone.losses
    assert len(losses) == 5
    torch.stack(losses).sum().backward()


class Constants(nn.Module):
    """Has tables in a list, a dict and an attribute, which no pass writes."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.many, self.named = nn.Linear(4, 4), [torch.ones(4)], {"t": torch.ones(4)}
        self.cache_k = torch.ones(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.many[0] + self.named["t"] + self.cache_k


@torch.no_grad()
def test_a_fold_has_the_networks_tables() -> None:
    model = tuned(Constants())
    torch.testing.assert_close(model.fold("a")(X), model(X, task="a"))


@pytest.mark.parametrize("way", WITHIN)
def test_threads_go_on_from_their_tasks_own(way: str) -> None:
    names = "bcdefgh"
    model = made(way, "a" + names)
    _several(model, "a")  # says that a list is a state
    with ThreadPoolExecutor(len(names)) as pool:
        found = [*pool.map(lambda name: _several(model, name), names)]
    for name, one in zip(names, found, strict=True):
        torch.testing.assert_close(one, _several(made(way, "a" + names), name), atol=0, rtol=0)


@torch.no_grad()
def _several(model: tfold.MultiTask, name: str) -> list[Tensor]:
    return [model(X * n, task=name) for n in range(1, 6)]


@pytest.mark.parametrize("way", ["none", "pair"])
def test_a_detached_state_is_still_its_tasks(way: str) -> None:
    model, alone = made(way), made(way)
    network: Any = model.backbone
    model(X, task="a").sum().backward()
    if way == "pair":
        network.state = tuple(one.detach() for one in network.state)
    else:
        network.state = network.state.detach()
    torch.testing.assert_close(model(X, task="b"), made(way)(X, task="b"), atol=0, rtol=0)
    alone(X, task="a")
    torch.testing.assert_close(model(X, task="a"), alone(X, task="a"), atol=0, rtol=0)


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_each_task_of_a_broadcast_begins_anew(way: str) -> None:
    model, other = made(way), made(way)
    for one in (model, other):
        one(X, task="a")
        one(X, task="a")
    found = model(X, task=["a", "b"], broadcast=True)
    for name in "ab":
        torch.testing.assert_close(found[name], made(way)(X, task=name))
    torch.testing.assert_close(model(X, task="a"), other(X, task="a"), atol=0, rtol=0)
