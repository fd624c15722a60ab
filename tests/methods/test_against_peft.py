"""Poly and MHR against another implementation: the same numbers in, the same values and gradients out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.layers import updates_of
from taskfold.routing import LOGITS

peft = pytest.importorskip("peft", minversion="0.21")

TASKS = ("a", "b", "c")
ROWS = (2, 0, 0, 1, 2, 0)
R, SKILLS = 3, 5


class Net(nn.Module):
    """Two linear layers that pass task ids on, as PEFT wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor, **ids: Tensor) -> Tensor:
        return self.second(self.first(x, **ids).tanh(), **ids)


@pytest.mark.parametrize("splits", [1, 2, 4])
def test_the_same_as_peft(splits: int) -> None:
    torch.manual_seed(0)
    network = Net().double()
    method = tfold.MHR(R, SKILLS, splits=splits) if splits > 1 else tfold.Poly(R, SKILLS)
    ours = tfold.MultiTask(network, method)
    for name in TASKS:
        ours.add_task(name)
    twin = Net().double()
    twin.load_state_dict(network.state_dict())
    config = peft.PolyConfig(
        r=R, n_tasks=len(TASKS), n_skills=SKILLS, n_splits=splits, target_modules=["first", "second"]
    )
    theirs = peft.get_peft_model(twin, config).double().eval()  # in training PEFT samples the routing

    pairs = []
    for path in ("first", "second"):
        layer = theirs.base_model.model.get_submodule(path)
        update = updates_of(ours["a"])[path]
        assert update.bank is not None
        down, up = layer.poly_lora_A["default"], layer.poly_lora_B["default"]
        pairs += [(update.bank["down"], down), (update.bank["up"], up)]
        router = layer.poly_router["default"].module_logits
        pairs += [(updates_of(ours[name])[path].own[LOGITS], (router, n)) for n, name in enumerate(TASKS)]
    for mine, other in pairs:
        nn.init.normal_(mine)
        place, row = other if isinstance(other, tuple) else (other, slice(None))
        place.data[row] = as_peft(mine.detach()).reshape(place[row].shape)

    x = torch.randn(len(ROWS), 7, 8, dtype=torch.float64)
    found = ours.eval()(x, task=[TASKS[n] for n in ROWS])
    expected = theirs(x, task_ids=torch.tensor(ROWS))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, network(x))
    for output in (found, expected):
        output.square().sum().backward()
    for mine, other in pairs:
        place, row = other if isinstance(other, tuple) else (other, slice(None))
        assert mine.grad is not None
        torch.testing.assert_close(as_peft(mine.grad).reshape(place[row].shape), place.grad[row])


def as_peft(leaf: Tensor) -> Tensor:
    """Inputs before rank, rank before outputs; logits are as they are."""
    return leaf.mT if leaf.dim() > 2 else leaf
