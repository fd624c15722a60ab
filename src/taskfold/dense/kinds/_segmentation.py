"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._losses import IGNORE, cross_entropy
from ..colours import class_colours
from ..metrics import SegmentationScores
from ._base import Kind, Picture, plane


@dataclass(frozen=True)
class Segmentation(Kind):
    """Semantic segmentation. Targets are uint8 classes from 0; 255 is ignored, as are values below 0 in files.

    Args:
        classes: the number of classes, 2 to 255.
        labels: the classes' names, in order; empty: unknown.

    Raises:
        ValueError: `classes` is outside its range, or the number of names differs.

    Example:
        >>> Segmentation(3).clean(np.array([[0, 2, -1, 255]]))
        tensor([[[  0,   2, 255, 255]]], dtype=torch.uint8)
    """

    name: ClassVar[str] = "segmentation"
    invalid: ClassVar[float] = IGNORE
    dtype: ClassVar[torch.dtype] = torch.uint8
    higher_is_better: ClassVar[Mapping[str, bool]] = MappingProxyType({"miou": True, "pixel_accuracy": True})
    titles: ClassVar[Mapping[str, str]] = MappingProxyType({"miou": "mIoU", "pixel_accuracy": "pixel accuracy"})
    main: ClassVar[str] = "miou"

    classes: int
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= IGNORE:
            raise ValueError(f"classes must be 2 to {IGNORE} ({IGNORE} itself means ignore), found {self.classes}")
        if self.labels and len(self.labels) != self.classes:
            raise ValueError(f"labels must be one for each of {self.classes} classes, found {len(self.labels)}")

    @property
    def channels(self) -> int:
        return self.classes

    def clean(self, values: NDArray[Any]) -> Tensor:
        flat = plane(values, "classes")
        if flat.dtype.kind == "f":
            flat = np.where(np.isnan(flat), -1, flat)
            if (flat != np.round(flat)).any():
                raise ValueError(f"classes must be whole numbers, found {flat[flat != np.round(flat)][0]:g}")
        ignored = (flat < 0) | (flat == IGNORE)
        wrong = ~ignored & (flat >= self.classes)
        if wrong.any():
            found = ", ".join(f"{value:g}" for value in np.unique(flat[wrong])[:5].tolist())
            raise ValueError(
                f"classes must be 0 to {self.classes - 1}, or 255 or below 0 to be ignored; found {found}: "
                "set classes= to how many there are, or renumber them"
            )
        return torch.from_numpy(np.where(ignored, IGNORE, flat).astype(np.uint8))[None]

    def valid(self, target: Tensor) -> Tensor:
        return target != IGNORE

    def predict(self, output: Tensor) -> Tensor:
        return output.argmax(1, keepdim=True).to(self.dtype)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(output, target)

    def metric(self) -> SegmentationScores:
        return SegmentationScores(self.classes)

    def picture(self, values: Tensor, scale: tuple[float, float] | None = None) -> Picture:
        """Each class in its colour, the same for any number of classes."""
        del scale
        return class_colours()[values[0].cpu().numpy()]
