"""What a method is made of: recipes, each of which makes parts at the layers that it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from ..factors import Leaf, Scope
from ..kinds import LayerKind, kind_of
from ..routing import Sharing
from ..tasks import Inventory, Leaves, within_memory
from ._form import Form, odds_in
from ._nothing import NothingToAdaptError
from ._part import LayerParts, Part
from ._stages import frozen


@dataclass
class Fitting:
    """A method meeting a network.

    Attributes:
        network: the backbone.
        inventory: what tasks share, which recipes add to.
        prefix: of the keys there.
        alone: the modules that stay as they are; parts there are left out in the end.
        made: by layer, the names of tensors that parts make without the layer's own.
        tied: the task's leaves that several layers have in common.
    """

    network: nn.Module
    inventory: Inventory
    prefix: str
    alone: frozenset[str] = frozenset()
    made: dict[str, frozenset[str]] = field(default_factory=dict)
    tied: dict[object, nn.Parameter] = field(default_factory=dict)
    _kinds: dict[str, LayerKind] = field(default_factory=dict)
    _below: dict[int, frozenset[str]] = field(default_factory=dict)

    def kind(self, path: str) -> LayerKind:
        """What the layer of that name is."""
        if path not in self._kinds:
            self._kinds[path] = kind_of(self.network.get_submodule(path))
        return self._kinds[path]

    def below(self, count: int) -> frozenset[str]:
        """The modules of the first stages, and all that comes before them.

        Raises:
            ValueError: there are not as many.
        """
        if count not in self._below:
            self._below[count] = frozen(self.network, count, "a number of shared stages")
        return self._below[count]

    def rule(self, rule: Sharing, path: str) -> tuple[Sharing, str]:
        """The rule that holds at a layer, and the prefix of its keys in the inventory."""
        found, group = rule.at(lambda stages: path in self.below(stages))
        return found, f"{self.prefix}{group}"

    def tie(self, own: Leaves, specs: dict[str, Leaf], rule: Sharing, layer: str) -> None:
        """Leaves of a wider scope than the layer become the ones that other layers have; the first brings them.

        Raises:
            ValueError: layers that share a leaf want other sizes.
        """
        for name, leaf in specs.items():
            if leaf.scope == "layer":
                continue
            mine = own[name]
            found = self.tied.setdefault((rule, leaf.tie or name, scope_of(leaf.scope, layer)), mine)
            if found.shape != mine.shape:
                here, there = tuple(mine.shape), tuple(found.shape)
                if name == "routing":
                    raise ValueError(
                        f"layer {layer!r} routes {here} and shares its logits with layers that route {there}; give all "
                        "layers the same rank, or choose granularity='layer'"
                    )
                raise ValueError(
                    f"layer {layer!r} has a leaf {name!r} of {here}, which it has in common with layers where it is "
                    f"{there}; leave it out with targets=('*', '!{layer}'), or give each layer leaves of its own"
                )
            own._parameters[name] = found


class Recipe(ABC):
    """One kind of part at the layers of a network."""

    copies: ClassVar[bool] = False
    """Whether it copies what no other part makes; then it comes to the network last."""

    @property
    def nothing(self) -> str:
        """What is to be said where neither this recipe nor another that asks for it makes a part; empty: nothing."""
        return ""

    @abstractmethod
    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        """A new task's parts: the layer, the part's name there, and the part.

        Raises:
            ValueError: nothing is selected, or what is selected can't be had; names the layer and says why.
        """


@dataclass(frozen=True)
class Composition:
    """A method, taken apart: recipes, inside out; copies of a layer's tensors stand inside all others."""

    recipes: tuple[Recipe, ...] = ()


@torch.inference_mode(False)  # what is made in inference mode could never be trained
def fit(
    composition: Composition, network: nn.Module, inventory: Inventory, prefix: str, frozen_stages: int = 0
) -> dict[str, LayerParts]:
    """The parts of a new task at every layer of `network` that the method touches, past the first stages.

    Raises:
        ValueError: some part of the method finds nothing, or all of it lies in those stages, or there are fewer.
    """
    before, known = frozen(network, frozen_stages), set(inventory)
    with within_memory():
        every = _fitted(composition, Fitting(network, inventory, prefix, before))
    sites = {path: parts for path, parts in every.items() if path not in before}
    if every and not sites:
        raise ValueError(f"frozen_stages={frozen_stages} leaves nothing to adapt in {type(network).__name__}; lower it")
    held = {part.inventory[0] for parts in sites.values() for _, part in parts if part.inventory is not None}
    for key in set(inventory) - known - held:
        del inventory[key]
    check_once(network, sites)
    return sites


def _fitted(composition: Composition, at: Fitting) -> dict[str, LayerParts]:
    prefix = at.prefix
    found: dict[int, list[tuple[str, str, Part]]] = {}
    for copies in (False, True):
        for n, recipe in enumerate(composition.recipes):
            if recipe.copies == copies:
                at.prefix = f"{prefix}.{n}"
                found[n] = list(recipe.fit(at))
        for parts in found.values():
            for path, _, part in parts:
                at.made[path] = at.made.get(path, frozenset()) | part.replaces
    asking = [n for n, recipe in enumerate(composition.recipes) if recipe.nothing]
    if asking and not any(found[n] for n in asking):
        raise NothingToAdaptError(composition.recipes[asking[0]].nothing)
    sites: dict[str, dict[str, Part]] = {}
    for n in sorted(found, key=lambda n: not composition.recipes[n].copies):  # copies stand inside everything else
        for path, name, part in found[n]:
            mine = sites.setdefault(path, {})
            if composition.recipes[n].copies:
                held = {leaf for other in mine.values() for leaf in other.own.held()}
                if twice := sorted(held & part.own.held().keys()):
                    raise ValueError(
                        f"layer {path!r}: {twice[0]!r} would be the task's own twice, by two settings of its method "
                        "(own, norm, statistics); leave it out of one of them"
                    )
            mine[f"{n}:{name}"] = part
    return {path: LayerParts(parts, Form.of(at.kind(path), path)) for path, parts in sites.items()}


def several(network: nn.Module, paths: Iterable[str]) -> dict[str, list[str]]:
    """Those of these modules that stand in several places of the network, with all of them."""
    places: dict[int, list[str]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        places.setdefault(id(module), []).append(path)
    found = {path: places[id(modules[path])] for path in paths if path in modules}
    return {path: names for path, names in found.items() if len(names) > 1}


def check_once(network: nn.Module, paths: Iterable[str]) -> None:
    """Adapted modules stand in one place of the network.

    Raises:
        ValueError: one stands in several, so that its name does not say which layer a task adapts.
    """
    for path, names in several(network, paths).items():
        raise ValueError(
            f"layer {path!r} is one module in several places of the network ({', '.join(names[:4])}), and a task "
            f"can't adapt one of them; give each place a module of its own (copy.deepcopy), or leave it out with "
            f"targets=('*', '!{path}') of a method that has targets"
        )


def check_alike(network: nn.Module, forms: Mapping[str, Form]) -> None:
    """Adapted layers are what they were when tasks came to adapt them.

    Raises:
        ValueError: one has been exchanged for a layer that the tasks' tensors do not do for, or is gone.
    """
    for words in odds_in(network, forms).values():
        raise ValueError(words)


def scope_of(scope: Scope, layer: str) -> str:
    """The name of what layers have in common: a block is a layer's name up to its first number.

    Example:
        >>> [scope_of(scope, "encoder.block.3.layer.0.q") for scope in ("layer", "block", "model")]
        ['encoder.block.3.layer.0.q', 'encoder.block.3', '']
        >>> scope_of("block", "layer1.0.conv1"), scope_of("block", "fc")
        ('layer1.0', 'fc')
    """
    if scope == "model":
        return ""
    words = layer.split(".")
    numbers = [at for at, word in enumerate(words, 1) if word.isdecimal()] if scope == "block" else []
    return ".".join(words[: numbers[0]]) if numbers else layer
