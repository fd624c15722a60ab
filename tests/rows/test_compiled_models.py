"""A compiler reuses traces by code: those of one model, or of removed tasks, must not serve another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask

ROWS = ["a", "b", "b"]


class Net(nn.Module):
    num_features = 4

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(layers))
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return self.last(x)


def tuned(layers: int, rows: str) -> MultiTask:
    torch.manual_seed(layers)
    model = MultiTask(Net(layers), tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
    for name in "ab":
        add(model, name)
    if rows == "separate":
        model.rows = "separate"
    if rows == "hooks":
        model.backbone.last.register_forward_pre_hook(lambda module, inputs: None)
    return model


def add(model: MultiTask, name: str, **settings: object) -> None:
    for parameter in model.add_task(name, **settings).parameters():  # type: ignore[arg-type]
        nn.init.normal_(parameter)


def check(model: MultiTask, compiled: object, x: Tensor) -> None:
    with torch.no_grad():
        each = {name: model.fold(name)(x) for name in "ab"}
        assert (each["a"] - each["b"]).abs().max() > 0.1
        wanted = torch.stack([each[name][n] for n, name in enumerate(ROWS)])
        torch.testing.assert_close(torch.stack(list(compiled(x, task=ROWS))), wanted)  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:.*task by task")
@pytest.mark.in_turn("kind")
@pytest.mark.parametrize("first", ["separate", "hooks", "checked"])
@pytest.mark.parametrize("kind", ["model", "bank"])
def test_one_model_after_another(first: str, kind: str) -> None:
    torch._dynamo.reset()
    x = torch.randn(3, 6)
    for layers, rows in ((1, first), (2, "checked"), (1, "checked"), (2, first)):
        model = tuned(layers, rows)
        one = model if kind == "model" else model.bank()
        check(model, torch.compile(one, backend="eager"), x)


@pytest.mark.filterwarnings("ignore:.*task by task")
@pytest.mark.parametrize("rows", ["separate", "hooks", "checked"])
def test_one_task_after_another(rows: str) -> None:
    torch._dynamo.reset()
    model, x = tuned(2, rows), torch.randn(3, 6)
    compiled = torch.compile(model, backend="eager")
    check(model, compiled, x)
    for settings in ({"targets": "last"}, {"targets": "*"}, {"method": tfold.FineTuning()}):
        model.remove_task("b")
        add(model, "b", **settings)
        check(model, compiled, x)
