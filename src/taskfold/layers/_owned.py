"""Common weights whose entries each have one owner; later tasks use an owner's entries and never change them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import ceil, log2

import torch
from torch import Tensor, nn

from ..factors import Group
from ..interventions import Change
from ..kinds import LayerKind, Tensors
from ..tasks import Leaves, Task, check_inventory, digest, kept_in
from ._part import Part, When, parts_of
from ._recipe import Fitting, Recipe
from ._where import Where

ENTRIES = Group("entries", 1e-4)
"""A task's values for the free entries; 1e-4 suits Adam."""
COMMON = Group("common", 0.0)
"""A weight in the inventory: training does not change it; a trained task writes its entries there (`close`)."""
MOST = 254
FILED = "entries:"


class Owned(Part):
    """The share of task t in a common weight P. The owner o of an entry is a task's number; o = 0: the entry is free.

    An open share uses P where 0 < o < t, and the task's own values elsewhere. Closing writes the kept values into P; a
    closed share uses P ⊙ 1[1 ≤ o ≤ t].

    Args:
        parameter: of the layer.
        own: `number` (t), and `entries` while the part is open.
        inventory: key in the model's inventory; there `weight` (P) and `owner` (o).
    """

    carries = True

    def __init__(self, parameter: str, own: Leaves, inventory: tuple[str, Leaves]) -> None:
        super().__init__(Change(), own, inventory)
        self.parameter = parameter
        self.kept: Tensor | None = None
        """Mask of the free entries that pruning has kept; None: all."""
        self.begun = self._now()
        """Which tensor the task's values were at first, and its version; a copy is another tensor."""

    @property
    def replaces(self) -> frozenset[str]:
        return frozenset({self.parameter})

    @property
    def passing(self) -> frozenset[str]:
        return frozenset({"entries"} & {*self.own})

    @property
    def is_open(self) -> bool:
        """Whether the task's values are still its own, and not in the common weight."""
        return "entries" in self.own

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        """P and o."""
        assert self.inventory is not None
        return self.inventory[1]["weight"], self.inventory[1]["owner"]

    @property
    def number(self) -> int:
        """The task's number t."""
        return int(self.own["number"])

    def before(self) -> Tensor:
        """The mask of entries that earlier tasks own."""
        _, owner = self.held
        return (owner > 0) & (owner < self.own["number"])

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        weight, owner = self.held
        if self.is_open:
            mine = self.own["entries"] if self.kept is None else torch.where(self.kept, self.own["entries"], 0)
            made = torch.where(self.before(), weight.to(mine.dtype), mine)
        else:
            made = torch.where((owner > 0) & (owner <= self.own["number"]), weight, 0)
        return {self.parameter: made.to(kind.module.get_parameter(self.parameter).dtype)}

    def bits(self, tasks: int) -> int:
        return self.held[1].numel() * ceil(log2(tasks + 2))

    @torch.no_grad()
    def prune(self, share: float) -> None:
        """Drops the `share` of the free entries with the smallest magnitudes."""
        entries, free = self.own["entries"], ~self.before()
        sizes = entries.abs()[free]
        least = round(share * sizes.numel())
        cut = sizes.float().kthvalue(least).values if least else -1
        self.kept = free & (entries.abs().float() > cut)

    @torch.no_grad()
    def close(self) -> int:
        """Writes the kept values into the common weight; returns the number of entries."""
        weight, owner = self.held
        free, entries = owner == 0, self.own["entries"].detach()
        mine = free if self.kept is None else self.kept
        weight.copy_(torch.where(mine, entries.to(weight.dtype), torch.where(free, 0, weight)))
        owner.masked_fill_(mine, self.number)
        self.shut()
        return int(mine.sum())

    def shut(self) -> None:
        """Drops the task's own values."""
        self.own._parameters.pop("entries", None)
        self.kept = None

    def filed(self) -> dict[str, Tensor]:
        """The task's entries: `index` `[n]` into the flattened P, and `value` `[n]`."""
        weight, owner = self.held
        index = (owner == self.own["number"]).flatten().nonzero().flatten()
        return {"index": index.int(), "value": weight.detach().flatten()[index]}

    @torch.no_grad()
    def take(self, index: Tensor, value: Tensor) -> None:
        """Writes entries from a file into the common weight, and closes the share."""
        weight, owner = self.held
        free = owner == 0
        weight.masked_fill_(free, 0)
        where = index.long().to(weight.device)
        weight.view(-1)[where] = value.to(weight)
        owner.view(-1)[where] = self.number
        self.shut()

    @torch.no_grad()
    def give_back(self) -> None:
        """Frees the task's entries, when the task is removed."""
        weight, owner = self.held
        mine = owner == self.own["number"]
        weight.masked_fill_(mine, 0)
        owner.masked_fill_(mine, 0)

    def _now(self) -> tuple[int, int] | None:
        return (id(self.own["entries"]), self.own["entries"]._version) if self.is_open else None

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has written the values of an open share."""
        return self.is_open and self.begun == self._now()

    @torch.no_grad()
    def begin_after(self, last: int) -> None:
        """Begins anew as the task after number `last`, with the entries that are free now."""
        weight, owner = self.held
        self.own["number"].fill_(last + 1)
        self.own["entries"].copy_(torch.where(owner == 0, weight, 0))
        self.begun = self._now()

    def taken_since(self) -> bool:
        """Whether a task has closed its share since this open one was made."""
        return self.is_open and bool((self.held[1] >= self.own["number"]).any())


@dataclass(frozen=True)
class Owners(Recipe):
    """A common weight in place of each weight that `where` selects.

    Args:
        where: the weights.
        source: share of the backbone's entries that is free for the first task; the backbone owns the rest, as owner 1.
            0: the backbone owns no entries, and the first task starts from all of them.
    """

    where: Where
    source: float = 0.0

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        places = [
            (target.path, parameter)
            for target in self.where.find(at.network)
            for parameter in dict.fromkeys(view.parameter for view in target.views)
        ]
        keys = {(path, parameter): f"{at.prefix}/{path}/{parameter}" for path, parameter in places}
        known = [at.inventory[key]["owner"] for key in keys.values() if key in at.inventory]
        last = max([int(owner.max()) for owner in known if owner.numel()], default=int(self.source > 0))
        if last >= MOST:
            raise ValueError(f"{MOST} tasks own entries of the common weight, and no more can; use another model")
        for (path, parameter), key in keys.items():
            weight = at.network.get_submodule(path).get_parameter(parameter)
            common = at.inventory[key] if key in at.inventory else self._made(weight)
            check_inventory(key, common, {"weight": tuple(weight.shape), "owner": tuple(weight.shape)})
            at.inventory[key] = common
            number = torch.tensor(last + 1, device=weight.device)
            begun = torch.where(common["owner"] == 0, common["weight"], 0)
            leaves = {"entries": nn.Parameter(begun), "number": number}
            own = Leaves(leaves, {"entries": ENTRIES, "number": COMMON})
            yield path, parameter.replace(".", "/"), Owned(parameter, own, (key, common))

    def _made(self, weight: Tensor) -> Leaves:
        value = weight.detach().to(kept_in(weight.dtype)).clone()
        owner = torch.zeros_like(value, dtype=torch.uint8)
        if self.source:
            sizes = value.abs().flatten().float()
            least = round(self.source * sizes.numel())
            owner = (value.abs().float() > (sizes.kthvalue(least).values if least else -1)).to(torch.uint8)
            value = value * owner
        fixed = partial(nn.Parameter, requires_grad=False)
        return Leaves({"weight": fixed(value), "owner": fixed(owner)}, {"weight": COMMON, "owner": COMMON})


def owned_in(task: Task) -> dict[str, Owned]:
    """A task's shares of common weights, by `<layer>.<parameter>`."""
    return {f"{path}.{part.parameter}": part for (path, _), part in parts_of(task) if isinstance(part, Owned)}


@dataclass(frozen=True)
class Standing:
    """The entries that a task's shares depend on.

    Attributes:
        number: the task's number t.
        digest: of all entries that earlier tasks own.
        tasks: the earlier tasks' names, in order.
    """

    number: int
    digest: str
    tasks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, shares: Mapping[str, Owned], number: int, others: Iterable[Task]) -> Standing:
        made: dict[str, Tensor] = {}
        for name, share in shares.items():
            weight, owner = share.held
            earlier = (owner > 0) & (owner < number)
            made[f"{name}:weight"] = torch.where(earlier, weight, 0).detach()
            made[f"{name}:owner"] = owner * earlier
        keys = {share.inventory[0] for share in shares.values() if share.inventory is not None}
        before = {task.name: share.number for task in others for share in _closed(task, keys) if share.number < number}
        return cls(number, digest(made), sorted(before, key=lambda name: before[name]))


def _closed(task: Task, keys: set[str]) -> list[Owned]:
    found = owned_in(task).values()
    return [share for share in found if share.inventory and share.inventory[0] in keys and not share.is_open]


def check_leaving(task: Task, others: Iterable[Task]) -> None:
    """Frees the entries of a task that is to be removed, if no later task depends on them.

    Raises:
        ValueError: later tasks do; names them.
    """
    shares = owned_in(task)
    if not shares or all(share.is_open for share in shares.values()):
        return
    keys = {share.inventory[0] for share in shares.values() if share.inventory is not None}
    number = next(iter(shares.values())).number
    theirs = {
        other.name: share.number
        for other in others
        for share in owned_in(other).values()
        if share.inventory is not None and share.inventory[0] in keys
    }
    later = sorted((name for name in theirs if theirs[name] > number), key=lambda name: -theirs[name])
    if later:
        raise ValueError(
            f"task {task.name!r} can't be removed: {', '.join(map(repr, later))} stand{'s' * (len(later) == 1)} on its "
            "entries of one common weight; remove these first, in that order"
        )
    if not any(theirs[other.name] == number for other in others if other.name in theirs and _closed(other, keys)):
        for share in shares.values():
            share.give_back()
