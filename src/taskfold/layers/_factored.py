"""Parts made by a factorisation: ΔW of one view of a weight, or the weight itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..factors import Bottleneck, Factorisation
from ..interventions import Beside, Intervention, mask_on, scalars_on
from ..kinds import LayerKind, Tensors
from ..routing import Sharing
from ..tasks import Leaves, Task
from ._basis import Basis
from ._columns import TablesByName, all_alike, own_tables, stack_of_tables
from ._part import Column, Each, Part, When, parts_of
from ._ruled import Ruled
from ._where import View, in_place, part_of


class Factored(Ruled):
    """A task's update or replacement of one view of a weight.

    Args:
        intervention: `Beside` for an update that runs beside the layer, R channels wide; `Change` for a whole weight or
            a mask on it.
        factorisation: makes the weight from the leaves.
        rule, own, inventory: as for `Ruled`.
        view: of the layer's weight.
        rows: output channels O of the whole weight.
    """

    def __init__(
        self,
        intervention: Intervention,
        factorisation: Factorisation,
        rule: Sharing,
        view: View,
        own: Leaves,
        inventory: tuple[str, Leaves] | None,
        rows: int,
    ) -> None:
        super().__init__(intervention, factorisation.leaves(view.modes), rule, own, inventory)
        self.factorisation, self.view, self.rows = factorisation, view, rows

    @property
    def replaces(self) -> frozenset[str]:
        whole = self.factorisation.replaces and self.view.rows is None
        return frozenset({self.view.parameter}) if whole else frozenset()

    @property
    def alone(self) -> bool:
        return isinstance(self.intervention, Beside)

    @property
    def silent(self) -> frozenset[str]:
        return self.factorisation.silent(dict(self.own.items()))

    def alike(self, other: Part) -> bool:
        return (
            isinstance(other, Factored)
            and super().alike(other)
            and self.factorisation == other.factorisation
            and self.view == other.view
        )

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        leaves = self.selected(kind.dtype, when.training)
        if isinstance(self.intervention, Beside):
            return self.as_tensors(self._bottleneck(leaves))
        name = self.view.parameter
        weight = kind.seen(changed[name] if name in changed else kind.module.get_parameter(name))
        scalars = self.factorisation.weighing(leaves)
        if self.factorisation.masks and (scalars is None or self.view.rows is None):
            mask = self.factorisation.materialise(leaves, self.view.modes).to(weight.dtype)
            found = {mask_on(name): kind.laid_out(in_place(torch.ones_like(weight), self.view, mask))}
            return found if scalars is None else {**found, scalars_on(name): scalars}
        own = part_of(weight, self.view)
        made = self.factorisation.whole(leaves, own.reshape(self.view.modes.shape), self.view.modes)
        return {name: kind.laid_out(in_place(weight, self.view, made))}

    def _bottleneck(self, leaves: Mapping[str, Tensor]) -> Bottleneck:
        found = self.factorisation.bottleneck(leaves, self.view.modes)
        assert found is not None
        return found

    def as_tensors(self, factors: Bottleneck) -> dict[str, Tensor]:
        """A bottleneck as tensors of `Beside`, padded with zeros to the whole weight's outputs."""
        up = factors.up
        if self.view.rows is not None:
            start, stop = self.view.rows
            up = F.pad(up, (0, 0, start, self.rows - stop))
        found = {"up": up, "down": factors.down}
        return found if factors.spatial is None else {**found, "spatial": factors.spatial}

    @classmethod
    def together(cls, parts: Sequence[Part | None]) -> Column:
        alike = all_alike(Factored, parts)
        if alike is None or not alike[0].alone:
            return Each(parts)
        return FactoredColumn(alike[0], own_tables(alike))

    @classmethod
    def drawn(cls, parts: Sequence[Part | None], index: Tensor, kind: LayerKind, when: When) -> dict[str, Tensor]:
        """The tensors drawn for each row of a batch, `[B, …]`.

        Raises:
            ValueError: the tasks have different methods.
        """
        alike = all_alike(Factored, parts)
        if alike is None:
            raise ValueError(
                "allocation='random' draws for every row and needs all tasks of a batch to be of the same method; "
                "train them with one method, or in batches of their own"
            )
        first = alike[0]
        own = {name: tensor[index] for name, tensor in stack_of_tables(own_tables(alike)).items()}
        return first.as_tensors(first._bottleneck(first.selected(kind.dtype, when.training, own)))

    def common(self) -> object | None:
        found = super().common()
        return None if found is None else (found, self.factorisation)


class FactoredOnBasis(Factored):
    """A `Factored` part whose leaves are coordinates on a basis of the layer's weight.

    Args:
        basis: shared by all tasks.
        kept: as for `Factored`.
    """

    def __init__(self, basis: Basis, *kept: Any) -> None:
        super().__init__(*kept)
        self.basis = basis

    def selected(
        self, dtype: torch.dtype, training: bool, own: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        found = super().selected(dtype, training, own)
        return {**found, **self.basis.at(dtype, next(iter(found.values())).device)}


@dataclass(frozen=True)
class FactoredColumn:
    """A column of parts that are alike, made at once; `first` is the first task's, `own` has each task's own leaves."""

    first: Factored
    own: TablesByName

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        own = stack_of_tables(self.own)
        return self.first.as_tensors(self.first._bottleneck(self.first.selected(kind.dtype, when.training, own)))


def layer_name(path: str, view: View) -> str:
    """A layer's name in messages, with the projection if the weight has several views."""
    return path if view.name == "weight" else f"{path}:{view.name}"


def updates_of(task: Task) -> dict[str, Factored]:
    """The factorised parts of a task, by `layer_name`."""
    found = ((path, part) for (path, _), part in parts_of(task) if isinstance(part, Factored))
    return {layer_name(path, part.view): part for path, part in found}
