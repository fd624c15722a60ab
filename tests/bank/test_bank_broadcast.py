"""A bank's broadcast gives each task the outputs of its own folded network, for outputs of any type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import taskfold as tfold

SIZE = 6


class Net(nn.Module):
    """A layer, and what is made of its output.

    Args:
        made: (input, output) → what the network puts out.
    """

    def __init__(self, made: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.made = nn.Linear(SIZE, SIZE), made

    def forward(self, x: Tensor) -> Any:
        return self.made(x, self.layer(x).tanh())


class Cache:
    """Something that is no tensor and holds rows."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows


OUTPUTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "rows": lambda _, y: y,
    "loss": lambda _, y: (y, y.square().mean()),
    "loss alone": lambda _, y: {"loss": y.square().mean()},
    "number of rows": lambda x, y: (y, len(x)),
    "sum": lambda _, y: (y, y.sum().item()),
    "sum over rows": lambda _, y: (y, y.sum(0)),
    "as long as all rows together": lambda x, y: (y, torch.ones(2 * len(x)) * y.mean()),
    "second axis": lambda _, y: torch.stack([y, 2 * y]),
    "copies": lambda _, y: torch.cat([y, -y]),
    "beams": lambda _, y: y.repeat_interleave(2, 0),
    "names": lambda _, y: {"y": y, "kind": "tanh", "none": None},
}


def built(made: Callable[[Tensor, Tensor], Any]) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(Net(made), tfold.LoRA(rank=2))
    for name in "ab":
        for tensor in model.add_task(name).parameters():
            tensor.data.normal_()
    return model.eval()


@pytest.mark.filterwarnings("ignore:Net runs tasks one after another")
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("made", OUTPUTS.values(), ids=OUTPUTS)
@torch.no_grad()
def test_each_task_says_what_its_network_says(made: Callable[[Tensor, Tensor], Any], rows: int) -> None:
    model, x = built(made), torch.randn(rows, SIZE)
    bank = model.bank()
    for _ in range(2):
        for name, said in bank(x, task=["b", "a"], broadcast=True).items():
            wanted = tree_leaves(model.fold(name)(x))
            assert len(tree_leaves(said)) == len(wanted)
            for one, other in zip(tree_leaves(said), wanted, strict=True):
                assert type(one) is type(other)
                if isinstance(one, str):
                    assert one == other
                elif one is not None:
                    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_is_no_tensor_is_each_task_s_own() -> None:
    model, x = built(lambda _, y: (y, Cache(y))), torch.randn(3, SIZE)
    for name, (_, cache) in model.bank()(x, task=["a", "b"], broadcast=True).items():
        torch.testing.assert_close(cache.rows, model.fold(name)(x)[1].rows)


@torch.no_grad()
def test_a_form_without_rows_leaves_the_others_one_pass() -> None:
    """A loss is asked for once; what comes after it still passes through the network once."""
    model = built(lambda x, y: y.square().mean() if x.dim() == 3 else y)
    bank, passes = model.bank(), list[int]()
    bank.backbone.layer.register_forward_hook(lambda *_: passes.append(1))  # type: ignore[operator,union-attr]
    bank(torch.randn(2, 3, SIZE), task=["a", "b"], broadcast=True)
    passes.clear()
    bank(torch.randn(2, SIZE), task=["a", "b"], broadcast=True)
    assert len(passes) == 1
