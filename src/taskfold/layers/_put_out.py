"""What modules put out, taken apart: tensors with a row for each of the batch, and what serves all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ._absent import Absent
from ._cut import PLAIN


class PrefixError(ValueError):
    """The frozen part of a network can't be cut off; the message says why."""


@dataclass(frozen=True)
class Rows:
    """A tensor that a module puts out, one row for each of the batch.

    Attributes:
        shape: of a row.
        order: its axes, batch among them, as they lie in memory; None: as they are counted.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...] | None

    @classmethod
    def of(cls, tensor: Tensor) -> Rows:
        """As a tensor has them."""
        strides = tensor.stride()
        order = None if tensor.is_contiguous() else tuple(sorted(range(tensor.dim()), key=lambda n: (-strides[n], n)))
        return cls(tuple(tensor.shape[1:]), tensor.dtype, order)

    @property
    def nbytes(self) -> int:
        """Of a row."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def laid(self, tensor: Tensor) -> Tensor:
        """A contiguous tensor, lying in memory as the network's own did."""
        if self.order is None:
            return tensor
        back = [self.order.index(n) for n in range(len(self.order))]
        return tensor.permute(self.order).contiguous().permute(back)


@dataclass(frozen=True, eq=False)
class Made:
    """What a call of a module has put out.

    Attributes:
        path: the module's.
        leaves: tensors that have rows as `Rows`; all else as it is.
        form: how they are nested.
    """

    path: str
    leaves: tuple[Any, ...]
    form: Any

    @property
    def rows(self) -> list[Rows]:
        """Those that have rows."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Rows)]

    def same(self, other: Made) -> bool:
        """Whether another call has put out the same, but for the numbers of rows and how these lie in memory."""
        return (self.path, self.form) == (other.path, other.form) and all(map(_same, self.leaves, other.leaves))

    def filled(self, tensors: Iterator[Tensor]) -> Any:
        """The output again."""
        leaves = [next(tensors) if isinstance(leaf, Rows) else leaf for leaf in self.leaves]
        return tree_unflatten([leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves], self.form)

    def absent(self, batch: int, device: torch.device) -> Any:
        """Its shape without its numbers."""

        def empty(leaf: Any) -> Any:
            if not isinstance(leaf, Rows):
                return leaf
            return Absent.of(torch.empty((batch, *leaf.shape), dtype=leaf.dtype, device="meta"), device)

        return tree_unflatten([empty(leaf) for leaf in self.leaves], self.form)


def made_of(path: str, output: Any, batch: int) -> tuple[Made, list[Tensor]]:
    """An output taken apart, and its tensors that have rows.

    Raises:
        PrefixError: it holds what is no tensor, number or name, or would have gradients.
    """
    leaves, form = tree_flatten(output)
    kept: list[Any] = []
    tensors: list[Tensor] = []
    for leaf in leaves:
        if not isinstance(leaf, (Tensor, *PLAIN)):
            raise PrefixError(f"module {path!r} of the frozen part puts out a {type(leaf).__name__}")
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            raise PrefixError(f"what module {path!r} of the frozen part puts out has gradients")
        if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == batch:
            tensors.append(leaf.detach())
            leaf = Rows.of(leaf)
        kept.append(leaf)
    return Made(path, tuple(kept), form), tensors


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Rows) and isinstance(other, Rows):
        return (one.shape, one.dtype) == (other.shape, other.dtype)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other
