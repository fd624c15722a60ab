"""Places where the user's hooks may leave something that the network reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from ._hooks import are
from ._inside import containers
from ._left import STATES
from ._proxy import ASKED, OF
from ._skeleton import kept_of
from ._switches import Switches

Content = tuple[list[dict[str, Any]], list[tuple[Any, ...]], list[int]]


class Places:
    """Attributes and buffers of a network's modules, and its switches (see `Switches`).

    Args:
        network: the user's.
        switches: of the network.
        views: its skeletons that have run, or run now.
    """

    def __init__(self, network: nn.Module, switches: Switches, views: Iterable[nn.Module]) -> None:
        self.modules, self.held, self.views = dict(network.named_modules()), switches.held, [*views]
        self.tables = [(path, held) for path, one in self.modules.items() for held in (one.__dict__, one._buffers)]
        self.tensors = [
            (path, name, value)
            for path, table in self.tables
            for name, value in table.items()
            if isinstance(value, Tensor) and not value.is_inference()
        ]
        self.written: dict[tuple[str, str] | int, str] = {}
        """The path of a hook that has written there, by module and attribute, or by `id` of a switch's container."""

    def note(self) -> Content:
        """The values in all places."""
        return (
            [dict(table) for _, table in self.tables],
            [one.now() for one in self.held],
            [tensor._version for _, _, tensor in self.tensors],
        )

    def compare(self, before: Content, hook: str) -> None:
        """Notes what the hook of the module at path `hook` has written, given the values before it ran."""
        tables, held, versions = self.note()
        for (path, _), old, new in zip(self.tables, before[0], tables, strict=True):
            if not are(old.values(), new.values()):
                names = [name for name in old.keys() | new.keys() if old.get(name, old) is not new.get(name, new)]
                self.written.update(dict.fromkeys(((path, name) for name in names), hook))
        for one, *both in zip(self.held, before[1], held, strict=True):
            if not are(*both):
                self.written[id(one.of)] = hook
        for (path, name, _), *counts in zip(self.tensors, before[2], versions, strict=True):
            if counts[0] != counts[1]:
                self.written[path, name] = hook

    def read(self) -> tuple[str, str] | None:
        """A hook that has written what the network reads, and what that is."""
        if not self.written:
            return None
        inside = {id(one): place for place, value in self._attributes() for one in (value, *containers(value))}
        for place, hook in self.written.items():
            where = inside.get(place) if isinstance(place, int) else place
            if where is None:
                return hook, "a variable outside of its modules"
            if self._reads(*where):
                return hook, f"attribute {where[1]!r} of {f'module {where[0]!r}' if where[0] else 'the network'}"
        return None

    def _attributes(self) -> Iterator[tuple[tuple[str, str], Any]]:
        return (((path, name), value) for path, one in self.modules.items() for name, value in kept_of(one))

    def _reads(self, path: str, name: str) -> bool:
        """Whether passes have read or written an attribute, or may have read a buffer."""
        module = self.modules[path]
        left = STATES.get(module, {}).get(name)
        proxies = (one.__dict__ for view in self.views for one in view.modules() if one.__dict__.get(OF) is module)
        passes = left is not None and not left.free
        return passes or name in module._buffers or any(name in one[ASKED] for one in proxies)
