"""Updates of all parameters of a network, made from leaves that all layers share."""

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
    """The place of one parameter among a network's; layers with a common parameter have one span for it.

    Attributes:
        number: index of the parameter.
        start: index of its first element, counted through all parameters.
        shape: its sizes.
    """

    number: int
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return torch.Size(self.shape).numel()


class Everywhere(Part):
    """An update of a layer's parameters.

    Args:
        own: the task's leaves, which all layers share.
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
        """The updated parameter, of the shape and type of `own`, the present one; None: it does not change."""

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        own = {**kind.tensors(), **changed}
        made = {name: self.added(span, own[name]) for name, span in self.spans.items()}
        return {name: tensor for name, tensor in made.items() if tensor is not None}


@dataclass(frozen=True)
class NetworkWide(Recipe):
    """Updates of every floating-point parameter of the selected layers, from leaves that these share.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
    """

    targets: Patterns = "*"

    @abstractmethod
    def leaves(self, spans: Sequence[Span]) -> dict[str, Leaf]:
        """The leaves, of scope `model`.

        Raises:
            ValueError: the settings do not fit the number of parameters.
        """

    @abstractmethod
    def part(self, own: Leaves, spans: Mapping[str, Span], every: Sequence[Span]) -> Part:
        """A layer's part, from the leaves, the spans of its parameters by name, and all spans in order."""

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
