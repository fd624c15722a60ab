"""A small project of dense tasks on disk: coloured blocks with classes, depth and normals, in the layout of NYUv2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

CLASSES = 3
SIZE = (8, 12)
COUNTS = {"train": 6, "val": 3, "test": 4}
TRAIN = {"epochs": 2, "batch_size": 4}
TARGETS = {"segmentation": "label", "depth": "depth", "normals": "normal"}
CHANNELS = {"segmentation": CLASSES, "depth": 1, "normals": 3}


def rooms(root: Path, size: tuple[int, int] = SIZE, counts: dict[str, int] | None = None) -> Path:
    """`root/{train,val,test}/{image,label,depth,normal}/<n>.npy`; its class decides a block's colour, depth, normal."""
    random = np.random.default_rng(0)
    facing = np.array([[0.0, 0.0, -1.0], [0.0, 0.6, -0.8], [0.6, 0.0, -0.8]], np.float32)
    for split, count in (counts or COUNTS).items():
        for folder in ("image", *TARGETS.values()):
            (root / split / folder).mkdir(parents=True)
        for n in range(count):
            blocks = random.integers(0, CLASSES, (size[0] // 4, size[1] // 4))
            label = np.kron(blocks, np.ones((4, 4), np.int64)).astype(np.int64)
            image = np.eye(3, dtype=np.float32)[label] * 0.8 + random.uniform(0, 0.2, (*size, 3)).astype(np.float32)
            np.save(root / split / "image" / f"{n}.npy", image.astype(np.float32))
            depth = (1 + label[..., None]).astype(np.float32)
            depth[0, 0], label[0, -1] = 0, -1  # nothing is known there
            np.save(root / split / "label" / f"{n}.npy", label)
            np.save(root / split / "depth" / f"{n}.npy", depth)
            np.save(root / split / "normal" / f"{n}.npy", facing[label])
    return root


def write(folder: Path, **changes: Any) -> Path:
    """A project of three tasks on the same images; its configuration, with top-level keys changed."""
    if not (folder / "data").exists():
        rooms(folder / "data")
    document = {
        "backbone": {"network": "segnet", "width": 4, "stages": 2},
        "method": {"name": "ftn", "rank": 2},
        "train": TRAIN,
        "dense": {"augment": {"flip": 0.5}},
        "source": {"kind": "nyuv2", "root": "data", "classes": CLASSES},
        "output": "runs",
        "tasks": [{"name": "classes", "target": "segmentation"}, {"name": "depth"}, {"name": "normals"}],
    }
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    path = folder / "rooms.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


TOGETHER = {"epochs": 2, "batch_size": 4}


def together(folder: Path, **changes: Any) -> Path:
    """A configuration of the tasks on one network."""
    return write(folder, **{"method": "hard-sharing", "together": TOGETHER, "train": None, **changes})
