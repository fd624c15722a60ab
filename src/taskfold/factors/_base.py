"""The interface of factorisations: their leaves, and the weight that the leaves make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Self

import torch
from torch import Tensor

from ._leaf import Leaf


@dataclass(frozen=True)
class Modes:
    """A weight seen as a tensor: output modes × input modes × kernel.

    A 3×3 convolution is `Modes((64,), (32,), (3, 3))`; a query projection with 12 heads of 64
    is `Modes((12, 64), (768,))`.

    Attributes:
        out, inp, kernel: sizes; of a grouped convolution `inp` is what one group sees.
        groups: a convolution's number of groups.
    """

    out: tuple[int, ...]
    inp: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    groups: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight: `[O, I, *kernel]`, modes multiplied out (first mode slowest)."""
        return (prod(self.out), prod(self.inp), *self.kernel)


TERMS = "terms"
"""The key of the weights `[*, R]` of a sum's terms among given leaves; absent: all are 1."""


@dataclass(frozen=True)
class Bottleneck:
    """ΔW = up · spatial · down: every low-rank update as a layer can run it, R channels wide.

    Attributes:
        up: `[*, O, R]`.
        down: `[*, R, I]`, or `[*, R, I, *kernel]` where the kernel sits in the first step.
        spatial: `[*, R, *kernel]` or None: one kernel per rank channel, between the two.

    `*` is nothing, or the rows of a batch that each have their own task.
    """

    up: Tensor
    down: Tensor
    spatial: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.up.shape[-1]

    @classmethod
    def aligned(cls, up: Tensor, down: Tensor, spatial: Tensor | None = None, kernel: int = 0) -> Bottleneck:
        """Aligns the leading axes `*`, which only some of the parts have.

        Args:
            kernel: the number of kernel axes at the end of `spatial`, or of `down` without it.
        """
        down_axes = 2 + (kernel if spatial is None else 0)
        if up.dim() == 2 and down.dim() == down_axes and (spatial is None or spatial.dim() == 1 + kernel):
            return cls(up, down, spatial)
        lead = torch.broadcast_shapes(up.shape[:-2], down.shape[: down.dim() - down_axes])
        if spatial is not None:
            axes = 1 + kernel
            lead = torch.broadcast_shapes(lead, spatial.shape[:-axes])
            spatial = spatial.expand(*lead, *spatial.shape[-axes:])
        return cls(up.expand(*lead, *up.shape[-2:]), down.expand(*lead, *down.shape[-down_axes:]), spatial)

    def unbind(self) -> list[Bottleneck]:
        """One bottleneck for each index of the first axis. Its gradient is one stack, unlike that of indexing."""
        spatial = [None] * len(self.up) if self.spatial is None else self.spatial.unbind()
        return [Bottleneck(*one) for one in zip(self.up.unbind(), self.down.unbind(), spatial, strict=True)]

    def dense(self) -> Tensor:
        """The weight `[*, O, I, *kernel]`, from two operands at a time, since torch.einsum contracts left to right."""
        axes = self.up.dim()
        kernel = self.down.shape[axes:] if self.spatial is None else self.spatial.shape[axes - 1 :]
        weight = self.up @ self._inner()
        return weight.reshape(*weight.shape[:-1], -1, *kernel)

    def onto(self, weight: Tensor) -> Tensor:
        """`weight` `[O, I, *kernel]` plus this update, in one step."""
        return torch.addmm(weight.flatten(1), self.up, self._inner()).reshape(weight.shape)

    def _inner(self) -> Tensor:
        """`down` with the kernel, `[*, R, I·k²]`."""
        down = self.down
        if self.spatial is not None:
            down = down.unsqueeze(-1) * self.spatial.flatten(self.up.dim() - 1).unsqueeze(-2)
        return down.flatten(self.up.dim() - 1)

    def squeeze(self) -> Bottleneck:
        """The bottleneck without its first axis, of size one."""
        spatial = None if self.spatial is None else self.spatial.squeeze(0)
        return Bottleneck(self.up.squeeze(0), self.down.squeeze(0), spatial)

    def picked(self, entries: Sequence[int]) -> Bottleneck:
        """The bottlenecks of some indices of the first axis, in that order."""
        if list(entries) == list(range(len(self.up))):
            return self
        which = torch.tensor(list(entries), device=self.up.device)
        spatial = None if self.spatial is None else self.spatial.index_select(0, which)
        return Bottleneck(self.up.index_select(0, which), self.down.index_select(0, which), spatial)


def zero_pad(tensor: Tensor, axis: int, size: int) -> Tensor:
    """`tensor` with zeros appended along `axis` until it is `size` long."""
    missing = size - tensor.shape[axis]
    if missing == 0:
        return tensor
    shape = list(tensor.shape)
    shape[axis] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], axis)


def khatri_rao(left: Tensor, right: Tensor) -> Tensor:
    """`[*, R, m]`, `[*, R, n]` → `[*, R, m·n]`: outer products term by term, left slowest."""
    return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)


@dataclass(frozen=True)
class Factorisation(ABC):
    """A rule that makes a weight from few numbers. It has hyper-parameters only: the numbers come as leaves."""

    def at(self, layer: str) -> Self | None:
        """This factorisation with a layer's settings; None: the layer has no update.

        Args:
            layer: the layer's name; for a part of a fused weight with the projection, `path:query`.

        Raises:
            ValueError: the settings have no value for that layer.
        """
        return self

    @abstractmethod
    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        """The tensors that make a weight of these modes, by name.

        Raises:
            ValueError: it does not fit such modes; the message has the reason.
        """

    @abstractmethod
    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        """The weight as `[*, O, I, *kernel]`, scaled. `leaves` may hold the weights of terms too, under `TERMS`."""

    def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck | None:
        """The weight as a `Bottleneck`; None: it has no such form and is always materialised."""
        return None

    def whole(self, leaves: Mapping[str, Tensor], weight: Tensor, modes: Modes) -> Tensor:
        """A task's weight `[O, I, *kernel]`, from the layer's own; default: ΔW is added."""
        return weight + self.materialise(leaves, modes).reshape(weight.shape)

    def begin(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        """Initial values of leaves that depend on the layer's own weight `[O, I, *kernel]`, by name; default: none."""
        return {}

    basis_words: ClassVar[str] = "tensors made of the weight"
    """The content of `basis`, in words."""

    def basis(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        """Tensors computed from the layer's own weight, on which the leaves are coordinates; default: none.

        They are common to all tasks, come with the leaves by name, and are in no file. A file holds marks of
        them, so that leaves are refused if another basis is computed.

        Args:
            weight: `[O, I, *kernel]`, in double precision on the CPU.
            modes: the weight's modes.
        """
        return {}

    def silent(self, leaves: Mapping[str, Tensor]) -> frozenset[str]:
        """The names of leaves that do not affect the weight at present: files leave them out, and readers use zeros."""
        return frozenset()

    @property
    def replaces(self) -> bool:
        """Whether a task's weight does not depend on the layer's own, which then need not be kept."""
        return False

    @property
    def masks(self) -> bool:
        """Whether a task's weight is the layer's own, masked element by element with what `materialise` makes."""
        return False

    def weighing(self, leaves: Mapping[str, Tensor]) -> Tensor | None:
        """For a mask, k `[*, 4]`: a task's weight is k₀ W + k₁ + k₂ M + k₃ W ⊙ M; None: it is W ⊙ M."""
        return None

    @property
    def compact(self) -> bool:
        """Whether the leaves have far fewer numbers than their bottleneck."""
        return False

    @property
    def has_basis(self) -> bool:
        return type(self).basis is not Factorisation.basis

    @property
    def has_bottleneck(self) -> bool:
        return type(self).bottleneck is not Factorisation.bottleneck
