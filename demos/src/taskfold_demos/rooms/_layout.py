"""How a room is furnished: along its walls, in its middle, on its walls, on its tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import _furniture as furniture
from . import _hangings as hangings
from . import _objects as objects
from . import _seats as seats
from ._materials import Rng
from ._room import Room
from ._shell import shell
from ._things import Placed


def living(room: Room) -> None:
    """Sofa, armchairs, low table, television, shelves."""
    rng = room.rng
    sofa = room.at_wall(seats.sofa(rng, rng.uniform(1.6, 2.3)))
    if sofa and rng.random() < 0.8:
        low = furniture.table(rng, rng.uniform(0.8, 1.2), rng.uniform(0.5, 0.7), rng.uniform(0.38, 0.48))
        room.add([Placed(low, sofa.point((0, -rng.uniform(0.95, 1.2), 0)), sofa.yaw)])
    room.at_wall(furniture.cabinet(rng, rng.uniform(1.1, 1.8), 0.4, rng.uniform(0.4, 0.6), "screen"))
    for _ in range(rng.integers(0, 3)):
        room.free(seats.sofa(rng, rng.uniform(0.8, 0.95)))
    room.at_wall(furniture.bookcase(rng, rng.uniform(0.7, 1.4), rng.uniform(1.0, 2.1)))


def sleeping(room: Room) -> None:
    """Bed, night stands, wardrobe, perhaps a desk."""
    rng = room.rng
    if bed := room.at_wall(seats.bed(rng)):
        for side in (-1, 1):
            if rng.random() < 0.7:
                stand = furniture.cabinet(rng, rng.uniform(0.38, 0.5), 0.36, rng.uniform(0.4, 0.6))
                back = bed.thing.size[1] / 2 - stand.size[1] / 2
                aside = side * (bed.thing.size[0] + stand.size[0] + 0.12) / 2
                room.add([Placed(stand, bed.point((aside, back, 0)), bed.yaw)])
    room.at_wall(furniture.cabinet(rng, rng.uniform(0.9, 1.8), 0.55, rng.uniform(1.8, 2.15)))
    if rng.random() < 0.6:
        desk(room)
    if rng.random() < 0.5:
        room.at_wall(furniture.cabinet(rng, rng.uniform(0.8, 1.3), 0.42, rng.uniform(0.7, 1.1), "screen"))


def working(room: Room) -> None:
    """Desks and bookcases."""
    for _ in range(room.rng.integers(1, 4)):
        desk(room)
    for _ in range(room.rng.integers(1, 4)):
        room.at_wall(furniture.bookcase(room.rng, room.rng.uniform(0.7, 1.4), room.rng.uniform(1.2, 2.1)))
    if room.rng.random() < 0.4:
        room.at_wall(seats.sofa(room.rng, room.rng.uniform(0.85, 1.8)))


def dining(room: Room) -> None:
    """A table with chairs round it, a sideboard."""
    rng = room.rng
    top = furniture.table(rng, rng.uniform(1.0, 1.9), rng.uniform(0.8, 1.0), rng.uniform(0.7, 0.78))
    if table := room.free(top, turned=rng.random() < 0.3, keep=0.8):
        width, depth, _ = table.thing.size
        model = seats.chair(rng)
        places = [(x * width / 4, y) for y in (-1, 1) for x in ((-1, 1) if width > 1.3 else (0,))]
        for x, y in places:
            out = depth / 2 + rng.uniform(0.1, 0.4) + 0.1
            seat = Placed(
                model, table.point((x, y * out, 0)), table.yaw + (np.pi if y < 0 else 0) + rng.normal(0, 0.15)
            )
            # A chair may stand under the table, so it is only asked to be clear of everything else.
            if rng.random() < 0.85 and not any(seat.overlaps(o, 0.02) for o in room.solid if o is not table):
                low, high = seat.bounds
                if (low > 0).all() and (high < np.array(room.size)).all():
                    room.solid.append(seat)
    room.at_wall(
        furniture.cabinet(rng, rng.uniform(1.1, 1.9), 0.45, rng.uniform(0.75, 1.0), ("any", "screen")[rng.integers(2)])
    )
    if rng.random() < 0.5:
        room.at_wall(seats.sofa(rng, rng.uniform(1.4, 2.0)))


def desk(room: Room) -> None:
    """A desk at a wall, a screen or things on it, a chair before it."""
    rng = room.rng
    top = furniture.table(rng, rng.uniform(1.0, 1.6), rng.uniform(0.6, 0.8), rng.uniform(0.7, 0.76))
    if (table := room.at_wall(top)) is None:
        return
    if rng.random() < 0.5:
        screen = hangings.television(rng, rng.uniform(0.45, 0.65))
        room.solid.append(Placed(screen, table.point((rng.uniform(-0.2, 0.2), 0.1, top.size[2])), table.yaw))
    if rng.random() < 0.85:
        away = table.thing.size[1] / 2 + rng.uniform(0.25, 0.4)
        seat = Placed(seats.chair(rng), table.point((rng.uniform(-0.15, 0.15), -away, 0)), table.yaw + np.pi)
        room.add([Placed(seat.thing, seat.at, seat.yaw + rng.normal(0, 0.3))])


KINDS: tuple[Callable[[Room], None], ...] = (living, sleeping, working, dining)


def furnish(rng: Rng) -> Room:
    """A room with everything in it, drawn at random."""
    size = (rng.uniform(3.2, 5.5), rng.uniform(3.2, 5.5), rng.uniform(2.4, 2.9))
    room = Room(rng, size)
    room.flat.append(shell(rng, size))
    first, second = rng.choice(4, 2, replace=False, p=(0.24, 0.2, 0.26, 0.3))
    KINDS[first](room)
    if rng.random() < 0.4:
        KINDS[second](room)
    for _ in range(rng.integers(1, 4)):
        room.at_wall(seats.chair(rng), gap=rng.uniform(0.02, 0.3))
    if rng.random() < 0.35:
        room.at_wall(hangings.door(rng), gap=0.0)
    for _ in range(rng.choice((0, 1, 2), p=(0.2, 0.5, 0.3))):
        height = rng.uniform(0.9, 1.3)
        room.at_wall(hangings.window(rng, height), rng.uniform(0.85, 1.0), gap=0.0)
    if rng.random() < 0.5:
        room.at_wall(hangings.television(rng, rng.uniform(0.8, 1.4), hung=True), rng.uniform(0.9, 1.3), gap=0.0)
    for _ in range(rng.integers(1, 5)):
        room.at_wall(hangings.picture(rng), rng.uniform(1.1, 1.6), gap=0.0)
    for _ in range(rng.integers(0, 3)):
        room.at_wall(furniture.shelf(rng), rng.uniform(1.1, 1.7), gap=0.0)
    for _ in range(rng.integers(0, 3)):
        one = (objects.floor_lamp, objects.plant)[rng.integers(2)](rng)
        room.at_wall(one, gap=0.08)
    for _ in range(rng.integers(0, 5)):
        one = objects.carton(rng, 0.5) if rng.random() < 0.4 else objects.bundled(rng, 0.4)
        room.free(one, keep=0.1)
    room.decorate(5)
    if rng.random() < 0.5:
        carpet = furniture.rug(rng)
        if all(max(carpet.size[:2]) < s for s in size[:2]):
            room.flat.append(Placed(carpet, (size[0] / 2, size[1] / 2, 0.0), rng.choice((0.0, np.pi / 2))))
    return room
