"""Which weights of a network a method updates, and as which tensors it sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..factors import Modes


@dataclass(frozen=True)
class View:
    """One weight, or some rows of it, seen as a tensor.

    Attributes:
        name: `weight`, or the projection (`query`, `value`, …).
        parameter: the module's parameter, dotted if a child's (`out_proj.weight`).
        rows: first and one-past-last row of the parameter; None: all.
        modes: the tensor it is seen as.
    """

    name: str
    parameter: str
    rows: tuple[int, int] | None
    modes: Modes


@dataclass(frozen=True)
class Target:
    """A module that a method updates, and the views of its weights."""

    path: str
    views: tuple[View, ...]


Patterns = str | Sequence[str]
"""Shell patterns over layer names (`layer3.*`); one that begins with `!` leaves layers out."""


def matches(path: str, patterns: Patterns) -> bool:
    """Whether a layer name is selected: by some pattern, and left out by none.

    Example:
        >>> matches("layer4.0.conv1", ["layer*", "!layer4.*"])
        False
    """
    every = [patterns] if isinstance(patterns, str) else list(patterns)
    wanted = [p for p in every if not p.startswith("!")] or ["*"]
    unwanted = [p[1:] for p in every if p.startswith("!")]
    return any(fnmatchcase(path, p) for p in wanted) and not any(fnmatchcase(path, p) for p in unwanted)


UNITS = (nn.MultiheadAttention,)
"""Modules that read their children's weights without calling them: treated as one."""


def units(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module and its name; those inside a unit left out."""
    inside: tuple[str, ...] = ()
    for path, module in network.named_modules():
        if inside and path.startswith(inside):
            continue
        yield path, module
        if isinstance(module, UNITS):
            inside += (f"{path}.",)


def own_weight(module: nn.Module, path: str, name: str = "weight") -> Tensor:
    """A parameter that is really there, not computed by a parametrisation.

    Raises:
        TypeError: the weight is not a plain parameter.
    """
    weight = module._parameters.get(name)
    if weight is None or isinstance(weight, nn.UninitializedParameter):
        raise TypeError(
            f"layer {path!r} ({type(module).__name__}) has no plain parameter {name!r}; run one batch through lazy "
            "layers and remove parametrisations (torch.nn.utils.parametrize.remove_parametrizations) first"
        )
    return weight


@dataclass(frozen=True)
class Where(ABC):
    """A selection of weights.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
    """

    what: ClassVar[str]
    """What is selected, in words."""

    targets: Patterns = "*"

    @abstractmethod
    def candidates(self, network: nn.Module) -> list[Target]:
        """Every weight of this kind, whatever its name."""

    def find(self, network: nn.Module) -> list[Target]:
        """The selected weights, in the network's order.

        Raises:
            ValueError: nothing is selected.
        """
        found = self.candidates(network)
        chosen = [target for target in found if matches(target.path, self.targets)]
        if chosen:
            return chosen
        if not found:
            raise ValueError(f"{type(network).__name__} has no {self.what}; choose a method for its kind of layers")
        names = ", ".join(target.path for target in found[:8]) + (", …" if len(found) > 8 else "")
        raise ValueError(
            f"targets={self.targets!r} selects none of the {len(found)} {self.what.removesuffix(' to adapt')}: {names}"
        )


@dataclass(frozen=True)
class Convolutions(Where):
    """Every `nn.Conv2d` and subclass, as k² × C_in/groups × C_out.

    Args:
        stem: also the first one. Left out by default: only so do the paper's parameter counts come out.
    """

    what: ClassVar[str] = "convolutions (Conv2d) to adapt"
    stem: bool = False

    def candidates(self, network: nn.Module) -> list[Target]:
        found = [(path, module) for path, module in units(network) if isinstance(module, nn.Conv2d)]
        return [_whole(path, module) for path, module in (found if self.stem else found[1:])]


@dataclass(frozen=True)
class Linears(Where):
    """Every `nn.Linear` and subclass, as d_out × d_in; a language model's output layer is left out."""

    what: ClassVar[str] = "linear layers to adapt"

    def candidates(self, network: nn.Module) -> list[Target]:
        output = _output_layer(network)
        found = [(path, module) for path, module in units(network) if isinstance(module, nn.Linear)]
        return [_whole(path, module) for path, module in found if module is not output]


@dataclass(frozen=True)
class Weights(Where):
    """Every convolution, the first one too, and every linear layer but a language model's output layer."""

    what: ClassVar[str] = "convolutions (Conv2d) or linear layers to adapt"

    def candidates(self, network: nn.Module) -> list[Target]:
        output = _output_layer(network)
        kinds = (nn.Conv2d, nn.Linear)
        found = [(path, module) for path, module in units(network) if isinstance(module, kinds)]
        return [_whole(path, module) for path, module in found if module is not output]


def writes_text(network: nn.Module) -> bool:
    """Whether a network ends in a layer over a vocabulary (Hugging Face language models say so)."""
    return _output_layer(network) is not None


def _output_layer(network: nn.Module) -> object | None:
    ask = getattr(network, "get_output_embeddings", None)
    return ask() if callable(ask) else None


def _whole(path: str, module: nn.Module) -> Target:
    out, inp, *kernel = own_weight(module, path).shape
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    return Target(path, (View("weight", "weight", None, Modes((out,), (inp,), tuple(kernel), groups)),))


def part(weight: Tensor, view: View) -> Tensor:
    """What of the whole weight a view shows."""
    return weight if view.rows is None else weight[view.rows[0] : view.rows[1]]


def in_place(weight: Tensor, view: View, made: Tensor) -> Tensor:
    """The whole weight with another view."""
    if view.rows is None:
        return made.reshape(weight.shape)
    start, stop = view.rows
    return torch.cat([weight[:start], made.reshape(stop - start, -1), weight[stop:]])


def as_update(weight: Tensor, view: View, delta: Tensor) -> Tensor:
    """`delta` of a view as an addend to the whole weight."""
    if view.rows is None:
        return delta.reshape(weight.shape)
    start, stop = view.rows
    return torch.nn.functional.pad(delta, (0, 0, start, weight.shape[0] - stop))
