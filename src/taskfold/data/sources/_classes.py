"""A folder per class, with images anywhere below it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .._errors import DataError, first_few
from .._images import FileImages, image_suffixes
from .._sets import ImageSet

Classes = Mapping[str, Sequence[Path]]
"""Class name → its images, sorted."""


def class_folders(root: Path) -> list[Path]:
    """Folders directly in `root`, sorted by name, without hidden ones and archivers' leftovers."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def scan(root: Path) -> tuple[Classes, list[str]]:
    """The images of every class in `root`, and notes on files that are not images."""
    classes: dict[str, list[Path]] = {}
    ignored: list[Path] = [path for path in root.iterdir() if path.is_file()]
    for folder in class_folders(root):
        found: list[Path] = []
        for path, regular in _below(folder):
            if not path.name.startswith("."):
                (found if regular and path.suffix.lower() in image_suffixes() else ignored).append(path)
        classes[folder.name] = sorted(found)
    odd = sorted(path.relative_to(root).as_posix() for path in ignored if not path.name.startswith("."))
    return classes, [
        f"{len(odd)} files in {root.name} ignored, not images that Taskfold reads: {first_few(odd)}"
    ] if odd else []


def _below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[tuple[Path, bool]]:
    """Everything below a folder except folders, and whether it is a file (a pipe is not); links are followed.

    Args:
        folder: the folder.
        above: the real paths of the folders above it.

    Raises:
        DataError: a link leads to a folder that contains it.
    """
    here = above | {os.path.realpath(folder)}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if not entry.is_dir():
                yield path, entry.is_file()
                continue
            if entry.is_symlink() and any(_holds(os.path.realpath(path), place) for place in here):
                raise DataError(f"root: {path} is a link to {os.path.realpath(path)}, in which it stands: remove it")
            yield from _below(path, here)


def _holds(outer: str, inner: str) -> bool:
    return os.path.commonpath([outer, inner]) == outer


def images_of(classes: Classes, labels: Sequence[str], root: Path) -> ImageSet:
    """The images of `classes` as one set, named by their paths below `root`."""
    index = {label: target for target, label in enumerate(labels)}
    paths = [path for files in classes.values() for path in files]
    targets = [index[label] for label, files in classes.items() for _ in files]
    return ImageSet(targets, FileImages(paths), [path.relative_to(root).as_posix() for path in paths])
