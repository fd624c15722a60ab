"""How many passes a look at four rows takes: as they are, in another order, and parts."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskfold.model import _look, _noted
from taskfold.model._noted import noted
from taskfold.model._rows import Batch

from .networks import Rows
from .test_rows import METHODS, built


class Deciding(Rows):
    """Where a row is not whole, the mask of the batch counts, or all rows are doubled."""

    def __init__(self, doubled: bool) -> None:
        super().__init__()
        self.doubled = doubled

    def forward(self, x: Tensor) -> Tensor:
        y, whole = self.first(x).tanh(), x[:, :1] > 0
        if not whole.all():
            y = 2 * y if self.doubled else y / (2 - whole.float())
        return self.second(y)


CASES = {"whole rows are a part": (False, (0, 2), 6), "and change what others are": (True, (0, 3), 7)}


@pytest.mark.parametrize(("doubled", "whole", "passes"), CASES.values(), ids=CASES)
@torch.no_grad()
def test_a_look_at_rows_that_decide_otherwise_takes_no_pass_twice(
    doubled: bool, whole: tuple[int, ...], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(network: nn.Module, batch: Batch, *more: Any) -> Any:
        seen.append(batch.rows)
        return noted(network, batch, *more)

    for room in (_look, _noted):
        monkeypatch.setattr(room, "noted", counted)
    model, x = built(Deciding(doubled), METHODS["lora"]), torch.randn(4, 6)
    x[:, 0] = torch.tensor([1.0 if n in whole else -1.0 for n in range(4)])
    names = ["a" if n in whole else "b" for n in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(x, task=names)
        said = torch.stack(list(model(x, task=names)))
    assert len(seen) == passes
    for name in "ab":
        mine = [n for n, one in enumerate(names) if one == name]
        torch.testing.assert_close(said[mine], model(x[mine], task=name))
