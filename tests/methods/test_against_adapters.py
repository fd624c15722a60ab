"""Bottleneck adapters and Compacter against kept numbers of the package `adapters`, in value and gradient."""

from __future__ import annotations

import json
import re

import pytest
import torch

import taskfold as tfold
from taskfold.layers import parts_of

from .adapters_oracle import CASES, NETWORKS, NUMBERS, fill, numbers, output_of, summed

METHODS = {
    "houlsby": tfold.BottleneckAdapter(2, "houlsby", "silu", scale=0.5, norm=False),
    "feed-forward": tfold.BottleneckAdapter(4, norm=False),
    "compacter": tfold.Compacter(4, terms=2, slow="common", activation="gelu", norm=False),
    "compacter, own": tfold.Compacter(4, terms=2, activation="gelu", norm=False),
    "compacter++": tfold.CompacterPlusPlus(8, terms=4, rank=2, slow="common", activation="gelu", norm=False),
}
NAMES = {
    "slow": ("phm_rule",),
    "fast_in": ("W_left",),
    "fast_out": ("W_right",),
    "bias": ("b", "bias"),
    "": ("weight",),
}
"""What a leaf of ours is called there, without the matrix that it belongs to."""


def names_of(path: str, leaf: str, kept: list[str]) -> list[str]:
    """What the leaf of a layer may be called there: its own name, or that of one for the whole network."""
    matrix, _, ours = leaf.partition("_")
    last = "|".join(NAMES[ours])
    own = re.compile(rf"(.*)\.adapters\.a\.adapter_{matrix}(\.0)?\.({last})")
    found = [name for name in kept if (fits := own.fullmatch(name)) and path.startswith(f"{fits[1]}.")]
    return found or [name for name in kept if ours == "slow" and name.startswith("shared_parameters.")]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_as_adapters(network: str, case: str) -> None:
    kept = json.loads(NUMBERS.read_text())[f"{network}, {case}"]
    backbone = NETWORKS[network]().double().eval()
    fill(backbone)
    plain = output_of(network, backbone)
    near = {"rel": 1e-5, "abs": 1e-6} if network == "t5" else {"rel": 1e-9, "abs": 1e-12}  # its attention is in single
    assert plain.flatten().tolist() == pytest.approx(kept["plain"], **near)
    model = tfold.MultiTask(backbone, METHODS[case]).eval()
    task = model.add_task("a").double()
    leaves: dict[str, torch.Tensor] = {}
    for (path, _), part in parts_of(task):
        for leaf, tensor in part.own.items():
            [name] = names_of(path, leaf, [*kept["gradients"]])
            leaves[name] = tensor
            with torch.no_grad():
                tensor.copy_(numbers(name, tensor))
    assert leaves.keys() == kept["gradients"].keys()
    found = output_of(network, model, task="a")
    assert found.flatten().tolist() == pytest.approx(kept["output"], **near)
    assert not torch.allclose(found, plain, atol=1e-2)
    gradients = torch.autograd.grad(summed(found.flatten()), [*leaves.values()])
    made = dict(zip(leaves, (summed(one.flatten()).item() for one in gradients), strict=True))
    assert made == pytest.approx(kept["gradients"], **near)
