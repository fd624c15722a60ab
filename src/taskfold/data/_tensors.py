"""Images as tensors, for a DataLoader."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ._images import Reader
from ._preprocessing import Preprocessing
from ._sets import ImageSet

HALF_A_GIGABYTE = 2**29
CHUNK = 256  # images read ahead by preload


class ImageTensors(Dataset[tuple[Tensor, Any]]):
    """A map-style data set of (float `[3, size, size]`, target): a class index, or numbers as a float tensor.

    The augmentation of an image depends on (seed, epoch, index) alone, not on order, batch or loader
    process, and does not change the global generators. `set_epoch` reaches running loader processes.

    Args:
        images: the images.
        preprocessing: from an image to a tensor.
        train: augment the images.
        seed: the seed of the augmentation, an integer.
        cache_bytes: the size of the cache of decoded and resized images, which are the same in every epoch; the
            rest is read anew. 0: no cache. Loader processes divide this size.

    Example:
        >>> from PIL import Image
        >>> images = ImageSet([1], lambda index: Image.new("RGB", (28, 28)), ["black"])
        >>> pixels, target = ImageTensors(images, Preprocessing(size=32))[0]
        >>> pixels.shape, target
        (torch.Size([3, 32, 32]), 1)
    """

    def __init__(
        self,
        images: ImageSet,
        preprocessing: Preprocessing,
        train: bool = False,
        seed: int = 0,
        cache_bytes: int = HALF_A_GIGABYTE,
    ) -> None:
        self.images = images
        self.seed = seed
        self.cache_bytes = cache_bytes
        self._transform = preprocessing.transform(train)
        # In shared memory, so that processes started in an earlier epoch see the change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def preload(self, threads: int = 4) -> None:
        """Fill the cache now, in threads, so that loader processes inherit it."""
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(self), CHUNK):
                missing = [i for i in range(start, min(start + CHUNK, len(self))) if i not in self._cache]
                for index, pixels in zip(missing, pool.map(self._read, missing), strict=True):
                    if not self._remember(index, pixels, self.cache_bytes):
                        return

    @property
    def targets(self) -> Sequence[int]:
        """The class of each image."""
        return self.images.targets

    @property
    def equal_keys(self) -> Sequence[Hashable] | None:
        """Keys that are equal for equal images; None: unknown."""
        read = self.images.read
        return read.contents() if isinstance(read, Reader) else None

    def over(self, other: ImageTensors) -> ImageTensors:
        """Other images with the same preprocessing, augmentation included."""
        twin = copy.copy(self)
        twin.images, twin._cache, twin._cached_bytes = other.images, {}, 0
        twin._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        return twin

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        pixels = self._fixed(index)
        if self._transform.vary is not None:
            pixels = self._varied(pixels, index)
        target = self.images.targets[index]
        numbers = torch.tensor(target) if isinstance(target, tuple) else int(target)
        return self._transform.finish(pixels), numbers

    def _fixed(self, index: int) -> Tensor:
        if (known := self._cache.get(index)) is not None:
            return known
        pixels = self._read(index)
        worker = get_worker_info()
        self._remember(index, pixels, self.cache_bytes // (worker.num_workers if worker else 1))
        return pixels

    def _read(self, index: int) -> Tensor:
        return self._transform.fix(self.images.read(index))

    def _remember(self, index: int, pixels: Tensor, allowance: int) -> bool:
        if self._cached_bytes + pixels.nbytes > allowance:
            return False
        self._cache[index] = pixels
        self._cached_bytes += pixels.nbytes
        return True

    def _varied(self, pixels: Tensor, index: int) -> Tensor:
        assert self._transform.vary is not None
        text = f"{self.seed}/{int(self._epoch)}/{index}"
        number = int.from_bytes(blake2b(text.encode(), digest_size=7).digest())
        # torch.manual_seed would also reset the accelerator's generator, which dropout draws from.
        generator = torch.default_generator
        before = generator.get_state()
        try:
            generator.manual_seed(number)
            return self._transform.vary(pixels)
        finally:
            generator.set_state(before)
