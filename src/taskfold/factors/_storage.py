"""Storage of leaves in files in another form than their values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

SHORT = 1 << 32
"""Places below it are stored in four bytes."""
CLOSE = 1e-3
"""Tolerance between two marks of one basis, relative to its norm: rounding differs between machines."""


@dataclass(frozen=True)
class Storage(ABC):
    """A form in which files store a leaf."""

    name: ClassVar[str]
    counted: ClassVar[str] = ""
    """What `count` counts in the stored form, apart from numbers; empty: numbers of the leaf's group."""
    exact: ClassVar[bool] = True
    """Whether the leaf keeps its type when its layer has another precision."""

    @abstractmethod
    def pack(self, leaf: Tensor, /) -> Tensor:
        """The stored form of a leaf."""

    @abstractmethod
    def unpack(self, kept: Tensor, shape: tuple[int, ...], /) -> Tensor:
        """The leaf of that shape from its stored form.

        Raises:
            ValueError: the file holds something else; the message continues the tensor's name.
        """

    def size(self, leaf: Tensor, /) -> int:
        """The number of what is `counted`."""
        return leaf.numel()

    def as_json(self, leaf: Tensor, /) -> dict[str, Any]:
        """The entry in a file's header."""
        return {"as": self.name, "shape": list(leaf.shape)}

    def agrees(self, said: Mapping[str, Any] | None, leaf: Tensor, /) -> bool:
        """Whether a file's entry describes this leaf."""
        return said == self.as_json(leaf)


@dataclass(frozen=True)
class Indices(Storage):
    """Places, ascending and unique, in four bytes each, or eight if there are more than 2³².

    Args:
        below: places go from 0 to this number − 1.

    Example:
        >>> kept = Indices(below=10).pack(torch.tensor([1, 7]))
        >>> kept.dtype, Indices(below=10).unpack(kept, (2,)).tolist()
        (torch.uint32, [1, 7])
    """

    below: int
    name: ClassVar[str] = "indices"
    counted: ClassVar[str] = "indices"

    @property
    def kept_in(self) -> torch.dtype:
        """The type of a place in a file."""
        return torch.uint32 if self.below <= SHORT else torch.int64

    def pack(self, leaf: Tensor, /) -> Tensor:
        return leaf.to(self.kept_in)

    def unpack(self, kept: Tensor, shape: tuple[int, ...], /) -> Tensor:
        if tuple(kept.shape) != shape or kept.dtype != self.kept_in:
            raise ValueError(f"is {list(kept.shape)} of {kept.dtype}, and {list(shape)} of {self.kept_in} are needed")
        places = kept.to(torch.int64)
        if len(places) and not (
            bool((places.diff() > 0).all()) and int(places[0]) >= 0 and int(places[-1]) < self.below
        ):
            raise ValueError(f"must hold ascending places from 0 to {self.below - 1}, each once")
        return places

    def as_json(self, leaf: Tensor, /) -> dict[str, Any]:
        return {**super().as_json(leaf), "below": self.below}


@dataclass(frozen=True)
class OnBasis(Storage):
    """Values on a basis that is computed, not stored: the file has the basis's marks.

    Args:
        basis: the basis in words.
        marks: a few numbers that identify it (see `marks_of`).
    """

    basis: str
    marks: tuple[float, ...]
    name: ClassVar[str] = "values"
    exact: ClassVar[bool] = False

    def pack(self, leaf: Tensor, /) -> Tensor:
        return leaf

    def unpack(self, kept: Tensor, shape: tuple[int, ...], /) -> Tensor:
        return kept

    def as_json(self, leaf: Tensor, /) -> dict[str, Any]:
        return {**super().as_json(leaf), "basis": self.basis, "marks": list(self.marks)}

    def agrees(self, said: Mapping[str, Any] | None, leaf: Tensor, /) -> bool:
        mine = self.as_json(leaf)
        if said is None or {**said, "marks": []} != {**mine, "marks": []} or len(said["marks"]) != len(self.marks):
            return False
        return all(abs(one - other) <= CLOSE for one, other in zip(said["marks"], self.marks, strict=True))


def marks_of(*tensors: Tensor) -> tuple[float, ...]:
    """Two numbers that identify each tensor: weighted sums, relative to its norm; none on `meta`.

    Example:
        >>> one = torch.eye(3)
        >>> marks_of(one) == marks_of(one.clone()), marks_of(one) == marks_of(-one), len(marks_of(one))
        (True, False, 2)
    """
    found: list[float] = []
    for tensor in tensors:
        if tensor.is_meta:
            continue
        left = tensor.detach().cpu().double()
        norm = float(left.norm()) or 1.0
        for turn in (1.0, 2.0):
            total = left
            for axis in reversed(range(left.dim())):
                angles = (torch.arange(left.shape[axis], dtype=torch.float64, device="cpu") + axis + 1) * turn
                total = total @ (angles.square() * 0.7548776662466927).cos()
            found.append(round(float(total) / norm, 9))
    return tuple(found)
