"""Makes tensors of all layers before a forward pass, in few large operations: once per pass or generated text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..factors import Bottleneck
from ..kinds import WeightKind
from ..routing import ALPHA, LOGITS, Routed
from ..tasks import Task
from ._factored import Factored
from ._part import LayerParts, Part, Place
from ._sites import Site

Updates = list[Factored]
"""The updates of one layer, one for each task."""


def ahead(sites: Iterable[Site], tasks: Sequence[Task], training: bool) -> dict[Place, dict[str, Tensor]]:
    """The tensors of linear layers that a routed rule mixes or an entangled tensor makes, by place.

    `[T, …]`, one per task; without that axis for a single task, or where all tasks use the same. Parts at other places
    (other layers, tasks of different methods, draws for each row) make their tensors when they run.
    """
    alike: dict[object, dict[Place, Updates]] = {}
    for site in sites if tasks else ():
        if not (isinstance(site.kind, WeightKind) and site.kind.last):
            continue
        for name, updates in _common(site, tasks, training).items():
            first = updates[0]
            dtype = site.kind.dtype
            shapes = tuple(leaf.shape for _, leaf in first.own.items())
            key = (first.factorisation, first.rule, first.view.modes, dtype, shapes)
            alike.setdefault(key, {})[site.path, name] = updates
    made: dict[Place, dict[str, Tensor]] = {}
    for (factorisation, _, _, dtype, _), places in alike.items():  # type: ignore[misc]
        make = _compact if factorisation.compact else _mixed
        for place, one in zip(places, make(list(places.values()), dtype, training), strict=True):
            mine = one.squeeze() if len(tasks) == 1 and one.up.dim() == 3 else one
            made[place] = places[place][0].as_tensors(mine)
    return made


def _common(site: Site, tasks: Sequence[Task], training: bool) -> dict[str, Updates]:
    """The updates of a layer that can be made ahead: every task has one, and they are alike."""
    parts = [mine for task in tasks if isinstance(mine := task.sites.get(site.path), LayerParts)]
    if len(parts) < len(tasks):
        return {}
    several: list[dict[str, Part]] = [dict(mine) for mine in parts]
    found: dict[str, Updates] = {}
    for name, first in several[0].items():
        if not isinstance(first, Factored) or not first.alone:
            continue
        gains = first.factorisation.compact or isinstance(first.rule, Routed)
        if not gains or first.rule.draws_per_row(training):
            continue
        updates = [one for mine in several if isinstance(one := mine.get(name), Factored) and first.alike(one)]
        if len(updates) == len(tasks):
            found[name] = updates
    return found


def _compact(places: list[Updates], dtype: torch.dtype, training: bool) -> list[Bottleneck]:
    """For small leaves: stacks those of all layers, `[L, …]` and `[L, T, …]`, and makes all updates at once."""
    first = places[0][0]
    banks = [update.bank for update, *_ in places if update.bank is not None]
    bank = {name: torch.stack([one[name] for one in banks]).to(dtype) for name in first.bank or ()}
    own = {name: _side_by_side(places, name) for name in first.own}
    chosen = first.rule.select(bank, own, first.specs, training)
    made = first.factorisation.bottleneck({name: leaf.to(dtype) for name, leaf in chosen.items()}, first.view.modes)
    assert made is not None
    return made.unbind()


def _mixed(places: list[Updates], dtype: torch.dtype, training: bool) -> list[Bottleneck]:
    """For inventories too large to stack: makes the mixing weights alone at once."""
    rule = places[0][0].rule
    assert isinstance(rule, Routed)
    weights = rule.mixing(_side_by_side(places, LOGITS), training).unbind()
    made = []
    for updates, alpha in zip(places, weights, strict=True):
        first = updates[0]
        leaves = first.selected(dtype, training, {ALPHA: alpha})
        made.append(first.factorisation.bottleneck(leaves, first.view.modes))
    return [one for one in made if one is not None]


def _side_by_side(places: list[Updates], name: str) -> Tensor:
    """A leaf of all layers and tasks, `[L, T, …]`."""
    return torch.stack([update.own[name] for updates in places for update in updates]).unflatten(0, (len(places), -1))
