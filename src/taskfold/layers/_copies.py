"""Recipes that copy the backbone's tensors, for one task or for the inventory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from ..factors import NORM, STATISTICS, WEIGHTS, Group
from ..kinds import SEEN, BatchNorm, LayerKind, Patterns, matches
from ..routing import Shared, Sharing, Tree
from ..tasks import Leaves, check_inventory
from ._copied import Copied, copy_of, group_of
from ._nothing import NothingToAdaptError
from ._part import Part
from ._recipe import Fitting, Recipe
from ._where import check_numbers, check_plain, kinds_in, units

TRUNK = Group("factors", 1e-3)
"""Weights that all tasks train in common, often from random ones; BatchNorm's own statistics bear such steps."""


@dataclass(frozen=True)
class Copies(Recipe):
    """Copies that belong to one task. Tied parameters stay tied.

    Args:
        above: stages of the network, counted from the first, that keep the backbone's tensors.
    """

    copies = True
    what: ClassVar[str]
    """The copied tensors, in the words of error messages."""
    remedy: ClassVar[str] = "choose norm=False, or a method without own normalisation"
    """The remedy in the error for a network without such tensors."""

    above: int = field(default=0, kw_only=True)

    @abstractmethod
    def wanted(self, kind: LayerKind) -> dict[str, Group]:
        """The names and groups of the layer's tensors to copy."""

    def wanted_at(self, path: str, kind: LayerKind) -> dict[str, Group]:
        """`wanted`, for recipes that depend on the layer's path."""
        return self.wanted(kind)

    def check(self, network: nn.Module) -> None:
        """Checks that the network has the tensors that the recipe needs.

        Raises:
            ValueError: the network lacks them.
        """

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        self.check(at.network)
        copied: dict[int, Tensor] = {}
        found = 0
        for path, _ in units(at.network):
            if path in at.below(self.above):
                continue
            kind = at.kind(path)
            made = at.made.get(path, frozenset())
            groups = {name: group for name, group in self.wanted_at(path, kind).items() if name not in made}
            if not groups:
                continue
            own = kind.tensors()
            check_copied(kind, path, {name: own[name] for name in groups})
            found += 1
            tensors = {name: copied.setdefault(id(own[name]), copy_of(own[name])) for name in groups}
            yield path, "own", Copied(Leaves(tensors, groups))
        if not found:
            raise NothingToAdaptError(
                f"{type(at.network).__name__} has no {self.what} that a task could own; it has "
                f"{kinds_in(at.network)}: {self.remedy}"
            )


Statistics = Literal["backbone", "adapted", "own"]
"""Where the running mean and variance of a task's BatchNorm come from."""


@dataclass(frozen=True)
class Norms(Copies):
    """Normalisation that belongs to the task.

    Args:
        affine: γ and β are the task's.
        statistics: of BatchNorm. `backbone`: the backbone's, kept in training too. `adapted`: the task's, estimated
            before training, then fixed. `own`: the task's; training uses the statistics of each batch, evaluation
            their moving average. None: as `own`, and networks without running statistics are accepted too.
        above: stages of the network, counted from the first, that keep the backbone's.

    Raises:
        ValueError: when a task is added, the network has no running statistics for `adapted` or `own`.
    """

    affine: bool = True
    statistics: Statistics | None = "backbone"
    what: ClassVar[str] = "norms"

    def wanted(self, kind: LayerKind) -> dict[str, Group]:
        return _wanted(kind, self.affine, self.statistics) if kind.normalises else {}

    def check(self, network: nn.Module) -> None:
        _check_tracked(network, self.statistics)


@dataclass(frozen=True)
class LayerNorms(Copies):
    """γ and β of LayerNorm, RMSNorm and GroupNorm, which normalise row by row. BatchNorm stays the backbone's."""

    what: ClassVar[str] = "LayerNorm, RMSNorm or GroupNorm"
    remedy: ClassVar[str] = (
        "BatchNorm's γ and β are HeadNorm's ('head-norm'); or choose a method for one of these kinds"
    )

    def wanted(self, kind: LayerKind) -> dict[str, Group]:
        if not kind.normalises or isinstance(kind, BatchNorm):
            return {}
        return _wanted(kind, True, "backbone")


@dataclass(frozen=True)
class Everything(Copies):
    """A full copy of all parameters for each task, as fine-tuning needs.

    Args:
        statistics: as for `Norms`.

    Raises:
        ValueError: as for `Norms`.
    """

    statistics: Statistics = "backbone"
    what: ClassVar[str] = "tensors"

    def wanted(self, kind: LayerKind) -> dict[str, Group]:
        return _wanted(kind, True, self.statistics)

    def check(self, network: nn.Module) -> None:
        _check_tracked(network, self.statistics)


@dataclass(frozen=True)
class OwnTensors(Copies):
    """Copies of the tensors that the patterns select: parameters, and buffers of normalisation.

    Args:
        names: shell patterns over names of tensors (`classifier.*`); `!pattern` leaves some out.
    """

    names: Patterns = ()
    what: ClassVar[str] = "tensors of these names"
    remedy: ClassVar[str] = "give `own` names of its parameters, or leave it out"

    def wanted(self, kind: LayerKind) -> dict[str, Group]:
        return groups_of(kind)

    def wanted_at(self, path: str, kind: LayerKind) -> dict[str, Group]:
        prefix = f"{path}." if path else ""
        return {name: group for name, group in self.wanted(kind).items() if matches(f"{prefix}{name}", self.names)}


def check_statistics(statistics: object) -> None:
    """Checks the name of a source of running statistics.

    Raises:
        ValueError: the source is unknown.
    """
    if statistics not in get_args(Statistics):
        raise ValueError(f"statistics={statistics!r} is not known; choose one of {', '.join(get_args(Statistics))}")


def own_norms(norm: bool, statistics: Statistics | None, rule: Sharing | None = None) -> tuple[Norms, ...]:
    """A method's recipe for normalisation; empty if all of it stays the backbone's.

    Args:
        norm: γ and β are the task's.
        statistics: as for `Norms`; None: `own` if the rule is `Shared` and `norm` holds, else `backbone`.
        rule: the sharing rule of the method's factors; stages that a `Tree` shares keep the backbone's normalisation.
    """
    if statistics is None and not (norm and isinstance(rule, Shared)):
        statistics = "backbone"
    above = rule.stages if isinstance(rule, Tree) else 0
    return (Norms(norm, statistics, above=above),) if norm or statistics != "backbone" else ()


def _check_tracked(network: nn.Module, statistics: Statistics | None) -> None:
    if statistics in ("adapted", "own") and not any(_tracks(module) for module in network.modules()):
        raise ValueError(
            f"statistics={statistics!r}, but {type(network).__name__} has no running statistics that a task could "
            "have; leave statistics at 'backbone'"
        )


def _wanted(kind: LayerKind, parameters: bool, statistics: Statistics | None) -> dict[str, Group]:
    """The layer's tensors that a task copies; fixed statistics (`adapted`) need no counter of batches."""
    left = {"backbone": lambda _: False, "adapted": lambda name: name != SEEN}.get(statistics or "own", lambda _: True)
    tracked = _tracks(kind.module)
    return {
        name: group
        for name, group in groups_of(kind).items()
        if (left(name) if tracked and group == STATISTICS else parameters)
    }


def _tracks(module: nn.Module) -> bool:
    return getattr(module, SEEN, None) is not None


def groups_of(kind: LayerKind, weights: Group = WEIGHTS) -> dict[str, Group]:
    """The group of each tensor of a layer; `weights`: that of layers that do not normalise."""
    group = NORM if kind.normalises else weights
    return {name: group_of(tensor, group) for name, tensor in kind.tensors().items()}


@dataclass(frozen=True)
class Rest(Recipe):
    """All tensors that no other recipe makes, trained by all tasks together in the model's inventory.

    Args:
        statistics: running mean and variance: `common` to all tasks, for tasks that see the same features; or each
            task's `own`.
        norms: include normalisation; False: it is left to other recipes.

    Raises:
        ValueError: the setting is not one of these.
    """

    copies = True
    statistics: Literal["common", "own"] = "common"
    norms: bool = True

    def __post_init__(self) -> None:
        if self.statistics not in ("common", "own"):
            raise ValueError(f"statistics={self.statistics!r} is not known; choose 'common' or 'own'")

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        leaves: dict[int, nn.Parameter] = {}
        for path, _ in units(at.network):
            kind, made = at.kind(path), at.made.get(path, frozenset())
            tensors = {name: tensor for name, tensor in kind.tensors().items() if name not in made}
            if kind.normalises and not self.norms:
                continue
            groups = groups_of(kind, TRUNK)
            mine = self.statistics == "own"
            own = {name: copy_of(t) for name, t in tensors.items() if mine and not isinstance(t, nn.Parameter)}
            check_copied(kind, path, tensors)
            common, inventory = {name: tensor for name, tensor in tensors.items() if name not in own}, None
            if common:
                key = f"{at.prefix}/{path}/rest"
                if key not in at.inventory:
                    at.inventory[key] = _common(common, groups, leaves)
                sizes = {name: tuple(tensor.shape) for name, tensor in common.items()}
                check_inventory(key, at.inventory[key], sizes, whole=True)
                inventory = key, at.inventory[key]
            if own or inventory:
                yield path, "own", Copied(Leaves(own, groups), inventory)


def check_copied(kind: LayerKind, path: str, tensors: Mapping[str, Tensor]) -> None:
    """Checks that a task can copy or scale these tensors. Integer tensors are copied and do not train.

    Raises:
        TypeError: a tensor is computed, or its type can't be trained.
    """
    check_plain(kind, path, hooks=False)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex():
            check_numbers(kind, path, name, tensor)


def _common(tensors: Mapping[str, Tensor], groups: Mapping[str, Group], leaves: dict[int, nn.Parameter]) -> Leaves:
    """Copies for the inventory; all are parameters without gradient, running statistics too."""
    for tensor in tensors.values():
        leaves.setdefault(id(tensor), nn.Parameter(copy_of(tensor.detach()), requires_grad=False))
    return Leaves(
        {name: leaves[id(tensor)] for name, tensor in tensors.items()}, {name: groups[name] for name in tensors}
    )
