"""Furniture, built of boxes and cylinders in sizes, colours and styles drawn at random."""

from __future__ import annotations

from ._materials import Rng, fabric, hue, wood
from ._mesh import Mesh, box, cylinder, joined
from ._things import Material, Part, Thing, Top, assembled


def table(rng: Rng, width: float, depth: float, height: float) -> Thing:
    """A table: square or round top; four legs, one foot, or two sides."""
    thick = rng.uniform(0.025, 0.06)
    under = height - thick
    material, legs = wood(rng), wood(rng) if rng.random() < 0.4 else None
    if rng.random() < 0.25 and width < 1.6:
        radius = min(width, depth) / 2
        top = cylinder(radius, thick, (0, 0, under), sides=24)
        feet: list[Mesh] = [cylinder(0.05, under, (0, 0, 0)), cylinder(0.55 * radius, 0.03, sides=20)]
        size, area = (2 * radius, 2 * radius, height), (1.3 * radius, 1.3 * radius)
    else:
        top = box((width, depth, thick), (0, 0, under))
        x, y, t = width / 2 - 0.06, depth / 2 - 0.06, rng.uniform(0.035, 0.09)
        if rng.random() < 0.75:
            feet = [box((t, t, under), (a * x, b * y, 0)) for a in (-1, 1) for b in (-1, 1)]
        else:
            feet = [box((0.04, depth * 0.9, under), (a * (x - 0.02), 0, 0)) for a in (-1, 1)]
        size, area = (width, depth, height), (width * 0.92, depth * 0.92)
    parts = (Part(top, material, "table"), Part(joined(feet), legs or material, "table"))
    return assembled(parts, size, (Top((0, 0, height), area),))


def cabinet(rng: Rng, width: float, depth: float, height: float, holds: str = "any") -> Thing:
    """A chest, sideboard, wardrobe or night stand: a body with doors or drawers."""
    body = [box((width, depth, height), (0, 0, 0))]
    columns = max(1, round(width / 0.5))
    rows = 1 if height > 1.3 or rng.random() < 0.4 else max(1, round(height / 0.25))
    step, rise = width / columns, (height - 0.1) / rows
    fronts, knobs = [], []
    for i in range(columns):
        for j in range(rows):
            x, z = -width / 2 + (i + 0.5) * step, 0.06 + j * rise
            fronts.append(box((step - 0.02, 0.02, rise - 0.02), (x, -depth / 2 - 0.01, z)))
            side = step * 0.38 * (1 if i % 2 == 0 else -1) if rows == 1 else 0
            knobs.append(
                box(
                    (0.03 if rows == 1 else 0.1, 0.03, 0.1 if rows == 1 else 0.02),
                    (x + side, -depth / 2 - 0.03, z + rise / 2),
                )
            )
    main = wood(rng)
    front = wood(rng) if rng.random() < 0.4 else main
    metal = Material(hue(rng, (0, 0.2), (0.2, 0.8)))
    parts = (
        Part(joined(body), main, "furniture"),
        Part(joined(fronts), front, "furniture"),
        Part(joined(knobs), metal, "furniture"),
    )
    tops = (Top((0, 0, height), (width * 0.92, depth * 0.85), 0.6, holds),) if height < 1.6 else ()
    return assembled(parts, (width, depth + 0.08, height), tops)


def bookcase(rng: Rng, width: float, height: float) -> Thing:
    """Open shelves, with or without a back wall."""
    depth, board = rng.uniform(0.26, 0.36), 0.03
    shelves = max(1, round(height / rng.uniform(0.33, 0.45)))
    rise = (height - board) / shelves
    boards = [box((board, depth, height), (a * (width - board) / 2, 0, 0)) for a in (-1, 1)]
    boards += [box((width - 2 * board, depth, board), (0, 0, k * rise)) for k in range(shelves + 1)]
    if rng.random() < 0.7:
        boards.append(box((width, 0.015, height), (0, depth / 2 - 0.008, 0)))
    tops = [
        Top((0, -0.01, k * rise + board), (width - 0.1, depth - 0.05), rise - board - 0.02, "books")
        for k in range(shelves)
    ]
    tops.append(Top((0, 0, height), (width * 0.9, depth * 0.8), 0.3))
    return assembled((Part(joined(boards), wood(rng), "furniture"),), (width, depth, height), tops)


def shelf(rng: Rng) -> Thing:
    """One board on a wall."""
    width, depth = rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.28)
    top = Top((0, 0, 0.03), (width * 0.92, depth * 0.85), 0.35, "books")
    return assembled((Part(box((width, depth, 0.03)), wood(rng), "furniture"),), (width, depth, 0.03), (top,))


def rug(rng: Rng) -> Thing:
    """A rug, which is floor."""
    width, depth = rng.uniform(1.2, 2.4), rng.uniform(0.9, 1.8)
    return assembled((Part(box((width, depth, 0.012)), fabric(rng), "floor"),), (width, depth, 0.012))
