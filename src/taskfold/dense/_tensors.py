"""Dense samples for a DataLoader."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ._augment import IMAGENET_MEAN, Augment
from ._sample import DenseSample
from ._set import DenseSet
from .resize import Size, resize_image, resize_target

IMAGENET_STD = (0.229, 0.224, 0.225)
HALF_A_GIGABYTE = 2**29


class DenseTensors(Dataset[DenseSample]):
    """A map-style data set of samples, resized, augmented and normalised.

    Augmentation depends on (seed, epoch, index) alone, not on order, batch or loader process, and does not change the
    global generators. `set_epoch` reaches running loader processes.

    Args:
        samples: the samples.
        augment: the augmentation; None: none.
        size: height and width that image and targets are first resized to, targets' values unchanged (a camera with
            fewer pixels, not another place); None: their own.
        mean, std: per channel, of values in [0, 1]; the image comes out as (image − mean) / std.
        seed: the seed of the augmentation, an integer.
        cache_bytes: the size of the cache of data that are the same in every epoch; loader processes divide it.

    Raises:
        ValueError: a size is < 1, or a std is not positive.
    """

    def __init__(
        self,
        samples: DenseSet,
        augment: Augment | None = None,
        size: Size | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        seed: int = 0,
        cache_bytes: int = HALF_A_GIGABYTE,
    ) -> None:
        if size is not None and min(size) < 1:
            raise ValueError(f"size must be height and width of at least 1 pixel, found {size}")
        if min(std) <= 0:
            raise ValueError(f"std must be positive, found {std}")
        self.samples, self.augment, self.size, self.seed, self.cache_bytes = samples, augment, size, seed, cache_bytes
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        # In shared memory, so that processes started in an earlier epoch see the change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._cache: dict[int, DenseSample] = {}
        self._cached_bytes = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> DenseSample:
        sample = self._fixed(index)
        if self.augment is not None:
            text = f"{self.seed}/{int(self._epoch)}/{index}"
            number = int.from_bytes(blake2b(text.encode(), digest_size=7).digest())
            view = self.augment.draw(sample.size, torch.Generator().manual_seed(number))
            sample = self.augment.apply(sample, view, self.samples.kinds)
        return DenseSample((sample.image - self.mean) / self.std, dict(sample.targets), sample.name)

    def image(self, normalised: Tensor) -> Tensor:
        """The picture in [0, 1] of a normalised image `[…, 3, H, W]`."""
        mean, std = (part.to(normalised.device) for part in (self.mean, self.std))
        return (normalised * std + mean).clamp(0, 1)

    def _fixed(self, index: int) -> DenseSample:
        if (known := self._cache.get(index)) is not None:
            return known
        sample = self.samples[index]
        if self.size is not None:
            targets = {task: resize_target(target, self.size) for task, target in sample.targets.items()}
            sample = DenseSample(resize_image(sample.image, self.size), targets, sample.name)
        worker = get_worker_info()
        size = sample.image.nbytes + sum(target.nbytes for target in sample.targets.values())
        if self._cached_bytes + size <= self.cache_bytes // (worker.num_workers if worker else 1):
            self._cache[index] = sample
            self._cached_bytes += size
        return sample
