"""What `automatic_rates.py` trains: networks, tasks and methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from taskfold import MultiTask, backbones
from taskfold.data import ImageTensors, Preprocessing, Source, parse_source
from taskfold.methods import FTN, FineTuning, HeadNorm, HeadOnly, Method
from taskfold_demos.jobs import plan

RUNS = Path(__file__).parent / "runs"
WIDTHS = (24, 48, 64, 96, 128)


@dataclass(frozen=True)
class Bed:
    """A network, and what is trained on it; `steps` of each training."""

    name: str
    network: nn.Module
    width: int | None
    preprocessing: Preprocessing
    tasks: Mapping[str, Source]
    methods: Mapping[str, Method]
    steps: int

    def data(self, task: str) -> tuple[TensorDataset, TensorDataset, int]:
        """Training and validation images, made ready once, and the number of classes."""
        if task not in _DATA:
            data = self.tasks[task].load(0)
            train, val = (_tensors(each, self.preprocessing) for each in (data.train, data.val))
            _DATA[task] = train, val, len(data.labels)
        return _DATA[task]

    def sets(self, task: str) -> tuple[TensorDataset, TensorDataset]:
        return self.data(task)[:2]

    def model(self, task: str, method: str, seed: int) -> MultiTask:
        """With the task, begun by the seed."""
        torch.manual_seed(seed)
        model = MultiTask(self.network, self.methods[method], num_features=self.width)
        model.add_task(task, head=self.data(task)[2])
        return model


_DATA: dict[str, tuple[TensorDataset, TensorDataset, int]] = {}


def _tensors(images: Any, preprocessing: Preprocessing) -> TensorDataset:
    pairs = [*map(ImageTensors(images, preprocessing).__getitem__, range(len(images)))]
    return TensorDataset(torch.stack([x for x, _ in pairs]), torch.tensor([int(y) for _, y in pairs]))


def _source(name: str, train: int, val: int) -> Source:
    sizes = {"train_size": train, "val_size": val, "test_size": 10}
    return parse_source({"kind": "packaged", "name": name, "val_fraction": 0.4, **sizes})


def small() -> Bed:
    """Five convolutions, trained on fashion-mnist."""
    layers: list[nn.Module] = []
    for before, width, stride in zip((3, *WIDTHS), WIDTHS, (2, 1, 2, 1, 2), strict=False):
        layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing(size=28)
    weights = RUNS / "automatic_rates.pt"
    if not weights.is_file():
        RUNS.mkdir(exist_ok=True)
        data = _tensors(_source("fashion-mnist", 6000, 10).load(0).train, preprocessing)
        _pretrain(network, *data.tensors)
        torch.save(network.state_dict(), weights)
    network.load_state_dict(torch.load(weights))
    methods = {
        "head only": HeadOnly(),
        "head + norm": HeadNorm(),
        "FTN R=16": FTN(rank=16),
        "fine-tuning": FineTuning(),
    }
    tasks = {"mnist": _source("mnist", 1000, 1600), "animals": _source("animals", 1000, 1000)}
    return Bed("small", network.eval(), WIDTHS[-1], preprocessing, tasks, methods, 200)


def _pretrain(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int = 6) -> None:
    torch.manual_seed(0)
    head = nn.Linear(WIDTHS[-1], int(labels.max()) + 1)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], 2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / epochs, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(head(network(images[rows])), labels[rows]).backward()
            optimiser.step()
        schedule.step()


def demo() -> Bed:
    """The demonstration's."""
    whole, backbone = plan("all"), backbones.load("packaged:efficientnet-lite0")
    preprocessing = Preprocessing.from_config(backbone.preprocessing or {}, size=whole.size)
    tasks = {name: whole.sources[name] for name in ("animals", "fashion-mnist")}
    methods = {entry.label: entry.method for entry in whole.entries}
    return Bed("demo", backbone.network, None, preprocessing, tasks, methods, 94)


BEDS: dict[str, Callable[[], Bed]] = {"small": small, "demo": demo}
