"""Outputs of modules, split into tensors with a slice for each row and values that serve the whole batch."""

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
    """The frozen part of a network can't be separated; the message gives the reason."""


@dataclass(frozen=True)
class Rows:
    """The form of an output tensor with one slice for each row of the batch.

    Attributes:
        shape: of a row.
        order: the tensor's axes, batch included, in order of memory; None: contiguous.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...] | None

    @classmethod
    def of(cls, tensor: Tensor) -> Rows:
        strides = tensor.stride()
        order = None if tensor.is_contiguous() else tuple(sorted(range(tensor.dim()), key=lambda n: (-strides[n], n)))
        return cls(tuple(tensor.shape[1:]), tensor.dtype, order)

    @property
    def nbytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def laid(self, tensor: Tensor) -> Tensor:
        """A contiguous tensor in the memory order of the network's own."""
        if self.order is None:
            return tensor
        back = [self.order.index(n) for n in range(len(self.order))]
        return tensor.permute(self.order).contiguous().permute(back)


@dataclass(frozen=True, eq=False)
class Made:
    """The form of the output of one call of a module.

    Attributes:
        path: the module's.
        leaves: `Rows` for tensors with rows; other values unchanged.
        form: the nesting of the leaves.
    """

    path: str
    leaves: tuple[Any, ...]
    form: Any

    @property
    def rows(self) -> list[Rows]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Rows)]

    def same(self, other: Made) -> bool:
        """Whether another call's output is equal, except for the values and the memory order of rows."""
        return (self.path, self.form) == (other.path, other.form) and all(map(_same, self.leaves, other.leaves))

    def filled(self, tensors: Iterator[Tensor]) -> Any:
        """The output with `tensors` in place of `Rows`."""
        leaves = [next(tensors) if isinstance(leaf, Rows) else leaf for leaf in self.leaves]
        return tree_unflatten([leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves], self.form)

    def absent(self, batch: int, device: torch.device) -> Any:
        """The output with `Absent` tensors in place of `Rows`."""

        def empty(leaf: Any) -> Any:
            if not isinstance(leaf, Rows):
                return leaf
            return Absent.of(torch.empty((batch, *leaf.shape), dtype=leaf.dtype, device="meta"), device)

        return tree_unflatten([empty(leaf) for leaf in self.leaves], self.form)


def made_of(path: str, output: Any, batch: int) -> tuple[Made, list[Tensor]]:
    """The form of an output, and its tensors with rows.

    Raises:
        PrefixError: it holds other values than tensors, numbers and names, or requires gradients.
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
