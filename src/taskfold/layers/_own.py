"""State that a task has instead of the backbone's: its own, or what tasks have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ._standing import STATISTICS, Bank, Inventory, Standing, check_bank, grouped
from ._where import UNITS, units

_NORM_NAME = re.compile(r"(Batch|Layer|Group|Instance|RMS|Sync\w*)_?Norm|Norm(2d|Act\w*)?$")
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: torch's own, or a leaf called so with parameters (timm, Hugging Face)."""
    if isinstance(module, _NORMS):
        return True
    return bool(module._parameters) and _NORM_NAME.search(type(module).__name__) is not None


Made = Mapping[str, Set[str]]
"""By module path, the names of tensors that something else makes."""


class OwnState(Standing):
    """A task's copies of some tensors of one module, trainable where they are parameters; and common ones."""

    def __init__(self, tensors: dict[str, Tensor], group: str, shared: Bank | None = None) -> None:
        super().__init__(shared)
        self.group = group
        for name, tensor in tensors.items():
            # Straight into the tables: the names of a unit's children have dots.
            if isinstance(tensor, nn.Parameter):
                self._parameters[name] = tensor
            else:
                self._buffers[name] = tensor

    def tensors(self) -> dict[str, Tensor]:
        own = {k: v for k, v in (self._parameters | self._buffers).items() if v is not None}
        return own if self.shared is None else {_dotted(name): leaf for name, leaf in self.shared[1].items()} | own


@dataclass(frozen=True)
class Own(ABC):
    """A recipe: which tensors a task gets a copy of."""

    @abstractmethod
    def fit(self, network: nn.Module, made: Made, inventory: Inventory, prefix: str) -> Iterator[tuple[str, OwnState]]:
        """The copies, per module path; what is `made` otherwise is left out. Tied parameters stay tied.

        Raises:
            ValueError: the network has nothing of the kind, or the inventory holds something else.
        """


@dataclass(frozen=True)
class Copies(Own):
    """Copies that are the task's alone."""

    @abstractmethod
    def wanted(self, module: nn.Module) -> str | None:
        """The group that a module's own tensors count to (`norm`, `factors`); None: they stay shared."""

    def fit(self, network: nn.Module, made: Made, inventory: Inventory, prefix: str) -> Iterator[tuple[str, OwnState]]:
        del inventory, prefix
        copies: dict[int, Tensor] = {}
        found = 0
        for path, module in units(network):
            group = self.wanted(module)
            tensors = _direct(module, made.get(path, frozenset()), buffers=is_norm(module))
            if group is None or not tensors:
                continue
            found += 1
            yield path, OwnState({n: copies.setdefault(id(t), _copy(t)) for n, t in tensors.items()}, group)
        if not found:
            raise ValueError(
                f"{type(network).__name__} has no {type(self).__name__.lower()} that a task could own; "
                "choose norm=False, or a method without own normalisation"
            )


@dataclass(frozen=True)
class Norms(Copies):
    """Own normalisation: γ and β, and running mean and variance where the layer has them."""

    def wanted(self, module: nn.Module) -> str | None:
        return "norm" if is_norm(module) else None


@dataclass(frozen=True)
class Everything(Copies):
    """A full copy of all parameters: what fine-tuning keeps per task."""

    def wanted(self, module: nn.Module) -> str | None:
        return "norm" if is_norm(module) else "factors"


@dataclass(frozen=True)
class Rest(Own):
    """Everything that is not made otherwise, trained by all tasks together: it lies in the model's inventory.

    Args:
        statistics: whose the running mean and variance of normalisation are: `common`, where all tasks see the same
            features; else each task's `own`.

    Raises:
        ValueError: the setting is not one of these.
    """

    statistics: Literal["common", "own"] = "common"

    def __post_init__(self) -> None:
        if self.statistics not in ("common", "own"):
            raise ValueError(f"statistics={self.statistics!r} is not known; choose 'common' or 'own'")

    def fit(self, network: nn.Module, made: Made, inventory: Inventory, prefix: str) -> Iterator[tuple[str, OwnState]]:
        leaves: dict[int, nn.Parameter] = {}
        for path, module in units(network):
            tensors = _direct(module, made.get(path, frozenset()), buffers=is_norm(module))
            own = {n: t for n, t in tensors.items() if self.statistics == "own" and not isinstance(t, nn.Parameter)}
            common = {_slashed(name): tensor for name, tensor in tensors.items() if name not in own}
            group, bank = "norm" if is_norm(module) else "factors", None
            if common:
                key = f"{prefix}/{path}/rest"
                if key not in inventory:
                    inventory[key] = _bank(common, group, leaves)
                check_bank(key, inventory[key], {name: tuple(t.shape) for name, t in common.items()}, whole=True)
                bank = key, inventory[key]
            if own or bank:
                yield path, OwnState({name: _copy(tensor) for name, tensor in own.items()}, group, bank)


def _bank(tensors: Mapping[str, Tensor], group: str, leaves: dict[int, nn.Parameter]) -> nn.ParameterDict:
    bank, groups = nn.ParameterDict(), {}
    for name, tensor in tensors.items():
        groups[name] = group if isinstance(tensor, nn.Parameter) else STATISTICS
        leaf = leaves.setdefault(id(tensor), nn.Parameter(tensor.detach().clone(), requires_grad=False))
        bank[name] = leaf
    return grouped(bank, groups)


def _slashed(name: str) -> str:
    """A name for a table that takes no dots."""
    return name.replace(".", "/")


def _dotted(name: str) -> str:
    return name.replace("/", ".")


def _direct(module: nn.Module, made: Set[str], buffers: bool) -> dict[str, Tensor]:
    """A module's own tensors but for those made otherwise; a unit's with those of its children."""
    deep = isinstance(module, UNITS)
    tensors: dict[str, Tensor] = dict(module.named_parameters(recurse=deep))
    if buffers:
        tensors |= dict(module.named_buffers(recurse=deep))
    return {name: tensor for name, tensor in tensors.items() if name not in made}


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, requires_grad=torch.is_floating_point(copy)) if isinstance(tensor, nn.Parameter) else copy
