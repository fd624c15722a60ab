"""A results document of dense prediction with made-up, repeatable numbers and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskfold.report.record import encode_png

TASKS = ("segmentation", "depth", "normals", "edges")
METHODS = (
    "single task",
    "plain multi-task",
    "over-parameterised, iterative",
    "over-parameterised, joint",
    "ExpandNet",
)
ALL = (*METHODS, "RepVGG", "FTN R=1", "FTN R=10", "decoder only")
CLASSES = {"wall": (210, 180, 140), "floor": (120, 60, 20), "ceiling": (240, 240, 250), "sofa": (60, 90, 200)}
RAMP = ("#fafaa5", "#e15f37", "#5a146e", "#140a32")
SCORES = {
    "segmentation": [("mIoU", "percent", "highest", 0.41), ("pixels", "percent", "highest", 0.73)],
    "depth": [("RMSE", "number", "lowest", 0.52), ("relative", "percent", "lowest", 0.17)],
    "normals": [
        ("mean", "number", "lowest", 21.4),
        ("median", "number", "lowest", 14.2),
        ("< 11.25°", "percent", "highest", 0.41),
        ("< 30°", "percent", "highest", 0.79),
    ],
    "edges": [("odsF", "percent", "highest", 0.63)],
}
FAILED = "RepVGG"
Pixels = NDArray[np.uint8]


def pictures(seed: int, noise: float, size: tuple[int, int] = (64, 80)) -> dict[str, Pixels]:
    """Image and task → picture: the corner of a room with a box in it; ``noise`` spoils it as a network would."""
    random = np.random.default_rng(seed)
    v, u = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    left, right, top = random.uniform((-0.5, 0.1, 0.1), (0.1, 0.8, 0.5))
    box = (u > left) & (u < right) & (v > top) & (v < 0.8)
    classes = np.where(box, 3, np.where(v > 0.35 + 0.15 * u, 1, np.where(v < -0.6, 2, 0)))
    depth = np.where(box, 1.8, np.minimum(1.2 / np.abs(v).clip(0.2), 4.0 + u))
    normals = np.array([[0.2, 0, 0.98], [0, 1, 0], [0, -1, 0], [0.6, 0, 0.8]])[classes]
    spoilt = np.random.default_rng(seed + 1)
    rolled = np.roll(classes, spoilt.integers(-3, 4, 2), (0, 1)) if noise else classes
    blotches = np.kron(spoilt.random((size[0] // 8, size[1] // 8)), np.ones((8, 8))) < noise
    classes = np.where(blotches, spoilt.integers(0, 4), rolled)
    depth = depth + noise * spoilt.normal(size=size)
    normals = normals + noise * spoilt.normal(size=(*size, 3))
    border = np.abs(np.diff(classes, axis=1, prepend=classes[:, :1])) > 0
    near = np.clip((4.8 - depth) / 4, 0, 1)[..., None]
    colours = np.array([*CLASSES.values()], np.uint8)[classes]
    return {
        "image": (colours * 0.6 + 30 + 12 * random.normal(size=(*size, 1))).clip(0, 255).astype(np.uint8),
        "segmentation": colours,
        "depth": (near * [250, 250, 165] + (1 - near) * [20, 10, 50]).astype(np.uint8),
        "normals": ((normals / np.linalg.norm(normals, axis=2, keepdims=True) + 1) * 127.5).astype(np.uint8),
        "edges": np.repeat((255 * (0.8 * border + noise * spoilt.random(size))).clip(0, 255)[..., None], 3, 2).astype(
            np.uint8
        ),
    }


def scenes(images: int = 2) -> dict[str, Any]:
    """Images with the predictions of every method; one method lacks a task, one target is missing."""
    found = []
    for index in range(images):
        true = pictures(index, 0)
        said = {method: pictures(index, 0.05 + 0.04 * place) for place, method in enumerate(METHODS)}
        views: list[dict[str, Any]] = [
            {
                "task": task,
                "target": encode_png(true[task]),
                "predictions": {method: encode_png(drawn[task]) for method, drawn in said.items()},
            }
            for task in TASKS
        ]
        views[0]["predictions"]["single task"] = {"image": encode_png(true["segmentation"]), "text": "mIoU 0.44"}
        views[1]["ends"] = [0.9 + index / 10, 4.2 + index / 3]
        found.append({"name": f"room {17 * index + 3}", "image": encode_png(true["image"]), "views": views})
    last = found[-1]["views"][-1]
    last["target"] = None
    del last["predictions"]["ExpandNet"]
    last["predictions"]["plain multi-task"] = {"text": "diverged"}
    v, u = np.mgrid[1:-1:24j, -1:1:24j]
    z = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    ball = ((np.stack([u, v, z], 2) + 1) * 127.5 * (u * u + v * v <= 1)[..., None]).astype(np.uint8)
    return {
        "title": "Rooms of the test set",
        "methods": list(METHODS),
        "legends": [
            {
                "task": "segmentation",
                "classes": [{"name": name, "colour": f"#{bytes(colour).hex()}"} for name, colour in CLASSES.items()],
            },
            {"task": "depth", "bar": {"colours": list(RAMP), "unit": "m"}},
            {"task": "normals", "picture": encode_png(ball), "text": "as on this ball, seen from the camera"},
            {"task": "edges"},
        ],
        "images": found,
    }


def comparison() -> dict[str, Any]:
    """Tasks × scores, Δm, and parameters in training and after contraction."""
    random = np.random.default_rng(1)
    columns: list[dict[str, Any]] = [{"title": "Δm", "kind": "gain", "best": "highest", "main": True}]
    for task, scores in SCORES.items():
        columns += [
            {"title": title, "kind": kind, "best": best, "group": task, "main": not index}
            for index, (title, kind, best, _) in enumerate(scores)
        ]
    columns += [
        {"title": title, "kind": "count", "best": "lowest", "group": "parameters"}
        for title in ("in training", "contracted")
    ]
    rows = []
    for place, method in enumerate(ALL):
        cells: list[Any] = [{"mean": 3.0 - place, "std": 0.6, "n": 3}]
        cells += [
            {
                "mean": value * (1 + (0.02 if best == "lowest" else -0.02) * place + 0.01 * float(random.normal())),
                "std": value * 0.012,
                "n": 3,
            }
            for scores in SCORES.values()
            for _, _, best, value in scores
        ]
        if method == FAILED:
            cells = ["failed"] * len(cells)
        rows.append({"label": method, "cells": [*cells, 25_000_000 + 4_000_000 * place, 24_800_000 + place % 2]})
    return {"title": "Scores", "columns": columns, "rows": rows}


def dense(images: int = 2) -> dict[str, Any]:
    """The whole document."""
    return {
        "version": 1,
        "title": "Rendered rooms: four tasks from one image",
        "command": "taskfold demo dense",
        "seconds": 341.5,
        "environment": {"python": "3.11", "torch": "2.15", "device": "cpu", "cores": 2},
        "backbone": {"name": "SegNet", "parameters": 24_947_000},
        "tasks": [{"name": task, "source": "rooms", "train": 1000, "val": 100, "test": 200} for task in TASKS],
        "comparisons": [comparison()],
        "scenes": [scenes(images)],
    }
