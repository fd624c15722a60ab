"""Observers of layers' calls: counts, exchanged parameters, and uses of parameters outside the layers."""

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
    """An observer of layers' calls: each `Site` notifies the one in its attribute `calls`."""

    def __init__(self) -> None:
        self.running: list[Site] = []

    def runs(self, site: Site) -> bool:
        """Whether the innermost running layer is this one."""
        return bool(self.running) and self.running[-1] is site

    @contextmanager
    def of(self, site: Site) -> Iterator[None]:
        """Run a block that is a call of the layer."""
        self.called(site)
        self.running.append(site)
        try:
            yield
        finally:
            self.running.pop()

    def called(self, site: Site) -> None:
        """Called before a layer runs."""

    def out(self, output: Any) -> Any:
        """Called with a layer's output; returns it."""
        return output

    def gives(self, site: Site, name: str) -> None:
        """Called when code reads a tensor as an attribute of the layer, and so gets the task's."""


class Calls(Watch, Listener):
    """A block that counts the calls of layers; only this block uses them.

    Args:
        sites: the layers.
        network: their skeleton. A parameter that other modules hold too is not watched.
        asked: the path and the name of each tensor read as a layer's attribute, here or earlier: the reader may
            have kept it.

    Attributes:
        often: calls by path, since it was last cleared.
        exchanged: paths of layers called with other parameters than their own, as by `torch.func.functional_call`
            within the network: these come from the backbone, not from the task.
        taken: path and name of parameters that the network computed with without reading the layer's attribute: a
            list, `parameters()` or `state_dict()` gave out the backbone's.
    """

    def __init__(self, sites: list[Site], network: nn.Module, asked: set[tuple[str, str]]) -> None:
        super().__init__()
        self.sites, self.network, self.asked = sites, network, asked
        self.often: Counter[str] = Counter()
        self.exchanged: set[str] = set()
        self.taken: dict[str, str] = {}
        self.own: dict[str, dict[str, Tensor | None]] = {}
        self.owners: dict[int | None, dict[str, str]] = {}
        """By a parameter's memory, the paths of the layers that hold it, and its name there."""
        self.given: set[int | None] = set()
        """Memory of parameters that code has read as an attribute of a layer, or got as its output."""

    def __enter__(self) -> Calls:
        for site in self.sites:
            site.calls = self
            # Plain tensors alone: sharded ones are gathered from other processes when the layer runs.
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
        """Accepts later uses of the output's memory, which may be the layer's parameter itself."""
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
            return output  # uses type and size alone; or a backward pass, which repeats the forward's uses
        made = set(map(storage_of, tensors_in((output,))))
        for place, owners in theirs:
            if place not in made and not any(one.path in owners for one in self.running):
                self.taken |= owners
        return output
