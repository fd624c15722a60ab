"""Memory that no torch operation shows (a list's, an array's) belongs to no earlier tensor at its address."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from taskfold import MultiTask

from .networks import Rows
from .test_rows import METHODS, built

NAMES = list("aabbc")
FRESH: dict[str, Callable[[], Tensor]] = {
    "list": lambda: torch.tensor([]),
    "array": lambda: torch.from_numpy(np.zeros(0, np.float32)),
    "buffer": lambda: torch.frombuffer(bytearray(4), dtype=torch.float32)[:0],
}


class Keeps(Rows):
    """Asks all rows one question, forgets the answer, and begins a cache: again and again."""

    def __init__(self, fresh: Callable[[], Tensor]) -> None:
        super().__init__()
        self.fresh = fresh

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(40):
            assert not (x == 77).all()
            x = torch.cat([self.fresh(), x])
        return self.second(self.first(x).tanh())


@pytest.mark.parametrize("fresh", FRESH)
def test_what_was_there_before_counts_for_nothing(fresh: str) -> None:
    model: MultiTask = built(Keeps(FRESH[fresh]), METHODS["lora"])
    x = torch.randn(5, 6)
    alone = torch.stack([model(x[n : n + 1], task=name)[0] for n, name in enumerate(NAMES)])
    sizes: list[int] = []
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(list(model(x, task=NAMES))), alone)
        model.backbone.second.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
        model(x, task=NAMES)
    assert sizes == [len(x)]
