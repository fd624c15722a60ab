"""What a network for dense prediction is: a backbone that tasks share, and a head for each."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ...factors import check_whole
from .._augment import IMAGENET_MEAN
from .._tensors import IMAGENET_STD

Channels3 = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class DenseNetwork:
    """One backbone, and heads to stand on it.

    Attributes:
        backbone: images `[B, 3, H, W]` → what heads stand on: a tensor, or a list of tensors, finest first.
        build_head: channels → a new head, from what the backbone puts out to `[B, channels, H, W]`.
        name: of the architecture, one of `NETWORKS`.
        settings: of the architecture, JSON.
        mean, std: per channel, what images in [0, 1] are normalised with, as `DenseTensors` takes them.
    """

    backbone: nn.Module
    build_head: Callable[[int], nn.Module]
    name: str
    settings: dict[str, Any]
    mean: Channels3 = IMAGENET_MEAN
    std: Channels3 = IMAGENET_STD

    def head(self, channels: int) -> nn.Module:
        """A new head, drawn from torch's global generator.

        Args:
            channels: ≥ 1, of the output, which has the image's height and width.

        Raises:
            ValueError: fewer than one channel.
        """
        return self.build_head(check_whole("channels", channels, 1))


@dataclass(frozen=True)
class Architecture(ABC):
    """A kind of network; its fields are its settings, JSON all of them. Checked at construction."""

    name: ClassVar[str]

    @abstractmethod
    def build(self) -> DenseNetwork:
        """A new network, drawn from torch's global generator: the same seed, the same network."""

    def as_json(self) -> dict[str, Any]:
        """The settings."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
