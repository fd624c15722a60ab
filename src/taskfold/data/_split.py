"""Stratified random choices of images, by seed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from zlib import crc32

import numpy as np

from ._errors import DataError
from ._images import Read, Reader


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A generator of random numbers for one purpose, so that choices do not affect one another."""
    if seed < 0:
        raise ValueError(f"seed: must be a whole number >= 0, found {seed}")
    return np.random.default_rng([seed, crc32(purpose.encode())])


def contents(read: Read, size: int) -> Sequence[Hashable]:
    """One key per image, equal for equal images as far as the reader knows."""
    return read.contents() if isinstance(read, Reader) else range(size)


def hold_out(
    targets: Sequence[int], keys: Sequence[Hashable], fraction: float, seed: int, purpose: str
) -> tuple[list[int], list[int]]:
    """Split indices into (kept, held out), with a fraction of every class held out, and equal images on one side.

    A class with two or more different images gives at least one to each side.

    Args:
        targets: the class of each image.
        keys: equal for images of equal content.
        fraction: the fraction of each class to hold out, in (0, 1).
        seed: the same seed gives the same parts.
        purpose: the choice's purpose; choices for different purposes are independent.

    Example:
        >>> hold_out([0, 0, 1, 1], "aabc", 0.5, seed=0, purpose="test")[0][:2]
        [0, 1]
    """
    random = generator(seed, purpose)
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    by_class: dict[int, list[list[int]]] = {}
    for group in groups.values():
        by_class.setdefault(targets[group[0]], []).append(group)

    held: list[int] = []
    for target in sorted(by_class):
        members = by_class[target]
        if len(members) == 1:
            continue
        quota = max(1, round(fraction * sum(map(len, members))))
        taken: list[int] = []
        order = random.permutation(len(members))
        for group in (members[i] for i in order[1:]):  # the first one stays, so that no class is emptied
            if len(taken) + len(group) <= quota:
                taken += group
        held += taken or members[order[1]]
    aside = set(held)
    return [index for index in range(len(targets)) if index not in aside], sorted(held)


def thin_out(targets: Sequence[int], size: int, seed: int, purpose: str) -> list[int]:
    """Indices of `size` images, classes in proportion, every class kept where `size` allows.

    Raises:
        DataError: `size` is above the number of images.

    Example:
        >>> sorted([0, 0, 0, 0, 1, 1][i] for i in thin_out([0, 0, 0, 0, 1, 1], 3, seed=0, purpose="train"))
        [0, 0, 1]
    """
    if size > len(targets):
        raise DataError(f"{purpose}_size: must be at most the {len(targets)} images there are, found {size}")
    labels = np.asarray(targets)
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / len(targets)
    least = int(size >= len(classes))
    share = np.maximum(np.floor(exact).astype(int), least)
    while share.sum() < size:
        share[np.argmax(exact - share)] += 1
    while share.sum() > size:
        share[np.argmax(np.where(share > least, share - exact, -np.inf))] -= 1

    random = generator(seed, f"{purpose} size")
    chosen = [random.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, share, strict=True)]
    return sorted(int(index) for part in chosen for index in part)
