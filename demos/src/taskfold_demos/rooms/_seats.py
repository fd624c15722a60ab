"""What is sat and lain on: chairs, sofas, beds."""

from __future__ import annotations

from ._materials import Rng, fabric, hue, wood
from ._mesh import box, cylinder, joined
from ._things import Material, Part, Thing, Top, assembled


def chair(rng: Rng) -> Thing:
    """A chair with a back, sometimes arms, or an office chair on one foot; seldom a stool."""
    width, depth, seat = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.48), rng.uniform(0.42, 0.48)
    back = rng.uniform(0.35, 0.55)
    frame, cover = wood(rng), fabric(rng) if rng.random() < 0.6 else None
    t = rng.uniform(0.03, 0.05)
    x, y = width / 2 - t / 2, depth / 2 - t / 2
    style = rng.choice(("slats", "panel", "office", "stool"), p=(0.35, 0.35, 0.22, 0.08))
    soft = [box((width, depth, 0.05), (0, 0, seat - 0.05))]
    hard = [box((t, t, seat - 0.05), (a * x, b * y, 0)) for a in (-1, 1) for b in (-1, 1)]
    if style == "office":
        hard = [cylinder(0.03, seat - 0.08, (0, 0, 0.03)), box((0.56, 0.06, 0.04)), box((0.06, 0.56, 0.04))]
    if style == "slats":
        hard += [box((t, t, back), (a * x, y, seat)) for a in (-1, 1)]
        hard += [box((width - 2 * t, 0.02, 0.06), (0, y, seat + h * back)) for h in (0.3, 0.55, 0.8)]
    elif style != "stool":
        soft.append(box((width, 0.05, back), (0, depth / 2 - 0.025, seat + 0.02)))
    if style != "stool" and rng.random() < 0.25:
        hard += [box((0.04, depth * 0.8, 0.03), (a * x, 0, seat + 0.2)) for a in (-1, 1)]
        hard += [box((0.03, 0.03, 0.2), (a * x, -depth * 0.35, seat)) for a in (-1, 1)]
    height = seat if style == "stool" else seat + back
    parts = (Part(joined(soft), cover or frame, "chair"), Part(joined(hard), frame, "chair"))
    return assembled(parts, (width, depth, height), (Top((0, -0.05, seat), (width * 0.7, depth * 0.6), 0.4),))


def sofa(rng: Rng, width: float) -> Thing:
    """A sofa or, narrow, an armchair: seat, back and arms, with cushions that are objects."""
    depth, seat, back = rng.uniform(0.8, 0.95), rng.uniform(0.36, 0.45), rng.uniform(0.72, 0.92)
    arm, cover = rng.uniform(0.12, 0.22), fabric(rng)
    inner = width - 2 * arm
    body = [box((width, depth, seat - 0.14), (0, 0, 0.05)), box((width, 0.2, back - 0.1), (0, depth / 2 - 0.1, 0.1))]
    body += [box((arm, depth, seat + 0.12), (a * (width - arm) / 2, 0, 0.05)) for a in (-1, 1)]
    seats = max(1, round(inner / 0.65))
    step = inner / seats
    for i in range(seats):
        x = -inner / 2 + (i + 0.5) * step
        body.append(box((step - 0.015, depth - 0.22, 0.14), (x, -0.1, seat - 0.11)))
        body.append(box((step - 0.03, 0.14, back - seat + 0.02), (x, depth / 2 - 0.26, seat + 0.02)))
    cushions = []
    for k in range(rng.integers(0, seats + 1)):
        side = rng.uniform(0.3, 0.42)
        x = (-1 if k % 2 else 1) * rng.uniform(0.3, 0.8) * (inner - side) / 2
        if all(abs(x - other) > 0.45 for other, _ in cushions):
            cushions.append((x, side))
    soft = [
        Part(box((side, 0.12, side), (x, depth / 2 - 0.4, seat + 0.03)), fabric(rng), "objects", k + 1)
        for k, (x, side) in enumerate(cushions)
    ]
    return assembled((Part(joined(body), cover, "sofa"), *soft), (width, depth, back))


def bed(rng: Rng) -> Thing:
    """A bed, its head at the back: frame, mattress, blanket, pillows (objects)."""
    width, length, height = rng.choice((0.95, 1.45, 1.7)), rng.uniform(1.95, 2.1), rng.uniform(0.42, 0.58)
    frame, head = wood(rng), rng.uniform(0.8, 1.15)
    board = box((width + 0.06, 0.06, head), (0, length / 2 - 0.03, 0))
    base = box((width + 0.04, length - 0.06, height - 0.2), (0, -0.03, 0.06 if rng.random() < 0.5 else 0))
    mattress = box((width, length - 0.1, 0.2), (0, -0.02, height - 0.2))
    cover = rng.uniform(0.55, 0.75) * length
    blanket = box((width + 0.05, cover, 0.18), (0, -length / 2 + cover / 2 + 0.01, height - 0.14))
    pillows = 1 if width < 1.2 else 2
    soft = []
    for k in range(pillows):
        x = (k - (pillows - 1) / 2) * width / 2
        pillow = box((min(0.6, width / pillows - 0.1), 0.35, 0.12), (x, length / 2 - 0.3, height))
        soft.append(Part(pillow, Material(hue(rng, (0, 0.25), (0.8, 1)), "weave", 0.3), "objects", k + 1))
    parts = (
        Part(joined([board, base]), frame, "bed"),
        Part(mattress, Material((0.95, 0.94, 0.9)), "bed"),
        Part(blanket, fabric(rng), "bed"),
        *soft,
    )
    return assembled(parts, (width + 0.06, length, head), (Top((0, -0.3, height + 0.04), (width * 0.8, 0.9), 0.6),))
