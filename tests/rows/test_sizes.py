"""A path that is chosen by a size that numbers decide (`len(x.nonzero())`) is each task's own, in later batches too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

POSITIVE = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
SIGNS = {"all": [1, 1, 1, 1], "one": [1, -1, -1, -1], "two": [-1, -1, 1, 1], "none": [-1, -1, -1, -1]}
BATCHES = {name: POSITIVE * torch.tensor(signs)[:, None] for name, signs in SIGNS.items()}
NAMES = ("a", "b", "a", "b")


class Sized(nn.Module):
    """Chooses a layer by a size."""

    num_features = 4

    def __init__(self, size: Callable[[Tensor], int], least: int) -> None:
        super().__init__()
        self.many, self.few, self.size, self.least = nn.Linear(4, 4), nn.Linear(4, 4), size, least

    def forward(self, x: Tensor) -> Tensor:
        return (self.many if self.size(x[:, 0] > 0) >= self.least else self.few)(x)


SIZES: dict[str, tuple[Callable[[Tensor], int], int]] = {
    "nonzero": (lambda mask: len(mask.nonzero()), 3),
    "where": (lambda mask: torch.where(mask)[0].numel(), 3),
    "masked select": (lambda mask: mask.masked_select(mask).shape[0], 3),
    "index": (lambda mask: mask[mask].size(0), 3),
    "unique": (lambda mask: len(mask.unique()), 2),
    "unique consecutive": (lambda mask: len(mask.unique_consecutive()), 3),
    "bincount": (lambda mask: len(mask.long().bincount()), 2),
    "repeated": (lambda mask: len(mask.repeat_interleave(mask.long())), 3),
}


@contextmanager
def suppress_refusals() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "run one task at a time" not in str(error):
            raise


@pytest.mark.filterwarnings("ignore:Sized answers mixed batches task by task", "ignore:.*never called")
@pytest.mark.parametrize("size", SIZES)
def test_no_later_batch_goes_another_task_s_way(size: str) -> None:
    torch.manual_seed(0)
    paths: set[bool] = set()
    for order in permutations(BATCHES):
        model = tfold.MultiTask(Sized(*SIZES[size]), tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
        for name in "ab":
            model.add_task(name)
        for batch in order:
            x = BATCHES[batch]
            rows = {name: [n for n, one in enumerate(NAMES) if one == name] for name in "ab"}
            paths |= {SIZES[size][0](x[mine][:, 0] > 0) >= SIZES[size][1] for mine in (*rows.values(), [0, 1, 2, 3])}
            mixed = None
            with suppress_refusals():
                mixed = model(x, task=NAMES)
            for name, mine in rows.items() if mixed is not None else ():
                torch.testing.assert_close(mixed[mine], model(x[mine], task=name))
    assert paths == {True, False}
