"""Walls, floor and ceiling."""

from __future__ import annotations

from . import _materials as materials
from ._materials import Rng, hue, wood
from ._mesh import box, quad
from ._things import Material, Part, Placed, Vector, assembled


def shell(rng: Rng, size: Vector) -> Placed:
    """Walls, floor, ceiling and skirting, seen from inside."""
    w, d, h = size
    ground = (
        Material(materials.WOODS[rng.integers(1, 5)], "planks", rng.uniform(1.0, 1.6)),
        Material(hue(rng, (0, 0.3), (0.6, 0.95)), ("tiles", "checkers")[rng.integers(2)], rng.uniform(1.0, 2.0)),
        Material(hue(rng, (0.05, 0.5), (0.35, 0.9)), "carpet", 1.0),
        Material((0.9, 0.9, 0.9), "table", 1.5),
        Material(hue(rng, (0.0, 0.3), (0.7, 1)), "grass", 2.0),
    )[rng.choice(5, p=(0.4, 0.25, 0.25, 0.06, 0.04))]
    textures = ("plaster", None, "stripes", "bricks", "dots")
    main, accent = (
        Material(hue(rng, (0.03, 0.45), (0.65, 1)), textures[rng.choice(5, p=(0.5, 0.2, 0.12, 0.1, 0.08))], 1.2)
        for _ in range(2)
    )
    accented = int(rng.integers(4)) if rng.random() < 0.4 else -1
    sides = (
        quad((w, 0, 0), (-w, 0, 0), (0, 0, h)),
        quad((w, d, 0), (0, -d, 0), (0, 0, h)),
        quad((0, d, 0), (w, 0, 0), (0, 0, h)),
        quad((0, 0, 0), (0, d, 0), (0, 0, h)),
    )
    parts = [Part(side, accent if k == accented else main, "wall", k) for k, side in enumerate(sides)]
    parts.append(Part(quad((0, 0, 0), (w, 0, 0), (0, d, 0)), ground, "floor", 4))
    white = Material(hue(rng, (0, 0.08), (0.85, 1)), ("plaster", None)[rng.integers(2)], 1.5)
    parts.append(Part(quad((0, 0, h), (0, d, 0), (w, 0, 0)), white, "ceiling", 5))
    if rng.random() < 0.75:
        high, board = rng.uniform(0.06, 0.14), Material((0.97, 0.97, 0.97)) if rng.random() < 0.6 else wood(rng)
        strips = (
            box((w, 0.015, high), (w / 2, 0.0075, 0)),
            box((0.015, d, high), (w - 0.0075, d / 2, 0)),
            box((w, 0.015, high), (w / 2, d - 0.0075, 0)),
            box((0.015, d, high), (0.0075, d / 2, 0)),
        )
        parts += [Part(strip, board, "wall", k) for k, strip in enumerate(strips)]
    return Placed(assembled(parts, size), (0.0, 0.0, 0.0))
