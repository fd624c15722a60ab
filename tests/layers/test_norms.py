"""Normalisation with other tensors for each row: what is found out about a layer, and that rows are the tasks."""

from __future__ import annotations

import pytest
import torch
from timm.layers import GroupNormAct, LayerNorm2d, LayerNormAct2d, RmsNorm
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from taskfold import HeadNorm, MultiTask
from taskfold.kinds._norm import Scale, scale_of


class BothNorm(nn.Module):
    """Of the last axis or of the first after the batch, as in ConvNeXt's own code."""

    def __init__(self, channels: int, first: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.first = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
            first,
        )

    def forward(self, x: Tensor) -> Tensor:
        if not self.first:
            return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias)
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class SquaredNorm(nn.LayerNorm):
    """Not linear in its weight."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.weight


CASES = {
    "torch": (lambda: nn.LayerNorm(6), Scale(-1, 1.0)),
    "no bias": (lambda: nn.LayerNorm(6, bias=False), Scale(-1, 1.0)),
    "rms": (lambda: nn.RMSNorm(6), Scale(-1, 1.0)),
    "group": (lambda: nn.GroupNorm(2, 6), Scale(1, 1.0)),
    "t5": (lambda: T5LayerNorm(6), Scale(-1, 1.0)),
    "timm rms": (lambda: RmsNorm(6), Scale(-1, 1.0)),
    "timm 2d": (lambda: LayerNorm2d(6), Scale(1, 1.0)),
    "gemma": (lambda: GemmaRMSNorm(6), Scale(-1, 0.0)),
    "channels last": (lambda: BothNorm(6, first=False), Scale(-1, 1.0)),
    "channels first": (lambda: BothNorm(6, first=True), Scale(1, 1.0)),
    "and activation": (lambda: LayerNormAct2d(6), None),
    "groups and activation": (lambda: GroupNormAct(6, num_groups=2), None),
    "squared": (lambda: SquaredNorm(6), None),
    "two axes": (lambda: nn.LayerNorm((5, 6)), None),
    "no weight": (lambda: nn.LayerNorm(6, elementwise_affine=False), None),
    "no norm": (lambda: nn.Linear(6, 6), None),
}
every_norm = pytest.mark.parametrize(("build", "scale"), CASES.values(), ids=CASES)


@every_norm
def test_how_it_scales_is_found(build: type[nn.Module], scale: Scale | None) -> None:
    assert scale_of(build()) == scale


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("no norm", "no weight")])
def test_rows_are_the_tasks_one_by_one(name: str) -> None:
    build, _ = CASES[name]
    torch.manual_seed(0)
    model = MultiTask(nn.Sequential(build()), HeadNorm()).eval()
    for task in "ab":
        for parameter in model.add_task(task).parameters():
            nn.init.normal_(parameter)
    axis_first = name in ("group", "timm 2d", "channels first", "and activation", "groups and activation")
    x, rows = torch.randn(4, 6, 5, 5) if axis_first else torch.randn(4, 5, 6), list("abba")
    wanted = torch.stack([model(x, task=task)[n] for n, task in enumerate(rows)])
    torch.testing.assert_close(model(x, task=rows), wanted)
    torch.testing.assert_close(model.bank()(x, task=rows), wanted)
