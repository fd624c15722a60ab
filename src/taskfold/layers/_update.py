"""The recipe of factorised updates: factorisation × sharing × where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..factors import Factorisation, OnBasis
from ..interventions import Beside, Change, Intervention
from ..kinds import LayerKind, WeightKind
from ..routing import Private, Sharing
from ..tasks import check_room, kept_in
from ._basis import basis_of
from ._factored import Factored, FactoredOnBasis, layer_name
from ._made import check_begun, check_leaves, check_sizes
from ._part import Part
from ._recipe import Fitting, Recipe
from ._ruled import leaves_of
from ._where import View, Where, part_of


@dataclass(frozen=True)
class Update(Recipe):
    """A factorisation on the weights that `where` selects, shared between tasks by a rule.

    Raises:
        ValueError: the factorisation is an expansion or a mask, which starts at the layer's weight, and the rule mixes.
    """

    factorisation: Factorisation
    where: Where
    sharing: Sharing = field(default_factory=Private)

    def __post_init__(self) -> None:
        made = self.factorisation
        if (made.replaces or made.masks) and not all(rule.keeps_leaves for rule in self.sharing.rules()):
            does, rules = "takes the place of a layer's weight", "'private', 'shared' or 'diagonal'"
            if made.masks:
                does, rules = "masks a layer's weight", "'private' or 'shared'"
            raise ValueError(
                f"sharing={self.sharing.name!r} mixes factors, and {type(made).__name__} {does}, where it must begin; "
                f"use {rules}"
            )

    @property
    def nothing(self) -> str:
        return f"the rank of {self.factorisation} is 0 for every layer; give at least one layer a rank"

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in self.where.find(at.network):
            for view in target.views:
                factorisation = self.factorisation.at(layer_name(target.path, view))
                if factorisation is None:
                    continue
                yield target.path, view.name, self._part(factorisation, target.path, view, at)

    def _part(self, factorisation: Factorisation, path: str, view: View, at: Fitting) -> Part:
        kind, layer = at.kind(path), layer_name(path, view)
        rule, prefix = at.rule(self.sharing, path)
        key = f"{prefix}/{path}/{view.name}"
        try:
            weight = _weight(kind, view)
            like = torch.empty(0, dtype=kind.dtype, device=kind.device) if weight is None else weight
            intervention, leaves = _intervention(factorisation, kind), factorisation.leaves(view.modes)
            check_leaves(factorisation, leaves)
            if key not in at.inventory:
                check_room(leaves, like)
            values = {} if weight is None else _begun(factorisation, view, weight)
            check_begun(factorisation, leaves, values)
            check_sizes(factorisation, view.modes)
            basis = basis_of(factorisation, kind, view)
            if basis is not None:
                if not isinstance(rule, Private):
                    raise ValueError(
                        f"sharing={rule.name!r} keeps leaves in the inventory, whose file does not say on which basis "
                        f"{type(factorisation).__name__} has them; use 'private'"
                    )
                stored = OnBasis(factorisation.basis_words, basis.marks)
                leaves = {name: replace(leaf, stored=stored) for name, leaf in leaves.items()}
        except ValueError as error:
            raise ValueError(f"layer {layer!r}: {error}") from None
        own, inventory = leaves_of(at, key, leaves, rule, like, values, layer)
        rows = kind.modes.shape[0] if isinstance(kind, WeightKind) else 0
        kept = intervention, factorisation, rule, view, own, inventory, rows
        return Factored(*kept) if basis is None else FactoredOnBasis(basis, *kept)


def _intervention(factorisation: Factorisation, kind: LayerKind) -> Intervention:
    """`Beside` for a factorisation with a bottleneck at a layer that is linear in its weight; else `Change`."""
    if factorisation.has_bottleneck and isinstance(kind, WeightKind) and kind.additive:
        return Beside()
    if isinstance(kind, WeightKind) and kind.packed:
        raise ValueError(
            f"a {kind.words} ({type(kind.module).__name__}) has packed numbers; only an update of low rank fits, which "
            f"stands beside it, and {type(factorisation).__name__} makes the whole weight: leave the layer out with "
            "targets, or choose LoRA, FTN, TLoRA or a method like them"
        )
    return Change()


def _weight(kind: LayerKind, view: View) -> Tensor | None:
    """The view's rows of the layer's own weight; None: the weight is packed."""
    if isinstance(kind, WeightKind) and kind.packed:
        return None
    return part_of(kind.seen(kind.module.get_parameter(view.parameter)), view)


@torch.no_grad()
def _begun(factorisation: Factorisation, view: View, weight: Tensor) -> dict[str, Tensor]:
    """The initial values of leaves that depend on the layer's own weight."""
    own = weight.to(kept_in(weight.dtype))
    return factorisation.begin(own.reshape(view.modes.shape), view.modes)
