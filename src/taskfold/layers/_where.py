"""The weights of a network that a method updates, and the tensor shapes that it sees them in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..factors import Modes
from ..kinds import NUMBERS, UNITS, LayerKind, Patterns, Recurrent, WeightKind, kind_of, matches
from ..kinds import Convolution as ConvolutionKind
from ..kinds import Embedding as EmbeddingKind
from ..kinds import Linear as LinearKind
from ..refusals import UnfitError
from ._nothing import NothingToAdaptError


@dataclass(frozen=True)
class View:
    """One weight, or some of its rows, as a tensor with given modes.

    Attributes:
        name: `weight`, or the projection (`query`, `value`, …).
        parameter: the module's parameter, dotted if a child's (`out_proj.weight`).
        rows: first and one-past-last output channel of the parameter; None: all.
        modes: the tensor's input and output modes.
    """

    name: str
    parameter: str
    rows: tuple[int, int] | None
    modes: Modes


@dataclass(frozen=True)
class Target:
    """A module that a method may update.

    Attributes:
        path: the module's name.
        views: of the module's weights.
        refused: the error to raise if a method selects the module; None: the method may update it.
    """

    path: str
    views: tuple[View, ...]
    refused: TypeError | None = None

    @classmethod
    def of(cls, path: str, views: Callable[[], tuple[View, ...]]) -> Target:
        """The target with the views that `views()` returns; a TypeError from it is kept in `refused`."""
        try:
            return cls(path, views())
        except TypeError as error:
            return cls(path, (), error)


def units(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module and its name, except the modules inside a unit (`kinds.UNITS`)."""
    inside: tuple[str, ...] = ()
    for path, module in network.named_modules():
        if inside and path.startswith(inside):
            continue
        yield path, module
        if isinstance(module, UNITS):
            inside += (f"{path}.",)


def check_weight(kind: LayerKind, path: str, name: str) -> None:
    """Checks that a layer's tensor is a floating-point parameter and not computed; a packed weight passes.

    Raises:
        TypeError: it is computed, absent or of another type.
    """
    if isinstance(kind, WeightKind) and kind.packed:
        return
    owner, _, last = name.rpartition(".")
    module = kind.module.get_submodule(owner)
    weight = module._parameters.get(last)
    if weight is None and not (parametrize.is_parametrized(module) or _sources(module, last)) and hasattr(module, last):
        raise UnfitError(
            f"layer {path!r} ({type(module).__name__}) has a tensor {name!r} that is no parameter; make it one: "
            f"layer.{last} = nn.Parameter(layer.{last}, requires_grad=False)"
        )
    if weight is None:
        raise UnfitError(_no_plain(path, module, name))
    check_numbers(kind, path, name, weight)


def check_numbers(kind: LayerKind, path: str, name: str, tensor: Tensor) -> None:
    """Checks that a layer's tensor is of one of the types in `kinds.NUMBERS`.

    Raises:
        TypeError: it is of another type.
    """
    if tensor.dtype not in NUMBERS:
        raise UnfitError(
            f"layer {path!r} ({kind.words}, {type(kind.module).__name__}) has a {name!r} of {tensor.dtype}, and a task "
            f"needs a floating-point one ({', '.join(str(dtype).removeprefix('torch.') for dtype in NUMBERS)}); load "
            "the backbone unquantised, or leave the layer out with targets"
        )


def check_plain(kind: LayerKind, path: str, hooks: bool = True) -> None:
    """Checks that neither parametrisations nor hooks (old weight norm, pruning) compute a layer's tensors.

    Args:
        kind, path: the layer, and its name.
        hooks: False: hooks may compute tensors, from parameters that the task owns.

    Raises:
        TypeError: a tensor is computed, or the layer is scripted or traced.
    """
    if isinstance(kind.module, torch.jit.ScriptModule):
        raise UnfitError(
            f"layer {path!r} is scripted or traced, so that its tensors can't be a task's; leave it out with "
            f"targets=('*', '!{path}'), or build the network without torch.jit"
        )
    whole, inside, _ = path.partition(".parametrizations.")
    if inside or isinstance(kind.module, parametrize.ParametrizationList):
        name = inside and path.removeprefix(f"{whole}{inside}").partition(".")[0]
        raise UnfitError(_no_plain(whole, kind.module, name or "weight"))
    for module in kind.module.modules() if isinstance(kind.module, UNITS) else (kind.module,):
        made = list(getattr(module, "parametrizations", {})) if parametrize.is_parametrized(module) else []
        if hooks:
            made += [name for name in vars(module) if _sources(module, name)]
        if made:
            raise UnfitError(_no_plain(path, module, made[0]))


def _sources(module: nn.Module, name: str) -> set[str]:
    """The parameters from which torch's older hooks make a tensor (`prune`, `weight_norm`)."""
    return {f"{name}_{end}" for end in ("orig", "g", "v")} & module._parameters.keys()


def _no_plain(path: str, module: nn.Module, name: str) -> str:
    return (
        f"layer {path!r} ({type(module).__name__}) has no plain parameter {name!r}; remove parametrisations "
        "(torch.nn.utils.parametrize.remove_parametrizations) first"
    )


@dataclass(frozen=True)
class Where(ABC):
    """A selection of weights.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        setting: the name of the method's argument that `targets` comes from, for errors.
    """

    what: ClassVar[str]
    """The selected weights, in the words of error messages."""

    targets: Patterns = "*"
    setting: str = field(default="targets", kw_only=True)

    @abstractmethod
    def candidates(self, network: nn.Module) -> list[Target]:
        """Every weight of this kind, whatever its name."""

    def excluded(self, network: nn.Module) -> str:
        """Why a weight of this kind is left out, with the remedy, for errors; empty: none is."""
        return ""

    def find(self, network: nn.Module) -> list[Target]:
        """The selected weights, in the network's order.

        Raises:
            TypeError: a selected weight can't be updated.
            ValueError: nothing is selected.
        """
        found = self.candidates(network)
        chosen = [target for target in found if matches(target.path, self.targets)]
        if refused := next((target.refused for target in chosen if target.refused is not None), None):
            raise refused
        if chosen:
            return chosen
        if not found:
            why = self.excluded(network) or "choose a method for one of these kinds"
            raise NothingToAdaptError(f"{type(network).__name__} has no {self.what}; it has {kinds_in(network)}: {why}")
        names = ", ".join(target.path for target in found[:8]) + (", …" if len(found) > 8 else "")
        raise ValueError(
            f"{self.setting}={self.targets!r} selects none of the {len(found)} {self.what.removesuffix(' to adapt')}: "
            f"{names}"
        )


@dataclass(frozen=True)
class OfKind(Where):
    """The whole weight of every layer of `kinds`, except a language model's output layer."""

    kinds: ClassVar[tuple[type[LayerKind], ...]]

    def candidates(self, network: nn.Module) -> list[Target]:
        output = output_layer(network)
        found = ((path, kind_of(module)) for path, module in units(network) if module is not output)
        return [_whole(path, kind) for path, kind in found if isinstance(kind, self.kinds)]


@dataclass(frozen=True)
class Convolutions(OfKind):
    """Every convolution over one, two or three axes, transposed ones too, as kernel × C_in/groups × C_out.

    Args:
        stem: include the first one. By default it is left out, as the paper's parameter counts require.
    """

    what: ClassVar[str] = "convolutions to adapt"
    kinds = (ConvolutionKind,)
    stem: bool = False

    def candidates(self, network: nn.Module) -> list[Target]:
        found = super().candidates(network)
        return found if self.stem else found[1:]

    def excluded(self, network: nn.Module) -> str:
        every = super().candidates(network)
        if self.stem or len(every) != 1:
            return ""
        return (
            f"its only convolution {every[0].path!r} is the first one, which is left out by default; take it in with "
            "stem=True (FTN) or layers='any' (LoRA), or choose a method for one of these kinds"
        )


@dataclass(frozen=True)
class Linears(OfKind):
    """Every linear layer, as d_out × d_in; a language model's output layer is left out."""

    what: ClassVar[str] = "linear layers to adapt"
    kinds = (LinearKind,)


@dataclass(frozen=True)
class Embeddings(OfKind):
    """Every embedding, as dimensions × words."""

    what: ClassVar[str] = "embeddings to adapt"
    kinds = (EmbeddingKind,)


@dataclass(frozen=True)
class Every(OfKind):
    """Every linear layer, convolution and embedding: the first convolution and a language model's output layer too."""

    what: ClassVar[str] = "linear layers, convolutions or embeddings to adapt"
    kinds = (ConvolutionKind, LinearKind, EmbeddingKind)

    def candidates(self, network: nn.Module) -> list[Target]:
        return [
            _whole(path, kind) for path, module in units(network) if isinstance(kind := kind_of(module), self.kinds)
        ]


@dataclass(frozen=True)
class Recurrents(Where):
    """The weights of every recurrent layer, as d_out × d_in."""

    what: ClassVar[str] = "recurrent layers to adapt"

    def candidates(self, network: nn.Module) -> list[Target]:
        found = ((path, kind_of(module)) for path, module in units(network))
        return [_of_recurrent(path, kind) for path, kind in found if isinstance(kind, Recurrent)]


@dataclass(frozen=True)
class Weights(OfKind):
    """Every convolution, the first one too, and every linear layer but a language model's output layer."""

    what: ClassVar[str] = "convolutions or linear layers to adapt"
    kinds = (ConvolutionKind, LinearKind)


def writes_text(network: nn.Module) -> bool:
    """Whether a network ends in a layer over a vocabulary: `get_output_embeddings()` of Hugging Face returns one."""
    return output_layer(network) is not None


def output_layer(network: nn.Module) -> object | None:
    """A language model's layer over its vocabulary; None: the network has none."""
    ask = getattr(network, "get_output_embeddings", None)
    return ask() if callable(ask) else None


def _whole(path: str, kind: LayerKind) -> Target:
    def views() -> tuple[View, ...]:
        assert isinstance(kind, WeightKind)
        check_weight(kind, path, "weight")
        return (View("weight", "weight", None, kind.modes),)

    return Target.of(path, views)


def _of_recurrent(path: str, kind: Recurrent) -> Target:
    def views() -> tuple[View, ...]:
        found = []
        for name, weight in kind.tensors().items():
            if weight.dim() == 2:
                check_weight(kind, path, name)
                out, inp = weight.shape
                found.append(View(name, name, None, Modes((out,), (inp,))))
        return tuple(found)

    return Target.of(path, views)


def kinds_in(network: nn.Module) -> str:
    """The counts of layers with parameters by kind, in words."""
    found = (kind_of(module) for _, module in units(network) if module._parameters)
    counts = Counter(kind.words for kind in found)
    return ", ".join(f"{count} × {words}" for words, count in counts.most_common()) or "no layers with parameters"


def part_of(weight: Tensor, view: View) -> Tensor:
    """The rows of the whole weight that a view shows."""
    return weight if view.rows is None else weight[view.rows[0] : view.rows[1]]


def in_place(weight: Tensor, view: View, made: Tensor) -> Tensor:
    """The whole weight with `made` in place of the rows that the view shows."""
    if view.rows is None:
        return made.reshape(weight.shape)
    start, stop = view.rows
    return torch.cat([weight[:start], made.reshape(stop - start, -1), weight[stop:]])
