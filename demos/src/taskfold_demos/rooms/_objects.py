"""Small things: pybullet's bundled meshes, books, boxes, lamps, plants, screens, pictures."""

from __future__ import annotations

from ._materials import Rng, hue
from ._mesh import Mesh, box, cylinder, joined
from ._textures import PALETTE_CELLS
from ._things import Material, MeshFile, Part, Thing, assembled

# path, axis that points up, lowest and highest height in metres, width and depth in heights, has its own colours
_Bundled = tuple[str, str, float, float, float, float, bool]
BUNDLED: tuple[_Bundled, ...] = (
    ("urdf/mug.obj", "z", 0.09, 0.14, 0.82, 1.22, False),
    ("soccerball.obj", "z", 0.12, 0.24, 1.0, 1.0, True),
    ("duck.obj", "y", 0.12, 0.3, 1.08, 0.75, True),
    ("teddy2_VHACD_CHs.obj", "z", 0.12, 0.25, 1.22, 1.49, False),
    ("bunny.obj", "y", 0.14, 0.3, 0.65, 1.37, False),
    ("lego/lego.obj", "y", 0.06, 0.16, 1.38, 1.38, False),
    ("torus/torus_textured.obj", "y", 0.05, 0.12, 3.04, 3.04, False),
    ("textured_sphere_smooth.obj", "z", 0.1, 0.24, 1.0, 1.0, True),
    ("sphere_smooth.obj", "z", 0.07, 0.26, 1.0, 1.0, False),
    ("jenga/jenga.obj", "z", 0.08, 0.2, 1.0, 1.0, True),
    ("tray/tray_textured.obj", "z", 0.06, 0.11, 4.4, 4.4, True),
)
BLOBS = 1000  # random shapes that come with pybullet


def bundled(rng: Rng, limit: float) -> Thing:
    """One of pybullet's objects, not higher than a limit."""
    fitting = [one for one in BUNDLED if one[2] < limit]
    if not fitting or rng.random() < 0.15:
        height = min(rng.uniform(0.06, 0.2), limit)
        path = f"random_urdfs/{(n := int(rng.integers(BLOBS))):03}/{n:03}.obj"
        file = MeshFile(path, height)
        return assembled(
            (Part(file, Material(hue(rng, (0.2, 0.9), (0.4, 1))), "objects"),), (2 * height, 2 * height, height)
        )
    path, up, low, high, wide, deep, coloured = fitting[rng.integers(len(fitting))]
    height = rng.uniform(low, min(high, limit))
    colour = (1.0, 1.0, 1.0) if coloured else hue(rng, (0.1, 0.9), (0.4, 1))
    part = Part(MeshFile(path, height, up), Material(colour), "objects")
    return assembled((part,), (wide * height, deep * height, height))


def carton(rng: Rng, largest: float) -> Thing:
    """A box, plain or printed."""
    size = tuple(rng.uniform(0.3, 1, 3) * largest)
    texture = (None, "letters", "shapes", "diamonds", "jenga")[rng.choice(5, p=(0.5, 0.15, 0.15, 0.1, 0.1))]
    colour = (0.75, 0.58, 0.4) if rng.random() < 0.4 else hue(rng, (0.1, 0.8), (0.4, 1))
    return assembled((Part(box(size, fit=True), Material(colour, texture), "objects"),), size)


def vase(rng: Rng, limit: float) -> Thing:
    """A vase or bowl, sometimes with leaves."""
    height, radius = rng.uniform(0.3, 0.6) * min(limit, 0.6), rng.uniform(0.04, 0.09)
    wide = rng.uniform(0.6, 1.5) * radius
    parts = [Part(cylinder(radius, height, top=wide), Material(hue(rng, (0.1, 0.8), (0.3, 1))), "objects")]
    around = 2 * max(radius, wide)
    if rng.random() < 0.5:
        spread, rise = rng.uniform(1, 1.8) * wide, min(limit - height, height)
        leaves = cylinder(0.4 * wide, rise, (0, 0, height), top=spread, sides=7)
        parts.append(Part(leaves, Material((0.2, rng.uniform(0.4, 0.7), 0.2), "carpet", 0.1), "objects"))
        around, height = max(around, 2 * spread), height + rise
    return assembled(parts, (around, around, height))


def table_lamp(rng: Rng, limit: float) -> Thing:
    """A foot with a shade; the shade shines."""
    height, radius = min(rng.uniform(0.35, 0.5), limit), rng.uniform(0.09, 0.14)
    foot = joined([cylinder(0.06, 0.02), cylinder(0.012, height * 0.6)])
    shade = cylinder(radius, height * 0.4, (0, 0, height * 0.6), top=0.6 * radius)
    shine = Material((1.0, 0.93, rng.uniform(0.7, 0.9)), shines=True)
    parts = (Part(foot, Material(hue(rng, (0, 0.5), (0.2, 0.9))), "objects"), Part(shade, shine, "objects"))
    return assembled(parts, (2 * radius, 2 * radius, height))


def floor_lamp(rng: Rng) -> Thing:
    """A table lamp's big sister."""
    height, radius = rng.uniform(1.3, 1.7), rng.uniform(0.15, 0.24)
    foot = joined([cylinder(0.14, 0.02), cylinder(0.015, height - 0.3)])
    shade = cylinder(radius, 0.3, (0, 0, height - 0.3), top=0.6 * radius)
    shine = Material((1.0, 0.93, rng.uniform(0.7, 0.9)), shines=rng.random() < 0.6)
    parts = (Part(foot, Material(hue(rng, (0, 0.3), (0.1, 0.9))), "objects"), Part(shade, shine, "objects"))
    return assembled(parts, (2 * radius, 2 * radius, height))


def plant(rng: Rng) -> Thing:
    """A pot with a bush of cones."""
    pot, height, radius = rng.uniform(0.25, 0.4), rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.35)
    leaves: list[Mesh] = [
        cylinder(0.3 * radius, 0.4 * height, (0, 0, pot), top=radius, sides=9),
        cylinder(radius, 0.6 * height, (0, 0, pot + 0.4 * height), top=0.2 * radius, sides=9),
    ]
    green = Material((rng.uniform(0.1, 0.35), rng.uniform(0.4, 0.75), rng.uniform(0.1, 0.3)), "carpet", 0.15)
    clay = Material(hue(rng, (0.1, 0.6), (0.4, 0.9)))
    parts = (Part(cylinder(0.12, pot, top=0.17), clay, "objects"), Part(joined(leaves), green, "objects"))
    return assembled(parts, (2 * radius, 2 * radius, pot + height))


def books(rng: Rng, length: float, room: float) -> Thing:
    """Books that stand in a row, at most as long and as high as there is room."""
    volumes, x, tallest = [], 0.0, min(0.32, room)
    while (thick := rng.uniform(0.015, 0.05)) and x + thick < length:
        height, depth = rng.uniform(0.65, 1) * tallest, rng.uniform(0.13, 0.2)
        volumes.append((x, thick, height, depth))
        x += thick + 0.001
    return _colourful(
        rng, [((t, d, h), (a + t / 2 - x / 2, -0.1 + d / 2, 0.0)) for a, t, h, d in volumes], (x, 0.2, tallest)
    )


def book_pile(rng: Rng, limit: float) -> Thing:
    """Books that lie on one another."""
    volumes, z = [], 0.0
    for _ in range(int(rng.integers(1, 7))):
        thick = rng.uniform(0.015, 0.05)
        if z + thick > limit:
            break
        size = (rng.uniform(0.17, 0.24), rng.uniform(0.13, 0.17), thick)
        volumes.append((size, (rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01), z)))
        z += thick
    return _colourful(rng, volumes, (0.26, 0.19, z))


def small(rng: Rng, limit: float) -> Thing:
    """Anything for a table, not higher than a limit in metres."""
    makers = (bundled, book_pile, vase, table_lamp, lambda rng, limit: carton(rng, min(0.3, limit)))
    return makers[rng.choice(5, p=(0.55, 0.15, 0.1, 0.08, 0.12))](rng, limit)


def _colourful(rng: Rng, volumes: list, size: tuple[float, float, float]) -> Thing:
    meshes = [
        box(dims, at, cell=tuple((rng.integers(PALETTE_CELLS, size=2) + 0.5) / PALETTE_CELLS)) for dims, at in volumes
    ]
    tone = (v := rng.uniform(0.75, 1.0), v, v)
    return assembled((Part(joined(meshes), Material(tone, "palette"), "books"),), size)
