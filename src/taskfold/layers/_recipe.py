"""Recipes, which a method is composed of: each makes parts at the layers that it selects."""

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
    """The state of one fit of a method to a network.

    Attributes:
        network: the backbone.
        inventory: the shared leaves, which recipes add to.
        prefix: of the inventory's keys.
        alone: the frozen modules; parts there are dropped in the end.
        made: names of tensors that parts replace without using the layer's own, by path.
        tied: the task's leaves that several layers share.
        found: by `id`, each sharing rule, and the rules that it has given to layers that are not frozen.
    """

    network: nn.Module
    inventory: Inventory
    prefix: str
    alone: frozenset[str] = frozenset()
    made: dict[str, frozenset[str]] = field(default_factory=dict)
    tied: dict[object, nn.Parameter] = field(default_factory=dict)
    found: dict[int, tuple[Sharing, list[Sharing]]] = field(default_factory=dict)
    _kinds: dict[str, LayerKind] = field(default_factory=dict)
    _below: dict[int, frozenset[str]] = field(default_factory=dict)

    def kind(self, path: str) -> LayerKind:
        """The kind of the layer at `path`."""
        if path not in self._kinds:
            self._kinds[path] = kind_of(self.network.get_submodule(path))
        return self._kinds[path]

    def below(self, count: int) -> frozenset[str]:
        """The modules of the first `count` stages, and those before them.

        Raises:
            ValueError: the network has fewer stages.
        """
        if count not in self._below:
            self._below[count] = frozen(self.network, count, "a number of shared stages")
        return self._below[count]

    def rule(self, rule: Sharing, path: str) -> tuple[Sharing, str]:
        """The sharing rule at a layer, and the prefix of the layer's keys in the inventory."""
        found, group = rule.at(lambda stages: path in self.below(stages))
        if path not in self.alone:
            self.found.setdefault(id(rule), (rule, []))[1].append(found)
        return found, f"{self.prefix}{group}"

    def tie(self, own: Leaves, specs: dict[str, Leaf], rule: Sharing, layer: str) -> None:
        """Replaces leaves of a wider scope than `layer` by those of the first layer in the scope.

        Raises:
            ValueError: layers that share a leaf need different sizes.
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
    """Makes the parts of one kind for a network."""

    copies: ClassVar[bool] = False
    """Whether the recipe copies tensors that no other part makes; then it is fitted last."""

    @property
    def nothing(self) -> str:
        """The error's text if no recipe with such a text makes a part; empty: no error."""
        return ""

    @abstractmethod
    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        """A new task's parts: the layer's path, the part's name there, and the part.

        Raises:
            ValueError: no layer is selected, or a selected one can't be adapted; names the layer and the reason.
        """


@dataclass(frozen=True)
class Composition:
    """A method's recipes, innermost first; copies of a layer's tensors are inside all others."""

    recipes: tuple[Recipe, ...] = ()


@torch.inference_mode(False)  # what is made in inference mode could never be trained
def fit(
    composition: Composition, network: nn.Module, inventory: Inventory, prefix: str, frozen_stages: int = 0
) -> dict[str, LayerParts]:
    """The parts of a new task by path, for every layer that the method selects behind the frozen stages.

    Raises:
        ValueError: a recipe finds no layer, all layers lie in the frozen stages, or the network has fewer stages.
    """
    before, known = frozen(network, frozen_stages), set(inventory)
    fitting = Fitting(network, inventory, prefix, before)
    with within_memory():
        every = _fitted(composition, fitting)
    sites = {path: parts for path, parts in every.items() if path not in before}
    if every and not sites:
        raise ValueError(f"frozen_stages={frozen_stages} leaves nothing to adapt in {type(network).__name__}; lower it")
    for rule, found in fitting.found.values():
        rule.check_found(found)
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
    """The paths among `paths` whose module has several places in the network, with all of its paths."""
    places: dict[int, list[str]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        places.setdefault(id(module), []).append(path)
    found = {path: places[id(modules[path])] for path in paths if path in modules}
    return {path: names for path, names in found.items() if len(names) > 1}


def check_once(network: nn.Module, paths: Iterable[str]) -> None:
    """Checks that each adapted module has one place in the network.

    Raises:
        ValueError: one has several, so that its name is ambiguous.
    """
    for path, names in several(network, paths).items():
        raise ValueError(
            f"layer {path!r} is one module in several places of the network ({', '.join(names[:4])}), and a task "
            f"can't adapt one of them; give each place a module of its own (copy.deepcopy), or leave it out with "
            f"targets=('*', '!{path}') of a method that has targets"
        )


def check_alike(network: nn.Module, forms: Mapping[str, Form]) -> None:
    """Checks that adapted layers still have the forms that they had when their tasks were added.

    Raises:
        ValueError: one is gone, or its replacement does not take the tasks' tensors.
    """
    for words in odds_in(network, forms).values():
        raise ValueError(words)


def scope_of(scope: Scope, layer: str) -> str:
    """The key that layers of one scope share; for a block, the layer's name up to its first number.

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
