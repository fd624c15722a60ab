"""Rows that mix behind units which are dead in the first batch: refused there, or in a batch that revives them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from taskfold.layers import _layout
from taskfold.layers._path import Unmoved
from taskfold.model._rows import Batch

from .networks import Rows
from .test_rows import METHODS, built, rows_of

NAMES = list("abcab")
Function = Callable[[Tensor], Tensor]
DEADLY: dict[str, Function] = {
    "relu": torch.relu,
    "clamp": lambda y: y.clamp(min=0),
    "relu6": nn.functional.relu6,
    "threshold": lambda y: nn.functional.threshold(y, 0.0, 0.0),
    "hardswish": nn.functional.hardswish,
}
MIXES: dict[str, Function] = {
    "product": lambda y: y @ y.T @ y,
    "shifted": lambda y: y.roll(1, 0),
    "product of rows and units": lambda y: torch.einsum("ic,jc,jd->id", y, y, y),
}


class Behind(Rows):
    """A branch whose units are dead for rows that are far off."""

    def __init__(self, deadly: Function, mixes: Function) -> None:
        super().__init__()
        self.deadly, self.mixes = deadly, mixes
        self.third = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.deadly(self.first(x) - 10 * x.abs().mean(1, keepdim=True))
        return self.second(torch.tanh(self.third(x))) + self.mixes(y)


@pytest.mark.parametrize("far", [5, 3])
@pytest.mark.parametrize("mixes", MIXES)
@pytest.mark.parametrize("deadly", DEADLY)
def test_rows_that_mix_behind_dead_units(deadly: str, mixes: str, far: int) -> None:
    torch.manual_seed(0)
    model = built(Behind(DEADLY[deadly], MIXES[mixes]), METHODS["lora"])
    x = torch.randn(5, 6)
    x[:far] *= 10
    for run in (model, model.bank()):
        if mixes == "shifted":
            with pytest.raises(ValueError, match="can't answer a mixed batch of these inputs: rows of its output"):
                run(x, task=NAMES)
            continue
        with warnings.catch_warnings():  # a sum over rows is looked for in every batch
            warnings.simplefilter("ignore")
            torch.testing.assert_close(torch.stack(list(run(x, task=NAMES))), rows_of(model, x, NAMES))
        with pytest.raises(ValueError, match="can't answer"):
            run(x / 1000, task=NAMES)


@pytest.mark.parametrize("deadly", DEADLY)
def test_dead_units_that_mix_nothing_are_served_in_one_pass(deadly: str) -> None:
    torch.manual_seed(0)
    model = built(Behind(DEADLY[deadly], lambda y: 2 * y), METHODS["lora"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for run in (model, model.bank()):
            for x in (10 * torch.randn(5, 6), torch.randn(5, 6) / 100):
                torch.testing.assert_close(torch.stack(list(run(x, task=NAMES))), rows_of(model, x, NAMES))
    assert len(model._runner.forms) == 1


def test_passes_that_train_know_tensors_by_the_same_numbers() -> None:
    """Nothing is drawn by chance in a pass that looks for rows; what tells rows apart is drawn all the same."""
    batch = Batch.of((torch.ones(4, 6),), {}, 4)
    _layout._numbers.cache_clear(), _layout._kept.cache_clear()
    with Unmoved():
        numbers, other = _layout.directions(50, torch.ones(1)), batch.distinct()
        assert other[1]
        assert float(batch.shaken().leaves[0].std()) > 0.1
    assert float(numbers.std()) > 0.1
    torch.testing.assert_close(numbers, _layout.directions(50, torch.ones(1)))
