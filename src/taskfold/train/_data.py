"""Several data sets as one, whose samples carry the number of their data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ._sampler import Key
from ._seeds import reseed

Owned = tuple[int, Any]
"""The number of the data set, and its sample."""


class Joined(Dataset[Owned]):
    """Data sets laid end to end; after the last the first follows again."""

    def __init__(self, data: Sequence[Dataset[Any]]) -> None:
        self.data = tuple(data)
        self.offsets = np.cumsum([0, *(len(one) for one in self.data)])  # type: ignore[arg-type]

    def locate(self, index: int) -> tuple[int, int]:
        """The number of the data set, and the index in it."""
        index %= int(self.offsets[-1])
        number = int(np.searchsorted(self.offsets, index, side="right")) - 1
        return number, index - int(self.offsets[number])

    def __getitem__(self, index: int) -> Owned:
        number, inside = self.locate(index)
        return number, self.data[number][inside]


class Keyed(Dataset[Owned]):
    """Data sets with keys (epoch, index): the epoch reaches loader processes with the request.

    Before each batch the global generators start from seed, epoch and first index, so that any augmentation is the
    same whatever ran before and however many processes load. With `views` they start before each sample,
    from its index and view: after `views` epochs the same samples come again.
    """

    def __init__(self, joined: Joined, seed: int, views: int | None = None) -> None:
        self.joined, self.seed, self.views = joined, seed, views

    def __getitems__(self, keys: list[Key]) -> list[Owned]:
        """The samples of one batch."""
        epoch, first = keys[0]
        epoch = epoch % self.views if self.views else epoch
        for number in {self.joined.locate(index)[0] for _, index in keys}:
            data = self.joined.data[number]
            if hasattr(data, "set_epoch"):
                data.set_epoch(epoch)  # type: ignore[attr-defined]
        if self.views:
            return [self._view(epoch, index) for _, index in keys]
        reseed(self.seed, "data", epoch, first)
        return [self.joined[index] for _, index in keys]

    def __getitem__(self, key: Key) -> Owned:
        return self.__getitems__([key])[0]

    def _view(self, view: int, index: int) -> Owned:
        reseed(self.seed, "view", view, index % int(self.joined.offsets[-1]))
        return self.joined[index]


class Apart:
    """Collates samples, and keeps the number of each row's data set."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, owned: list[Owned]) -> tuple[list[int], Any]:
        """The numbers of the data sets, and the batch."""
        return [number for number, _ in owned], self.collate([sample for _, sample in owned])
