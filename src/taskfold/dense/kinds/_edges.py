"""Edge detection: whether each pixel is on an edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._losses import weighted_bce
from ..metrics import EdgeScores
from ._base import Kind, Picture, plane


@dataclass(frozen=True)
class Edges(Kind):
    """Edges, 0 to 1: binary, or soft (the share of annotators, say). −1 is invalid, as is NaN in files.

    Args:
        positive_weight: the weight of edges in the loss, in (0, 1); other pixels have 1 minus that.
        tolerance: the metric's largest distance between predicted and true edges, as a share of the image's diagonal.

    Raises:
        ValueError: a value is outside its range.

    Example:
        >>> Edges().clean(np.array([[0, 1, np.nan]]))
        tensor([[[ 0.,  1., -1.]]])
    """

    name: ClassVar[str] = "edges"
    invalid: ClassVar[float] = -1.0
    higher_is_better: ClassVar[Mapping[str, bool]] = MappingProxyType({"odsF": True, "precision": True, "recall": True})
    main: ClassVar[str] = "odsF"

    positive_weight: float = 0.95
    tolerance: float = 0.011

    def __post_init__(self) -> None:
        if not 0 < self.positive_weight < 1:
            raise ValueError(f"positive_weight must be between 0 and 1, found {self.positive_weight}")
        if not 0 <= self.tolerance <= 0.1:
            raise ValueError(f"tolerance must be 0 to 0.1 of the diagonal, found {self.tolerance}")

    @property
    def channels(self) -> int:
        return 1

    def clean(self, values: NDArray[Any]) -> Tensor:
        soft = plane(values, "edges").astype(np.float32)
        known = ~(np.isnan(soft) | (soft == self.invalid))
        if (wrong := soft[known & ((soft < 0) | (soft > 1))]).size:
            raise ValueError(f"edges must be 0 to 1, or −1 where unknown, found {wrong[0]:g}: divide bytes by 255")
        return torch.from_numpy(np.where(known, soft, np.float32(self.invalid)))[None]

    def valid(self, target: Tensor) -> Tensor:
        return target >= 0

    def predict(self, output: Tensor) -> Tensor:
        return output.float().sigmoid()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return weighted_bce(output, target, self.valid(target), self.positive_weight)

    def metric(self) -> EdgeScores:
        return EdgeScores(self.tolerance)

    def picture(self, values: Tensor, scale: tuple[float, float] | None = None) -> Picture:
        del scale
        grey = (values[0].float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
        return grey[..., None].expand(-1, -1, 3).contiguous().numpy()
