"""Whether a network's modules have been changed since: layers exchanged, classes, hooks replaced, attributes, modes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import repeat
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from ..kinds import AnyLayer, kind_of
from ._proxy import KEPT, SHARED, settings_of
from ._switches import Switches, differ, same

_SWITCHES = ("gradient_checkpointing", "grad_checkpointing")  # Hugging Face's, and timm's
_STRUCTURE = frozenset({*SHARED, "_modules"})
_PLAIN = (type(None), bool, int, float, str, Tensor)


def recomputes(network: nn.Module) -> bool:
    """Whether a switch of its modules says that layers are computed again in the backward pass."""
    return any(getattr(module, switch, False) is True for module in network.modules() for switch in _SWITCHES)


@dataclass
class Changes:
    """What has changed in a network.

    Attributes:
        anew: a layer, a class, a hook's table, what is read once, or a setting by which rows may go other ways.
        numbers: anything else: where rows lie may depend on it.
        modes: those that somebody has set, by path.
        settings: the names of those of torch's own modules that say how much, by path.
    """

    anew: bool = False
    numbers: bool = False
    modes: dict[str, bool] = field(default_factory=dict)
    settings: dict[str, list[str]] = field(default_factory=dict)


class _Seen:
    """What stands in a module now."""

    __slots__ = ("children", "kind", "module", "names", "path", "site", "table", "values")

    def __init__(self, path: str, module: nn.Module, site: bool) -> None:
        self.path, self.module, self.kind, self.table, self.site = path, module, type(module), module.__dict__, site
        self.note()

    def note(self) -> None:
        self.names, self.values = tuple(self.table), tuple(self.table.values())
        self.children = tuple(self.table["_modules"].items())

    def add_to(self, changes: Changes) -> None:
        """What has changed here; it is noted, where nothing has to be made anew."""
        changes.numbers = True
        if not self.look(changes):
            self.note()

    def look(self, changes: Changes) -> bool:
        """What has changed here; whether something has to be made anew."""
        now = self.table
        before = dict(zip(self.names, self.values, strict=True))
        if type(self.module) is not self.kind or tuple(now["_modules"].items()) != self.children:
            changes.anew = True
            return True
        for name in before.keys() | now.keys():
            old, new = before.get(name), now.get(name)
            if old is new or name in KEPT:
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
    """Whether plain attributes of its are copied, which is faster: torch's own modules never set them themselves."""
    return type(module).__module__.startswith("torch.nn.")


def _amount(*values: Any) -> bool:
    """Whether a setting says how much (a share, a slope), and not which way."""
    return all(type(value) in (int, float) for value in values) and any(type(value) is float for value in values)


class _Class:
    """What stands in a class now."""

    def __init__(self, kind: type) -> None:
        self.kind, self.table = kind, vars(kind)
        self.note()

    def note(self) -> None:
        self.held, self.values = dict(self.table), tuple(self.table.values())
        self.settings = settings_of(self.kind)

    def look(self) -> Changes:
        """What has changed: a method is another, or values have come that hide those of modules; or a plain value."""
        before, now = self.held, self.table
        others = [name for name in before.keys() | now.keys() if not same(before.get(name), now.get(name))]
        anew = settings_of(self.kind) != self.settings or any(
            callable(value) for name in others for value in (before.get(name), now.get(name))
        )
        return Changes(anew, any(not name.startswith("__") for name in others))


class Watch:
    """What stands in the modules of a network now: compared in a microsecond per module.

    Args:
        network: the user's.
        paths: of the layers that tasks adapt, whose attributes are read once.
    """

    def __init__(self, network: nn.Module, paths: Collection[str] = ()) -> None:
        self.seen = [
            _Seen(path, module, path in paths and not isinstance(kind_of(module), AnyLayer))
            for path, module in network.named_modules()
            if not isinstance(module, torch.jit.ScriptModule)  # nobody changes these
        ]
        held = [one.table["_parameters"] for one in self.seen if one.site]
        self.layers = [(one, (*one,), [*map(is_, one.values(), repeat(None))]) for one in held]
        """Parameters of layers, their names, and which are none."""
        self.parents = [(one.table["_modules"], tuple(child for _, child in one.children)) for one in self.seen]
        kinds = {one: None for kind in {seen.kind for seen in self.seen} for one in kind.__mro__}
        self.classes = [_Class(kind) for kind in kinds if kind not in (nn.Module, object)]
        self.switches = Switches(network)

    def changed(self) -> Changes:
        """What has changed since this was asked last."""
        changes = Changes()
        for one in self.seen:
            table, values = one.table, one.values
            if len(table) == len(values) and all(map(is_, table.values(), values)) and one.module.__class__ is one.kind:
                continue
            one.add_to(changes)
        for modules, children in self.parents:
            if len(modules) != len(children) or not all(map(is_, modules.values(), children)):
                changes.anew = True
        for parameters, names, absent in self.layers:  # without a call of Python's for each
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
            self.switches.find()  # the new values may hold others
        changes.numbers = changes.numbers or turned
        return changes

    def settle(self) -> None:
        """What a pass has left on modules, objects and classes (a count of calls, say) is nobody's change."""
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
