"""Whether a network's modules have been changed since: layers exchanged, hooks replaced, attributes, modes."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_

from torch import Tensor, nn

from ..kinds import AnyLayer, kind_of
from ._proxy import KEPT, SHARED

_SWITCHES = ("gradient_checkpointing", "grad_checkpointing")  # Hugging Face's, and timm's
_STRUCTURE = frozenset({*SHARED, "_modules"})
_PLAIN = (type(None), bool, int, float, str, Tensor)


def recomputes(network: nn.Module) -> bool:
    """Whether a switch of its modules says that layers are computed again in the backward pass."""
    return any(getattr(module, switch, False) is True for module in network.modules() for switch in _SWITCHES)


class _Seen:
    """What stands in a module now."""

    __slots__ = ("children", "kind", "names", "path", "site", "table", "values")

    def __init__(self, path: str, module: nn.Module, site: bool) -> None:
        self.path, self.kind, self.table, self.site = path, type(module), module.__dict__, site
        self.note()

    def note(self) -> None:
        self.names, self.values = tuple(self.table), tuple(self.table.values())
        self.children = tuple(self.table["_modules"].items())

    def structure(self) -> bool:
        """Whether what has changed is more than a mode, a number, or a tensor that the module has left on itself."""
        now = self.table
        before = dict(zip(self.names, self.values, strict=True))
        if tuple(now["_modules"].items()) != self.children:
            return True
        for name in before.keys() | now.keys():
            old, new = before.get(name), now.get(name)
            if old is new or name in KEPT:
                continue
            plain = isinstance(old, _PLAIN) and isinstance(new, _PLAIN)
            read_once = self.site and not isinstance(new, (type(None), Tensor))
            if name in _STRUCTURE or not plain or read_once or callable(getattr(self.kind, name, None)):
                return True
        return False


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
        ]
        self.numbers = False
        """Whether somebody has set an attribute to another number, since that was last asked."""
        self.parents = [(one.table["_modules"], tuple(child for _, child in one.children)) for one in self.seen]

    def changed(self) -> tuple[bool, dict[str, bool]]:
        """Whether a layer, a hook's table or an attribute is another, and the modes that somebody has set since."""
        modes: dict[str, bool] = {}
        for one in self.seen:
            table, values = one.table, one.values
            if len(table) == len(values) and all(map(is_, table.values(), values)):
                continue
            if one.structure():
                return True, modes
            before = one.values[one.names.index("training")]
            if before is not table["training"]:
                modes[one.path] = table["training"]
            self.numbers = True
            one.note()
        for modules, children in self.parents:
            if len(modules) != len(children) or not all(map(is_, modules.values(), children)):
                return True, modes
        return False, modes

    def settle(self) -> None:
        """What a pass has left on modules (a count of calls, say) is nobody's change."""
        for one in self.seen:
            table, values = one.table, one.values
            if not (len(table) == len(values) and all(map(is_, table.values(), values))) and not one.structure():
                one.note()
