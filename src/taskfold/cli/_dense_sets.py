"""Dense data for some tasks: targets under the tasks' names."""

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
    """The samples that have a target of these tasks, with these targets alone."""
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
    """The heights and widths of all images, from their files' headers."""
    return {_size(entry.image) for entry in samples.entries}


def _size(path: Path) -> Size:
    if path.suffix == ".npy":
        height, width = np.load(path, mmap_mode="r", allow_pickle=False).shape[:2]
        return height, width
    with Image.open(path) as image:
        return image.height, image.width


class Laid(ConcatDataset[DenseSample]):
    def set_epoch(self, epoch: int) -> None:
        for one in self.datasets:
            assert isinstance(one, DenseTensors)
            one.set_epoch(epoch)


def listing(samples: DenseSet) -> str:
    """Images and targets by name and content, without the folder, which may move."""
    held = [
        [entry.name, digest_of(entry.image), *(digest_of(path) for path in entry.targets.values())]
        for entry in samples.entries
    ]
    return listed(held, "images")
