"""What hangs on walls or is let into them: screens, pictures, windows, doors."""

from __future__ import annotations

from ._materials import Rng, fabric, hue, wood
from ._mesh import Mesh, box, joined
from ._textures import PICTURES
from ._things import Material, Part, Thing, assembled


def television(rng: Rng, width: float, *, hung: bool = False) -> Thing:
    """A flat screen, dark or showing something; on a foot, or to be hung on a wall."""
    height, foot = width * 9 / 16, 0.0 if hung else 0.06
    case = [box((width, 0.05, height), (0, 0, foot))]
    if not hung:
        case += [box((0.3 * width, 0.16, 0.02)), box((0.06, 0.04, 0.05), (0, 0, 0.015))]
    screen = box((width - 0.04, 0.01, height - 0.04), (0, -0.026, foot + 0.02), fit=True)
    if rng.random() < 0.35:
        shown = Material((0.8, 0.85, 1.0), PICTURES[rng.integers(len(PICTURES))], shines=True)
    else:
        shown = Material(hue(rng, (0, 0.4), (0.06, 0.2)), shines=True)
    black = Material((v := rng.uniform(0.05, 0.2), v, v))
    parts = (Part(joined(case), black, "tv"), Part(screen, shown, "tv"))
    return assembled(parts, (width, 0.07 if hung else 0.16, foot + height))


def picture(rng: Rng) -> Thing:
    """A framed picture for a wall."""
    width, height = rng.uniform(0.3, 1.1), rng.uniform(0.3, 0.8)
    edge = rng.uniform(0.02, 0.06)
    frame = box((width, 0.025, height))
    sheet = box((width - 2 * edge, 0.01, height - 2 * edge), (0, -0.012, edge), fit=True)
    tint = hue(rng, (0, 0.5), (0.8, 1))
    parts = (
        Part(frame, wood(rng), "picture"),
        Part(sheet, Material(tint, PICTURES[rng.integers(len(PICTURES))]), "picture"),
    )
    return assembled(parts, (width, 0.04, height))


def window(rng: Rng, height: float) -> Thing:
    """A window with bars and what is outside, often with curtains, which are window too."""
    width = rng.uniform(0.8, 1.8)
    bars: list[Mesh] = [box((width, 0.05, 0.06), (0, 0, z)) for z in (0.0, height - 0.06)]
    bars += [box((0.06, 0.05, height), (a * (width - 0.06) / 2, 0, 0)) for a in (-1, 1)]
    bars += [box((0.04, 0.045, height), (x * width, 0, 0)) for x in ((0,) if width < 1.3 else (-1 / 6, 1 / 6))]
    sky = Material(
        (rng.uniform(0.6, 1), rng.uniform(0.8, 1), 1.0),
        (None, "clouds", "landscape", "clouds")[rng.integers(4)],
        shines=True,
    )
    pane = box((width - 0.04, 0.01, height - 0.04), (0, 0.015, 0.02), fit=True)
    parts = [Part(joined(bars), Material((0.95, 0.95, 0.95)), "window"), Part(pane, sky, "window")]
    total = width
    if rng.random() < 0.5:
        cloth = rng.uniform(0.2, 0.35)
        drapes = [box((cloth, 0.06, height + 0.2), (a * (width / 2 + cloth / 3), -0.03, -0.1)) for a in (-1, 1)]
        parts.append(Part(joined(drapes), fabric(rng), "window"))
        total = width + 2 * cloth
    return assembled(parts, (total, 0.12, height + 0.1))


def door(rng: Rng) -> Thing:
    """A closed door, which is wall."""
    frame = [box((0.08, 0.06, 2.05), (a * 0.46, 0, 0)) for a in (-1, 1)] + [box((1.0, 0.06, 0.08), (0, 0, 2.0))]
    leaf, knob = box((0.86, 0.03, 2.0)), box((0.12, 0.07, 0.02), (0.34, -0.03, 1.0))
    material = wood(rng)
    parts = (
        Part(joined(frame), wood(rng), "wall"),
        Part(leaf, material, "wall"),
        Part(knob, Material((0.6, 0.6, 0.6)), "wall"),
    )
    return assembled(parts, (1.0, 0.1, 2.1))
