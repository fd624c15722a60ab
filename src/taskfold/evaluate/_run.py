"""Runs one task of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ..model import MultiTask
from ..problems import Problem, check_indices
from ._tally import Loss, Metrics, Tally


def evaluate(
    model: MultiTask,
    name: str,
    data: Dataset[Any],
    *,
    batch_size: int = 64,
    workers: int = 0,
    loss: Loss = F.cross_entropy,
    confusion: bool = False,
) -> Metrics:
    """Measure one task on the model's device and in its precision; the model does not change.

    Args:
        model: the model.
        name: the task.
        data: map-style, `data[i]` → (input tensor, class index from 0).
        batch_size: inputs per forward pass, ≥ 1. It affects results by rounding.
        workers: the number of loader processes; 0: this process loads.
        loss: (outputs, targets) → mean over a batch.
        confusion: also return the confusion matrix.

    Raises:
        ValueError: there is no such task, no data, or a target is not among the task's outputs.

    Example:
        >>> import torch, taskfold as tfold
        >>> from torch.utils.data import TensorDataset
        >>> model = tfold.MultiTask(torch.nn.Flatten(), tfold.HeadOnly(), num_features=4)
        >>> _ = model.add_task("signs", head=torch.nn.Identity())
        >>> data = TensorDataset(torch.eye(4).reshape(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
        >>> metrics = evaluate(model, "signs", data)
        >>> metrics.accuracy, metrics.recall
        (0.75, [0.5, 1.0, 1.0, None])
    """
    tally = Tally(loss)
    device, forward = where(model, name), _forward(model, name)
    with evaluating(model):
        for inputs, targets in _loader(data, batch_size, workers, device):
            count(tally, forward, inputs, targets, device, name)
    return tally.result(confusion=confusion)


def predict(
    model: MultiTask, name: str, images: Tensor | Dataset[Any], batch_size: int = 64, *, workers: int = 0
) -> Tensor:
    """Class probabilities of one task; the model does not change.

    Args:
        model: the model.
        name: the task.
        images: inputs `[N, …]`, or a map-style data set of inputs or (input, target).
        batch_size: inputs per forward pass, ≥ 1.
        workers: the number of loader processes; 0: this process loads.

    Returns:
        `[N, C]`, float32, on the CPU; rows sum to 1.

    Raises:
        ValueError: there is no such task, or no images.

    Example:
        >>> import torch, taskfold as tfold
        >>> model = tfold.MultiTask(torch.nn.Flatten(), tfold.HeadOnly(), num_features=4)
        >>> _ = model.add_task("signs", head=3)
        >>> predict(model, "signs", torch.zeros(2, 1, 2, 2)).sum(1).round(decimals=4)
        tensor([1., 1.])
    """
    data = TensorDataset(images) if isinstance(images, Tensor) else images
    device, forward = where(model, name), _forward(model, name)
    made = []
    with evaluating(model):
        for batch in _loader(data, batch_size, workers, device):
            inputs = batch[0] if isinstance(batch, list | tuple) else batch
            made.append(forward(inputs.to(device, non_blocking=True)).float().softmax(-1).cpu())
    return torch.cat(made)


def score(
    model: MultiTask, name: str, data: Dataset[Any], problem: Problem, *, batch_size: int = 64, workers: int = 0
) -> dict[str, float]:
    """Scores of one task's problem; the model does not change.

    Args:
        model: the model.
        name: the task.
        data: map-style, `data[i]` → (input tensor, target in the problem's form).
        problem: the meaning of the outputs, of `taskfold.problems`.
        batch_size: inputs per forward pass, ≥ 1.
        workers: the number of loader processes; 0: this process loads.

    Returns:
        `loss`, the mean over inputs; then the problem's scores, the main one first.

    Raises:
        ValueError: there is no such task, no data, or targets do not fit the outputs.
        ImportError: the scores need an extra that is not installed.

    Example:
        >>> import torch, taskfold as tfold
        >>> from taskfold.problems import Regression
        >>> model = tfold.MultiTask(torch.nn.Flatten(), tfold.HeadOnly(), num_features=2)
        >>> _ = model.add_task("sum", head=torch.nn.Identity())
        >>> data = TensorDataset(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> found = score(model, "sum", data, Regression(columns=("first", "second")))
        >>> found["loss"], found["mae"], found["mae second"]
        (0.25, 0.25, 0.5)
    """
    made, wanted = outputs_of(model, name, data, problem, batch_size=batch_size, workers=workers)
    losses = problem.losses_of(made, wanted)
    return {"loss": float(losses.double().mean()), **problem.scores(made, wanted)}


def outputs_of(
    model: MultiTask, name: str, data: Dataset[Any], problem: Problem, *, batch_size: int = 64, workers: int = 0
) -> tuple[Tensor, Tensor]:
    """Outputs of a task, `[N, …]` in float32 on the CPU, and the targets."""
    device, forward = where(model, name), _forward(model, name)
    made, wanted = list[Tensor](), list[Tensor]()
    with evaluating(model):
        for inputs, targets in _loader(data, batch_size, workers, device):
            made.append(forward(inputs.to(device, non_blocking=True)).float().cpu())
            problem.check_rows(made[-1], targets, name)
            wanted.append(targets)
    return torch.cat(made), torch.cat(wanted)


def where(model: MultiTask, name: str) -> torch.device:
    """The device of a task."""
    tensors = [*model[name].parameters(), *model.backbone.parameters()]
    return tensors[0].device if tensors else torch.device("cpu")


@contextmanager
def evaluating(model: MultiTask) -> Iterator[None]:
    """Run a block in evaluation mode without gradients; the mode before is restored."""
    before = model.training
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def count(
    tally: Tally, forward: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, device: torch.device, name: str
) -> None:
    """Add a batch from the CPU to the tally."""
    outputs = forward(inputs.to(device, non_blocking=True))
    check_indices(outputs, targets, name)
    tally.add(outputs, targets.to(device, non_blocking=True))


def check_data(data: Dataset[Any], what: str) -> int:
    """The number of samples.

    Raises:
        TypeError: the data set is not map-style.
        ValueError: it is empty.
    """
    if not isinstance(data, Sized):
        raise TypeError(f"{what} must be a map-style data set with a length, found {type(data).__name__}")
    if not len(data):
        raise ValueError(f"{what} is empty; it needs at least one sample")
    return len(data)


def _forward(model: MultiTask, name: str) -> Callable[[Tensor], Tensor]:
    def forward(inputs: Tensor) -> Tensor:
        return model(inputs, task=name)

    return forward


def _loader(data: Dataset[Any], batch_size: int, workers: int, device: torch.device) -> Iterable[Any]:
    check_data(data, "data")
    if batch_size < 1:
        raise ValueError(f"batch_size must be ≥ 1, found {batch_size}")
    return DataLoader(data, batch_size, num_workers=workers, pin_memory=device.type == "cuda")
