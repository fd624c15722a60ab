"""The interface of kinds of dense tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

Picture = NDArray[np.uint8]
"""A picture `[H, W, 3]`: red, green, blue."""


class Kind(ABC):
    """A kind of task with an output for every pixel.

    A target is a tensor `[target_channels, H, W]` in which a special value marks pixels without a target. A
    prediction from `predict` has the same form.

    Attributes:
        name: `segmentation`, `depth`, …
        target_channels: a target's channels.
        invalid: the value of a target's channels at pixels without a target.
        dtype: a target's type.
        higher_is_better: the names of its scores → whether more is better.
        titles: the names of its scores → their titles in tables, with units; other scores keep their names.
        main: the score that stands for the task.
    """

    name: ClassVar[str]
    target_channels: ClassVar[int] = 1
    invalid: ClassVar[float]
    dtype: ClassVar[torch.dtype] = torch.float32
    higher_is_better: ClassVar[Mapping[str, bool]] = MappingProxyType({})
    titles: ClassVar[Mapping[str, str]] = MappingProxyType({})
    main: ClassVar[str]

    @property
    @abstractmethod
    def channels(self) -> int:
        """The network's number of channels."""

    @abstractmethod
    def clean(self, values: NDArray[Any]) -> Tensor:
        """A target from an array as files hold it, `[H, W]` or `[H, W, channels]`: checked, invalid values marked.

        Raises:
            ValueError: the array cannot be a target of this kind.
        """

    @abstractmethod
    def valid(self, target: Tensor) -> Tensor:
        """The pixels where a target `[…, target_channels, H, W]` is valid: `[…, 1, H, W]`, boolean."""

    @abstractmethod
    def predict(self, output: Tensor) -> Tensor:
        """A network's output `[B, channels, H, W]` in the form of a target, `[B, target_channels, H, W]`."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss `[B]` of each sample, over its valid pixels; 0 without gradient for samples without any.

        Args:
            output: `[B, channels, H, W]`, from the network.
            target: `[B, target_channels, H, W]`.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """A new torchmetrics metric: `update(predictions, targets)`, `compute()` → scores by name."""

    @abstractmethod
    def picture(self, values: Tensor, scale: tuple[float, float] | None = None) -> Picture:
        """A picture of a target or prediction `[target_channels, H, W]`; invalid pixels are black.

        Args:
            values: the target or prediction.
            scale: the values at the ends of the colour scale, for kinds with one.
        """

    def scale(self, target: Tensor) -> tuple[float, float] | None:
        """The common colour scale of a target's and its predictions' pictures; None: this kind has none."""
        del target
        return None

    def pictures(self, prediction: Tensor, target: Tensor) -> tuple[Picture, Picture]:
        """Pictures of prediction and target on the target's scale."""
        scale = self.scale(target)
        return self.picture(prediction, scale), self.picture(target, scale)

    def scaled(self, target: Tensor, factor: float) -> Tensor:
        """A target `[target_channels, H, W]` for its image enlarged by `factor`."""
        del factor
        return target

    def flipped(self, target: Tensor) -> Tensor:
        """A target `[target_channels, H, W]` for its image mirrored left to right."""
        return target.flip(-1)

    def missing(self, height: int, width: int) -> Tensor:
        """A target without a valid pixel."""
        return torch.full((self.target_channels, height, width), self.invalid, dtype=self.dtype)


def plane(values: NDArray[Any], what: str) -> NDArray[Any]:
    """`[H, W]` from `[H, W]` or `[H, W, 1]`.

    Raises:
        ValueError: the array has another shape, or does not hold numbers.
    """
    flat = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if flat.ndim != 2 or not flat.size:
        raise ValueError(f"{what} must be [H, W] or [H, W, 1], found {list(values.shape)}")
    return numbers(flat, what)


def numbers(values: NDArray[Any], what: str) -> NDArray[Any]:
    """The array, checked to hold real numbers.

    Raises:
        ValueError: it does not.
    """
    if values.dtype.kind not in "buif":
        raise ValueError(f"{what} must be numbers, found an array of {values.dtype}")
    return values
