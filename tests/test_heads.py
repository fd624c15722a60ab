"""Heads on features of another shape or width than they take: flattened if unambiguous, else refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask


class Pooled(dict[str, Tensor]):
    """As transformers' outputs are: read by attribute."""

    @property
    def pooler_output(self) -> Tensor:
        return self["pooler_output"]


class Body(nn.Module):
    """Convolutions whose output is pooled to `[B, C, 1, 1]`, as transformers' ResNet has it."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = type("Config", (), config)()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Pooled:
        return Pooled(pooler_output=self.body(x))


X = torch.randn(4, 3, 8, 8)


@pytest.mark.parametrize("config", [{"hidden_sizes": [4, 8]}, {"hidden_sizes": [4, 5], "neck_hidden_sizes": [5, 8]}])
def test_pooled_maps_of_one_position_are_rows(config: dict[str, list[int]]) -> None:
    model = MultiTask(Body(**config), tfold.HeadNorm()).eval()
    for name, outputs in {"a": 3, "b": 2}.items():
        model.add_task(name, head=outputs)
    said, rows = {name: model(X, task=name) for name in "ab"}, list("abba")
    assert said["a"].shape == (4, 3)
    torch.testing.assert_close(model.fold("a")(X), said["a"])
    for mixed in (model(X, task=rows), model.bank()(X, task=rows)):
        for n, name in enumerate(rows):
            torch.testing.assert_close(mixed[n], said[name][n])


BACKBONES = {
    "one position": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)), 8, r"\[., 8, 1, 1\]; .*flatten\(1\)$"),
    "maps": (nn.Sequential(nn.Conv2d(3, 8, 3)), 8, r"\[., 8, 6, 6\]; .*flatten\(2\)\.mean\(2\)$"),
    "width": (nn.Sequential(nn.Conv2d(3, 6, 8), nn.Flatten()), 8, r"\[., 6\]; give MultiTask num_features=6, or feat"),
    "maps and width": (nn.Sequential(nn.Conv2d(3, 6, 3)), 8, r"\[., 6, 6, 6\]; give MultiTask num_features=…, or feat"),
}


@pytest.mark.parametrize(("network", "width", "message"), BACKBONES.values(), ids=BACKBONES)
def test_other_shapes_are_named(network: nn.Module, width: int, message: str) -> None:
    model = MultiTask(network, tfold.FineTuning(), num_features=width).eval()
    for name in "ab":
        model.add_task(name, head=3)
    rows = list("abba")
    for task in ("a", rows, list("ab") * 2):
        with pytest.raises(
            ValueError, match=rf"task '[ab]': its head takes 8 features, and the backbone gives {message}"
        ):
            model(X, task=task)
    with pytest.raises(ValueError, match=rf"the bank's heads take 8 features, and the backbone gives {message}"):
        model.bank()(X, task=rows)


def test_features_that_are_no_tensor_are_named() -> None:
    model = MultiTask(nn.Conv2d(3, 8, 3), tfold.FineTuning(), num_features=8, features=lambda output: [output])  # type: ignore[arg-type,return-value]
    model.add_task("a", head=3)
    with pytest.raises(ValueError, match="its head takes 8 features, and is given list; give MultiTask features="):
        model(X, task="a")


@pytest.mark.parametrize("outputs", [(3, 3), (5, 2)])
def test_heads_of_tasks_with_several_rows_each_compile_to_one_graph(outputs: tuple[int, int]) -> None:
    torch._dynamo.reset()
    model = MultiTask(nn.Sequential(nn.Linear(6, 8)), tfold.LoRA(rank=2, init="normal"), num_features=8).eval()
    for name, size in zip("ab", outputs, strict=True):
        model.add_task(name, head=size)
    x, rows = torch.randn(5, 6), list("abbab")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for n, one in enumerate(compiled(x, task=rows)):
        torch.testing.assert_close(one, model(x, task=rows[n])[n])
