"""Levels of scores as packed bits: the stored form of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._numbers import check_number
from ._storage import Storage


@dataclass(frozen=True)
class Bits(Storage):
    """Scores of which only the level counts: 1 above a threshold, else 0; ternary: −1 below 0.

    Files keep the levels as bits, 8 in a byte: one per score, two per ternary score (level 1, level −1).

    Args:
        threshold: τ ≥ 0.
        start: the score made from level 1, and minus the one from level −1; > τ. Level 0 gives score 0.
        ternary: whether there is a level −1.

    Raises:
        ValueError: not 0 ≤ threshold < start < ∞, or ternary is not true or false.

    Example:
        >>> kept = Bits(threshold=0.5, start=1.0).pack(torch.tensor([0.9, 0.1, 0.5, 2.0]))
        >>> kept.tolist(), Bits(threshold=0.5, start=1.0).unpack(kept, (4,)).tolist()
        ([[9]], [1.0, 0.0, 0.0, 1.0])
    """

    threshold: float
    start: float
    ternary: bool = False
    name: ClassVar[str] = "bits"
    counted: ClassVar[str] = "bits"

    def __post_init__(self) -> None:
        if not isinstance(self.ternary, bool):
            raise ValueError(f"ternary must be true or false, found {self.ternary!r}")
        for name, value in (("threshold", self.threshold), ("start", self.start)):
            check_number(name, value, "≥ 0", lambda v: v >= 0)
        if not self.threshold < self.start:
            raise ValueError(
                f"threshold must be below {self.start!r}, where scores start, found {self.threshold!r}: else a mask "
                "starts at 0 everywhere"
            )

    @property
    def width(self) -> int:
        """The number of bits of a score."""
        return 2 if self.ternary else 1

    def levels(self, scores: Tensor) -> Tensor:
        """The level of each score, in the scores' type."""
        above = (scores > self.threshold).to(scores.dtype)
        return above - (scores < 0).to(scores.dtype) if self.ternary else above

    def pack(self, scores: Tensor) -> Tensor:
        """Bytes `[width, ⌈n/8⌉]` from scores of any shape."""
        return packed(self.levels(scores), self.width)

    def unpack(self, bits: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Scores `[*shape]`, float32, from the levels in bytes `[width, ⌈n/8⌉]`."""
        numbers = torch.Size(shape).numel()
        size = [self.width, -(-numbers // 8)]
        if list(bits.shape) != size or bits.dtype != torch.uint8:
            raise ValueError(
                f"is {list(bits.shape)} of {bits.dtype}, and its {numbers} numbers need {size} bytes of packed bits"
            )
        return unpacked(bits, shape) * self.start

    def size(self, scores: Tensor) -> int:
        """The number of bits of all scores."""
        return self.width * scores.numel()

    def as_json(self, scores: Tensor) -> dict[str, Any]:
        """The entry in a file's header."""
        return {**super().as_json(scores), "width": self.width}


def packed(levels: Tensor, width: int) -> Tensor:
    """Bytes `[width, ⌈n/8⌉]` from n levels of any shape: bits of level 1, then, if the width is 2, of level −1.

    The first level is a byte's lowest bit; bits past the last are 0.
    """
    flat = levels.reshape(-1)
    planes = torch.stack([flat > 0, flat < 0][:width])
    missing = -planes.shape[1] % 8
    planes = torch.nn.functional.pad(planes.to(torch.uint8), (0, missing)).unflatten(1, (-1, 8))
    return (planes * _values(planes)).sum(-1, dtype=torch.uint8)


def unpacked(bits: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Levels `[*, *shape]` from bytes `[*, width, ⌈n/8⌉]`."""
    size = torch.Size(shape).numel()
    planes = ((bits.unsqueeze(-1) & _values(bits)) != 0).flatten(-2)[..., :size].to(dtype)
    levels = planes[..., 0, :] - planes[..., 1, :] if bits.shape[-2] > 1 else planes[..., 0, :]
    return levels.reshape(*bits.shape[:-2], *shape)


def _values(like: Tensor) -> Tensor:
    """The values of a byte's bits, the lowest first; ONNX export has no shifts."""
    return torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=like.device)
