"""Updates of every parameter of a network, made of leaves that all its layers have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..factors import Leaf
from ..interventions import Change
from ..kinds import LayerKind, Patterns, Tensors, matches
from ..routing import Private
from ..tasks import Leaves
from ._copies import check_copied
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._ruled import leaves_of
from ._where import check_numbers, units


class Span(NamedTuple):
    """One parameter among those of a network; layers that have one in common have its span in common.

    Attributes:
        number: counted from 0.
        start: its first number, counted through all parameters.
        shape: its sizes.
    """

    number: int
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return torch.Size(self.shape).numel()


class Everywhere(Part):
    """What is added to a layer's parameters.

    Args:
        own: the task's leaves, which all layers have in common.
        spans: of the layer's parameters, by name.
    """

    def __init__(self, own: Leaves, spans: Mapping[str, Span]) -> None:
        super().__init__(Change(), own)
        self.spans = dict(spans)

    @property
    def alone(self) -> bool:
        return False

    @abstractmethod
    def added(self, span: Span, own: Tensor) -> Tensor | None:
        """A parameter with what the task adds, of that shape and type; None: nothing is added.

        Args:
            span: of the parameter.
            own: what it is without.
        """

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        own = {**kind.tensors(), **changed}
        made = {name: self.added(span, own[name]) for name, span in self.spans.items()}
        return {name: tensor for name, tensor in made.items() if tensor is not None}


@dataclass(frozen=True)
class NetworkWide(Recipe):
    """Every floating-point parameter of the layers that are chosen, from leaves that they all have in common.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
    """

    targets: Patterns = "*"

    @abstractmethod
    def leaves(self, spans: Sequence[Span]) -> dict[str, Leaf]:
        """The leaves, of scope `model`.

        Raises:
            ValueError: there are none for so many parameters or numbers.
        """

    @abstractmethod
    def part(self, own: Leaves, spans: Mapping[str, Span], every: Sequence[Span]) -> Part:
        """What a layer has.

        Args:
            own: the leaves.
            spans: of the layer's parameters, by name.
            every: all spans, in order.
        """

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        spans: dict[int, Span] = {}
        layers: dict[str, dict[str, Span]] = {}
        start = 0
        for path, _ in units(at.network):
            kind = at.kind(path)
            own = {name: t for name, t in kind.tensors().items() if isinstance(t, nn.Parameter)}
            if not own or path in at.alone or not matches(path, self.targets):
                continue
            for name, tensor in own.items():
                check_numbers(kind, path, name, tensor)
            check_copied(kind, path, own)
            for name, tensor in own.items():
                if id(tensor) not in spans:
                    spans[id(tensor)] = Span(len(spans), start, tuple(tensor.shape))
                    start += tensor.numel()
                layers.setdefault(path, {})[name] = spans[id(tensor)]
        if not layers:
            raise ValueError(
                f"targets={self.targets!r} selects no layer of {type(at.network).__name__} with parameters"
                + ", past the frozen stages" * bool(at.alone)
            )
        every = [*spans.values()]
        specs = self.leaves(every)
        for path, mine in layers.items():
            kind = at.kind(path)
            like = torch.empty(0, dtype=kind.tensors()[next(iter(mine))].dtype, device=kind.device)
            own, _ = leaves_of(at, f"{at.prefix}/{path}", specs, Private(), like, {}, path)
            yield path, "all", self.part(own, mine, every)
