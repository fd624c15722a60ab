"""Dense tasks of the same images, in every kind of training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from taskfold import FTN, HardSharing, MultiTask, OverParameterised
from taskfold.dense import DenseSample, DenseTogether, Depth, Protocol, Segmentation
from taskfold.methods import Phase, Turn
from taskfold.train import JointSettings, OptimizerSettings, TaskSet, train_together

PROTOCOL = Protocol({"seg": Segmentation(2), "depth": Depth()}, {"depth": 2.0})
NAMES = ("seg", "depth")


class Scenes(Dataset[DenseSample]):
    """Images whose brightness says both; every third lacks a class mask, every fourth a depth."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.images = torch.rand(size, 3, 8, 8, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> DenseSample:
        image = self.images[index]
        bright = image.mean(0, keepdim=True)
        targets = {"seg": (bright > 0.5).long(), "depth": bright + 1}
        missing = {"seg": index % 3 == 2, "depth": index % 4 == 3}
        return DenseSample(image, {task: target for task, target in targets.items() if not missing[task]})


def dense(method: FTN | HardSharing | OverParameterised) -> MultiTask:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    model = MultiTask(net, method, features=lambda output: output)
    for task, channels in PROTOCOL.channels.items():
        model.add_task(task, nn.Conv2d(8, channels, 1))
    return model


@pytest.mark.parametrize("method", [FTN(rank=2), HardSharing()], ids=["ftn", "hard sharing"])
def test_losses_are_those_of_the_images_that_have_a_target(method: FTN | HardSharing) -> None:
    model, data = dense(method), Scenes(12)
    batch = PROTOCOL.collate([data[index] for index in range(12)])
    found = DenseTogether(PROTOCOL)(model.eval(), batch, NAMES)
    assert {task: len(values) for task, values in found.items()} == {"seg": 8, "depth": 9}
    for task in NAMES:
        rows = [index for index in range(12) if task in data[index].targets]
        for place, row in enumerate(rows):
            alone = PROTOCOL.collate([data[row]])
            wanted = PROTOCOL.loss(task, model(alone.images, task=task), alone)
            torch.testing.assert_close(found[task][place], wanted[0], rtol=1e-4, atol=1e-5)
    only = PROTOCOL.collate([data[2], data[5]])
    assert list(DenseTogether(PROTOCOL)(model, only, NAMES)) == ["depth"]
    assert DenseTogether(PROTOCOL)(model, PROTOCOL.collate([data[11]]), NAMES) == {}
    with pytest.raises(ValueError, match=r"\['normals'\] are not among"):
        DenseTogether(PROTOCOL)(model, batch, ["normals"])


DIAGONALS = Turn(("diagonal",), own_loss=True)
ITERATIVE = (Phase(turns=(DIAGONALS,), epochs=1), Phase(turns=(DIAGONALS, Turn())))
METHODS = {
    "ftn": (FTN(rank=2, statistics="own"), {}),  # nobody has trained the network: it has no statistics to keep
    "hard sharing": (HardSharing(), {"weighting": "uncertainty"}),
    "balanced": (HardSharing(), {"balance": "upgrad"}),
    "iterative": (OverParameterised(), {"phases": ITERATIVE}),
}


@pytest.mark.parametrize("case", METHODS)
def test_it_learns(case: str) -> None:
    method, changes = METHODS[case]
    model, objective = dense(method), DenseTogether(PROTOCOL)
    rates = {"factors": OptimizerSettings(lr=1e-2)}  # from random weights, in 24 steps
    settings = JointSettings(epochs=4, batch_size=8, select_by="loss", optimizers=rates, **changes)
    data = {NAMES: TaskSet(Scenes(48), Scenes(12, 1))}
    result = train_together(
        model, data, settings, objective=objective, measure=objective.measure, collate=PROTOCOL.collate
    )
    assert result.best["val_loss"] < 0.8 * result.curve[0]["val_loss"]
    assert {*result.tasks} == {*NAMES}
