"""State that a task owns instead of the backbone's: normalisation, or a copy of everything."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ._where import UNITS, units

_NORM_NAME = re.compile(r"(Batch|Layer|Group|Instance|RMS|Sync\w*)_?Norm|Norm(2d|Act\w*)?$")
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: torch's own, or a leaf called so with parameters (timm, Hugging Face)."""
    if isinstance(module, _NORMS):
        return True
    return bool(module._parameters) and _NORM_NAME.search(type(module).__name__) is not None


class OwnState(nn.Module):
    """A task's copies of some tensors of one module, trainable where they are parameters."""

    def __init__(self, tensors: dict[str, Tensor], group: str) -> None:
        super().__init__()
        self.group = group
        for name, tensor in tensors.items():
            # Straight into the tables: the names of a unit's children have dots.
            if isinstance(tensor, nn.Parameter):
                self._parameters[name] = tensor
            else:
                self._buffers[name] = tensor

    def tensors(self) -> dict[str, Tensor]:
        return {k: v for k, v in (self._parameters | self._buffers).items() if v is not None}


@dataclass(frozen=True)
class Own(ABC):
    """A recipe: which tensors a task gets a copy of."""

    @abstractmethod
    def wanted(self, module: nn.Module) -> str | None:
        """The group that a module's own tensors count to (`norm`, `factors`); None: they stay shared."""

    def fit(self, network: nn.Module) -> Iterator[tuple[str, OwnState]]:
        """Copies of the tensors, per module path. Tied parameters stay tied.

        Raises:
            ValueError: the network has nothing of the kind.
        """
        copies: dict[int, Tensor] = {}
        found = 0
        for path, module in units(network):
            group = self.wanted(module)
            tensors = _direct(module, buffers=is_norm(module))
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
class Norms(Own):
    """Own normalisation: γ and β, and running mean and variance where the layer has them."""

    def wanted(self, module: nn.Module) -> str | None:
        return "norm" if is_norm(module) else None


@dataclass(frozen=True)
class Everything(Own):
    """A full copy of all parameters: what fine-tuning keeps per task."""

    def wanted(self, module: nn.Module) -> str | None:
        return "norm" if is_norm(module) else "factors"


def _direct(module: nn.Module, buffers: bool) -> dict[str, Tensor]:
    """A module's own tensors; a unit's with those of its children."""
    deep = isinstance(module, UNITS)
    tensors: dict[str, Tensor] = dict(module.named_parameters(recurse=deep))
    if buffers:
        tensors |= dict(module.named_buffers(recurse=deep))
    return tensors


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, requires_grad=torch.is_floating_point(copy)) if isinstance(tensor, nn.Parameter) else copy
