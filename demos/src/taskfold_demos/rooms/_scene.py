"""A room with a camera and a light: all that is drawn at random, from one generator."""

from __future__ import annotations

import numpy as np

from ._layout import furnish
from ._materials import Rng
from ._render import Renderer
from ._room import Room
from ._stage import Camera, Light, Scene
from ._view import View

ATTEMPTS = 6
PLACES = 24


def draw_view(rng: Rng, renderer: Renderer, size: tuple[int, int]) -> View:
    """One picture of one room: the first of a few places that shows something, and has nothing before its nose.

    Args:
        rng: draws everything; equal generators give equal bytes.
        renderer: what draws.
        size: height and width.
    """
    scene = draw_scene(rng)
    view = renderer.render(scene, size, rng)
    for _ in range(ATTEMPTS - 1):
        if worth_showing(view):
            break
        scene = scene.seen_from(draw_camera(rng, scene))
        view = renderer.render(scene, size, rng)
    return view


def worth_showing(view: View) -> bool:
    """Five classes or more, at most a tenth nearer than 0.8 m, walls and ceiling not nearly everything."""
    counts = np.bincount(view.label[view.label >= 0], minlength=13) / view.label.size
    near = (view.depth < 0.8).mean()
    return bool((counts > 0.003).sum() >= 5 and near < 0.1 and counts[[2, 11]].sum() < 0.75)


def draw_scene(rng: Rng) -> Scene:
    """A furnished room, seen by somebody who stands or sits in it.

    Example:
        >>> scene = draw_scene(np.random.default_rng(0))
        >>> len(scene.things) > 5, 2.4 <= scene.size[2] <= 2.9
        (True, True)
    """
    room = furnish(rng)
    light = Light(
        lamp=(rng.uniform(0.3, 0.7) * room.size[0], rng.uniform(0.3, 0.7) * room.size[1], room.size[2] - 0.1),
        reach=rng.uniform(1.5, 4.0),
        ambient=rng.uniform(0.35, 0.65),
        shadow=rng.uniform(0.5, 0.9),
        tint=(1.0, rng.uniform(0.88, 1.0), rng.uniform(0.75, 1.0)),
        noise=rng.uniform(0.004, 0.02),
    )
    scene = _scene(room, light)
    return scene.seen_from(draw_camera(rng, scene))


def draw_camera(rng: Rng, scene: Scene) -> Camera:
    """Of a few places that are clear of everything, the one that looks at the most things; held by hand."""
    lows, highs = (np.array([one.bounds[k] for one in scene.things[1:]]).reshape(-1, 3) for k in (0, 1))
    middles = (lows + highs) / 2
    best, most = scene.camera, -1.0
    for _ in range(PLACES):
        eye = np.array([*(rng.uniform(0.25, side - 0.25) for side in scene.size[:2]), rng.uniform(1.1, 1.75)])
        ahead = np.array([*(side * rng.uniform(0.2, 0.8) for side in scene.size[:2]), rng.uniform(0.5, 1.1)])
        roll, length = rng.normal(0, 0.025), np.linalg.norm(ahead - eye)
        if length < 1 or ((eye > lows - 0.35) & (eye < highs + 0.35)).all(1).any():
            continue
        far = np.linalg.norm(middles - eye, axis=1)
        score = float((((middles - eye) @ (ahead - eye) > 0.8 * far * length) & (far > 0.8)).sum())
        if score > most:
            best, most = Camera(_vector(eye), _vector(ahead), float(roll)), score
    return best


def _scene(room: Room, light: Light) -> Scene:
    """Seen, for want of a better place, from a corner."""
    corner = Camera((0.3, 0.3, 1.7), (room.size[0] / 2, room.size[1] / 2, 0.9))
    return Scene(room.size, (*room.flat, *room.solid), corner, light)


def _vector(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
