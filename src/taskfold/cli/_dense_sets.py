"""The part of dense data that is for some tasks: targets under the tasks' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import ConcatDataset

from ..data import digest_of
from ..dense import DenseSample, DenseSet, DenseTensors
from ..dense.resize import Size
from ._ready import listed


def for_tasks(samples: DenseSet, targets: Mapping[str, str]) -> DenseSet:
    """Samples with the targets of these tasks alone; those that have none of them are left out."""
    entries = [
        replace(entry, targets={task: entry.targets[of] for task, of in targets.items() if of in entry.targets})
        for entry in samples.entries
    ]
    readers = {
        (task, suffix): read
        for task, target in targets.items()
        for (of, suffix), read in samples.readers.items()
        if of == target
    }
    kinds = {task: samples.kinds[of] for task, of in targets.items()}
    return DenseSet([entry for entry in entries if entry.targets], kinds, readers)


def sizes_of(samples: DenseSet) -> set[Size]:
    """Heights and widths of all images, as their files' headers have them."""
    return {_size(entry.image) for entry in samples.entries}


def _size(path: Path) -> Size:
    if path.suffix == ".npy":
        height, width = np.load(path, mmap_mode="r", allow_pickle=False).shape[:2]
        return height, width
    with Image.open(path) as image:
        return image.height, image.width


class Laid(ConcatDataset[DenseSample]):
    """Data sets end to end."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentation of this epoch in all of them."""
        for one in self.datasets:
            assert isinstance(one, DenseTensors)
            one.set_epoch(epoch)


def listing(samples: DenseSet) -> str:
    """Which images and targets there are, by name and content: a folder may move."""
    held = [
        [entry.name, digest_of(entry.image), *(digest_of(path) for path in entry.targets.values())]
        for entry in samples.entries
    ]
    return listed(held, "images")
