"""The files of a store that a server has read; other processes change the store too."""

from __future__ import annotations

import json
import os
from stat import S_ISREG

from ..files import metadata_of
from ..tasks import Store
from ._errors import BusyError
from ._version import DIGITS

Stamp = tuple[int, int, int]
UNSEEN: Stamp = (0, 0, 0)
"""The stamp of a task that this server has changed itself and not yet read again."""


class Seen:
    """Stamps of the current versions that a server has read; the store replaces files and never rewrites them.

    Args:
        store: None: there are no files.
    """

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.stamps: dict[str, Stamp] = {}

    def stamp(self, name: str) -> Stamp | None:
        """The stamp of a task's present file; None: there is none, or a folder or a pipe has its name."""
        if self.store is None:
            return None
        try:
            at = self.store.path(name).stat()
        except (FileNotFoundError, ValueError):  # no file, or not a task's name
            self.check_there()
            return None
        except OSError as error:
            raise _unreadable(error) from error
        return _stamp(at) if S_ISREG(at.st_mode) else None

    def check_there(self) -> None:
        """Checks that the store's folder, where there is one, has not gone: nobody removed its tasks one by one.

        Raises:
            BusyError: it has.
        """
        if self.store is not None and not self.store.folder.is_dir():
            raise BusyError("the store cannot be read: its folder is gone; ask again in 1 s", 1)

    def read(self, name: str) -> tuple[Stamp, bytes]:
        """The stamp and bytes of a task's file from one opening: another may replace it meanwhile."""
        assert self.store is not None
        try:
            with self.store.path(name).open("rb") as file:
                return _stamp(os.fstat(file.fileno())), file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(error) from error

    def stale(self, name: str) -> bool:
        """Whether the store's file of a task is another than the one that was read."""
        return self.store is not None and self.stamp(name) != self.stamps.get(name)

    def changed(self, known: set[str]) -> list[str]:
        """Stale names, of these and the store's; first the removed ones, which may block new names."""
        names = known | set(() if self.store is None else self.store.names())
        now = {name: stamp for name in names if (stamp := self.stamp(name)) != self.stamps.get(name)}
        return sorted(now, key=lambda name: (now[name] is not None, name))


def _unreadable(error: OSError) -> BusyError:
    """The error for a request."""
    return BusyError(f"the store cannot be read: {error.strerror}; ask again in 1 s", 1)


def digest_in(data: bytes) -> str | None:
    """The digest in a file's bytes, in the form of versions; None: not a task file, as its reader will report."""
    try:
        return str(json.loads(metadata_of(data)["taskfold"])["digest"])[:DIGITS]
    except (ValueError, TypeError, KeyError):
        return None


def _stamp(at: os.stat_result) -> Stamp:
    return at.st_ino, at.st_mtime_ns, at.st_size
