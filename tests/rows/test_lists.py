"""Lists with an entry for each row (pictures, texts, dicts) are split like rows, and recognised among other lists."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import taskfold as tfold

from .networks import Rows

LORA = tfold.LoRA(rank=2, layers="linear", init="normal")
Network = Callable[..., Any]


class Taking(Rows):
    """Does with its layers what a function says."""

    def __init__(self, does: Callable[..., Any]) -> None:
        super().__init__()
        self.does = does

    def layers(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))

    def forward(self, *inputs: Any) -> Any:
        return self.does(self.layers, *inputs)


def built(does: Callable[..., Any]) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(Taking(does), LORA).eval()
    for name in "abc":
        for parameter in model.add_task(name).parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def ragged(rows: int) -> list[Tensor]:
    return [torch.randn(2 + n, 6) for n in range(rows)]


def square(rows: int) -> list[Tensor]:
    """Tensors with as many slices as there are of them."""
    return [torch.randn(rows, 6) for _ in range(rows)]


def packed(layers: Network, clouds: list[Tensor]) -> Tensor:
    parts = layers(torch.cat(clouds)).split([len(one) for one in clouds])
    return torch.stack([part.mean(0) for part in parts])


def of_texts(layers: Network, texts: list[str]) -> Tensor:
    return layers(torch.tensor([[float(ord(letter)) for letter in f"{text:6.6}"] for text in texts]) / 100)


def of_levels(layers: Network, levels: list[Tensor]) -> Any:
    return sum(layers(level).mean(1) * n for n, level in enumerate(levels, 1))


Case = tuple[Callable[..., Any], Callable[[int], tuple[Any, ...]]]
ENTRIES: dict[str, Case] = {
    "stacked": (lambda layers, x: layers(torch.stack(x).mean(1)), lambda rows: ([*torch.randn(rows, 4, 6)],)),
    "as a tuple": (lambda layers, x: layers(torch.stack(x).mean(1)), lambda rows: ((*torch.randn(rows, 4, 6),),)),
    "one by one": (lambda layers, x: torch.stack([layers(one).mean(0) for one in x]), lambda rows: (ragged(rows),)),
    "as many slices": (lambda layers, x: torch.stack([layers(one).mean(0) for one in x]), lambda rows: (square(rows),)),
    "packed": (packed, lambda rows: (ragged(rows),)),
    "a list again": (lambda layers, x: [layers(one) for one in x], lambda rows: (ragged(rows),)),
    "dicts": (
        lambda layers, x: [{"y": layers(one["x"]), "id": one["id"]} for one in x],
        lambda rows: ([{"x": one, "id": f"row {n}"} for n, one in enumerate(ragged(rows))],),
    ),
    "texts": (of_texts, lambda rows: (["hello world", "another", "something", "the last", "x 12345 "][:rows],)),
    "beside a tensor": (
        lambda layers, x, scales: torch.stack([layers(a) * b.sum() for a, b in zip(x, scales, strict=False)]),
        lambda rows: (torch.randn(rows, 6), [*torch.rand(rows, 3)]),
    ),
    "equal entries": (
        lambda layers, x, scales: torch.stack([layers(a) * b.sum() for a, b in zip(x, scales, strict=False)]),
        lambda rows: (torch.randn(rows, 6), [torch.ones(3)] * rows),
    ),
    "numbers": (
        lambda layers, x, scales: layers(x) * torch.tensor(scales)[:, None],
        lambda rows: (torch.randn(rows, 6), [1.0 + n for n in range(rows)]),
    ),
    "beside a size": (
        lambda layers, x, size: layers(torch.stack(x).mean(1)) * size[0] + size[1],
        lambda rows: ([*torch.randn(rows, 4, 6)], (2, 3)),
    ),
}


def one_of(value: Any, n: int) -> Any:
    """A row's own inputs; numbers of a tuple are a size."""
    if isinstance(value, tuple) and not isinstance(value[0], Tensor):
        return value
    return value[n : n + 1]


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("names", ["abcab", "ab", "aab"])
@pytest.mark.parametrize("name", ENTRIES)
@torch.no_grad()
def test_lists_with_an_entry_for_each_row(name: str, names: str) -> None:
    does, inputs = ENTRIES[name]
    model = built(does)
    for run in (model, model.bank(), model):
        for rows in ("checked", "separate"):
            run.rows = rows
            given = inputs(len(names))
            found = run(*given, task=[*names])
            assert len(found) == len(names)
            for n, task in enumerate(names):
                wanted = model(*(one_of(value, n) for value in given), task=task)[0]
                assert type(found[n]) is type(wanted)
                for one, other in zip(tree_leaves(found[n]), tree_leaves(wanted), strict=True):
                    assert torch.allclose(one, other, atol=1e-5) if isinstance(one, Tensor) else one == other


@pytest.mark.parametrize("alike", [False, True])
@torch.no_grad()
def test_lists_of_something_else_are_not_cut(alike: bool) -> None:
    """Levels of a pyramid, as many as rows: each of them has all rows."""
    model, names = built(of_levels), list("abc")
    levels = [torch.randn(3, 4 if alike else 2 + n, 6) for n in range(3)]
    for run in (model, model.bank()):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = run(levels, task=names)
        for n, name in enumerate(names):
            torch.testing.assert_close(found[n], model([level[n : n + 1] for level in levels], task=name)[0])


REFUSED: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]], str]] = {
    "two ways": (
        lambda layers, x: [layers(one) for one in x],
        lambda: (square(3),),
        "each list of 3 may have an entry for each row, or each of its tensors a slice for each, and the network runs "
        "both ways; stack entries that are rows to one tensor, or give those that are none in a dict; run one task",
    ),
    "mixed entries": (
        lambda layers, x: [layers(one).mean(0) - sum(two.mean() for two in x) for one in x],
        lambda: (ragged(3),),
        "entries of a list of 3 that it puts out don't follow the rows of its inputs",
    ),
    "a sum": (
        lambda layers, x: {"loss": sum(layers(one).sum() for one in x)},
        lambda: (ragged(3),),
        r"its output can't be put together: it puts out a tensor \[\] in which.*of detectors: no targets",
    ),
    "too few": (
        packed,
        lambda: ([*torch.randn(4, 2, 6)],),
        "task lists 3 names for a batch of 2 rows",
    ),
}


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("name", REFUSED)
def test_lists_that_are_refused(name: str) -> None:
    does, inputs, said = REFUSED[name]
    model = built(does)
    for run in (model, model.bank()):
        with pytest.raises(ValueError, match=said):
            run(*inputs(), task=list("abb"))


class Detector(nn.Module):
    """Pictures of several sizes in, boxes of its own number for each of them out, as torchvision's detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.boxes = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, pictures: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        found = []
        for n, picture in enumerate(pictures):
            features = self.convolution(picture[None]).tanh()[0].flatten(1).T
            there = features[features[:, 0] > 0.2]
            found.append({"boxes": self.boxes(there), "scores": there.norm(dim=1)})
            if targets is not None:
                found[n]["loss"] = (found[n]["boxes"].mean(0) - targets[n]["box"]).square().mean()
        return {"loss": sum(one["loss"] for one in found)} if targets is not None else found


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("method", [tfold.FineTuning(), tfold.LoRA(rank=2, layers="all", init="normal")])
def test_detectors(method: tfold.Method) -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(Detector(), method).eval()
    for name in "ab":
        for parameter in model.add_task(name).parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    pictures, names = [torch.rand(3, 6, 6 + n) for n in range(3)], list("aba")  # as many as channels
    for run in (model, model.bank()):
        for _ in range(2):
            for found, picture, name in zip(run(pictures, task=names), pictures, names, strict=True):
                torch.testing.assert_close(found, model([picture], task=name)[0])
    targets = [{"box": torch.rand(4)} for _ in pictures]
    with pytest.raises(ValueError, match="run one task at a time"):
        model.train()(pictures, targets, task=names)
