"""A scene: things in places, a camera, a light."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ._mesh import Vector
from ._things import Colour, Placed


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from.

    Attributes:
        eye: position, metres.
        target: what is in the middle of the picture.
        roll: turned about its axis, radians.
    """

    eye: Vector
    target: Vector
    roll: float = 0.0


@dataclass(frozen=True)
class Light:
    """A lamp under the ceiling, and what the camera makes of it.

    Attributes:
        lamp: position, metres.
        reach: the distance at which its light has halved, metres.
        ambient: share of light that comes from everywhere.
        shadow: how dark the lamp's shadows are, 0 to 1.
        tint: colour of the light.
        noise: standard deviation of the camera's noise, of 1.
    """

    lamp: Vector
    reach: float = 3.0
    ambient: float = 0.6
    shadow: float = 0.4
    tint: Colour = (1.0, 1.0, 1.0)
    noise: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A furnished room.

    Attributes:
        size: along x, y, z, metres; one corner is the origin.
        things: the shell (walls, floor, ceiling) and what is in it.
        camera: from where.
        light: in which light.
    """

    size: Vector
    things: tuple[Placed, ...]
    camera: Camera
    light: Light = field(default_factory=lambda: Light((1.0, 1.0, 2.0)))

    def seen_from(self, camera: Camera) -> Scene:
        """The same room from elsewhere."""
        return replace(self, camera=camera)
