"""A default device other than the network's (`torch.set_default_device`) does not change a model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .cases import NETWORKS, images

Answers = dict[str, Tensor]


class Shifted(nn.Conv2d):
    """Its own forward: what a task can do there is found by trying."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1.0


class Own(nn.Sequential):
    """`[B, 3, 8, 8]` → `[B, 4]`."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__(Shifted(3, 4, 3), Shifted(4, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


CASES: dict[str, tuple[Callable[[], nn.Module], tfold.Method]] = {
    "products": (NETWORKS["transformer"], tfold.TLoRA(rank=2, tensor_rank=2)),
    "branches": (NETWORKS["convolutional"], tfold.RepVGG()),
    "factors where the forward is the layer's own": (Own, tfold.FTN(rank=2, statistics="own")),
    "masks": (Own, tfold.Piggyback()),
}


def answers(network: Callable[[], nn.Module], method: tfold.Method, other: str) -> Answers:
    """Of every way to ask, in double precision, for a network that was made on the CPU."""
    torch.manual_seed(0)
    made, x, y = network().double(), images(), torch.randint(3, (5,), generator=torch.Generator().manual_seed(2))
    with torch.device(other):
        model = tfold.MultiTask(made, method).eval()
        for name in "abc":
            model.add_task(name, head=3)
        tensors = {"in training": torch.stack(model.train()(x, task=[*"baccb"]))}
        nn.functional.cross_entropy(tensors["in training"], y).backward()
        tensors |= {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.eval()
        tensors |= {"single": model(x, task="a"), "mixed": torch.stack(model(x, task=[*"bacca"]))}
        tensors |= {f"broadcast {name}": made for name, made in model(x, task=[*"abc"], broadcast=True).items()}
        tensors |= {"bank": torch.stack(model.bank()(x, task=[*"bacca"])), "fold": model.fold("a")(x)}
    return tensors


@pytest.mark.parametrize(("network", "method"), CASES.values(), ids=CASES)
def test_another_default_device(network: Callable[[], nn.Module], method: tfold.Method) -> None:
    """Tensors on meta have no numbers: a model that made one of its own there would fail."""
    expected, found = answers(network, method, "cpu"), answers(network, method, "meta")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")
