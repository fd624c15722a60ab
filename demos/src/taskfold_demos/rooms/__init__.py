"""Rendered rooms: furnished, with depth, classes, normals and instances, in NYUv2's layout. Needs pybullet."""

from ._classes import CLASSES, IGNORE
from ._dataset import rooms
from ._instances import THINGS, RoomInstances
from ._part import room
from ._render import Renderer
from ._view import View

__all__ = ["CLASSES", "IGNORE", "THINGS", "Renderer", "RoomInstances", "View", "room", "rooms"]
