"""How often layers are called, whether with parameters that are theirs, and who else computes with these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ._listening import Go, Listener
from ._origin import storage_of, tensors_in

if TYPE_CHECKING:
    from ._sites import Site

PLAIN = (Tensor, nn.Parameter)


class Watch:
    """Somebody who is told of layers that run, while he stands as their `calls`."""

    def __init__(self) -> None:
        self.running: list[Site] = []

    def runs(self, site: Site) -> bool:
        """Whether the layer that runs is this one."""
        return bool(self.running) and self.running[-1] is site

    @contextmanager
    def of(self, site: Site) -> Iterator[None]:
        """A call of a layer."""
        self.called(site)
        self.running.append(site)
        try:
            yield
        finally:
            self.running.pop()

    def called(self, site: Site) -> None:
        """A layer is about to run."""

    def out(self, output: Any) -> Any:
        """What a layer puts out."""
        return output

    def gives(self, site: Site, name: str) -> None:
        """Somebody has asked a layer for a tensor, as who reads its attribute does: it is the task's."""


class Calls(Watch, Listener):
    """A block in which the calls of layers are counted; nobody else uses the layers.

    Args:
        sites: the layers.
        network: the skeleton that has them. A parameter that it has in another place too is nobody's alone.
        asked: layers and names of tensors that somebody has asked them for, in this block or before: who keeps the
            tensor has it of the layer.

    Attributes:
        often: calls by path, since it was cleared last.
        exchanged: the layers that were called with other parameters than theirs, as `torch.func.functional_call` within
            the network does: the caller makes them of what the backbone has.
        taken: layers of which the network has computed with a parameter that it did not ask the layer for, and the
            parameter's name: no task changes what a list, `parameters()` or `state_dict()` gave out.
    """

    def __init__(self, sites: list[Site], network: nn.Module, asked: set[tuple[str, str]]) -> None:
        super().__init__()
        self.sites, self.network, self.asked = sites, network, asked
        self.often: Counter[str] = Counter()
        self.exchanged: set[str] = set()
        self.taken: dict[str, str] = {}
        self.own: dict[str, dict[str, Tensor | None]] = {}
        self.owners: dict[int | None, dict[str, str]] = {}
        """By memory of a parameter, the layers that have it, and its name there."""
        self.given: set[int | None] = set()
        """Memory of parameters that somebody has asked a layer for."""

    def __enter__(self) -> Calls:
        for site in self.sites:
            site.calls = self
            # Not those that are gathered from other processes when the layer runs.
            own: dict[str, Tensor | None] = {}
            own |= {name: tensor for name, tensor in site.module._parameters.items() if type(tensor) in PLAIN}
            self.own[site.path] = own
            for name, tensor in {**site.kind.tensors(), **own}.items():
                if type(tensor) is nn.Parameter:
                    self.owners.setdefault(storage_of(tensor), {})[site.path] = name
                    if (site.path, name) in self.asked:
                        self.given.add(storage_of(tensor))
        layers = set(map(id, self.sites))
        for module in self.network.modules():
            if id(module.__dict__.get("forward")) not in layers:
                for tensor in module._parameters.values():
                    self.owners.pop(None if tensor is None else storage_of(tensor), None)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for site in self.sites:
            site.calls = None

    def called(self, site: Site) -> None:
        self.often[site.path] += 1
        now = site.module._parameters
        if any(now.get(name) is not tensor for name, tensor in self.own[site.path].items()):
            self.exchanged.add(site.path)

    def out(self, output: Any) -> Any:
        """It may be the layer's parameter itself: who goes on with that has it of the layer."""
        held = {storage_of(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)}
        self.given |= held & self.owners.keys()
        return output

    def gives(self, site: Site, name: str) -> None:
        self.asked.add((site.path, name))
        held = site.module._parameters.get(name)
        self.given.add(None if held is None else storage_of(held))

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        output = go(func, args, kwargs)
        theirs = [
            (place, owners)
            for place in map(storage_of, tensors_in((args, [*kwargs.values()])))
            if place is not None and (owners := self.owners.get(place)) and place not in self.given
        ]
        if not theirs:
            return output
        name = func.overloadpacket.__name__
        if name.startswith("new_") or name.endswith("_like") or torch._C._current_graph_task_id() != -1:
            return output  # of its type and size alone; or on the way back, which goes where the pass went
        made = set(map(storage_of, tensors_in((output,))))
        for place, owners in theirs:
            if place not in made and not any(one.path in owners for one in self.running):
                self.taken |= owners
        return output
