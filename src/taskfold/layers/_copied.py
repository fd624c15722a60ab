"""Parts that copy a layer's tensors, as the task's own or in the inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..factors import STATISTICS, Group
from ..interventions import Change
from ..kinds import SEEN, LayerKind, Tensors
from ..tasks import Leaves, kept_in, slashed
from ._columns import Held, all_alike
from ._part import Column, Each, Part, When


class Copied(Part):
    """A part whose tensors replace the backbone's.

    Args:
        own: the task's copies.
        inventory: key in the model's inventory, and the copies there, which all tasks use.
    """

    def __init__(self, own: Leaves, inventory: tuple[str, Leaves] | None = None) -> None:
        super().__init__(Change(), own, inventory)

    def held(self) -> dict[str, Tensor]:
        """The copies, those in the inventory included."""
        return self.own.held() if self.inventory is None else {**self.inventory[1].held(), **self.own.held()}

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        return kind.in_use(self.held(), when.training)

    def alike(self, other: Part) -> bool:
        return isinstance(other, Copied) and self.held().keys() == other.held().keys()

    @classmethod
    def together(cls, parts: Sequence[Part | None]) -> Column:
        copied = all_alike(Copied, parts)
        if copied is None:
            return Each(parts)
        own = {name: (slashed(name), [part._table(slashed(name)) for part in copied]) for name in copied[0].held()}
        return Held(own, {name: tables for name, tables in own.items() if name != SEEN})

    def _table(self, name: str) -> Mapping[str, Tensor | None]:
        if name in self.own or self.inventory is None:
            return self.own.table(name)
        return self.inventory[1].table(name)


def group_of(tensor: Tensor, group: Group) -> Group:
    """The group of a copy: buffers are running statistics, parameters are of `group`."""
    return group if isinstance(tensor, nn.Parameter) else STATISTICS


def copy_of(tensor: Tensor) -> Tensor:
    """A copy in the type that tasks keep; the copy of a parameter is a parameter."""
    copied = tensor.detach().clone()
    if copied.is_floating_point():
        copied = copied.to(kept_in(copied.dtype))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, requires_grad=torch.is_floating_point(copied))
    return copied
