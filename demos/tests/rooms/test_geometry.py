"""What the renderer measures, against rays and planes computed by hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

if importlib.util.find_spec("pybullet") is None:
    pytest.skip("pybullet is not installed", allow_module_level=True)

from pathlib import Path

import pybullet_data

from taskfold_demos.rooms import CLASSES, Renderer
from taskfold_demos.rooms._mesh import Mesh, box, cylinder, joined, quad
from taskfold_demos.rooms._normals import linear_depth, normals
from taskfold_demos.rooms._objects import BUNDLED
from taskfold_demos.rooms._room import Room
from taskfold_demos.rooms._scene import draw_scene
from taskfold_demos.rooms._shell import shell
from taskfold_demos.rooms._stage import Camera, Light, Scene
from taskfold_demos.rooms._things import Material, MeshFile, Part, Placed, Thing

SIZE = (96, 128)
FOCAL = SIZE[0] / 2 / np.tan(np.radians(30))
ROOM = (4.0, 5.0, 2.6)
CAMERAS = {
    "level": Camera((1.2, 0.4, 1.5), (1.2, 4.0, 1.5)),
    "down": Camera((3.5, 0.5, 1.6), (1.0, 4.0, 0.6)),
    "rolled": Camera((0.5, 4.5, 1.2), (3.0, 1.0, 1.0), 0.2),
    "up": Camera((2.0, 1.0, 0.5), (2.1, 4.0, 2.4), -0.1),
}
GREY = Material((0.6, 0.6, 0.6))


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as one:
        yield one


def rays(camera: Camera, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Directions in the room with length 1 along the axis, and the rotation from the room to right, up, backwards."""
    eye, target = np.array(camera.eye), np.array(camera.target)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    c, s = np.cos(camera.roll), np.sin(camera.roll)
    right, up = c * right + s * up, c * up - s * right
    rows, columns = np.indices(size)
    x = (columns - (size[1] - 1) / 2) / FOCAL
    y = ((size[0] - 1) / 2 - rows) / FOCAL
    return x[..., None] * right + y[..., None] * up + forward, np.stack([right, up, -forward])


def hit(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth, which of (x low, x high, y low, y high, floor, ceiling), and its normal in the camera's coordinates."""
    directions, rotation = rays(camera)
    planes = [(axis, value) for axis in range(3) for value in (0.0, ROOM[axis])]
    with np.errstate(divide="ignore"):
        reach = np.stack([(value - camera.eye[axis]) / directions[..., axis] for axis, value in planes])
    reach[reach <= 0] = np.inf
    inward = np.array([np.eye(3)[axis] * (1 if value == 0 else -1) for axis, value in planes])
    return reach.min(0), reach.argmin(0), inward[reach.argmin(0)] @ rotation.T


def bare(camera: Camera) -> Scene:
    placed = shell(np.random.default_rng(0), ROOM)
    plain = Thing(tuple(part for part in placed.thing.parts if len(part.mesh.vertices) == 4), ROOM)
    assert len(plain.parts) == 6
    return Scene(ROOM, (Placed(plain, (0, 0, 0)),), camera)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_bare_room_is_where_rays_meet_its_planes(renderer: Renderer, name: str) -> None:
    view = renderer.render(bare(CAMERAS[name]), SIZE)
    depth, plane, normal = hit(CAMERAS[name])
    expected = np.array([CLASSES.index(c) for c in ("wall", "wall", "wall", "wall", "floor", "ceiling")])[plane]
    np.testing.assert_allclose(view.depth[..., 0], depth, atol=2e-4)
    assert (view.label != expected).mean() < 2e-3  # a pixel on an edge may go either way
    known = np.linalg.norm(view.normal, axis=-1) > 0
    assert known.mean() > 0.99
    # Where the pixel and its neighbours are on one plane, so that the answer is that plane's.
    near = np.stack([np.roll(plane, shift, axis) for axis in (0, 1) for shift in (-1, 1)])
    inside = known & (near == plane).all(0)
    angle = np.degrees(np.arccos(np.clip((view.normal * normal).sum(-1), -1, 1)))
    assert angle[inside].max() < 0.15


def test_a_box_hides_what_is_behind_it(renderer: Renderer) -> None:
    """The front of a box of side 1, its middle 3 m ahead, is 2.5 m away and as wide as the lens says."""
    camera = Camera((2.0, 0.5, 1.0), (2.0, 4.0, 1.0))
    parts = (Part(box((1, 1, 1)), GREY, "table"), Part(box((0.2, 0.2, 0.2), (0, 0, 1)), GREY, "books", 1))
    thing = Thing(parts, (1, 1, 1.2))
    scene = bare(camera)
    view = renderer.render(Scene(ROOM, (*scene.things, Placed(thing, (2.0, 3.5, 0.0))), camera), SIZE)
    table, books = view.label == CLASSES.index("table"), view.label == CLASSES.index("books")
    front = table & (np.abs(view.depth[..., 0] - 2.5) < 1e-3)
    columns = np.nonzero(front)[1]
    assert np.ptp(columns) + 1 == pytest.approx(FOCAL / 2.5, abs=1.01)
    np.testing.assert_allclose(view.depth[books & (view.normal[..., 2] > 0.9)], 2.9, atol=1e-3)
    faces = view.normal[front & (view.normal[..., 2] > 0)]
    np.testing.assert_allclose(faces, np.broadcast_to([0, 0, 1], faces.shape), atol=5e-3)
    assert len(np.unique(view.instance[table])) == len(np.unique(view.instance[books])) == 1
    assert view.instance[table][0] != view.instance[books][0]


def test_the_z_buffer_of_a_perspective_is_undone() -> None:
    near, far = 0.1, 20.0
    metres = np.linspace(near, far, 50)
    clip = ((far + near) * metres - 2 * far * near) / (far - near) / metres  # OpenGL's perspective, −1 to 1
    np.testing.assert_allclose(linear_depth((clip + 1) / 2, near, far), metres, rtol=1e-12)


def test_normals_of_a_ball_and_none_on_its_rim() -> None:
    size, focal, centre, radius = (120, 160), 140.0, 2.0, 0.6
    rows, columns = np.indices(size)
    ray = np.stack([(columns - 79.5) / focal, (59.5 - rows) / focal, -np.ones(size)], -1)
    square, half = (ray**2).sum(-1), centre
    root = half**2 - square * (centre**2 - radius**2)
    ball = root > 0
    depth = np.where(ball, (half - np.sqrt(np.maximum(root, 0))) / square, 4.0)
    found = normals(depth, ball.astype(int), focal, (59.5, 79.5))
    exact = (ray * depth[..., None] - [0, 0, -centre]) / radius
    frontal = ball & ((exact * -ray).sum(-1) / np.sqrt(square) > 0.4)
    angle = np.degrees(np.arccos(np.clip((found * exact).sum(-1), -1, 1)))
    assert angle[frontal].max() < 1.5
    np.testing.assert_allclose(found[~ball], np.broadcast_to([0, 0, 1], found[~ball].shape), atol=1e-6)
    shared = normals(depth, np.zeros(size, int), focal, (59.5, 79.5))
    lengths = np.linalg.norm(shared, axis=-1)
    assert set(np.unique(lengths.round(5))) <= {0.0, 1.0}
    np.testing.assert_allclose(shared[frontal], found[frontal], atol=0.05)


def test_a_line_one_pixel_wide_has_no_normal() -> None:
    depth = np.full((32, 32), 3.0)
    depth[:, 16] = 1.0
    length = np.linalg.norm(normals(depth, (depth < 2).astype(int), 40.0, (15.5, 15.5)), axis=-1)
    assert (length[:, 16] == 0).all()
    assert (length[:, :16] == 1).all()


@pytest.mark.parametrize(
    "mesh",
    [box((1, 2, 3)), box((1, 1, 1), (2, 2, 0), fit=True), cylinder(0.5, 1), cylinder(0.5, 1, top=0.2, sides=7),
     quad((0, 0, 0), (1, 0, 0), (0, 2, 0)), joined([box((1, 1, 1)), cylinder(1, 2)])],
)  # fmt: skip
def test_triangles_turn_the_way_their_normals_say(mesh: Mesh) -> None:
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    turned = np.cross(b - a, c - a)
    assert (np.linalg.norm(turned, axis=1) > 1e-9).all()
    for k in range(3):
        assert ((turned * mesh.normals[mesh.triangles[:, k]]).sum(1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1)


def test_closed_meshes_enclose_their_volume() -> None:
    for mesh, volume in ((box((1, 2, 3), (5, 5, 5)), 6.0), (cylinder(1, 2, sides=64), 64 * np.sin(2 * np.pi / 64))):
        a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
        assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(volume)


@pytest.mark.parametrize("row", BUNDLED, ids=lambda row: row[0])
def test_bundled_meshes_are_as_large_as_their_table_says(row: tuple) -> None:
    path, up, low, high, wide, deep, _ = row
    lines = (Path(pybullet_data.getDataPath()) / path).read_text(errors="replace").splitlines()
    points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    x, y, z = np.ptp(points, axis=0)
    along, height = (z, y) if up == "y" else (y, z)
    assert (x / height, along / height) == pytest.approx((wide, deep), rel=0.05)
    assert 0 < low < high < 0.5


def test_bundled_meshes_stand_where_they_are_put(renderer: Renderer) -> None:
    camera = Camera((2.0, 0.5, 1.0), (2.0, 4.0, 0.6))
    scene = bare(camera)
    for path, up, *_ in BUNDLED:
        thing = Thing((Part(MeshFile(path, 0.5, up), GREY, "objects"),), (1, 1, 0.5))
        view = renderer.render(Scene(ROOM, (*scene.things, Placed(thing, (2.0, 3.0, 0.4), 0.7)), camera), SIZE)
        mask = view.label == CLASSES.index("objects")
        directions, _ = rays(camera)
        points = np.array(camera.eye) + directions[mask] * view.depth[mask]
        assert points[:, 2].min() >= 0.4 - 2e-3 and points[:, 2].max() <= 0.9 + 2e-3, path
        assert points[:, 2].max() > 0.85, path


@pytest.mark.parametrize("seed", range(12))
def test_things_stand_in_the_room_and_on_something(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed))
    solid = scene.things[1:]
    for placed in solid:
        low, high = placed.bounds
        assert (low > -0.12).all() and (high < np.array(scene.size) + 0.12).all()
    # What stands on the floor is furniture and larger objects: these keep clear of each other, but for chairs, which
    # are pushed under tables.
    standing = [p for p in solid if p.at[2] == 0 and p.thing.size[2] > 0.02]
    chairs = {"chair", "table"}
    for k, one in enumerate(standing):
        for other in standing[:k]:
            if {one.thing.parts[0].of, other.thing.parts[0].of} != chairs:
                assert not one.overlaps(other, 0.0)
    eye = np.array(scene.camera.eye)
    assert not any(((eye > p.bounds[0]) & (eye < p.bounds[1])).all() for p in solid)


@pytest.mark.parametrize("seed", range(8))
def test_what_stands_at_a_wall_has_its_back_to_it(seed: int) -> None:
    thing = Thing((), (1.0, 0.4, 1.0))
    placed = Room(np.random.default_rng(seed), ROOM).at_wall(thing, gap=0.02)
    assert placed is not None
    back = placed.point((0, 0.2, 0))
    assert min(*back[:2], ROOM[0] - back[0], ROOM[1] - back[1]) == pytest.approx(0.02)


def test_a_lamp_throws_shadows_under_a_table(renderer: Renderer) -> None:
    camera = Camera((2.0, 0.3, 1.6), (2.0, 3.0, 0.0))
    board = Thing((Part(box((1.2, 0.8, 0.05), (0, 0, 0.7)), GREY, "table"),), (1.2, 0.8, 0.75))
    scene = bare(camera)
    light = Light((2.0, 3.0, 2.5), ambient=0.5, shadow=0.9)
    empty = renderer.render(Scene(ROOM, scene.things, camera, light), SIZE)
    with_board = renderer.render(Scene(ROOM, (*scene.things, Placed(board, (2.0, 3.0, 0.0))), camera, light), SIZE)
    directions, _ = rays(camera)
    points = np.array(camera.eye) + directions * with_board.depth
    floor = with_board.label == CLASSES.index("floor")
    under = floor & (np.abs(points[..., 0] - 2) < 0.6) & (np.abs(points[..., 1] - 3) < 0.4)
    beside = floor & (np.abs(points[..., 0] - 2) > 1.2)
    ratio = with_board.image.mean(-1) / np.maximum(empty.image.mean(-1), 1e-3)
    assert under.sum() > 30
    assert ratio[under].mean() < 0.75 * ratio[beside].mean()
