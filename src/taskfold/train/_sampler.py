"""Which samples make which batch: a function of seed and epoch alone, so that a run can go on anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

Key = tuple[int, int]
"""Epoch and index of a sample."""


def mixed(*parts: int | str) -> int:
    """A seed of 32 bits from any numbers and names."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest())


def reseed(*parts: int | str) -> None:
    """Start every global generator (Python, NumPy, torch) anew from these numbers."""
    seed = mixed(*parts)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Batches(Sampler[list[Key]]):
    """The batches of one epoch, this process's share of each.

    A last batch that would leave a process fewer than two samples is dropped: BatchNorm cannot train on one.

    Args:
        size: of the data set.
        batch_size: over all processes together, at least two for each.
        seed: whole number.
        rank, processes: which process this is, of how many.

    Raises:
        ValueError: batch or data set are too small.

    Example:
        >>> batches = Batches(5, batch_size=2, seed=0)
        >>> batches.go_to(epoch=0, start=1)
        >>> len(batches), [[index for _, index in batch] for batch in batches]
        (2, [[2, 0]])
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        least = 2 * processes
        for name, found in (("batch_size", batch_size), ("the training set", size)):
            if found < least:
                raise ValueError(
                    f"{name} must be ≥ {least} (two samples for each of {processes} processes), found {found}"
                )
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch, self.start = 0, 0
        self._dropped = 0 < size % batch_size < least

    def go_to(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and the first of its batches to give."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return -(-self.size // self.batch_size) - self._dropped

    def total(self, batch: int) -> int:
        """Samples in that batch of an epoch, over all processes."""
        return min(self.batch_size, self.size - batch * self.batch_size)

    def samples(self, batches: int) -> int:
        """Samples in the first batches of an epoch, over all processes."""
        return min(self.size, batches * self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        """The batches from the chosen one on."""
        generator = torch.Generator().manual_seed(mixed(self.seed, "order", self.epoch))
        order = torch.randperm(self.size, generator=generator).tolist()
        for batch in range(self.start, len(self)):
            first = batch * self.batch_size
            yield [(self.epoch, i) for i in order[first + self.rank : first + self.batch_size : self.processes]]


class Keyed(Dataset[Any]):
    """A data set asked by (epoch, index): the epoch reaches loader processes with the request.

    Before each batch the global generators start from seed, epoch and first index, so that any augmentation is the
    same whatever ran before and however many processes load.
    """

    def __init__(self, data: Dataset[Any], seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitems__(self, keys: list[Key]) -> list[Any]:
        """The samples of one batch."""
        epoch, first = keys[0]
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)  # type: ignore[attr-defined]
        reseed(self.seed, "data", epoch, first)
        return [self.data[index] for _, index in keys]

    def __getitem__(self, key: Key) -> Any:
        """One sample."""
        return self.__getitems__([key])[0]
