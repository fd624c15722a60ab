"""What many tasks do at one module, as one row of numbers for each: how a row is made, and how rows run a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..factors import Bottleneck, zero_pad
from ._execute import is_grouped
from ._rows import Rows, beside_rows, biased, weights_per_row
from ._stand_in import stand_in
from ._traits import MEAN, VARIANCE, Traits, absorbed, goes_by_rows, standard

if TYPE_CHECKING:
    from ._sites import Site, SiteState

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Banked(ABC):
    """One kind of intervention at one module.

    Attributes:
        path: the module's.
        shapes: of a task's tensors there, by name.
    """

    path: str
    shapes: Shapes

    @classmethod
    @abstractmethod
    def read(cls, module: nn.Module, state: SiteState) -> dict[str, Tensor]:
        """A task's tensors at a module."""

    @classmethod
    def fits(cls, module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
        """Whether they are of this module's sizes."""
        own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        return all(name not in own or own[name].shape == tensor.shape for name, tensor in tensors.items())

    @abstractmethod
    def neutral(self, module: nn.Module) -> dict[str, Tensor]:
        """Those of a task that leaves the module alone."""

    @abstractmethod
    def run(self, rows: Mapping[str, Tensor], site: Site, x: Tensor, shared: bool = False) -> Tensor:
        """The module's output where each row of the batch has tensors of its own, `[B, …]`.

        With `shared` there are fewer of these: each serves equally many rows, which lie side by side.
        """

    def gathered(
        self, table: Mapping[str, Tensor], index: Tensor, site: Site, x: Tensor, shared: bool = False
    ) -> Tensor:
        """The same with rows of a table, `[T, …]`: gathered where they are used, they are in the cache then."""
        rows = {name: tensors.index_select(0, index) for name, tensors in table.items()}
        return self.run(rows, site, x, shared)

    def widened(self, found: Shapes) -> Shapes:
        """Shapes that hold both: what there is and what a new task brings.

        Raises:
            ValueError: they are of two kinds.
        """
        if found != self.shapes:
            raise ValueError(f"layer {self.path!r} has {dict(self.shapes)} in the bank, a new task has {dict(found)}")
        return self.shapes


class BankedFactors(Banked):
    """A bottleneck beside a layer; smaller ranks are padded with zeros."""

    @classmethod
    def read(cls, module: nn.Module, state: SiteState) -> dict[str, Tensor]:
        made = state.bottleneck(module)
        tensors = {"up": made.up, "down": made.down}
        return tensors if made.spatial is None else tensors | {"spatial": made.spatial}

    @classmethod
    def fits(cls, module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
        weight: Tensor = module.weight  # type: ignore[assignment]
        return (tensors["up"].shape[0], tensors["down"].shape[1]) == weight.shape[:2]

    def neutral(self, module: nn.Module) -> dict[str, Tensor]:
        weight: Tensor = module.weight  # type: ignore[assignment]
        return {name: weight.new_zeros(shape) for name, shape in self.shapes.items()}

    def widened(self, found: Shapes) -> Shapes:
        ranks = self.shapes["up"][1], found["up"][1]
        if found.keys() != self.shapes.keys() or found["down"][1:] != self.shapes["down"][1:]:
            return super().widened(found)
        return {
            name: (shape[0], max(ranks)) if name == "up" else (max(ranks), *shape[1:])
            for name, shape in self.shapes.items()
        }

    def run(self, rows: Mapping[str, Tensor], site: Site, x: Tensor, shared: bool = False) -> Tensor:
        y: Tensor = site.plain(x)  # type: ignore[assignment]
        factors = Bottleneck(rows["up"], rows["down"], rows.get("spatial"))
        places = Rows.side_by_side(len(factors.up), x) if shared else None
        return beside_rows(site.module, factors, places, x, y)


class BankedNorm(Banked):
    """Normalisation of its own: γ, β and statistics."""

    @classmethod
    def read(cls, module: nn.Module, state: SiteState | None) -> dict[str, Tensor]:
        return norm_of(norm_held(module), state)

    def neutral(self, module: nn.Module) -> dict[str, Tensor]:
        return self.read(module, None)

    def run(self, rows: Mapping[str, Tensor], site: Site, x: Tensor, shared: bool = False) -> Tensor:
        if x.shape[0] != (held := next(iter(rows.values())).shape[0]):  # windows of a row are rows of their own here
            rows = {name: tensor.repeat_interleave(x.shape[0] // held, 0) for name, tensor in rows.items()}
        return normalised(site, rows, x)


class BankedScale(BankedNorm):
    """BatchNorm of its own with the statistics in γ and β: half of the numbers."""

    @classmethod
    def read(cls, module: nn.Module, state: SiteState | None) -> dict[str, Tensor]:
        return absorbed(module, super().read(module, state))

    def run(self, rows: Mapping[str, Tensor], site: Site, x: Tensor, shared: bool = False) -> Tensor:
        return super().run({**rows, **standard(rows["weight"])}, site, x, shared)


def norm_held(module: nn.Module) -> dict[str, Tensor]:
    """γ, β and statistics of the layer itself."""
    held: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: tensor for name, tensor in held.items() if tensor.is_floating_point()}


def norm_of(held: Mapping[str, Tensor], state: SiteState | None) -> dict[str, Tensor]:
    """The same as a task has them; the layer's where it has none of its own."""
    own = {} if state is None else state.own_tensors()
    return {name: own.get(name, tensor) for name, tensor in held.items()}


def normalised(site: Site, rows: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Normalisation in evaluation with tensors of each row, `[B, C]`."""
    module, scale = site.module, site.traits.scale
    if isinstance(module, _BatchNorm):  # a row's channels beside another's, for any subclass that goes by channels
        wide, beside = {name: tensor.reshape(-1) for name, tensor in rows.items()}, x.reshape(1, -1, *x.shape[2:])
        if type(module).forward is _BatchNorm.forward:
            mean, variance, weight, bias = (wide.get(name) for name in (MEAN, VARIANCE, "weight", "bias"))
            return F.batch_norm(beside, mean, variance, weight, bias, eps=module.eps).reshape(x.shape)
        return stand_in(module, wide, training=False).forward(beside).reshape(x.shape)
    assert scale is not None
    y = stand_in(module, scale.neutral({name: tensor[0] for name, tensor in rows.items()})).forward(x)
    return scale.apply(y, rows.get("weight"), rows.get("bias"))


class BankedWeight(Banked):
    """A weight of its own, or a bias: where an update has no bottleneck, or takes the place of the layer's."""

    @classmethod
    def read(cls, module: nn.Module, state: SiteState) -> dict[str, Tensor]:
        weight: Tensor = module.weight  # type: ignore[assignment]
        return {"weight": weight} | state.tensors(module, training=False)

    def neutral(self, module: nn.Module) -> dict[str, Tensor]:
        held = dict(module.named_parameters(recurse=False))
        return {name: held.get(name, torch.zeros(shape)) for name, shape in self.shapes.items()}

    def widened(self, found: Shapes) -> Shapes:
        if any(self.shapes.get(name, shape) != shape for name, shape in found.items()):
            return super().widened(found)
        return {**self.shapes, **found}

    def run(self, rows: Mapping[str, Tensor], site: Site, x: Tensor, shared: bool = False) -> Tensor:
        each = len(x) // len(rows["weight"]) if shared else 1
        bias: Tensor | None = rows.get("bias", site.module.bias)  # type: ignore[assignment]
        if "bias" in rows and each > 1:
            bias = rows["bias"].repeat_interleave(each, 0)
        return biased(site.module, weights_per_row(site.module, rows["weight"], x, each), bias)


def has_statistics(module: nn.Module) -> bool:
    """Whether it normalises by what it has seen, which training changes."""
    return isinstance(module, _BatchNorm)


def kind_of(module: nn.Module, state: SiteState, traits: Traits) -> type[Banked]:
    """How a bank holds what a task does at a module.

    Raises:
        ValueError: it cannot.
    """
    if goes_by_rows(module, traits.scale):
        return BankedScale if traits.absorbs else BankedNorm
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        raise ValueError(
            f"a bank holds updates of convolutions, linear layers and normalisation, not of {type(module).__name__}; "
            "leave such layers out with targets, or run the task by itself"
        )
    if not traits.additive:
        raise ValueError(
            f"a bank holds updates of layers that are linear in their weight, not of {type(module).__name__}, which "
            "makes another of it as it runs; leave such layers out with targets, or run the task by itself"
        )
    factored = state.beside and state.one_bottleneck(module) and not is_grouped(module)
    return BankedFactors if factored else BankedWeight


def padded(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A task's tensor in the bank's shape, flat."""
    for axis, size in enumerate(shape):
        tensor = zero_pad(tensor, axis, size)
    return tensor.reshape(-1)
