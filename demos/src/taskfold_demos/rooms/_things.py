"""What a room is made of: parts with a material and a class, things that stand somewhere, what may stand on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._mesh import Mesh, Vector

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Attributes:
        colour: red, green, blue, 0 to 1; times the texture's.
        texture: a name of `_textures`; None: plain, or a mesh file's own.
        tile: size of one repetition of the texture in metres; None: the mesh says it all.
        shines: it gives light itself, so that no lamp and no shadow changes it.
    """

    colour: Colour = (1.0, 1.0, 1.0)
    texture: str | None = None
    tile: float | None = None
    shines: bool = False


@dataclass(frozen=True)
class MeshFile:
    """A mesh that comes with pybullet.

    Attributes:
        path: inside its data folder.
        height: what it is scaled to, metres.
        upright: which axis of the file points up, "y" or "z".
    """

    path: str
    height: float
    upright: str = "z"


@dataclass(frozen=True)
class Part:
    """One mesh of one material; `own` numbers the instances inside a thing (a bed has pillows)."""

    mesh: Mesh | MeshFile
    material: Material
    of: str
    own: int = 0


@dataclass(frozen=True)
class Top:
    """A rectangle on which small things may stand.

    Attributes:
        centre: in the thing's own frame, metres.
        size: along x and y.
        room: free height above it.
        holds: "any", "books" (a shelf) or "screen" (a stand for a television).
    """

    centre: Vector
    size: tuple[float, float]
    room: float = 0.6
    holds: str = "any"


@dataclass(frozen=True)
class Thing:
    """Something that stands: x to its right, −y to its front, z up, origin under its middle.

    Attributes:
        parts: what is drawn.
        size: along x, y, z, metres.
        tops: where small things may stand.
    """

    parts: tuple[Part, ...]
    size: Vector
    tops: tuple[Top, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A thing in a room.

    Attributes:
        thing: what.
        at: where its origin is, metres.
        yaw: turned counter-clockwise, radians.
    """

    thing: Thing
    at: Vector
    yaw: float = 0.0

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest upright box around it: lowest and highest corner."""
        width, depth, height = self.thing.size
        c, s = abs(np.cos(self.yaw)), abs(np.sin(self.yaw))
        half = np.array([c * width + s * depth, s * width + c * depth, 0]) / 2
        at = np.array(self.at)
        return at - half, at + half + [0, 0, height]

    def point(self, local: Vector) -> Vector:
        """A point of the thing's own frame in the room's."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        x, y, z = local
        return (self.at[0] + c * x - s * y, self.at[1] + s * x + c * y, self.at[2] + z)

    def overlaps(self, other: Placed, margin: float) -> bool:
        """Whether the boxes around both come nearer than a margin (sideways; touching in height is standing)."""
        (low, high), (its_low, its_high) = self.bounds, other.bounds
        return all(
            low[i] < its_high[i] + gap and its_low[i] < high[i] + gap for i, gap in enumerate((margin, margin, -1e-6))
        )


def assembled(parts: Iterable[Part], size: Vector, tops: Iterable[Top] = ()) -> Thing:
    """A thing of parts and tops."""
    return Thing(tuple(parts), size, tuple(tops))
