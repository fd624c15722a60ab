"""What a server has seen of its store, which others change too."""

from __future__ import annotations

import json
import os

from ..files import metadata_of
from ..tasks import Store
from ._errors import BusyError
from ._version import DIGITS

Stamp = tuple[int, int, int]
UNSEEN: Stamp = (0, 0, 0)
"""Of a task that stands for what no look has found, as this server has changed it itself."""


class Seen:
    """Files of current versions that a server has read: a file that was read is never written again, but replaced.

    Args:
        store: None: nothing is ever there.
    """

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.stamps: dict[str, Stamp] = {}

    def stamp(self, name: str) -> Stamp | None:
        """Of a task's file as it is there now; None: there is none."""
        if self.store is None:
            return None
        try:
            at = self.store.path(name).stat()
        except (FileNotFoundError, ValueError):  # there is none, or it is the name of no task
            return None
        except OSError as error:
            raise _unreadable(error) from error
        return _stamp(at)

    def read(self, name: str) -> tuple[Stamp, bytes]:
        """A task's file, of one opening: another may take its place meanwhile."""
        assert self.store is not None
        try:
            with self.store.path(name).open("rb") as file:
                return _stamp(os.fstat(file.fileno())), file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(error) from error

    def stale(self, name: str) -> bool:
        """Whether the store has something else under a name than what was seen."""
        return self.store is not None and self.stamp(name) != self.stamps.get(name)

    def changed(self, known: set[str]) -> list[str]:
        """Names that are stale, of these and the store's; first those that are gone and may be in another's way."""
        names = known | set(() if self.store is None else self.store.names())
        now = {name: stamp for name in names if (stamp := self.stamp(name)) != self.stamps.get(name)}
        return sorted(now, key=lambda name: (now[name] is not None, name))


def _unreadable(error: OSError) -> BusyError:
    """What a request is told then."""
    return BusyError(f"the store cannot be read: {error.strerror}; ask again in 1 s", 1)


def digest_in(data: bytes) -> str | None:
    """As a version has it, of a file's bytes; None: they are no task file, which whoever reads them says."""
    try:
        return str(json.loads(metadata_of(data)["taskfold"])["digest"])[:DIGITS]
    except (ValueError, TypeError, KeyError):
        return None


def _stamp(at: os.stat_result) -> Stamp:
    return at.st_ino, at.st_mtime_ns, at.st_size
