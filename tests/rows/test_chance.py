"""Random numbers: rows that they bring together are refused, others share a pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import taskfold as tfold


class Drawn(nn.Module):
    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.norm, self.last, self.does = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 5), does

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.does(self.norm(self.first(x))))


def model_of(does: Callable[[Tensor], Tensor], training: bool) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(Drawn(does), tfold.LoRA(rank=2, layers="linear", init="normal")).train(training)
    for name in "ab":
        for parameter in model.add_task(name).parameters():
            parameter.data.add_(0.5 * torch.randn_like(parameter))
    return model


def coins(h: Tensor, p: float) -> Tensor:
    return torch.bernoulli(torch.full((len(h), 1), p))


MEETING: dict[str, Callable[[Tensor], Tensor]] = {
    "some rows, by a number": lambda h: torch.where(torch.rand(len(h), 1) > 0.9, h.flip(0), h),
    "some features": lambda h: torch.where(torch.randn(h.shape) > 0.5, h.roll(1, 0), h),
    "some rows, by a coin": lambda h: h + (1 - coins(h, 0.95)) * h.flip(0),
    "a share": lambda h: h + torch.randn(()) * h.flip(0),
    "an order": lambda h: 0.7 * h + 0.3 * h[torch.rand(len(h)).argsort()],
}
APART: dict[str, Callable[[Tensor], Tensor]] = {
    "noise": lambda h: h + torch.randn_like(h) * h.exp(),
    "dropout": lambda h: F.dropout(h, 0.5),
    "a choice": F.gumbel_softmax,
    "masked features": lambda h: h.gather(1, torch.rand(h.shape).argsort(1)[:, :8]),
    "whole rows": lambda h: h * coins(h, 0.5),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("does", APART.values(), ids=APART)
def test_rows_with_numbers_of_their_own_share_a_pass(does: Callable[[Tensor], Tensor], training: bool) -> None:
    model, x = model_of(does, training), torch.randn(5, 6)
    for names in ("abbab", "babba"):
        torch.manual_seed(1)
        mixed = model(x, task=[*names])
        for n, name in enumerate(names):
            torch.manual_seed(1)
            torch.testing.assert_close(mixed[n], model(x, task=name)[n])


@pytest.mark.parametrize("does", MEETING.values(), ids=MEETING)
def test_rows_that_random_numbers_bring_together_are_refused(does: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="random numbers bring its rows together: each depends on several"):
        model_of(does, True)(torch.randn(5, 6), task=[*"abbab"])


@pytest.mark.filterwarnings("ignore:.* task by task")
def test_experts_with_dropout_train() -> None:
    def experts(h: Tensor) -> Tensor:
        order = h.sum(1).argsort()
        return F.dropout(h[order], 0.5)[order.argsort()]

    model, x = model_of(experts, True), torch.randn(5, 6)
    torch.manual_seed(1)
    mixed = model(x, task=[*"abbab"])
    torch.manual_seed(1)
    torch.testing.assert_close(mixed[[0, 3]], model(x[[0, 3]], task="a"))
    torch.testing.assert_close(mixed[[1, 2, 4]], model(x[[1, 2, 4]], task="b"))
