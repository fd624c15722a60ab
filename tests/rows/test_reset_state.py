"""A layer keeps state that its parent removes before each pass: passes that look for rows do the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold


class Cell(nn.Module):
    """A recurrence with a state of its own, as RecurrentGemma's."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((4,), 0.5))
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        made = []
        for step in x.unbind(1):
            self.state = step if self.state is None else self.state * self.gain.sigmoid() + step
            made.append(self.state)
        return torch.stack(made, 1)


class Block(nn.Module):
    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell = nn.Linear(6, 4), Cell()

    def forward(self, x: Tensor) -> Tensor:
        self.cell.state = None
        return self.cell(self.first(x).tanh()).mean(1)


@pytest.mark.parametrize("rows", [4, 3, 5])
@torch.no_grad()
def test_mixed_batches_of_any_size(rows: int) -> None:
    torch.manual_seed(0)
    net = Block()
    model = tfold.MultiTask(net, tfold.FineTuning()).eval()
    for name in "ab":
        model.add_task(name, head=3)
        for parameter in model[name].parameters():
            parameter.add_(torch.randn_like(parameter))
    x, names = torch.randn(rows, 5, 6), list("abbab")[:rows]
    alone = {name: model(x, task=name) for name in "ab"}
    assert float((alone["a"] - alone["b"]).abs().max()) > 1e-2
    net.cell.state = torch.randn(rows, 4)
    for found in (model(x, task=names), model.bank()(x, task=names)):
        torch.testing.assert_close([*found], [alone[name][n] for n, name in enumerate(names)])
