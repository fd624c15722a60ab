"""A trained task as a run in the results document that reports are made of."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .. import Method, MultiTask, __version__
from ..backbones import LoadedBackbone
from ..data import ImageTensors, Preprocessing, TaskData
from ..demo._record import layer_changes, samples
from ..evaluate import Metrics, predict
from ..train import Result

SAMPLED = 48


def labels_of(methods: Mapping[str, Method]) -> dict[str, str]:
    """What to call the method of each task: its rank is part of it where all tasks of the method have the same.

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


def run_record(model: MultiTask, name: str, result: Result, test: Metrics) -> dict[str, Any]:
    """One training and what came of it."""
    task = model[name]
    keys = ("epoch", "step", "train_loss", "val_loss", "val_accuracy")
    return {
        "task": name,
        "method": task.method["name"],
        "settings": task.method["settings"],
        "metrics": {"test_accuracy": test.accuracy, "val_accuracy": result.best["val_accuracy"]},
        "parameters": {kind: number for kind, number in task.counts().items() if number},
        "bytes": task.nbytes(),
        "seconds": result.seconds,
        "curve": [{key: point[key] for key in keys} for point in result.curve],
        "layers": layer_changes(model, name),
    }


def sample_records(model: MultiTask, data: TaskData, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """A few test images from all over the set, and what the task says to them."""
    count = min(SAMPLED, len(data.test))
    chosen = data.test.subset(index * len(data.test) // count for index in range(count))
    return samples(chosen, data.labels, predict(model, data.name, ImageTensors(chosen, preprocessing)))


def backbone_record(loaded: LoadedBackbone) -> dict[str, Any]:
    """The frozen network."""
    return {
        "name": loaded.name,
        "parameters": sum(parameter.numel() for parameter in loaded.network.parameters()),
        "bytes": sum(tensor.nbytes for tensor in loaded.network.state_dict().values()),
    }


def environment(model: nn.Module) -> dict[str, Any]:
    """What the numbers were measured with."""
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
