"""Networks for dense prediction: a backbone that tasks share, and a head for each."""

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
    """A backbone, and the heads that fit its output.

    Attributes:
        backbone: images `[B, 3, H, W]` → the heads' input: a tensor, or a list of tensors, finest first.
        build_head: makes a new head from a number of channels: the backbone's output → `[B, channels, H, W]`.
        name: the architecture's name, one of `NETWORKS`.
        settings: the architecture's settings, JSON.
        mean, std: per channel, for images in [0, 1], as `DenseTensors` takes them.
    """

    backbone: nn.Module
    build_head: Callable[[int], nn.Module]
    name: str
    settings: dict[str, Any]
    mean: Channels3 = IMAGENET_MEAN
    std: Channels3 = IMAGENET_STD

    def head(self, channels: int) -> nn.Module:
        """A new head, initialised from torch's global generator.

        Args:
            channels: ≥ 1, the channels of the output, which has the image's height and width.

        Raises:
            ValueError: `channels` is < 1.
        """
        return self.build_head(check_whole("channels", channels, 1))


@dataclass(frozen=True)
class Architecture(ABC):
    """A kind of network; its fields are its settings, all JSON. Checked at construction."""

    name: ClassVar[str]

    @abstractmethod
    def build(self) -> DenseNetwork:
        """A new network, initialised from torch's global generator."""

    def as_json(self) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
