"""Linear layers: torch's, and transformers' `Conv1D`, whose weight is transposed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import Bottleneck, Modes
from ._base import traced
from ._geometry import Geometry
from ._rows import Groups, Rows
from ._weight import WeightKind


class Linear(WeightKind):
    """`nn.Linear` and subclasses: y = x Wᵀ + b."""

    words = "linear layer"
    single = 1

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, nn.Linear)

    @property
    def modes(self) -> Modes:
        out, inp = self.seen(self.weight).shape
        return Modes((out,), (inp,))

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.geometry = Geometry() if self.plainly else None

    @property
    def plainly(self) -> bool:
        return type(self.module).forward is nn.Linear.forward

    def examples(self, normal: Callable[..., Tensor], rows: int) -> Iterator[Tensor]:
        yield normal(rows, 2, self.modes.inp[0])
        yield normal(rows, self.modes.inp[0])

    def walk(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        return F.linear(x, weight)

    # Rows

    def beside_rows(self, factors: Bottleneck, rows: Rows, x: Tensor, y: Tensor) -> Tensor:
        if groups := rows.paying:
            beside = self._equal_groups if groups.alike else self.beside_groups
            return beside(factors, groups, x, y)
        down, up = rows.gather(factors.down), rows.gather(factors.up)
        return _add(y, torch.bmm(self._flat(x, down.shape[0]), down.mT), up.mT)

    def rows_of_weights(self, weights: Tensor, x: Tensor, each: int) -> Tensor:
        made = torch.bmm(self._flat(x, weights.shape[0]), weights.mT)
        return made.reshape(*x.shape[:-1], made.shape[-1])

    def _flat(self, x: Tensor, blocks: int) -> Tensor:
        return x.reshape(blocks, -1, x.shape[-1])

    def _equal_groups(self, factors: Bottleneck, groups: Groups, x: Tensor, y: Tensor) -> Tensor:
        """`beside_rows` for entries with equally many rows: one batched product."""
        factors = factors.picked(groups.entries)
        z = torch.bmm(groups.sorted(x).reshape(len(groups.sizes), -1, x.shape[-1]), factors.down.mT)
        if groups.back is None:
            return _add(y, z, factors.up.mT)
        delta = torch.bmm(z, factors.up.mT).reshape(y.shape)
        return y + groups.unsorted(delta.to(y.dtype))


class TransformersConv1D(Linear):
    """transformers' `Conv1D` (GPT-2): y = x W + b, W `[I, O]`."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        if not any(kind.__name__ == "Conv1D" for kind in type(module).__mro__):
            return False
        weight = module._parameters.get("weight")
        return weight is not None and weight.dim() == 2 and weight.shape[1] == getattr(module, "nf", None)

    @property
    def plainly(self) -> bool:
        return type(self.module).forward.__module__ == "transformers.pytorch_utils"

    def seen(self, weight: Tensor) -> Tensor:
        return weight.mT

    def laid_out(self, weight: Tensor) -> Tensor:
        return weight.mT.contiguous()  # the layer's own memory order, so that products round alike


def _add(y: Tensor, z: Tensor, up: Tensor) -> Tensor:
    """`y + z @ up` in one operation; `z` `[*, n, r]` and `up` `[*, r, O]`, where * and n are the rows of y."""
    return baddbmm(y.reshape(*z.shape[:-1], y.shape[-1]), z, up).reshape(y.shape)


def baddbmm(y: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`y + left @ right`, in place unless a graph or a trace needs y."""
    left, right = left.to(y.dtype), right.to(y.dtype)
    if torch.is_grad_enabled() or traced():
        return torch.baddbmm(y, left, right)
    return y.baddbmm_(left, right)
