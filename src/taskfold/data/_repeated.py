"""Checks for one image in several places: with two labels, or in two splits."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from ._errors import first_few
from ._images import ArrayImages, FileImages, Picked, pick
from ._sets import ImageSet


def repeated(splits: Mapping[str, ImageSet], labels: Sequence[str]) -> Iterator[str]:
    """Remarks on equal images, by file or by pixels.

    Args:
        splits: sets of images by name.
        labels: class names by target.
    """
    keys = _keys(splits)
    named: dict[Hashable, tuple[str, int]] = {}
    first: dict[str, dict[Hashable, str]] = {}
    odd: list[str] = []
    for split, images in splits.items():
        first[split] = {}
        for key, name, target in zip(keys[split], images.names, images.targets, strict=True):
            first[split].setdefault(key, name)
            other, meant = named.setdefault(key, (name, target))
            if target != meant:
                odd.append(f"{other} ({labels[meant]}) and {name} ({labels[target]})")
    if odd:
        yield f"{len(odd)} images have a copy of another class: {first_few(odd)}: keep the one that is right"
    for one, other in combinations(splits, 2):
        common = [f"{first[one][key]} = {first[other][key]}" for key in first[one] if key in first[other]]
        if common:
            yield (
                f"{len(common)} images are in {one} and in {other}: {first_few(common)}: what is measured there was "
                "learnt here; take them out of one"
            )


def _keys(splits: Mapping[str, ImageSet]) -> dict[str, list[Hashable]]:
    """One key per image, equal for equal images, as far as known without decoding."""
    found: dict[str, list[Hashable]] = {}
    paths: dict[str, list[Path]] = {}
    arrays: dict[int, Sequence[Hashable]] = {}
    for split, images in splits.items():
        picked = images.read if isinstance(images.read, Picked) else pick(images.read, range(len(images)))
        read, chosen = picked.read, picked.indices
        if isinstance(read, FileImages):
            paths[split] = [read.paths[index] for index in chosen]
        elif isinstance(read, ArrayImages):
            each = arrays.setdefault(id(read), read.contents())
            found[split] = [each[index] for index in chosen]
        else:
            found[split] = [(id(read), index) for index in chosen]
    every = iter(FileImages([path for several in paths.values() for path in several]).contents())
    for split, several in paths.items():
        found[split] = [next(every) for _ in several]
    return found
