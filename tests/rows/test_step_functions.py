"""Step functions of numbers that layers make: what other rows move there may show in a task alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold


class Thresholds(nn.Module):
    """Texts are cut at the longest of the batch, and a step function sees the padding of each."""

    num_features = 6

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step, self.layer, self.out = step, nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        last = int(lengths.max())
        keep = (torch.arange(last)[None] < lengths[:, None])[..., None].to(x)
        h = self.layer(x[:, :last] * keep).tanh()
        level = h.mean((1, 2), keepdim=True)
        if self.step == "compare":
            h = self.out(h) * (h > level)
        elif self.step == "round":
            h = self.out(h) + (3 * level).round()
        else:
            h = self.out(h) + torch.stack([level, h[:, :1].mean((1, 2), keepdim=True)]).argmax(0)
        return (h * keep).sum(1) / keep.sum(1)


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("step", ["compare", "round", "argmax"])
@torch.no_grad()
def test_steps_that_other_rows_move_in_a_task_alone(step: str) -> None:
    """In the plain network the length of others often changes no row, in a task it does."""
    for seed in range(16):
        torch.manual_seed(seed)
        model = tfold.MultiTask(Thresholds(step), tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
        for name in "ab":
            for parameter in model.add_task(name).parameters():
                parameter.data.add_(0.5 * torch.randn_like(parameter))
        x, lengths = torch.randn(2, 6, 6), torch.tensor([4, 6])[torch.randperm(2)]
        try:
            said = model(x, lengths, task=["a", "b"])
        except ValueError as error:
            assert "run one task at a time" in str(error)  # noqa: PT017
            continue
        for n, name in enumerate("ab"):
            torch.testing.assert_close(said[n], model(x[n : n + 1], lengths[n : n + 1], task=name)[0])
