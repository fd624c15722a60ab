"""Small folders in the layouts of the benchmarks, with the expected samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

SHAPE = (6, 8)


def arrays(seed: int) -> dict[str, NDArray]:
    """An image in bytes and its four targets, with invalid pixels in the first column."""
    random = np.random.default_rng(seed)
    normals = random.normal(size=(*SHAPE, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    found = {
        "image": random.integers(0, 256, (*SHAPE, 3)).astype(np.uint8),
        "segmentation": random.integers(0, 3, SHAPE),
        "depth": random.uniform(0.5, 5, SHAPE).astype(np.float32),
        "normals": normals.astype(np.float32),
        "edges": (random.random(SHAPE) < 0.3).astype(np.float32),
    }
    found["segmentation"][:, 0], found["depth"][:, 0], found["normals"][:, 0] = -1, 0, 0
    return found


def save(path: Path, values: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path, quality=100, subsampling=0) if path.suffix == ".jpg" else Image.fromarray(
            values
        ).save(path)


def nyuv2(root: Path, counts: dict[str, int]) -> Path:
    """`{part}/{image,label,depth,normal}/{i}.npy`."""
    for part, count in counts.items():
        for number in range(count):
            values, place = arrays(number + 100 * len(part)), root / part
            save(place / "image" / f"{number}.npy", (values["image"] / 255).astype(np.float32))
            save(place / "label" / f"{number}.npy", values["segmentation"].astype(np.float32))
            save(place / "depth" / f"{number}.npy", values["depth"][..., None])
            save(place / "normal" / f"{number}.npy", values["normals"])
    return root


def nyud_mt(root: Path, names: dict[str, list[str]]) -> Path:
    """`images, edge, segmentation, normals, depth, gt_sets`; classes from 1."""
    for part, several in names.items():
        (root / "gt_sets").mkdir(parents=True, exist_ok=True)
        (root / "gt_sets" / f"{part}.txt").write_text("\n".join(several) + "\n")
        for name in several:
            values = arrays(int(name))
            save(root / "images" / f"{name}.jpg", values["image"])
            save(root / "normals" / f"{name}.jpg", encoded(values["normals"]))
            save(root / "edge" / f"{name}.png", (values["edges"] * 255).astype(np.uint8))
            for task in ("segmentation", "depth"):
                (root / task).mkdir(exist_ok=True)
                shifted = values[task] + 1 if task == "segmentation" else values[task]
                savemat(root / task / f"{name}.mat", {task: shifted})
    return root


def aligned(root: Path, parts: dict[str, list[str]], suffix: str) -> Path:
    """`{part}/{image,segmentation,depth,normals,edges}/<name>` as .png or .npy."""
    for part, names in parts.items():
        for name in names:
            values, place = arrays(int(name)), root / part
            if suffix == ".png":
                classes = np.where(values["segmentation"] < 0, 255, values["segmentation"])
                values |= {
                    "segmentation": classes.astype(np.uint8),
                    "depth": (values["depth"] * 1000).round().astype(np.uint16),
                    "normals": encoded(values["normals"]),
                    "edges": (values["edges"] * 255).astype(np.uint8),
                }
            for task, array in values.items():
                save(place / task / f"{name}{suffix}", array)
    return root


def encoded(normals: NDArray) -> NDArray:
    """Bytes of (n + 1) · 255 / 2."""
    return ((normals + 1) * 127.5).round().astype(np.uint8)
