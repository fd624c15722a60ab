"""Records of a program's trainings: the parts of a results document."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from .. import __version__
from ..backbones import LoadedBackbone
from ..data import ImageSet, ImageTensors, Preprocessing, TaskData
from ..evaluate import Metrics, predict
from ..methods import Method
from ..model import MultiTask, count_task, file_bytes
from ..train import Result
from ._affinity_record import affinity_record, affinity_tables
from ._picture import encode_png
from ._routing_record import routing_record

__all__ = [
    "affinity_record",
    "affinity_tables",
    "backbone_record",
    "encode_png",
    "environment",
    "labels_of",
    "layer_changes",
    "routing_record",
    "run_record",
    "sample_records",
    "task_record",
]

SHOWN = 12
"""The number of sample images per task."""
PIXELS = 96
"""Their largest side, pixels."""
SAMPLED = 48
"""The number of test images to choose samples from; mistakes come first."""


def labels_of(methods: Mapping[str, Method]) -> dict[str, str]:
    """The label of each task's method, with its rank if all tasks of the method have the same.

    Example:
        >>> import taskfold as tfold
        >>> labels_of({"a": tfold.FTN(rank=4), "b": tfold.HeadOnly()})
        {'a': 'FTN R=4', 'b': 'HeadOnly'}
    """
    ranks: dict[str, set[str]] = {}
    for method in methods.values():
        ranks.setdefault(method.name, set()).add(str(getattr(method, "rank", "")))

    def label(method: Method) -> str:
        rank, kind = getattr(method, "rank", None), type(method).__name__
        return f"{kind} R={rank}" if isinstance(rank, int) and len(ranks[method.name]) == 1 else kind

    return {task: label(method) for task, method in methods.items()}


def task_record(data: TaskData, origin: str) -> dict[str, Any]:
    """The data of a task."""
    sizes = {split: len(images) for split, images in data.splits.items()}
    return {"name": data.name, "source": origin, "labels": list(data.labels), **sizes, "notes": list(data.notes)}


def run_record(model: MultiTask, name: str, result: Result, test: Metrics) -> dict[str, Any]:
    """One training and its results; the caller adds `label` and `seed`."""
    task = model[name]
    keys = ("epoch", "step", "train_loss", "penalty", "val_loss", "val_accuracy")
    return {
        "task": name,
        "method": task.method["name"],
        "settings": dict(task.method["settings"]),
        "metrics": {"test_accuracy": test.accuracy, "val_accuracy": result.best["val_accuracy"]},
        "parameters": count_task(task),
        "bytes": file_bytes(task),
        "seconds": result.seconds,
        "curve": [{key: point[key] for key in keys if key in point} for point in result.curve],
        "layers": layer_changes(model, name),
    }


@torch.no_grad()
def layer_changes(model: MultiTask, name: str) -> list[dict[str, Any]]:
    """‖ΔW‖/‖W‖ (Frobenius) of every matrix or kernel that a task changes; empty for tasks that do not fold."""
    if not model.foldable(name):
        return []
    before = dict(model.backbone.named_parameters(remove_duplicate=False))
    changes = []
    for key, after in model.materialise(name).items():
        if key in before and after.dim() > 1:
            weight = before[key].float()
            ratio = float((after.float() - weight).norm() / weight.norm().clamp_min(1e-12))
            changes.append({"layer": key.removesuffix(".weight"), "ratio": ratio})
    return changes


def sample_records(model: MultiTask, data: TaskData, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """Some test images from all over the set: the task's most certain mistakes, then right answers."""
    count = min(SAMPLED, len(data.test))
    chosen = data.test.subset(index * len(data.test) // count for index in range(count))
    confidence, said = predict(model, data.name, ImageTensors(chosen, preprocessing)).max(1)
    missed = sorted((n for n in range(count) if said[n] != chosen.targets[n]), key=lambda n: -float(confidence[n]))
    wrong = missed[: SHOWN // 2]
    right = [n for n in range(count) if said[n] == chosen.targets[n]][: SHOWN - len(wrong)]
    return [
        {
            "image": _png(chosen, n),
            "target": data.labels[chosen.targets[n]],
            "predicted": data.labels[int(said[n])],
            "confidence": float(confidence[n]),
        }
        for n in wrong + right
    ]


def _png(images: ImageSet, index: int) -> str:
    image = images.read(index).copy()
    image.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS)
    return encode_png(np.asarray(image))


def backbone_record(loaded: LoadedBackbone) -> dict[str, Any]:
    """The frozen network."""
    return {
        "name": loaded.name,
        "parameters": sum(parameter.numel() for parameter in loaded.network.parameters()),
        "bytes": sum(tensor.nbytes for tensor in loaded.network.state_dict().values()),
    }


def environment(model: nn.Module) -> dict[str, Any]:
    """The software and hardware of the measurements."""
    device = next(model.parameters(), torch.zeros(())).device
    return {
        "taskfold": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
