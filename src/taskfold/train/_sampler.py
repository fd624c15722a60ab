"""The samples of each batch: a function of seed and epoch alone, so that a run can resume anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from ._mixture import Mixture
from ._seeds import mixed

Key = tuple[int, int]
"""Epoch and index of a sample, over all data sets laid end to end; see `Mixture.picks`."""


class Batches(Sampler[list[Key]]):
    """The batches of one epoch, this process's share of each. Rows of one data set are contiguous.

    A last batch that would leave a process fewer than `least` samples is dropped.

    Args:
        mixture: the data sets' shares.
        batch_size: the samples of a batch, over all processes.
        seed: an integer.
        rank, processes: this process's number, and how many there are.
        least: samples for each process: two if BatchNorm trains on the batch, else one.

    Raises:
        ValueError: the batch or the data are too small.

    Example:
        >>> batches = Batches(Mixture.of((3, 2)), batch_size=2, seed=0)
        >>> batches.go_to(epoch=0, start=1)
        >>> len(batches), [[index for _, index in batch] for batch in batches]
        (2, [[2, 0]])
    """

    def __init__(
        self, mixture: Mixture, batch_size: int, seed: int, rank: int = 0, processes: int = 1, least: int = 2
    ) -> None:
        least, why = least * processes, "one for each process"
        if least > processes:
            why = f"two for each of {processes} processes: BatchNorm trains on the batch, and not on one sample"
        for name, found in (("batch_size", batch_size), ("the training set", mixture.total)):
            if found < least:
                raise ValueError(f"{name} must be ≥ {least} ({why}), found {found}")
        self.mixture, self.batch_size, self.seed = mixture, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch, self.start = 0, 0
        self.stop: int | None = None
        self._dropped = 0 < mixture.total % batch_size < least

    def go_to(self, epoch: int, start: int = 0, stop: int | None = None) -> None:
        """Choose the epoch, its first batch, and the batch to stop before (None: none)."""
        self.epoch, self.start, self.stop = epoch, start, stop

    def __len__(self) -> int:
        """The number of batches in a whole epoch."""
        return -(-self.mixture.total // self.batch_size) - self._dropped

    def total(self, batch: int) -> int:
        """The number of samples in a batch of an epoch, over all processes."""
        return min(self.batch_size, self.mixture.total - batch * self.batch_size)

    def samples(self, batches: int) -> int:
        """The number of samples in an epoch's first batches, over all processes."""
        return min(self.mixture.total, batches * self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(mixed(self.seed, "order", self.epoch))
        order = torch.randperm(self.mixture.total, generator=generator).numpy()
        picks = self.mixture.picks(self.epoch, self.seed)[order]
        offsets = self.mixture.offsets
        owners = np.searchsorted(offsets, picks % offsets[-1], side="right")
        for batch in range(self.start, len(self))[: None if self.stop is None else self.stop - self.start]:
            there = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            grouped = picks[there][np.argsort(owners[there], kind="stable")]
            yield [(self.epoch, int(pick)) for pick in grouped[self.rank :: self.processes]]


class Switch(Sampler[list[Key]]):
    """A batch sampler whose source can change while the loader's processes live on."""

    def __init__(self, source: Iterable[list[Key]]) -> None:
        self.source = source

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.source)
