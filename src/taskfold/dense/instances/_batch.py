"""Batches of images of any sizes, with any numbers of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..sources import InstanceSample

Target = dict[str, Tensor]
"""A target of torchvision's detectors: `boxes` float `[N, 4]`, `labels` int64 `[N]`, `masks` uint8 `[N, H, W]`."""


@dataclass(frozen=True, eq=False)
class InstanceBatch:
    """Samples side by side, not stacked.

    Attributes:
        images: float `[3, H, W]` each, 0 to 1; sizes may differ.
        targets: the images' targets.
        names: the images' names.
    """

    images: tuple[Tensor, ...]
    targets: tuple[Target, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, samples: Sequence[InstanceSample]) -> InstanceBatch:
        """A batch from samples: training's `collate`."""
        return cls(
            tuple(sample.image for sample in samples),
            tuple(sample.target() for sample in samples),
            tuple(sample.name for sample in samples),
        )

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> InstanceBatch:
        """The batch on a device."""
        images = tuple(image.to(device, non_blocking=non_blocking) for image in self.images)
        targets = tuple({k: v.to(device, non_blocking=non_blocking) for k, v in one.items()} for one in self.targets)
        return replace(self, images=images, targets=targets)

    def rows(self, indices: Sequence[int]) -> InstanceBatch:
        """Some of the batch's samples, in that order."""
        return InstanceBatch(
            tuple(self.images[row] for row in indices),
            tuple(self.targets[row] for row in indices),
            tuple(self.names[row] for row in indices),
        )

    def pin_memory(self) -> InstanceBatch:
        """The batch in pinned memory, as for a `DataLoader` with `pin_memory=True`."""
        images = tuple(image.pin_memory() for image in self.images)
        targets = tuple({key: tensor.pin_memory() for key, tensor in one.items()} for one in self.targets)
        return replace(self, images=images, targets=targets)
