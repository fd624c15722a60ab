"""Modules with the user's names, whose contents torch must find."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taskfold.tasks import Named


def made() -> nn.Module:
    whole = nn.Module()
    whole.sites = Named({"0": nn.Linear(2, 2), "0.conv": nn.Linear(2, 3), "0.conv.inner": nn.Linear(3, 2, bias=False)})
    return whole


@pytest.mark.parametrize("name", ["sites.0.weight", "sites.0.conv.bias", "sites.0.conv.inner.weight"])
def test_every_tensor_is_found_by_its_name(name: str) -> None:
    whole = made()
    assert whole.get_parameter(name) is dict(whole.named_parameters())[name]


def test_tensors_are_swapped_where_they_are() -> None:
    whole = made()

    def total(module: nn.Module) -> torch.Tensor:
        return torch.stack([parameter.sum() for parameter in module.parameters()]).sum()

    class Total(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self) -> torch.Tensor:
            return total(self.whole)

    ones = {f"whole.{name}": torch.ones_like(p) for name, p in whole.named_parameters()}
    found = torch.func.functional_call(Total(), ones, ())
    assert found == sum(one.numel() for one in ones.values())
    assert not torch.equal(total(whole), found)


def test_what_is_not_there_is_said_as_ever() -> None:
    with pytest.raises(AttributeError, match="no attribute `1`"):
        made().get_parameter("sites.1.weight")


def test_state_is_loaded_strictly() -> None:
    source, target = made(), made()
    state = source.state_dict()
    assert not any(map(torch.equal, state.values(), target.state_dict().values()))
    target.load_state_dict(state)
    assert all(map(torch.equal, state.values(), target.state_dict().values()))
    for wrong, message in (
        ({**state, "sites.0.other": torch.ones(1)}, "Unexpected.*sites.0.other"),
        ({**state, "sites.1.weight": torch.ones(1)}, "Unexpected.*sites.1.weight"),
        ({name: tensor for name, tensor in state.items() if name != "sites.0.conv.bias"}, "Missing.*sites.0.conv.bias"),
    ):
        with pytest.raises(RuntimeError, match=message):
            target.load_state_dict(wrong)
