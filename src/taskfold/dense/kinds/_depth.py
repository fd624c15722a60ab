"""Depth estimation: metres for every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._losses import absolute
from ..colours import heat
from ..metrics import DepthScores
from ._base import Kind, Picture, plane


@dataclass(frozen=True)
class Depth(Kind):
    """Distance along the camera's axis in metres, > 0; 0 is invalid.

    Negative, NaN or infinite values in files are invalid too. The loss is L1. Predictions are not clipped,
    not even negative ones.

    Example:
        >>> Depth().clean(np.array([[1.5, 0, np.inf]]))
        tensor([[[1.5000, 0.0000, 0.0000]]])
    """

    name: ClassVar[str] = "depth"
    invalid: ClassVar[float] = 0.0
    higher_is_better: ClassVar[Mapping[str, bool]] = MappingProxyType(
        {"rmse": False, "absolute": False, "relative": False}
    )
    titles: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"rmse": "RMSE m", "absolute": "absolute error m", "relative": "relative error"}
    )
    main: ClassVar[str] = "rmse"

    @property
    def channels(self) -> int:
        return 1

    def clean(self, values: NDArray[Any]) -> Tensor:
        metres = plane(values, "depth").astype(np.float32)
        return torch.from_numpy(np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0)))[None]

    def valid(self, target: Tensor) -> Tensor:
        return target > 0

    def predict(self, output: Tensor) -> Tensor:
        return output.float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return absolute(output, target, self.valid(target))

    def metric(self) -> DepthScores:
        return DepthScores()

    def scale(self, target: Tensor) -> tuple[float, float] | None:
        """The range in metres without the nearest and farthest 2 %."""
        known = target[target > 0].float().cpu().numpy()
        if not known.size:
            return None
        low, high = np.percentile(known, [2, 98]).tolist()
        return (low, high) if high > low else (low, low + 1e-3)

    def picture(self, values: Tensor, scale: tuple[float, float] | None = None) -> Picture:
        """Near is bright, far is dark; a prediction below 0 is brightest, and only 0 is black.

        Args:
            values: metres.
            scale: nearest and farthest; None: those of the values.
        """
        low, high = scale or self.scale(values) or (0.0, 1.0)
        metres = values[0].float().cpu().numpy()
        picture = heat((high - metres) / (high - low))
        picture[metres == 0] = 0
        return picture

    def scaled(self, target: Tensor, factor: float) -> Tensor:
        """In an image enlarged by `factor` the depth is divided by it."""
        return target / factor
