"""An image with targets for its pixels, and a batch of such images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .kinds import Kind


@dataclass(frozen=True, eq=False)
class DenseSample:
    """One image and its targets.

    Attributes:
        image: float `[3, H, W]`, 0 to 1 unless normalised.
        targets: by task, `[target_channels, H, W]`; the image has no target for other tasks.
        name: its name in messages and reports.

    Raises:
        ValueError: sizes differ.
    """

    image: Tensor
    targets: Mapping[str, Tensor]
    name: str = ""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[0] != 3:
            raise ValueError(f"image must be [3, H, W], found {list(self.image.shape)}")
        for task, target in self.targets.items():
            if target.ndim != 3 or target.shape[1:] != self.image.shape[1:]:
                raise ValueError(
                    f"{self.name or 'sample'}: image and {task} must be of one size, "
                    f"found {list(self.image.shape)} and {list(target.shape)}"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.image.shape[1], self.image.shape[2]


@dataclass(frozen=True, eq=False)
class DenseBatch:
    """Samples of one size, stacked.

    Attributes:
        images: float `[B, 3, H, W]`.
        targets: for every task `[B, target_channels, H, W]`; all invalid for samples without a target.
        present: by task, `[B]`, boolean: whether the sample has a target with a valid pixel.
        names: the samples' names.
    """

    images: Tensor
    targets: dict[str, Tensor]
    present: dict[str, Tensor]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> DenseBatch:
        """The batch on a device."""

        def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: tensor.to(device, non_blocking=non_blocking) for task, tensor in tensors.items()}

        images = self.images.to(device, non_blocking=non_blocking)
        return replace(self, images=images, targets=moved(self.targets), present=moved(self.present))

    def rows(self, indices: Sequence[int]) -> DenseBatch:
        """Some of the batch's samples, in that order."""
        picked = list(indices)
        return DenseBatch(
            self.images[picked],
            {task: target[picked] for task, target in self.targets.items()},
            {task: there[picked] for task, there in self.present.items()},
            tuple(self.names[index] for index in picked),
        )

    def pin_memory(self) -> DenseBatch:
        """The batch in pinned memory, as for a `DataLoader` with `pin_memory=True`."""
        targets = {task: tensor.pin_memory() for task, tensor in self.targets.items()}
        present = {task: tensor.pin_memory() for task, tensor in self.present.items()}
        return replace(self, images=self.images.pin_memory(), targets=targets, present=present)


@dataclass(frozen=True)
class DenseCollate:
    """Samples → batch.

    Args:
        kinds: the kinds by task; a batch has targets of exactly these.

    Raises:
        ValueError: at a call, samples have different sizes.
    """

    kinds: Mapping[str, Kind]

    def __call__(self, samples: Sequence[DenseSample]) -> DenseBatch:
        sizes = {sample.size for sample in samples}
        if len(sizes) != 1:
            raise ValueError(
                f"samples must be of one size to make a batch, found {sorted(sizes)}: "
                "give the data set a size= or a crop"
            )
        height, width = sizes.pop()
        targets, present = {}, {}
        for task, kind in self.kinds.items():
            found = [sample.targets.get(task) for sample in samples]
            targets[task] = torch.stack([kind.missing(height, width) if one is None else one for one in found])
            present[task] = torch.tensor([one is not None and bool(kind.valid(one).any()) for one in found])
        images = torch.stack([sample.image for sample in samples])
        return DenseBatch(images, targets, present, tuple(sample.name for sample in samples))
