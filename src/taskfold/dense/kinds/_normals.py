"""Surface normals: the direction of the surface at every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .._losses import absolute_unit, cosine
from ..metrics import NormalScores
from ._base import Kind, Picture, numbers

NormalError = Literal["l1", "cosine"]
UNKNOWN = 0.1  # shorter vectors are invalid; 8-bit files cannot hold an exact 0
LENGTHS = 0.8, 1.25  # the lengths of half of the vectors must be within


@dataclass(frozen=True)
class Normals(Kind):
    """Surface normals in camera coordinates, x to the right or left, z along the axis. The zero vector is invalid.

    Files may hold lengths that are a little off 1; vectors shorter than 0.1, or with a NaN, are invalid.

    Args:
        error: the loss: `l1` between unit vectors, mean over pixels and components; or `cosine`: 1 − cos.
        stretch: whether enlarging an image by s turns its normals as it turns the surface that divided depth describes:
            z times s, then to length 1. Without it they are unchanged, as in many published pipelines.

    Raises:
        ValueError: `error` is neither.

    Example:
        >>> Normals().clean(np.array([[[0, 0, 0.99], [0, 0, 0]]])).flatten().tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """

    name: ClassVar[str] = "normals"
    target_channels: ClassVar[int] = 3
    invalid: ClassVar[float] = 0.0
    higher_is_better: ClassVar[Mapping[str, bool]] = MappingProxyType(
        {"mean": False, "median": False, "within_11.25": True, "within_22.5": True, "within_30": True}
    )
    titles: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "mean": "mean angle °",
            "median": "median angle °",
            "within_11.25": "< 11.25°",
            "within_22.5": "< 22.5°",
            "within_30": "< 30°",
        }
    )
    main: ClassVar[str] = "mean"

    error: NormalError = "l1"
    stretch: bool = True

    def __post_init__(self) -> None:
        if self.error not in {"l1", "cosine"}:
            raise ValueError(f"error must be l1 or cosine, found {self.error!r}")

    @property
    def channels(self) -> int:
        return 3

    def clean(self, values: NDArray[Any]) -> Tensor:
        if values.ndim != 3 or values.shape[2] != 3:
            raise ValueError(f"normals must be [H, W, 3], found {list(values.shape)}")
        vectors = numbers(values, "normals").astype(np.float32)
        length = np.linalg.norm(vectors, axis=2, keepdims=True)
        known = np.isfinite(length) & (length >= UNKNOWN)
        if known.any() and not LENGTHS[0] < (middle := float(np.median(length[known]))) < LENGTHS[1]:
            raise ValueError(
                f"normals must be unit vectors, found a median length of {middle:.3g}: "
                "bytes are decoded by 2x/255 − 1, vectors divided by their length"
            )
        # np.where evaluates both sides, so the divisor must not be 0 where the result is not used.
        vectors = np.where(known, vectors / np.where(known, length, 1), np.float32(0))
        return torch.from_numpy(np.ascontiguousarray(vectors.transpose(2, 0, 1)))

    def valid(self, target: Tensor) -> Tensor:
        return (target != 0).any(-3, keepdim=True)

    def predict(self, output: Tensor) -> Tensor:
        return F.normalize(output.float(), dim=1)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        measure = absolute_unit if self.error == "l1" else cosine
        return measure(output, target, self.valid(target))

    def metric(self) -> NormalScores:
        return NormalScores()

    def picture(self, values: Tensor, scale: tuple[float, float] | None = None) -> Picture:
        del scale
        vectors = values.float().cpu().clamp(-1, 1)
        picture = ((vectors + 1) * 127.5).round().to(torch.uint8)
        return torch.where(self.valid(vectors), picture, torch.zeros_like(picture)).permute(1, 2, 0).numpy()

    def scaled(self, target: Tensor, factor: float) -> Tensor:
        """With `stretch`, (x, y, factor · z) at length 1: the normal of the surface whose depth is divided."""
        if not self.stretch:
            return target
        return F.normalize(target * target.new_tensor([1.0, 1.0, factor])[:, None, None], dim=0)

    def flipped(self, target: Tensor) -> Tensor:
        """The mirrored normals, with x negated."""
        return target.flip(-1) * target.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
