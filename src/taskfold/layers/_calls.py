"""How often layers are called, and whether with parameters that are theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from ._sites import Site

PLAIN = (Tensor, nn.Parameter)


class Calls:
    """A block in which the calls of layers are counted; nobody else uses the layers.

    Args:
        sites: the layers.

    Attributes:
        often: calls by path, since it was cleared last.
        exchanged: the layers that were called with other parameters than theirs, as `torch.func.functional_call` within
            the network does: the caller makes them of what the backbone has.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = sites
        self.often: Counter[str] = Counter()
        self.exchanged: set[str] = set()
        self.own: dict[str, dict[str, Tensor | None]] = {}

    def __enter__(self) -> Calls:
        for site in self.sites:
            own = site.module._parameters.items()
            site.calls = self
            # Not those that are gathered from other processes when the layer runs.
            self.own[site.path] = {name: tensor for name, tensor in own if type(tensor) in PLAIN}
        return self

    def __exit__(self, *_: object) -> None:
        for site in self.sites:
            site.calls = None

    def add(self, site: Site) -> None:
        """A layer is called."""
        self.often[site.path] += 1
        now = site.module._parameters
        if any(now.get(name) is not tensor for name, tensor in self.own[site.path].items()):
            self.exchanged.add(site.path)
