"""Normalisation with other tensors for each row: how a layer is recognised; rows equal the tasks one by one."""

from __future__ import annotations

import pytest
import torch
from timm.layers import GroupNormAct, LayerNorm2d, LayerNormAct2d, RmsNorm
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from taskfold import SSF, BitFit, FineTuning, HeadNorm, LoRA, Method, MultiTask
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
    "instance": (lambda: nn.InstanceNorm2d(6, affine=True), Scale(1, 1.0)),
    "instance, tracked": (lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True), Scale(1, 1.0)),
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
    axis_first = name in (
        "group",
        "instance",
        "instance, tracked",
        "timm 2d",
        "channels first",
        "and activation",
        "groups and activation",
    )
    x, rows = torch.randn(4, 6, 5, 5) if axis_first else torch.randn(4, 5, 6), list("abba")
    wanted = torch.stack([model(x, task=task)[n] for n, task in enumerate(rows)])
    torch.testing.assert_close(model(x, task=rows), wanted)
    torch.testing.assert_close(model.bank()(x, task=rows), wanted)


class CountingNorm(nn.Module):
    """Statistics of its own, written whenever it trains."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean
        if self.training:
            mean = x.mean((0, 2, 3))
            self.mean.lerp_(mean.detach().to(self.mean), 0.5)
            self.seen += 1
        return (x - mean[:, None, None]) * self.weight[:, None, None] + self.bias[:, None, None]


class CountingLinear(nn.Linear):
    """Writes how often and what it was called, and draws, whenever it trains."""

    def __init__(self, inp: int, out: int) -> None:
        super().__init__(inp, out)
        self.register_buffer("largest", torch.zeros(()))
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls.append(len(x))
            self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
            x = x + 0 * torch.randn(())
        return super().forward(x)


COUNTING = {
    "instance": (lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True), torch.randn(4, 6, 5, 5)),
    "instance 1d": (lambda: nn.InstanceNorm1d(6, affine=True, track_running_stats=True), torch.randn(4, 6, 5)),
    "statistics alone": (lambda: nn.InstanceNorm2d(6, track_running_stats=True), torch.randn(4, 6, 5, 5)),
    "batch": (lambda: nn.BatchNorm2d(6), torch.randn(4, 6, 5, 5)),
    "own": (lambda: CountingNorm(6), torch.randn(4, 6, 5, 5)),
    "linear": (lambda: CountingLinear(6, 6), torch.randn(4, 6)),
}


METHODS = (HeadNorm(), BitFit(), SSF(), FineTuning(), LoRA(rank=2, layers="linear"))
NOTHING = {("statistics alone", "bitfit"), ("statistics alone", "ssf"), ("linear", "head-norm")}
"""What there is nothing in for a method."""
PAIRS = [
    (name, method)
    for name in COUNTING
    for method in METHODS
    if (name, method.name) not in NOTHING and (method.name != "lora" or name == "linear")
]


@pytest.mark.parametrize(("name", "method"), PAIRS, ids=[f"{name}-{method.name}" for name, method in PAIRS])
def test_a_network_that_trains_is_never_written(name: str, method: Method) -> None:
    build, x = COUNTING[name]
    torch.manual_seed(0)
    net = nn.Sequential(build(), nn.Identity()).train()
    before, drawn = {key: tensor.clone() for key, tensor in net.state_dict().items()}, torch.get_rng_state()
    tracks = "running_mean" in net[0]._buffers
    if tracks and method.name in ("head-norm", "fine-tuning"):
        method = method.with_settings(statistics="own")
    model = MultiTask(net, method)
    for task in "ab":
        added = model.add_task(task)
    if method.name in ("bitfit", "ssf"):
        assert torch.equal(drawn, torch.get_rng_state())  # a trial draws nothing
    for parameter in [*model["a"].parameters(), *model["b"].parameters()]:
        nn.init.normal_(parameter)
    rows = list("abba")
    model.train()
    model(x, task=rows)
    model(x, task="a")
    found = [buffer for key, buffer in added.named_buffers() if key.endswith("mean")]
    assert all((buffer != 0).all() for buffer in found)
    assert bool(found) == (name != "linear" and method.name in ("head-norm", "fine-tuning"))
    model.eval()
    wanted = torch.stack([model(x, task=task)[n] for n, task in enumerate(rows)])
    torch.testing.assert_close(model(x, task=rows), wanted)
    torch.testing.assert_close(model.bank()(x, task=rows), wanted)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert not getattr(net[0], "calls", [])
