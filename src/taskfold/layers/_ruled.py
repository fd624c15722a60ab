"""Parts whose leaves a sharing rule splits between a task and the inventory."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..factors import Leaf
from ..interventions import Intervention
from ..kinds import LayerKind, Tensors
from ..routing import Sharing
from ..tasks import Leaves, check_inventory, make
from ._columns import TablesByName, all_alike, own_tables, stack_of_tables
from ._part import Column, Each, Part, When
from ._recipe import Fitting


class Ruled(Part):
    """Leaves that a sharing rule splits between the model's inventory and the task.

    Args:
        intervention: applies the tensors at the layer.
        specs: all leaves of the part, by name.
        rule: splits the leaves.
        own: the task's leaves.
        inventory: key in the model's inventory, and the leaves there.
    """

    def __init__(
        self,
        intervention: Intervention,
        specs: Mapping[str, Leaf],
        rule: Sharing,
        own: Leaves,
        inventory: tuple[str, Leaves] | None,
    ) -> None:
        super().__init__(intervention, own, inventory)
        self.specs, self.rule = dict(specs), rule
        self.forked: Leaves | None = None

    @property
    def bank(self) -> Leaves | None:
        """The inventory's leaves: the model's, or the task's own copy; None: the rule shares none."""
        return self.forked if self.inventory is None else self.inventory[1]

    def fork(self) -> None:
        """Replaces the inventory by a copy of the task's own, so that training the task changes no other task."""
        if self.inventory is not None:
            leaves, self.inventory = self.inventory[1], None
            self.forked = copy.deepcopy(leaves)

    def draws_per_row(self, when: When) -> bool:
        return self.rule.draws_per_row(when.training)

    def alike(self, other: Part) -> bool:
        return (
            isinstance(other, Ruled)
            and self.intervention == other.intervention
            and self.rule == other.rule
            and self.bank is other.bank
        )

    def selected(
        self, dtype: torch.dtype, training: bool, own: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The leaves that the rule selects for a task; `[T, …]` if `own` holds the stacked leaves of several tasks."""
        mine = dict(self.own.items()) if own is None else own
        shares = self.inventory is not None or self.forked is not None
        held = self._cast(dict(self.bank.items()), dtype) if shares else {}  # type: ignore[union-attr]
        return self._cast(self.rule.select(held, mine, self.specs, training), dtype)

    def _cast(self, leaves: Tensors, dtype: torch.dtype) -> dict[str, Tensor]:
        """The leaves in the layer's precision; exact ones (scores, indices) keep theirs: rounding may change them."""
        found = dict(leaves)
        for name, leaf in leaves.items():
            spec = self.specs.get(name)
            exact = spec is not None and (spec.exact or (spec.stored is not None and spec.stored.exact))
            if leaf.dtype != dtype and not exact:
                found[name] = leaf.to(dtype)
        return found

    def common(self) -> object | None:
        found = super().common()
        return None if found is None or self.forked is not None else (found, self.rule, self.intervention)


class Direct(Ruled):
    """A part whose leaves are the intervention's tensors: scales and shifts, the matrices of a bottleneck."""

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        return self.made(kind, self.selected(kind.dtype, when.training))

    def made(self, kind: LayerKind, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors made from the leaves of one task, or of several, `[T, …]`."""
        return leaves

    def alike(self, other: Part) -> bool:
        shapes = {name: leaf.shape for name, leaf in self.specs.items()}
        return super().alike(other) and {name: leaf.shape for name, leaf in other.specs.items()} == shapes  # type: ignore[attr-defined]

    @classmethod
    def together(cls, parts: Sequence[Part | None]) -> Column:
        alike = all_alike(Direct, parts)
        return Each(parts) if alike is None else DirectColumn(alike[0], own_tables(alike), len(alike))


@dataclass(frozen=True)
class DirectColumn:
    """A column of `count` parts that are alike: the first task's, and the own leaves of each."""

    first: Direct
    own: TablesByName
    count: int

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        own = stack_of_tables(self.own)
        chosen = self.first.selected(kind.dtype, when.training, own)
        each = {name: tensor.expand(self.count, *self.first.specs[name].shape) for name, tensor in chosen.items()}
        return self.first.made(kind, each)


def leaves_of(
    at: Fitting,
    key: str,
    specs: Mapping[str, Leaf],
    rule: Sharing,
    like: Tensor,
    values: Mapping[str, Tensor],
    layer: str,
) -> tuple[Leaves, tuple[str, Leaves] | None]:
    """Makes a new task's own leaves, and finds or makes its entry of the inventory.

    Args:
        at: the fit's state.
        key: in the inventory.
        specs: all leaves of the part.
        rule: splits the leaves.
        like: a tensor of the leaves' device and precision.
        values: initial values that depend on the layer.
        layer: its name, for errors.

    Raises:
        ValueError: the rule can't share such leaves, or the inventory holds leaves of other shapes.
    """
    try:
        shared, mine = rule.inventory(specs), rule.own(specs)
        if any(leaf.scope != "layer" for leaf in shared.values()):
            raise ValueError("layers have leaves in common, which tasks then can't share; use sharing='private'")
    except ValueError as error:
        raise ValueError(f"layer {layer!r}: {error}") from None
    known = bool(shared) and key in at.inventory
    begun = {} if known else values
    own, inventory = make(mine, like, begun), None
    if shared:
        if not known:
            at.inventory[key] = make(shared, like, begun)
        check_inventory(key, at.inventory[key], {name: leaf.shape for name, leaf in shared.items()})
        inventory = key, at.inventory[key]
    at.tie(own, mine, rule, layer)
    return own, inventory
