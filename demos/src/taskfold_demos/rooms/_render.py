"""Scenes through pybullet's CPU renderer: colour, depth, classes, instances, normals."""

from __future__ import annotations

import tempfile
from importlib import import_module
from itertools import count
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ._bullet import load_pybullet
from ._camera import FAR, FIELD_OF_VIEW, NEAR, focal_length, view_matrix
from ._classes import number
from ._lighting import lit
from ._mesh import Mesh, Vector
from ._normals import linear_depth, normals
from ._stage import Camera, Scene
from ._standing import standing
from ._textures import BUNDLED, DRAWN, draw
from ._things import Part, Placed
from ._view import View

LAMP_FIELD, LAMP_SIDE = 120.0, 160
REMEMBERED = 50  # scenes


class Renderer:
    """A connection to pybullet; use it in a `with`, or `close` it.

    Raises:
        MissingExtraError: pybullet is not installed.
    """

    def __init__(self) -> None:
        self._bullet = load_pybullet()
        self._client: int = self._bullet.connect(self._bullet.DIRECT)
        self._folder = tempfile.TemporaryDirectory(prefix="taskfold-rooms-")
        self._data = Path(import_module("pybullet_data").getDataPath())
        self._textures: dict[str, int] = {}
        self._names = count()
        self._files: list[Path] = []
        self._rendered = 0

    def close(self) -> None:
        """Disconnect, and remove the drawn textures."""
        if self._client >= 0:
            self._bullet.disconnect(self._client)
            self._client = -1
            self._folder.cleanup()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def render(self, scene: Scene, size: tuple[int, int], rng: np.random.Generator | None = None) -> View:
        """A scene, at a height and width in pixels.

        Args:
            scene: what is there.
            size: height and width.
            rng: draws the camera's noise; None: none.
        """
        height, width = size
        bodies: dict[int, tuple[Part, int]] = {}
        try:
            for index, placed in enumerate(scene.things):
                for part in placed.thing.parts:
                    bodies[self._add(part, placed)] = (part, index * 64 + part.own)
            return self._view(scene, bodies, height, width, rng)
        finally:
            for body in bodies:
                self._bullet.removeBody(body, physicsClientId=self._client)
            self._forget()

    def _forget(self) -> None:
        """The files of one scene; now and then also what the renderer remembers of files by their names."""
        for path in self._files:
            path.unlink()
        self._files.clear()
        self._rendered += 1
        if self._rendered % REMEMBERED == 0:
            for on in (0, 1):
                self._bullet.setPhysicsEngineParameter(enableFileCaching=on, physicsClientId=self._client)

    def _view(
        self,
        scene: Scene,
        bodies: dict[int, tuple[Part, int]],
        height: int,
        width: int,
        rng: np.random.Generator | None,
    ) -> View:
        # Twice the size: colours are the mean of four, so that edges are smooth. Of the four, the one whose ray goes
        # through the middle of the pixel (the renderer's rays go through lower left corners) gives all the rest.
        matrix = view_matrix(scene.camera)
        toward = np.array(scene.light.lamp) - np.array(scene.size) / 2
        colour, buffer, ids = self._draw(matrix, 2 * width, 2 * height, FIELD_OF_VIEW, toward)
        depth = linear_depth(buffer, NEAR, FAR)
        focal = focal_length(height)
        known = np.array([-1, *bodies])
        classes = np.array([-1, *(number(part.of) for part, _ in bodies.values())], np.int8)
        instances = np.array([-1, *(_dense([instance for _, instance in bodies.values()]))], np.int16)
        shines = np.array([False, *(part.material.shines for part, _ in bodies.values())])
        order = np.argsort(known)
        row = order[np.searchsorted(known, ids, sorter=order)]
        lamp_view = view_matrix(Camera(scene.light.lamp, (*scene.light.lamp[:2], 0.0)))
        _, lamp_buffer, _ = self._draw(lamp_view, LAMP_SIDE, LAMP_SIDE, LAMP_FIELD, toward)
        lamp_depth = linear_depth(lamp_buffer, NEAR, FAR)
        shaded = lit(colour, depth, shines[row], matrix, 2 * focal, scene.light, lamp_view, lamp_depth, LAMP_FIELD)
        image = shaded.reshape(height, 2, width, 2, 3).mean((1, 3))
        if rng is not None:
            image = image + scene.light.noise * rng.standard_normal(image.shape)
        image = np.round(np.clip(image, 0, 1) * 255) / 255
        found = normals(depth, ids, 2 * focal, (height - 1, width))
        there = ids >= 0
        picked = np.s_[0::2, 1::2]
        return View(
            image.astype(np.float32),
            classes[row][picked],
            np.where(there, depth, 0)[picked].astype(np.float32)[..., None],
            np.where(there[..., None], found, 0)[picked],
            instances[row][picked],
        )

    def _draw(
        self, matrix: NDArray[np.float64], width: int, height: int, field: float, toward: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
        bullet = self._bullet
        _, _, colour, buffer, ids = bullet.getCameraImage(
            width,
            height,
            matrix.T.ravel().tolist(),
            bullet.computeProjectionMatrixFOV(field, width / height, NEAR, FAR),
            renderer=bullet.ER_TINY_RENDERER,
            shadow=0,
            lightDirection=toward.tolist(),
            lightAmbientCoeff=0.6,
            lightDiffuseCoeff=0.4,
            lightSpecularCoeff=0.0,
            physicsClientId=self._client,
        )
        shape = (height, width)
        return (
            np.asarray(colour, np.uint8).reshape(*shape, 4)[..., :3],
            np.asarray(buffer, np.float32).reshape(shape),
            np.asarray(ids, np.int32).reshape(shape),
        )

    def _add(self, part: Part, placed: Placed) -> int:
        bullet, material = self._bullet, part.material
        offset: Vector = (0.0, 0.0, 0.0)
        turn = [0.0, 0.0, 0.0, 1.0]
        if isinstance(part.mesh, Mesh):
            # As a file under a new name: meshes handed over as lists are never given back, and names are remembered.
            mesh = part.mesh if material.tile is None else part.mesh.tiled(material.tile)
            path, scale = Path(self._folder.name) / f"{next(self._names)}.obj", 1.0
            path.write_text(mesh.as_obj(), encoding="ascii")
            self._files.append(path)
        else:
            scale, offset, turn = standing(self._data, part.mesh)
            path = self._data / part.mesh.path
        visual = bullet.createVisualShape(
            bullet.GEOM_MESH,
            fileName=str(path),
            meshScale=[scale] * 3,
            rgbaColor=[*material.colour, 1.0],
            specularColor=[0, 0, 0],
            physicsClientId=self._client,
        )
        heading = bullet.getQuaternionFromEuler([0, 0, placed.yaw])
        at, rotation = bullet.multiplyTransforms(placed.at, heading, offset, turn)
        body: int = bullet.createMultiBody(
            baseVisualShapeIndex=visual, basePosition=at, baseOrientation=rotation, physicsClientId=self._client
        )
        if material.texture is not None:
            texture = self._texture(material.texture)
            bullet.changeVisualShape(body, -1, textureUniqueId=texture, physicsClientId=self._client)
        return body

    def _texture(self, name: str) -> int:
        if name not in self._textures:
            path = Path(self._folder.name) / f"{name}.tga" if name in DRAWN else self._data / BUNDLED[name]
            if name in DRAWN:
                draw(name, path)
            self._textures[name] = self._bullet.loadTexture(str(path), physicsClientId=self._client)
        return self._textures[name]


def _dense(numbers: list[int]) -> list[int]:
    """The same, renumbered from 0 in order of first appearance."""
    names = {name: index for index, name in enumerate(dict.fromkeys(numbers))}
    return [names[name] for name in numbers]
