"""Detects changes of a network's modules: replaced layers, classes and hooks, attributes, modes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import repeat
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from ..kinds import AnyLayer, kind_of
from ._left import STATES
from ._proxy import KEPT, SHARED, settings_of
from ._switches import Switches, differ, same

_SWITCHES = ("gradient_checkpointing", "grad_checkpointing")  # Hugging Face's, and timm's
_STRUCTURE = frozenset({*SHARED, "_modules"})
_PLAIN = (type(None), bool, int, float, str, Tensor)


def recomputes(network: nn.Module) -> bool:
    """Whether a module's attribute says that gradient checkpointing is on."""
    return any(getattr(module, switch, False) is True for module in network.modules() for switch in _SWITCHES)


@dataclass
class Changes:
    """The changes of a network.

    Attributes:
        anew: a change that requires a new skeleton: of a layer, a class, a table of hooks, an attribute that is read
            once, or a setting that may send rows along another path.
        numbers: any other change: the layouts of rows may depend on it.
        modes: the modes that the user has set, by path.
        settings: the names of changed amounts (a share, a slope) on torch's own modules, by path.
    """

    anew: bool = False
    numbers: bool = False
    modes: dict[str, bool] = field(default_factory=dict)
    settings: dict[str, list[str]] = field(default_factory=dict)


class _Seen:
    """The attributes and children of a module when they were last noted."""

    __slots__ = ("children", "kind", "module", "names", "path", "site", "table", "values")

    def __init__(self, path: str, module: nn.Module, site: bool) -> None:
        self.path, self.module, self.kind, self.table, self.site = path, module, type(module), module.__dict__, site
        self.note()

    def note(self) -> None:
        self.names, self.values = tuple(self.table), tuple(self.table.values())
        self.children = tuple(self.table["_modules"].items())

    def add_to(self, changes: Changes) -> None:
        changes.numbers = True
        if not self.look(changes):
            self.note()

    def look(self, changes: Changes) -> bool:
        """Adds the module's changes; whether one requires a new skeleton."""
        now = self.table
        before = dict(zip(self.names, self.values, strict=True))
        if type(self.module) is not self.kind or tuple(now["_modules"].items()) != self.children:
            changes.anew = True
            return True
        for name in before.keys() | now.keys():
            old, new = before.get(name), now.get(name)
            if old is new or name in KEPT or name in STATES.get(self.module, ()):
                continue
            plain = isinstance(old, _PLAIN) and isinstance(new, _PLAIN)
            read_once = self.site and not isinstance(new, (type(None), Tensor))
            amount = plain and _amount(old, new)
            other_way = copied(self.module) and not amount
            if name in _STRUCTURE or not plain or read_once or other_way or callable(getattr(self.kind, name, None)):
                changes.anew = True
                return True
            if copied(self.module):
                changes.settings.setdefault(self.path, []).append(name)
        if before["training"] is not now["training"]:
            changes.modes[self.path] = now["training"]
        return False


def copied(module: nn.Module) -> bool:
    """Whether proxies copy the module's plain attributes for speed: torch's own modules never set them themselves."""
    return type(module).__module__.startswith("torch.nn.")


def _amount(*values: Any) -> bool:
    """Whether a setting is an amount (a share, a slope) and not a switch."""
    return all(type(value) in (int, float) for value in values) and any(type(value) is float for value in values)


class _Class:
    """The attributes of a class when they were last noted."""

    def __init__(self, kind: type) -> None:
        self.kind, self.table = kind, vars(kind)
        self.note()

    def note(self) -> None:
        self.held, self.values = dict(self.table), tuple(self.table.values())
        self.settings = settings_of(self.kind)

    def look(self) -> Changes:
        """The class's changes: `anew` for a method or a new plain name, which proxies must pass on; else `numbers`."""
        before, now = self.held, self.table
        others = [name for name in before.keys() | now.keys() if not same(before.get(name), now.get(name))]
        anew = settings_of(self.kind) != self.settings or any(
            callable(value) for name in others for value in (before.get(name), now.get(name))
        )
        return Changes(anew, any(not name.startswith("__") for name in others))


class Watch:
    """Compares a network's modules with their state at the last call, in a microsecond per module.

    Args:
        network: the user's.
        paths: of the adapted layers, whose attributes the skeleton reads once.
    """

    def __init__(self, network: nn.Module, paths: Collection[str] = ()) -> None:
        self.seen = [
            _Seen(path, module, path in paths and not isinstance(kind_of(module), AnyLayer))
            for path, module in network.named_modules()
            if not isinstance(module, torch.jit.ScriptModule)  # immutable
        ]
        held = [one.table["_parameters"] for one in self.seen if one.site]
        self.layers = [(one, (*one,), [*map(is_, one.values(), repeat(None))]) for one in held]
        """The adapted layers' tables of parameters, the names there, and which parameters are None."""
        self.parents = [(one.table["_modules"], tuple(child for _, child in one.children)) for one in self.seen]
        kinds = {one: None for kind in {seen.kind for seen in self.seen} for one in kind.__mro__}
        self.classes = [_Class(kind) for kind in kinds if kind not in (nn.Module, object)]
        self.switches = Switches(network)

    def changed(self) -> Changes:
        """The changes since the last call."""
        changes = Changes()
        for one in self.seen:
            table, values = one.table, one.values
            if len(table) == len(values) and all(map(is_, table.values(), values)) and one.module.__class__ is one.kind:
                continue
            one.add_to(changes)
        for modules, children in self.parents:
            if len(modules) != len(children) or not all(map(is_, modules.values(), children)):
                changes.anew = True
        for parameters, names, absent in self.layers:  # no Python call per parameter, for speed
            if (*parameters,) != names or [*map(is_, parameters.values(), repeat(None))] != absent:
                changes.anew = True
        for kind in self.classes:
            now = kind.table
            if len(now) != len(kind.values) or not all(map(is_, now.values(), kind.values)):
                found = kind.look()
                kind.note()
                changes.anew, changes.numbers = changes.anew or found.anew, changes.numbers or found.numbers
        turned = self.switches.changed()
        if changes.numbers and not changes.anew:
            self.switches.find()  # the new values may contain further switches
        changes.numbers = changes.numbers or turned
        return changes

    def settle(self) -> None:
        """Accepts attributes that a pass has set on modules, objects and classes (a count of calls, say)."""
        nested = False
        for one in self.seen:
            table, values = one.table, one.values
            if len(table) != len(values) or not all(map(is_, table.values(), values)):
                found = Changes()
                one.look(found)
                if not (found.anew or found.modes or found.settings):
                    nested = nested or not all(isinstance(value, _PLAIN) for value in differ(values, [*table.values()]))
                    one.note()
        for kind in self.classes:
            now = kind.table
            if (len(now) != len(kind.values) or not all(map(is_, now.values(), kind.values))) and not kind.look().anew:
                nested = nested or not all(isinstance(value, _PLAIN) for value in differ(kind.values, [*now.values()]))
                kind.note()
        self.switches.changed()
        if nested:
            self.switches.find()
