"""What furniture looks like, drawn at random."""

from __future__ import annotations

import colorsys

import numpy as np

from ._things import Colour, Material

Rng = np.random.Generator
WOODS: tuple[Colour, ...] = (
    (1.0, 0.98, 0.95),
    (0.95, 0.8, 0.62),
    (0.75, 0.52, 0.34),
    (0.5, 0.32, 0.2),
    (0.32, 0.22, 0.17),
    (0.95, 0.93, 0.9),
)


def wood(rng: Rng) -> Material:
    """Wood, or painted like it."""
    if rng.random() < 0.2:
        return Material(hue(rng, (0.1, 0.6), (0.5, 0.95)))
    return Material(WOODS[rng.integers(len(WOODS))], ("wood", "table")[rng.integers(2)], 0.8)


def fabric(rng: Rng) -> Material:
    """Cloth, of one colour or patterned."""
    texture = (None, "weave", "carpet", "stripes", "dots")[rng.choice(5, p=(0.2, 0.3, 0.3, 0.1, 0.1))]
    return Material(hue(rng, (0.1, 0.7), (0.35, 0.95)), texture, 0.4)


def hue(rng: Rng, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """A colour of any hue."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
