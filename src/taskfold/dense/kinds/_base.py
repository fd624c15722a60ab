"""What every kind of dense task knows of itself."""

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
"""`[H, W, 3]`, red, green, blue."""


class Kind(ABC):
    """One kind of task that says something of every pixel.

    A target is a tensor `[target_channels, H, W]` in which a value of its own marks pixels without a target. A
    prediction that has gone through `predict` has the same form.

    Attributes:
        name: `segmentation`, `depth`, …
        target_channels: of a target.
        invalid: fills a target's channels where nothing is known.
        dtype: of a target.
        higher_is_better: the names of its scores → whether more is better.
        titles: the names of its scores → what a table calls them, unit included; what is missing is called by its name.
        main: the score that one number for the task means.
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
        """Channels that a network must put out."""

    @abstractmethod
    def clean(self, values: NDArray[Any]) -> Tensor:
        """A target from an array as files hold it, `[H, W]` or `[H, W, channels]`: checked, invalid values marked.

        Raises:
            ValueError: the array cannot be a target of this kind; says what was found.
        """

    @abstractmethod
    def valid(self, target: Tensor) -> Tensor:
        """Where a target `[…, target_channels, H, W]` says something: `[…, 1, H, W]`, boolean."""

    @abstractmethod
    def predict(self, output: Tensor) -> Tensor:
        """What a network put out, `[B, channels, H, W]`, in the form of a target, `[B, target_channels, H, W]`."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """`[B]`: of each sample, over its valid pixels; 0 without gradient for a sample that has none.

        Args:
            output: `[B, channels, H, W]`, of the network.
            target: `[B, target_channels, H, W]`.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh torchmetrics metric: `update(predictions, targets)`, `compute()` → scores by name."""

    @abstractmethod
    def picture(self, values: Tensor, scale: tuple[float, float] | None = None) -> Picture:
        """A target or prediction `[target_channels, H, W]` to look at; what is invalid is black.

        Args:
            values: of a target or prediction.
            scale: what the ends of the colours stand for, where colours stand for numbers.
        """

    def scale(self, target: Tensor) -> tuple[float, float] | None:
        """The scale that pictures of this target and predictions of it share; None where colours need none."""
        del target
        return None

    def pictures(self, prediction: Tensor, target: Tensor) -> tuple[Picture, Picture]:
        """Prediction and target on one scale, the target's."""
        scale = self.scale(target)
        return self.picture(prediction, scale), self.picture(target, scale)

    def scaled(self, target: Tensor, factor: float) -> Tensor:
        """The values of a target `[target_channels, H, W]` whose image has been enlarged by `factor`."""
        del factor
        return target

    def flipped(self, target: Tensor) -> Tensor:
        """A target `[target_channels, H, W]` whose image is mirrored left to right."""
        return target.flip(-1)

    def missing(self, height: int, width: int) -> Tensor:
        """A target that says nothing anywhere."""
        return torch.full((self.target_channels, height, width), self.invalid, dtype=self.dtype)


def plane(values: NDArray[Any], what: str) -> NDArray[Any]:
    """`[H, W]` from `[H, W]` or `[H, W, 1]`.

    Raises:
        ValueError: another shape, or no numbers.
    """
    flat = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if flat.ndim != 2 or not flat.size:
        raise ValueError(f"{what} must be [H, W] or [H, W, 1], found {list(values.shape)}")
    return numbers(flat, what)


def numbers(values: NDArray[Any], what: str) -> NDArray[Any]:
    """The array itself, if it holds real numbers.

    Raises:
        ValueError: it does not.
    """
    if values.dtype.kind not in "buif":
        raise ValueError(f"{what} must be numbers, found an array of {values.dtype}")
    return values
