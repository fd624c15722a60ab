"""The recipe of branches (RepVGG): convolutions with several branches in training, shared by all tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..factors import NORM, STATISTICS, WEIGHTS, Group
from ..interventions import Branches, branches_of, merged
from ..kinds import LayerKind, Patterns, Tensors, matches
from ..tasks import Leaves, check_inventory, kept_in
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._where import check_weight, units

EPSILON = 1e-5


class Branched(Part):
    """Branches of a convolution, which lie in the model's inventory."""

    def __init__(self, inventory: tuple[str, Leaves]) -> None:
        super().__init__(Branches(), Leaves({}, {}), inventory)

    @property
    def replaces(self) -> frozenset[str]:
        return frozenset({"weight", "bias"})

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        assert self.inventory is not None
        held = dict(self.inventory[1].items())
        return held if when.training else merged(kind.module, held)  # type: ignore[arg-type]

    def alike(self, other: Part) -> bool:
        return self.inventory is other.inventory


@dataclass(frozen=True)
class ConvolutionBranches(Recipe):
    """Branches in every convolution with an odd kernel larger than 1×1, shared by all tasks.

    Training starts from the layer's own convolution: the other branches start with γ = 0.
    """

    targets: Patterns = "*"

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        found = [(path, m) for path, m in units(at.network) if _fits(m) and matches(path, self.targets)]
        for path, conv in found:
            assert isinstance(conv, nn.Conv2d)
            check_weight(at.kind(path), path, "weight")
            names, key = branches_of(conv), f"{at.prefix}/{path}/branches"
            made = at.inventory[key] if key in at.inventory else _made(conv, names)
            check_inventory(key, made, {f"{name}.gamma": (conv.out_channels,) for name in names})
            at.inventory[key] = made
            yield path, "branches", Branched((key, made))
        if not found:
            raise ValueError(
                f"targets={self.targets!r} selects no convolution of {type(at.network).__name__} with an odd kernel "
                "larger than 1×1, which branches are for; choose another method"
            )


def _fits(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and all(k % 2 for k in module.kernel_size)


def _made(conv: nn.Conv2d, names: tuple[str, ...]) -> Leaves:
    weight = conv.weight.detach()
    weight = weight.to(kept_in(weight.dtype))
    tensors: dict[str, Tensor] = {}
    groups: dict[str, Group] = {}

    def hold(name: str, value: Tensor, group: Group) -> None:
        tensors[name] = nn.Parameter(value.to(weight).clone())
        groups[name] = group

    point = torch.empty_like(weight[:, :, :1, :1])
    nn.init.kaiming_uniform_(point, a=5**0.5)
    channels = torch.ones(conv.out_channels, device=weight.device)
    for name in names:
        if name != "identity":
            hold(f"{name}/weight", weight if name == "kernel" else point, WEIGHTS)
        first = name == "kernel"
        hold(f"{name}/gamma", channels * ((1 + EPSILON) ** 0.5 if first else 0), NORM)
        hold(f"{name}/beta", conv.bias.detach() if first and conv.bias is not None else channels * 0, NORM)
        hold(f"{name}/mean", channels * 0, STATISTICS)
        hold(f"{name}/var", channels.clone(), STATISTICS)
    return Leaves(tensors, groups)
