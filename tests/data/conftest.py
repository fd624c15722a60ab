"""Tiny pictures on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Paint = Callable[[Path], Path]
Tree = Callable[[Path, Iterable[str]], Path]


@pytest.fixture
def paint() -> Paint:
    """Write an 8 × 8 picture unlike all others of this test."""
    random = np.random.default_rng(0)

    def write(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def tree(paint: Paint) -> Tree:
    """Write `n` pictures for each 'folder:n'."""

    def write(root: Path, folders: Iterable[str]) -> Path:
        for entry in folders:
            folder, _, count = entry.partition(":")
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(int(count)):
                paint(root / folder / f"{number}.png")
        return root

    return write
