"""Triangles with normals and texture coordinates: boxes, cylinders, and their unions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles that face outwards; what they show from behind is not drawn.

    Attributes:
        vertices: N × 3, metres.
        normals: N × 3, unit vectors.
        uvs: N × 2, metres along the surface, or 0 to 1 over a face.
        triangles: M × 3, counter-clockwise as seen from outside.
    """

    vertices: Array
    normals: Array
    uvs: Array
    triangles: NDArray[np.int64]

    def moved(self, offset: Vector) -> Mesh:
        """The same, elsewhere."""
        return Mesh(self.vertices + np.array(offset), self.normals, self.uvs, self.triangles)

    def tiled(self, tile: float) -> Mesh:
        """Texture coordinates divided by the size of a tile."""
        return Mesh(self.vertices, self.normals, self.uvs / tile, self.triangles)

    def as_obj(self) -> str:
        """A Wavefront file."""
        corners = np.repeat(self.triangles.ravel() + 1, 3)
        kinds = (("v", self.vertices), ("vt", self.uvs), ("vn", self.normals))
        lines = "".join(
            (f"{kind}{' %.6f' * numbers.shape[1]}\n" * len(numbers)) % tuple(numbers.ravel().tolist())
            for kind, numbers in kinds
        )
        return lines + "f %d/%d/%d %d/%d/%d %d/%d/%d\n" * len(self.triangles) % tuple(corners.tolist())


def joined(meshes: Iterable[Mesh]) -> Mesh:
    """Several as one."""
    parts = list(meshes)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uvs for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]),
    )


def box(
    size: Vector, bottom: Vector = (0, 0, 0), *, fit: bool = False, cell: tuple[float, float] | None = None
) -> Mesh:
    """A box that stands with the centre of its base at `bottom`.

    Args:
        size: along x, y, z, metres.
        bottom: where it stands.
        fit: texture coordinates run from 0 to 1 over every face, not in metres.
        cell: one texture coordinate for the whole box, for a texture that is a table of colours.
    """
    lengths = np.array(size, float)
    vertices = _UNIT.vertices * lengths + np.array(bottom)
    if cell is not None:
        uvs = np.broadcast_to(np.array(cell), _UNIT.uvs.shape)
    else:
        uvs = _UNIT.uvs if fit else _UNIT.uvs * lengths[_TEXTURE_AXES]
    return Mesh(vertices, _UNIT.normals, uvs, _UNIT.triangles)


def cylinder(
    radius: float, height: float, bottom: Vector = (0, 0, 0), top: float | None = None, sides: int = 16
) -> Mesh:
    """An upright cylinder, or a cone's stump where the radius at the top is another."""
    upper = radius if top is None else top
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides + 1)], 1)
    n = sides + 1
    slope = np.array([0, 0, (radius - upper) / height])
    flank = ring + slope
    vertices = [ring * radius, ring * upper + [0, 0, height], ring * radius, ring * upper + [0, 0, height]]
    normals = [flank, flank, np.tile([0.0, 0, -1], (n, 1)), np.tile([0.0, 0, 1], (n, 1))]
    around = angles * radius
    uvs = [np.stack([around, 0 * around], 1), np.stack([around, 0 * around + height], 1)]
    uvs += [ring[:, :2] * radius, ring[:, :2] * upper]
    i = np.arange(sides)
    faces = [np.stack([i, i + 1, n + i + 1], 1), np.stack([i, n + i + 1, n + i], 1)]
    j = np.arange(1, sides - 1)
    faces += [
        np.stack([2 * n + 0 * j, 2 * n + j + 1, 2 * n + j], 1),
        np.stack([3 * n + 0 * j, 3 * n + j, 3 * n + j + 1], 1),
    ]
    directions = np.concatenate(normals)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return Mesh(np.concatenate(vertices) + np.array(bottom), directions, np.concatenate(uvs), np.concatenate(faces))


def quad(corner: Vector, along: Vector, up: Vector) -> Mesh:
    """A rectangle that is seen from the side from which `along` to `up` turns counter-clockwise."""
    a, b = np.array(along, float), np.array(up, float)
    normal = np.cross(a, b)
    lengths = np.array([np.linalg.norm(a), np.linalg.norm(b)])
    vertices = np.array(corner, float) + _CORNERS[:, :1] * a + _CORNERS[:, 1:] * b
    normals = np.tile(normal / np.linalg.norm(normal), (4, 1))
    return Mesh(vertices, normals, np.asarray(_CORNERS * lengths, np.float64), np.array([[0, 1, 2], [0, 2, 3]]))


def _unit_box() -> Mesh:
    """A cube of side 1 on the origin; every side's texture is upright, and not in the mirror."""
    a = 0.5
    sides = [
        quad((a, -a, 0), (0, 1, 0), (0, 0, 1)),
        quad((-a, a, 0), (0, -1, 0), (0, 0, 1)),
        quad((a, a, 0), (-1, 0, 0), (0, 0, 1)),
        quad((-a, -a, 0), (1, 0, 0), (0, 0, 1)),
        quad((-a, -a, 1), (1, 0, 0), (0, 1, 0)),
        quad((-a, a, 0), (1, 0, 0), (0, -1, 0)),
    ]
    return joined(sides)


_UNIT = _unit_box()
_TEXTURE_AXES = np.repeat(np.array([[1, 2], [1, 2], [0, 2], [0, 2], [0, 1], [0, 1]]), 4, axis=0)
