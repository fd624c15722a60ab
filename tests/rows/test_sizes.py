"""A path that is chosen by a size that numbers decide (`len(x.nonzero())`) is each task's own, in later batches too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention

import taskfold as tfold

POSITIVE = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
SIGNS = {"all": [1, 1, 1, 1], "one": [1, -1, -1, -1], "two": [-1, -1, 1, 1], "none": [-1, -1, -1, -1]}
BATCHES = {name: POSITIVE * torch.tensor(signs)[:, None] for name, signs in SIGNS.items()}
NAMES = ("a", "b", "a", "b")


class Sized(nn.Module):
    """Chooses a factor by a size."""

    num_features = 4

    def __init__(self, size: Callable[[Tensor], int], least: int) -> None:
        super().__init__()
        self.layer, self.size, self.least = nn.Linear(4, 4), size, least

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (2 if self.size(x[:, 0] > 0) >= self.least else 1)


SIZES: dict[str, tuple[Callable[[Tensor], int], int]] = {
    "nonzero": (lambda mask: len(mask.nonzero()), 3),
    "where": (lambda mask: torch.where(mask)[0].numel(), 3),
    "masked select": (lambda mask: mask.masked_select(mask).shape[0], 3),
    "index": (lambda mask: mask[mask].size(0), 3),
    "unique": (lambda mask: len(mask.unique()), 2),
    "unique consecutive": (lambda mask: len(mask.unique_consecutive()), 2),
    "bincount": (lambda mask: len(mask.long().bincount()), 2),
    "text": (lambda mask: int(f"{mask.sum()}"), 3),
    "representation": (lambda mask: int(str(mask.sum())[7:-1]), 3),
    "tensor split": (lambda mask: len(torch.tensor_split(mask, mask.sum().reshape(1))[0]), 3),
    "one hot": (lambda mask: nn.functional.one_hot(mask.long()).shape[-1], 2),
    "repeated": (lambda mask: len(mask.repeat_interleave(mask.long())), 3),
}


@contextmanager
def suppress_refusals() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "run one task at a time" not in str(error):
            raise


@pytest.mark.filterwarnings("ignore:Sized answers mixed batches task by task")
@pytest.mark.parametrize("size", SIZES)
def test_no_later_batch_goes_another_task_s_way(size: str) -> None:
    torch.manual_seed(0)
    paths: set[bool] = set()
    for order in permutations(BATCHES, 2):
        model = tfold.MultiTask(Sized(*SIZES[size]), tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
        for name in "ab":
            model.add_task(name)
        for batch in order:
            x = BATCHES[batch]
            rows = {name: [n for n, one in enumerate(NAMES) if one == name] for name in "ab"}
            paths |= {SIZES[size][0](x[mine][:, 0] > 0) >= SIZES[size][1] for mine in (*rows.values(), [0, 1, 2, 3])}
            with suppress_refusals():
                mixed = model(x, task=NAMES)
                for name, mine in rows.items():
                    torch.testing.assert_close(mixed[mine], model(x[mine], task=name))
    assert paths == {True, False}


class Branches(nn.Module):
    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return torch.cond((x > 0).sum() >= 12, lambda y: y * 2, lambda y: y + 0, (y,))


@torch.no_grad()
def test_a_network_with_a_conditional_operator_runs() -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(Branches(), tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
    model.add_task("a")
    for batch in BATCHES.values():
        torch.testing.assert_close(model(batch, task="a"), model.fold("a")(batch))


class Flexible(Branches):
    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)[None, None]
        return flex_attention(y, y, y)[0, 0]


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_other_operators_of_that_kind_are_refused_by_name() -> None:
    model = tfold.MultiTask(Flexible(), tfold.LoRA(rank=2, layers="linear")).eval()
    model.add_task("a")
    with pytest.raises(TypeError, match="higher-order operator 'flex_attention' outside of a compiler"):
        model(POSITIVE, task="a")
