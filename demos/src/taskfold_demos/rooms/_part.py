"""One room by its number: which generator draws it, and its files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array

from taskfold.tasks import write_atomically

from ._render import Renderer
from ._scene import draw_view
from ._view import View

PARTS = ("train", "val", "test")
KINDS = ("image", "label", "depth", "normal", "instance")
_KEYS = {part: number for number, part in enumerate(PARTS)}
_TRAITS = {"image": ("f4", 3), "label": ("i1", 0), "depth": ("f4", 1), "normal": ("f4", 3), "instance": ("i2", 0)}


def room(
    index: int,
    part: str = "train",
    *,
    seed: int = 0,
    size: tuple[int, int] = (128, 160),
    renderer: Renderer | None = None,
) -> View:
    """One rendered room; the same arguments give the same bytes, whatever was rendered before.

    Args:
        index: which one, from 0.
        part: `train`, `val` or `test`; no room is in two of them.
        seed: another seed gives other rooms.
        size: height and width in pixels, multiples of 32.
        renderer: to render many; None: one of its own.

    Raises:
        ValueError: an argument is out of its range.
        MissingExtraError: pybullet is not installed.

    Example:
        >>> view = room(3, size=(64, 96))
        >>> view.image.shape, view.label.shape, view.depth.shape, view.normal.shape
        ((64, 96, 3), (64, 96), (64, 96, 1), (64, 96, 3))
    """
    if part not in _KEYS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    check_size(size)
    check_whole("index", index, 0)
    check_whole("seed", seed, 0)
    if renderer is None:
        with Renderer() as own:
            return room(index, part, seed=seed, size=size, renderer=own)
    return draw_view(np.random.default_rng([seed, _KEYS[part], index]), renderer, size)


def save(view: View, folder: Path, index: int) -> None:
    """The files of one room, each written at once."""
    for kind in KINDS:
        buffer = io.BytesIO()
        write_array(buffer, np.ascontiguousarray(getattr(view, kind)), version=(1, 0), allow_pickle=False)
        write_atomically(folder / kind / f"{index}.npy", buffer.getvalue())


def complete(folder: Path, index: int, size: tuple[int, int]) -> bool:
    """Whether all files of a room are there, and as long as they must be."""
    return all(_bytes(folder / kind / f"{index}.npy") == file_size(kind, size) for kind in KINDS)


def file_size(kind: str, size: tuple[int, int]) -> int:
    """How many bytes a file has: a header of 128, and the numbers."""
    code, channels = _TRAITS[kind]
    return 128 + size[0] * size[1] * max(1, channels) * np.dtype(code).itemsize


def check_size(size: tuple[int, int]) -> None:
    """Raises a ValueError unless height and width can be halved five times."""
    sides = tuple(size)
    if len(sides) != 2 or any(isinstance(s, bool) or not isinstance(s, int) or s < 32 or s % 32 for s in sides):
        raise ValueError(f"size must be (height, width), both multiples of 32, such as (128, 160); got {size!r}")


def check_whole(name: str, value: int, least: int) -> None:
    """Raises a ValueError unless it is a whole number, not below the least."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}")


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
