"""Tensors that hold several slices for each row (pairs, boxes, two views): side by side, or in copies of the batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import taskfold as tfold

from .test_lists import Network, Taking, built

ROWS = ["b", "a", "b", "c"]


def pairs(layers: Network, x: Tensor, pairs: Tensor) -> Tensor:
    return layers(x + pairs.unflatten(0, (-1, 2)).diff(dim=1)[:, 0])


def blocks(layers: Network, x: Tensor, views: Tensor) -> Tensor:
    first, second = views.chunk(2)
    return layers(x + first - 2 * second)


def by_length(layers: Network, x: Tensor, boxes: Tensor) -> Tensor:
    """Runs with boxes of fewer or more rows, and then takes others."""
    return layers(x) + layers(boxes).view(len(x), -1, 8).amax(1)


def each(layers: Network, x: Tensor, others: Tensor) -> Tensor:
    """Takes the same from both."""
    return layers(x) + 0 * others.sum()


def ignored(layers: Network, x: Tensor, others: Tensor) -> Tensor:
    """Counts the slices, and takes none."""
    if len(others) != 2 * len(x):
        raise ValueError("two for each row")
    return layers(x)


def common(layers: Network, x: Tensor, keys: Tensor) -> Tensor:
    return layers(x + (x @ keys.T).softmax(-1) @ keys)


def taken(tensor: Tensor, n: int, side_by_side: bool) -> Tensor:
    return tensor[2 * n : 2 * n + 2] if side_by_side else tensor[[n, n + len(tensor) // 2]]


@pytest.mark.parametrize(("does", "side_by_side"), [(pairs, True), (blocks, False), (by_length, True)])
@pytest.mark.parametrize("equal", [False, True])
@torch.no_grad()
def test_several_slices_of_a_row_follow_it(does: Callable[..., Any], side_by_side: bool, equal: bool) -> None:
    model = built(does)
    folds = {name: model.fold(name) for name in "abc"}
    torch.manual_seed(1)
    for who in (model, model.bank()):
        for way in ("checked", "separate", "checked"):
            who.rows = way
            x, other = torch.randn(4, 6), torch.randn(8, 6)
            if equal:
                x[1:], other[2:] = x[0], other[:2].repeat(3, 1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mixed = who(x, other, task=ROWS)
            for n, name in enumerate(ROWS):
                mine = folds[name](x[n : n + 1], taken(other, n, side_by_side))[0]
                torch.testing.assert_close(mixed[n], mine)


@torch.no_grad()
def test_a_broadcast_leaves_each_row_its_slices() -> None:
    for heads in (None, 3):
        torch.manual_seed(0)
        model = tfold.MultiTask(Taking(by_length), tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
        for name in "ab":
            model.add_task(name, head=heads)
        x, other = torch.randn(4, 6), torch.randn(8, 6)
        for who in (model, model.bank()):
            for name, said in who(x, other, task=["a", "b"], broadcast=True).items():
                torch.testing.assert_close(said, model(x, other, task=name))


@torch.no_grad()
def test_slices_that_go_either_way_serve_all_rows_or_are_refused() -> None:
    x, other = torch.randn(4, 6), torch.randn(8, 6)
    for does in (each, common):
        model = built(does)
        for n, name in enumerate(ROWS):
            torch.testing.assert_close(model(x, other, task=ROWS)[n], model(x[n : n + 1], other, task=name)[0])
    with pytest.raises(ValueError, match=r"side by side, or one in each of several copies .*runs both ways"):
        built(ignored)(x, other, task=ROWS)
