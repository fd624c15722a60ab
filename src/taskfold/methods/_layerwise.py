"""The base of methods that add one factorised update to a choice of layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from ..factors import Factorisation
from ..kinds import Patterns
from ..layers import (
    Attention,
    Composition,
    Convolutions,
    Embeddings,
    Every,
    Linears,
    Recurrents,
    Statistics,
    Update,
    Where,
    own_norms,
    writes_text,
)
from ..routing import Sharing
from ._base import Method

Layers = Literal["auto", "attention", "linear", "convolution", "embedding", "recurrent", "all", "any"]


@dataclass(frozen=True, kw_only=True)
class Layerwise(Method):
    """One update, factorisation × sharing, on the layers of a kind.

    Args:
        layers: `attention` (query and value), `linear` (all but a language model's output layer), `convolution` (all
            but the stem), `embedding`, `recurrent` (the weights of LSTM, GRU and RNN), `all` (linear and convolution),
            `any` (linear, convolution and embedding, the stem and a language model's output layer too), or `auto`:
            linear for networks that write text, else attention if there is any, else convolutions, else linear.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: own normalisation.
        statistics: as for `FTN`.
    """

    layers: Layers = "auto"
    targets: Patterns = "*"
    norm: bool = False
    statistics: Statistics | None = None

    @abstractmethod
    def update(self) -> tuple[Factorisation, Sharing]:
        """The update: its factorisation, and its sharing rule."""

    @property
    def parts(self) -> tuple[Factorisation, Sharing]:
        if self.layers not in get_args(Layers):
            raise ValueError(f"layers={self.layers!r} is not known; choose one of {', '.join(get_args(Layers))}")
        return self.update()

    def compose(self, network: nn.Module) -> Composition:
        factorisation, rule = self.parts
        updates = [Update(factorisation, where, rule) for where in self._where(network)]
        return Composition((*self.on(network, updates), *own_norms(self.norm, self.statistics, rule)))

    def on(self, network: nn.Module, updates: Sequence[Update]) -> Sequence[Update]:
        """The updates, fitted to a network."""
        return updates

    def _where(self, network: nn.Module) -> list[Where]:
        kinds: dict[str, Where] = {
            "attention": Attention(self.targets),
            "convolution": Convolutions(self.targets),
            "linear": Linears(self.targets),
        }
        others: dict[str, Where] = {"embedding": Embeddings(self.targets), "recurrent": Recurrents(self.targets)}
        others["any"] = Every(self.targets)
        if self.layers in others:
            return [others[self.layers]]
        if self.layers in kinds or writes_text(network):
            return [kinds["linear" if self.layers in ("auto", "all") else self.layers]]
        present = {name: where for name, where in kinds.items() if where.candidates(network)}
        if self.layers == "auto":
            return list(present.values())[:1] or [kinds["linear"]]
        return [where for name, where in present.items() if name != "attention"] or [kinds["linear"]]
