"""Multiply-adds against formulas written out by hand, and against a folded network's."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import timm
import torch
from torch import nn

import taskfold as tfold

from .conftest import Run

MOVED = 12


@dataclass(frozen=True)
class Walk:
    """A convolution as a forward pass meets it."""

    inp: int
    out: int
    taps: int
    inputs: int
    positions: int

    @property
    def own(self) -> int:
        return self.positions * self.inp * self.out * self.taps

    def beside(self, rank: int, reads: int) -> bool:
        """Whether an update runs beside the layer: then it costs less than W + ΔW."""
        outputs = self.positions * self.out
        thin = rank * (self.inputs * reads + outputs) + MOVED * (self.inputs + outputs)
        return thin <= (rank + 3 * MOVED) * self.inp * self.out * self.taps

    def made(self, rank: int) -> int:
        return rank * self.inp * self.out * self.taps

    def lora(self, rank: int) -> int:
        """k×k to r channels, then 1×1."""
        if self.beside(rank, self.taps):
            return rank * self.positions * (self.inp * self.taps + self.out)
        return self.made(rank)

    def ftn(self, rank: int) -> int:
        """To R channels, a kernel on each, and up; 1×1 convolutions have no kernel, and read where they stand."""
        if not self.beside(rank, 1):
            return self.made(rank)
        if self.taps == 1:
            return rank * self.positions * (self.inp + self.out)
        return rank * (self.inputs + self.positions * self.taps + self.positions * self.out)


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0).eval()


IMAGE = torch.empty(1, 3, 224, 224, device="meta")


def test_a_resnet_by_hand() -> None:
    net, walks = meta("resnet18"), list[Walk]()

    def note(conv: nn.Conv2d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        positions = output.shape[-2] * output.shape[-1]
        taps = conv.kernel_size[0] * conv.kernel_size[1]
        walks.append(Walk(conv.in_channels, conv.out_channels, taps, inputs[0].numel(), positions))

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    net(IMAGE)
    for hook in hooks:
        hook.remove()
    plain = sum(walk.own for walk in walks)
    lora, ftn = (tfold.multiply_adds(net, method, IMAGE) for method in (tfold.LoRA(rank=4), tfold.FTN(rank=4)))
    assert (lora.backbone, lora.folded, ftn.folded) == (plain, plain, plain) == (1_813_561_344,) * 3
    assert lora.unfolded - plain == sum(walk.lora(4) for walk in walks[1:])  # the stem is left out
    assert ftn.unfolded - plain == sum(walk.ftn(4) for walk in walks[1:])
    head = tfold.multiply_adds(net, tfold.FTN(rank=4), IMAGE, head=10, num_features=512)
    assert (head.unfolded - ftn.unfolded, head.folded) == (5_120, plain + 5_120)


def test_a_vision_transformer_by_hand() -> None:
    net, tokens, width, rank = meta("vit_base_patch32_clip_224"), 50, 768, 4
    patches = 49 * width * 3 * 32 * 32
    block = tokens * 12 * width * width + 2 * tokens * tokens * width  # projections; queries by keys, weights by values
    found = {
        name: tfold.multiply_adds(net, method, IMAGE)
        for name, method in {
            "lora": tfold.LoRA(rank=rank),
            "qv": tfold.FTNQueryValue(rank=rank),
            "output": tfold.FTNOutput(rank=rank),
        }.items()
    }
    assert {one.backbone for one in found.values()} == {patches + 12 * block} == {4_408_418_304}
    fused = 12 * tokens * 2 * rank * (width + 3 * width)  # query and value are parts of one layer of 3·768 outputs
    assert found["lora"].unfolded - found["lora"].backbone == fused
    assert found["qv"].unfolded - found["qv"].backbone == fused
    assert found["output"].unfolded - found["output"].backbone == 12 * tokens * rank * 2 * width


@pytest.mark.parametrize("method", [tfold.LoRA(rank=2, layers="all"), tfold.BitFit(norms=False), tfold.HeadOnly()])
def test_a_folded_network_takes_what_is_said(method: tfold.Method) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16))
    model = tfold.MultiTask(net, method, num_features=16).eval()
    model.add_task("one", head=5)
    images = torch.randn(2, 3, 12, 12)
    said = tfold.multiply_adds(net, method, images, head=5, num_features=16)
    bare = tfold.multiply_adds(model.fold("one"), tfold.HeadOnly(), images)
    assert said.folded == bare.backbone == 2 * (100 * 8 * 27 + 8 * 16 + 16 * 5)


def test_on_the_command_line(run: Run) -> None:
    arguments = ("count", "--model", "hf:t5-small", "--method", "adapter", "--flops")
    found = json.loads(run(*arguments, "--input", "16+4", "--json").stdout)["multiply_adds"]
    assert (found["input"], found["folded"]) == ("16+4 tokens", None)
    assert found["unfolded"] > found["backbone"]
    assert f"{found['backbone']:,}" in (table := run(*arguments, "--input", "16+4").stdout)
    assert "the method does not fold" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flops", "--input", "large"], "--input must be the size of one input, such as 3x224x224, found 'large'"),
        (["--flops", "--input", "12"], "does not take 12"),
        (["--input", "3x64x64"], "--input is of --flops"),
    ],
)
def test_other_inputs_are_refused(run: Run, arguments: list[str], message: str) -> None:
    result = run("count", "--model", "timm:resnet18", *arguments)
    assert (result.exit_code, message in result.stderr) == (1, True), result.stderr
