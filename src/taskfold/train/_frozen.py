"""The cache of the frozen layers' outputs during a training: when it is used, and its lines in the log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from ..layers import worth_sharing
from ..model import Features, Store
from ..tasks import types_of
from ._data import Keyed
from ._folder import FEATURES, Folder
from ._job import Job

PROBES = 8
"""Samples of each data set that are loaded in two epochs, to find out whether they are augmented."""


class Frozen:
    """The frozen part of the network in one training.

    Args:
        job: the training.
        folder: its folder, where features are kept beside the checkpoint until the training ends.
        data: the training data.
    """

    def __init__(self, job: Job, folder: Folder, data: Keyed) -> None:
        self.job, self.data = job, data
        self.path = folder.path and folder.path / FEATURES / str(job.accelerator.process_index)
        self.network = repr((folder.identity.get("backbone"), types_of(job.model.backbone)))
        self.features: Features | None = None
        self.off = ""

    @contextmanager
    def open(self) -> Iterator[Features | None]:
        """Run a training with the cache; None: no cache. Its files stay if the training is interrupted.

        Raises:
            ValueError: `cache_features="always"`, and hardly a layer is frozen, or training inputs differ
                from epoch to epoch.
        """
        settings, backbone = self.job.settings, self.job.model.backbone
        if settings.cache_features == "never":
            yield None
            return
        changed = {path for task in self.job.moves.tasks.values() for path in task.sites}
        if not worth_sharing(backbone, [changed]):
            first = next(path for path, _ in backbone.named_modules() if path in changed)
            self.off = f"the tasks change layers from {first!r} on, and few stand before it"
            self._check(self.off, "freeze more of the network (frozen_stages)")
            yield None
            return
        store = Store(settings.cache_memory, self.path, settings.cache_disk)
        required = settings.cache_features == "always"
        self.features = Features(self.job.model._runner, changed, store, self.network, required)
        if settings.mixup or settings.cutmix:
            why = "training images are mixed with others in every step"
            self._check(why, "set mixup and cutmix to 0")
            self.features.off[True] = why
        elif settings.cache_views is None and varies(self.data):
            why = "training samples differ from epoch to epoch"
            self._check(why, "set cache_views")
            self.features.off[True] = f"{why}, and cache_views is not set"
        try:
            yield self.features
        finally:
            store.close()

    def _check(self, why: str, remedy: str) -> None:
        if self.job.settings.cache_features == "always":
            raise ValueError(f"cache_features='always', and {why}; {remedy}, or choose 'auto' or 'never'")

    def clear(self) -> None:
        """Delete the features at the end of the training."""
        if self.features is not None:
            self.features.store.clear()
            if self.path is not None:
                shutil.rmtree(self.path, ignore_errors=True)
                with suppress(OSError):  # another process, still training, has files there
                    self.path.parent.rmdir()

    def news(self) -> dict[str, Any]:
        """Entries for the log; empty: nothing to report."""
        if self.features is None:
            return {"off": self.off} if self.off else {}
        kept, size = self.features.kept
        found: dict[str, Any] = {"inputs": kept, "bytes": size}
        if kept:
            found["cached"] = f"features cached: {kept:,} inputs, {size / 1e6:,.1f} MB"
        if self.features.why:
            found["off"] = self.features.why
        return found


def varies(data: Keyed) -> bool:
    """Whether a data set's samples differ between epochs, by `PROBES` of them."""
    offsets = data.joined.offsets
    for first, end in pairwise(offsets):
        for index in range(int(first), int(end), max(1, int(end - first) // PROBES)):
            one, other = ([*_numbers(data[epoch, index])] for epoch in (0, 1))
            if len(one) != len(other) or not all(map(_equal, one, other)):
                return True
    return False


def _numbers(sample: Any) -> list[Any]:
    return tree_flatten(sample)[0]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    return type(one) is not type(other) or one is other or not isinstance(one, (int, float, str)) or one == other
