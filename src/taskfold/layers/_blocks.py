"""Recipes at the blocks of a residual network: second convolutions, and squeeze-and-excite before the sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..factors import Leaf, check_whole
from ..interventions import SqueezeExcite
from ..kinds import BatchNorm, Convolution, Patterns, kind_of
from ..routing import Private
from ._adapters import uniform
from ._part import Part
from ._recipe import Fitting, Recipe
from ._residual import MainConvolutions
from ._ruled import Direct, leaves_of
from ._where import Target


@dataclass(frozen=True)
class SecondConvolutions(MainConvolutions):
    """The second convolution of every residual block: `conv2` beside `conv1`, as in torchvision and timm."""

    what: ClassVar[str] = "residual blocks (conv1, conv2) to adapt"
    centred: bool = True

    def candidates(self, network: nn.Module) -> list[Target]:
        return [target for target in super().candidates(network) if _in_block(network, target.path)]


@dataclass(frozen=True)
class SqueezeExcites(Recipe):
    """A squeeze-and-excite behind the last normalisation of residual blocks: 2 C²/r + C + C/r numbers.

    Args:
        targets: shell patterns over the names of the blocks' second convolutions.
        reduction: r ≥ 1; the middle has C // r channels, at least 1.
        bottlenecks: only in blocks of three convolutions; a network without such blocks gets none.

    Raises:
        ValueError: reduction is no whole number ≥ 1; when a task is added, a block ends in no BatchNorm.
    """

    targets: Patterns = "*"
    reduction: int = 16
    bottlenecks: bool = True

    def __post_init__(self) -> None:
        check_whole("reduction", self.reduction, 1)

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in SecondConvolutions(self.targets).find(at.network):
            block = target.path.removesuffix("conv2")
            deep = _is_convolution(at.network, f"{block}conv3")
            if not deep and self.bottlenecks:
                continue
            path = f"{block}{'bn3' if deep else 'bn2'}"
            kind = at.kind(path) if path in dict(at.network.named_modules()) else None
            if not isinstance(kind, BatchNorm) or kind.outputs is None or not SqueezeExcite().stands_behind(kind):
                raise ValueError(
                    f"block {block.removesuffix('.')!r}: squeeze-and-excite stands behind its last normalisation, and "
                    f"{path!r} is no BatchNorm without an activation; choose squeeze_excite=False, or leave the block "
                    "out with targets"
                )
            size, width = kind.outputs, max(1, kind.outputs // self.reduction)
            specs = {
                "down": Leaf((width, size), ("term", "inp"), uniform),
                "down_bias": Leaf((width,), ("term",), nn.init.zeros_),
                "up": Leaf((size, width), ("out", "term"), nn.init.zeros_),
                "up_bias": Leaf((size,), ("out",), nn.init.zeros_),
            }
            like = torch.empty(0, dtype=kind.dtype, device=kind.device)
            own, _ = leaves_of(at, f"{at.prefix}/{path}/squeeze", specs, Private(), like, {}, path)
            yield path, "squeeze", Direct(SqueezeExcite(), specs, Private(), own, None)


def _in_block(network: nn.Module, path: str) -> bool:
    block, _, name = path.rpartition(".")
    return name == "conv2" and bool(block) and _is_convolution(network, f"{block}.conv1")


def _is_convolution(network: nn.Module, path: str) -> bool:
    module = dict(network.named_modules()).get(path)
    return module is not None and isinstance(kind_of(module), Convolution)
