"""Textures: a few drawn here, and those that come with pybullet."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 128  # texels

Grey = NDArray[np.float64]

_GRID = np.indices((SIDE, SIDE)) / SIDE  # rows, columns; 0 to 1


def _plaster(rng: np.random.Generator) -> Grey:
    return 0.94 + 0.06 * _blurred(rng, 6)


def _carpet(rng: np.random.Generator) -> Grey:
    return 0.8 + 0.12 * _blurred(rng, 1) + 0.08 * _blurred(rng, 8)


def _planks(rng: np.random.Generator) -> Grey:
    shade = 0.72 + 0.28 * rng.random((8, 2))
    row = (_GRID[0] * 8).astype(int)
    column = ((_GRID[1] + 0.37 * row) % 1 * 2).astype(int)
    grain = _blurred(rng, 1, stretch=12)
    seam = (_GRID[0] * 8 % 1 < 0.08) | ((_GRID[1] + 0.37 * row) % 1 * 2 % 1 < 0.012)
    return np.where(seam, 0.45, shade[row, column] * (0.9 + 0.1 * grain))


def _tiles(rng: np.random.Generator) -> Grey:
    shade = 0.85 + 0.15 * rng.random((4, 4))
    row, column = (_GRID * 4).astype(int)
    seam = (_GRID * 4 % 1 < 0.06).any(0)
    return np.where(seam, 0.5, shade[row, column])


def _checkers(rng: np.random.Generator) -> Grey:
    row, column = (_GRID * 4).astype(int)
    return np.where((row + column) % 2, 1.0, 0.5 + 0.2 * rng.random())


def _bricks(rng: np.random.Generator) -> Grey:
    shade = 0.7 + 0.3 * rng.random((8, 4))
    row = (_GRID[0] * 8).astype(int)
    across = (_GRID[1] + row % 2 / 8) % 1 * 4
    seam = (_GRID[0] * 8 % 1 < 0.12) | (across % 1 < 0.06)
    return np.where(seam, 0.95, shade[row, across.astype(int)] * (0.92 + 0.08 * _blurred(rng, 1)))


def _stripes(rng: np.random.Generator) -> Grey:
    return np.where(_GRID[1] * 8 % 1 < rng.uniform(0.3, 0.6), 0.78, 1.0)


def _dots(_: np.random.Generator) -> Grey:
    offset = (_GRID[0] * 8).astype(int) % 2 / 2
    near = np.hypot(_GRID[0] * 8 % 1 - 0.5, (_GRID[1] * 8 + offset) % 1 - 0.5)
    return np.where(near < 0.25, 0.65, 1.0)


def _wood(rng: np.random.Generator) -> Grey:
    wave = np.sin(2 * np.pi * (6 * _GRID[0] + 0.6 * _blurred(rng, 20)))
    return 0.82 + 0.08 * wave + 0.1 * _blurred(rng, 1, stretch=16)


def _weave(_: np.random.Generator) -> Grey:
    return 0.85 + 0.15 * np.sin(2 * np.pi * 24 * _GRID[0]) * np.sin(2 * np.pi * 24 * _GRID[1])


def _palette(rng: np.random.Generator) -> NDArray[np.float64]:
    from_hue = 0.5 + 0.5 * np.cos(2 * np.pi * (rng.random((8, 8, 1)) + np.array([0, 1 / 3, 2 / 3])))
    cells = from_hue * rng.uniform(0.4, 1, (8, 8, 1)) + rng.uniform(0, 0.3, (8, 8, 1))
    return np.repeat(np.repeat(np.clip(cells, 0, 1), 16, 0), 16, 1)


PALETTE_CELLS = 8
DRAWN: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "plaster": _plaster,
    "carpet": _carpet,
    "planks": _planks,
    "tiles": _tiles,
    "checkers": _checkers,
    "bricks": _bricks,
    "stripes": _stripes,
    "dots": _dots,
    "wood": _wood,
    "weave": _weave,
    "palette": _palette,
}
BUNDLED = {
    "table": "table/table.png",
    "grass": "roboschool/models_outdoor/stadium/stadium_grass.jpg",
    "jenga": "jenga/jenga.png",
    "maze": "heightmaps/Maze.png",
    "landscape": "heightmaps/gimp_overlay_out.png",
    "clouds": "heightmaps/wm_height_out.png",
    "letters": "tex256.png",
    "shapes": "cube.png",
    "duck": "duckCM.png",
    "wheel": "racecar/meshes/wheel.jpg",
    "motor": "quadruped/t-motor.jpg",
    "diamonds": "checker_blue.png",
    "steel": "tray/tray.jpg",
}
PICTURES = ("maze", "landscape", "clouds", "letters", "shapes", "duck", "wheel", "motor", "diamonds")


def draw(name: str, path: Path) -> None:
    """One of the drawn textures as an uncompressed TGA file, which the renderer reads; always the same bytes."""
    grey = DRAWN[name](np.random.default_rng([7, sorted(DRAWN).index(name)]))
    colour = grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, 2)
    pixels = (np.clip(colour, 0, 1) * 255).round().astype(np.uint8)[..., ::-1]
    header = struct.pack("<3B5x4H2B", 0, 0, 2, 0, 0, SIDE, SIDE, 24, 32)  # 32: the first row is the top one
    path.write_bytes(header + pixels.tobytes())


def _blurred(rng: np.random.Generator, width: float, stretch: float = 1) -> Grey:
    """Smooth noise that tiles, −1 to 1."""
    rows, columns = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    kernel = np.exp(-((rows * width) ** 2 + (columns * width * stretch) ** 2) * 20)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * kernel).real
    return noise / np.abs(noise).max()
