"""What is written down of each run."""

from __future__ import annotations

import base64
import io
import platform
from importlib.metadata import version
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..data import ImageSet, TaskData
from ..model import MultiTask

SHOWN = 96
"""Largest side of a sample image in the report, pixels."""


def layer_changes(model: MultiTask, name: str) -> list[dict[str, Any]]:
    """‖ΔW‖/‖W‖ (Frobenius) of every weight matrix or kernel that a task changes."""
    plain = model.backbone.state_dict()
    changes = []
    for key, tensor in model.materialise(name).items():
        if key.endswith("weight") and tensor.dim() > 1:
            before = plain[key].float()
            changes.append({"layer": key, "ratio": ((tensor.float() - before).norm() / before.norm()).item()})
    return changes


def samples(images: ImageSet, labels: tuple[str, ...], probabilities: Tensor, count: int = 12) -> list[dict[str, Any]]:
    """The first images with what was said of them, the wrong ones first."""
    said = probabilities.argmax(1)
    right = said == torch.tensor(list(images.targets))[: len(said)]
    order = sorted(range(len(said)), key=lambda n: bool(right[n]))[: count // 3]
    order += [n for n in range(len(said)) if n not in order][: count - len(order)]
    return [
        {
            "image": _png(images.read(n)),
            "target": labels[images.targets[n]],
            "predicted": labels[int(said[n])],
            "confidence": float(probabilities[n].max()),
        }
        for n in order
    ]


def task_record(data: TaskData, origin: str) -> dict[str, Any]:
    """The data of a task, for the results document."""
    sizes = {split: len(images) for split, images in data.splits.items()}
    return {"name": data.name, "source": origin, "labels": list(data.labels), **sizes, "notes": list(data.notes)}


def environment() -> dict[str, Any]:
    """Versions and machine."""
    packages = {name: version(name) for name in ("torch", "timm", "torchvision", "accelerate")}
    return {"python": platform.python_version(), **packages, "threads": torch.get_num_threads()}


def _png(image: Image.Image) -> str:
    image = image.copy()
    image.thumbnail((SHOWN, SHOWN))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
