"""A room that is being filled."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from . import _hangings as hangings
from . import _objects as objects
from ._materials import Rng
from ._things import Placed, Thing, Vector

MARGIN = 0.04
BACKS = (np.pi, -np.pi / 2, 0.0, np.pi / 2)  # the yaw of a thing with its back to the wall y = 0, x = W, y = L, x = 0


class Room:
    """A room that is being filled: whatever overlaps what already stands is not let in.

    Args:
        rng: draws all places.
        size: along x, y, z, metres.
    """

    def __init__(self, rng: Rng, size: Vector) -> None:
        self.rng = rng
        self.size = size
        self.solid: list[Placed] = []
        self.flat: list[Placed] = []  # shell and rugs, on which things stand

    def fits(self, placed: Placed, margin: float = MARGIN) -> bool:
        """Whether it is inside the room and clear of all that stands."""
        low, high = placed.bounds
        inside = (low > -1e-6).all() and (high < np.array(self.size) + 1e-6).all()
        return bool(inside) and not any(placed.overlaps(other, margin) for other in self.solid)

    def add(self, places: Iterable[Placed], margin: float = MARGIN) -> Placed | None:
        """The first place that fits, if one does."""
        for placed in places:
            if self.fits(placed, margin):
                self.solid.append(placed)
                return placed
        return None

    def at_wall(self, thing: Thing, low: float = 0.0, tries: int = 12, gap: float = 0.02) -> Placed | None:
        """Its back to a wall, anywhere along any wall, at a height."""
        width, depth, _ = thing.size

        def places() -> Iterable[Placed]:
            for _ in range(tries):
                side = int(self.rng.integers(4))
                length, across = (self.size[0], self.size[1]) if side % 2 == 0 else (self.size[1], self.size[0])
                if length < width + 0.1:
                    continue
                along = self.rng.uniform(width / 2 + 0.03, length - width / 2 - 0.03)
                away = depth / 2 + gap
                x, y = ((along, away), (across, along), (along, across), (away, along))[side]
                x, y = (self.size[0] - away, y) if side == 1 else (x, self.size[1] - away) if side == 2 else (x, y)
                yield Placed(thing, (x, y, low), BACKS[side])

        return self.add(places())

    def free(self, thing: Thing, tries: int = 12, turned: bool = True, keep: float = 0.3) -> Placed | None:
        """Anywhere on the floor."""
        reach = max(thing.size[:2]) / 2
        limits = [(reach + min(keep, s / 2 - reach), s - reach - min(keep, s / 2 - reach)) for s in self.size[:2]]
        if any(low > high for low, high in limits):
            return None
        yaws = self.rng.uniform(-np.pi, np.pi, tries) if turned else self.rng.integers(4, size=tries) * np.pi / 2
        return self.add(
            Placed(thing, (self.rng.uniform(*limits[0]), self.rng.uniform(*limits[1]), 0.0), float(yaw)) for yaw in yaws
        )

    def decorate(self, most: int) -> None:
        """Small things on everything that has a top."""
        for placed in list(self.solid):
            for top in placed.thing.tops:
                standing: list[Placed] = []
                rng, (width, depth) = self.rng, top.size
                if top.holds == "books":
                    self._shelf(placed, top.centre, width, top.room)
                    continue
                count = int(rng.integers(1 if top.holds == "screen" else 0, most + 1))
                for k in range(count):
                    limit = min(top.room, 0.5)
                    if k == 0 and top.holds == "screen":
                        one, x, y, yaw = hangings.television(rng, min(width, rng.uniform(0.7, 1.25))), 0.0, 0.0, 0.0
                    else:
                        one, yaw = objects.small(rng, limit), rng.uniform(-np.pi, np.pi)
                        x, y = ((s / 2 - max(one.size[:2]) / 2) * rng.uniform(-1, 1) for s in (width, depth))
                    if one.size[0] > width or one.size[1] > max(depth, 0.17) or one.size[2] > top.room:
                        continue
                    cx, cy, cz = top.centre
                    new = Placed(one, placed.point((cx + x, cy + y, cz)), placed.yaw + yaw)
                    if not any(new.overlaps(other, 0.01) for other in standing):
                        standing.append(new)
                self.solid += standing

    def _shelf(self, placed: Placed, centre: Vector, width: float, room: float) -> None:
        """Books for a stretch, then objects, then perhaps books again."""
        rng, x = self.rng, -width / 2
        while x < width / 2 - 0.08:
            draw, rest = rng.random(), width / 2 - x
            if draw < 0.55:
                one = objects.books(rng, min(rest, rng.uniform(0.12, 0.6)), room)
            elif draw < 0.85:
                one = objects.small(rng, min(room, 0.35))
            else:
                x += rng.uniform(0.05, 0.3)
                continue
            wide = one.size[0] if draw < 0.55 else max(one.size[:2])
            if wide <= rest and one.size[1] < 0.26 and one.size[2] <= room:
                at = placed.point((centre[0] + x + wide / 2, centre[1], centre[2]))
                self.solid.append(Placed(one, at, placed.yaw))
            x += wide + rng.uniform(0.01, 0.06)
