"""The samples of an epoch, by data set: a function of seed and epoch alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ._seeds import mixed
from ._targets import targets_of
from .settings import Settings


@dataclass(frozen=True)
class Mixture:
    """The shares of several data sets in an epoch.

    Shares are not random: an epoch holds exactly the share of each data set, up to one sample, and over the
    epochs every sample of a data set is used equally often, up to one time.

    Attributes:
        sizes: samples of each data set.
        shares: each data set's share of an epoch; they sum to 1.
        total: samples in an epoch.
        classes: for each data set, the samples of each class, drawn equally often; empty: classes are ignored.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]
    total: int
    classes: tuple[Sequence[np.ndarray], ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(
        cls, sizes: tuple[int, ...], temperature: float = 1.0, cap: int | None = None, total: int | None = None
    ) -> Mixture:
        """A mixture with shares proportional to min(size, cap)^(1/temperature).

        Args:
            sizes: samples of each data set, ≥ 1.
            temperature: 1: proportional to size; infinite: uniform.
            cap: an upper limit on sizes; None: no limit.
            total: samples in an epoch; None: the sum of the sizes, up to `cap` each.

        Example:
            >>> Mixture.of((80, 20)).shares
            (0.8, 0.2)
            >>> Mixture.of((64, 16), temperature=2.0).shares
            (0.6666666666666666, 0.3333333333333333)
            >>> Mixture.of((80, 20), cap=30)
            Mixture(sizes=(80, 20), shares=(0.6, 0.4), total=50)
        """
        counted = [size if cap is None else min(size, cap) for size in sizes]
        weights = [float(size) ** (1 / temperature) for size in counted]
        return cls(sizes, tuple(w / math.fsum(weights) for w in weights), sum(counted) if total is None else total)

    def by_class(self, settings: Settings, data: Sequence[Dataset[Any]]) -> Mixture:
        """The mixture with equally many samples of each class, if the settings have `balanced_sampling`.

        Raises:
            ValueError: the classes of the data are unknown.
        """
        if not settings.balanced_sampling:
            return self
        each = [targets_of(one, "balanced_sampling=True") for one in data]
        return replace(self, classes=tuple([np.flatnonzero(t == c) for c in np.unique(t)] for t in each))

    def only(self, *numbers: int) -> Mixture:
        """A mixture of these data sets alone, each sample once."""
        total = sum(self.sizes[number] for number in numbers)
        shares = tuple(size / total if n in numbers else 0.0 for n, size in enumerate(self.sizes))
        return replace(self, shares=shares, total=total)

    @cached_property
    def offsets(self) -> np.ndarray:
        """`[T + 1]`: where each data set starts when they are laid end to end."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def counts(self, epoch: int, seed: int) -> np.ndarray:
        """`[T]` samples of each data set in an epoch.

        Where a share is not a whole number of samples, an offset drawn for each epoch decides which data
        sets get one more; the average is the share.
        """
        ends = self.total * np.concatenate([[0], np.cumsum(self.shares)])
        whole = np.abs(ends - ends.round()) < 1e-6  # rounding errors of sums that are whole numbers
        ends = np.where(whole, ends.round(), ends - mixed(seed, "mixture", epoch) / 2**32)
        return np.diff(np.ceil(ends).astype(np.int64))

    def picks(self, epoch: int, seed: int) -> np.ndarray:
        """`[total]` samples of an epoch, by data set, as `index + offset`.

        In the n-th round over a data set, n × the number of all samples is added: the same sample
        with another key, so that its augmentation differs.
        """
        used = sum((self.counts(before, seed) for before in range(epoch)), np.zeros(len(self.sizes), np.int64))
        counts = self.counts(epoch, seed)
        return np.concatenate([self._some(n, int(used[n]), int(counts[n]), seed) for n in range(len(self.sizes))])

    def _some(self, number: int, start: int, count: int, seed: int) -> np.ndarray:
        """The next samples of a data set's rounds, each a permutation of it; sorted."""
        if self.classes:
            return self._balanced(number, start, count, seed)
        size, found = self.sizes[number], [np.zeros(0, np.int64)]
        for nth, turn in enumerate(range(start // size, -(-(start + count) // size))):
            first, last = max(start - turn * size, 0), min(start + count - turn * size, size)
            indices = np.arange(size)
            if last - first < size:
                generator = torch.Generator().manual_seed(mixed(seed, "round", number, turn))
                indices = np.sort(torch.randperm(size, generator=generator).numpy()[first:last])
            found.append(indices + self.offsets[number] + nth * self.offsets[-1])
        return np.concatenate(found)

    def _balanced(self, number: int, start: int, count: int, seed: int) -> np.ndarray:
        """The next samples of rounds over the classes, with endless rounds over each class's samples."""
        classes = self.classes[number]
        places = np.arange(start, start + count)
        found = [np.zeros(0, np.int64)]
        for which, members in enumerate(classes):
            nth = places[places % len(classes) == which] // len(classes)
            for turn in np.unique(nth // len(members)):
                generator = torch.Generator().manual_seed(mixed(seed, "class", number, which, int(turn)))
                order = members[torch.randperm(len(members), generator=generator).numpy()]
                found.append(order[nth[nth // len(members) == turn] % len(members)])
        indices = np.sort(np.concatenate(found))
        again = np.arange(count) - np.searchsorted(indices, indices)  # how often each class came before in this epoch
        return indices + self.offsets[number] + again * self.offsets[-1]
