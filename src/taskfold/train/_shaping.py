"""Changes to the training loss of classes that validation ignores: class weights, smoothing, mixed images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..model import MultiTask
from ..problems import Classification, Problem
from ._targets import class_weights, targets_of
from .settings import Settings


@dataclass(frozen=True)
class Shaping:
    """The training loss of classes, and mixing of images.

    Attributes:
        smoothing: label smoothing.
        mixup, cutmix: α of the Beta distribution of shares; 0: no such mixing.
        weights: the weight of each class, by task; other tasks weigh classes equally.
    """

    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    weights: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, data: Mapping[str, Dataset[Any]], heads: Mapping[str, int | None]) -> Shaping:
        """The shaping that settings ask for.

        Args:
            settings: the training's.
            data: the training data, by task.
            heads: the number of each task's outputs, if known.

        Raises:
            ValueError: the classes of the data are unknown.
            ImportError: images are to be mixed, and torchvision is not installed.
        """
        if settings.mixup or settings.cutmix:
            _mixers()
        weights: dict[str, Sequence[float]] = {}
        for name, one in data.items() if settings.class_weights is not None else ():
            classes = heads.get(name)
            if settings.class_weights == "balanced":
                targets = targets_of(one, "class_weights='balanced'")
                weights[name] = class_weights(targets, classes or int(targets.max()) + 1)
                continue
            weights[name] = list(settings.class_weights or ())
        return cls(settings.label_smoothing, settings.mixup, settings.cutmix, weights)

    @property
    def acts(self) -> bool:
        """Whether the loss differs from plain cross-entropy."""
        return bool(self.smoothing or self.weights)

    @property
    def mixes(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def losses(self, name: str, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of each row, `[B]`."""
        weights = outputs.new_tensor(self.weights[name]) if name in self.weights else None
        return F.cross_entropy(outputs, targets, weights, reduction="none", label_smoothing=self.smoothing)

    def mixed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes each image of a task with the one before it: `[B, C, H, W]`, and each image's own share, `[B]`.

        Raises:
            ValueError: the inputs are not images.
        """
        if inputs.dim() not in (4, 5):
            raise ValueError(
                f"mixup and cutmix mix images [B, C, H, W], found {list(inputs.shape)}; set both to 0 for other inputs"
            )
        rows = len(inputs)
        kinds = _mixers()
        chosen = [kinds[n](alpha=alpha, num_classes=rows) for n, alpha in enumerate((self.mixup, self.cutmix)) if alpha]
        number = int(torch.randint(len(chosen), ())) if len(chosen) > 1 else 0
        made, shares = chosen[number](inputs, torch.arange(rows, device=inputs.device))
        return made, shares.diagonal().to(inputs.dtype)


def shapes(problem: Problem) -> bool:
    """Whether settings shape the problem's loss: cross-entropy of classes without a loss of the user's own."""
    return type(problem) is Classification and problem.loss in (None, "cross-entropy")


def check_classes(
    settings: Settings, name: str, problem: Problem | None, classes: int | None, collate: object = None
) -> None:
    """Checks that settings for classes go with a task, its problem (None: an objective), outputs and batches.

    Raises:
        ValueError: the task has no classes or another loss, or the number of weights differs from that of classes.
    """
    own, has = set[str](), "batches of its own"
    if collate is not None:
        own |= {"folds", "mixup", "cutmix"}
    if problem is None or not shapes(problem):
        own |= {"class_weights", "label_smoothing", "mixup", "cutmix"}
        has = "a loss of its own" if problem is None or type(problem) is Classification else problem.words
    if problem is None or not problem.of_classes:
        own |= {"folds"} if problem is None else {"folds", "balanced_sampling"}
    for key in sorted(own):
        if value := getattr(settings, key):
            raise ValueError(
                f"{key}={value!r} is for images with one class and its usual loss, and task {name!r} has {has}; leave "
                f"{key} out"
            )
    weights = settings.class_weights
    if isinstance(weights, tuple) and classes is not None and len(weights) != classes:
        raise ValueError(
            f"class_weights has {len(weights)} numbers, and task {name!r} has {classes} classes; give one for each "
            "class, in the order of the labels, or 'balanced'"
        )


def outputs_of(model: MultiTask, name: str) -> int | None:
    """The number of outputs of a task's linear head; None: unknown."""
    head = model[name].head
    return head.out_features if isinstance(head, nn.Linear) else None


def _mixers() -> tuple[Any, Any]:
    try:
        from torchvision.transforms.v2 import CutMix, MixUp  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ImportError('mixup and cutmix need torchvision: pip install "taskfold[vision]"') from error
    return MixUp, CutMix
