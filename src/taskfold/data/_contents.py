"""Digests of files, remembered while a file's size and times stay the same."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from ..tasks import write_atomically

Stamp = tuple[int, int, int]
_SETTLED = 2.0
"""Seconds after which a second change has another time; digests of younger files are not saved."""


class Memory:
    """Digests by file, and the files known to be whole."""

    def __init__(self) -> None:
        self.digests: dict[str, tuple[Stamp, str]] = {}
        self.whole: dict[str, Stamp] = {}


_memory = Memory()


def digest_of(path: Path) -> str:
    """A digest of a file's contents, independent of the file's path.

    Raises:
        OSError: the file can't be read.
    """
    memory, key, stamp = _memory, str(path.absolute()), _stamp(path)
    known = memory.digests.get(key)
    if known is None or known[0] != stamp:
        with path.open("rb") as file:
            total = blake2b(digest_size=16)
            while block := file.read(1 << 20):
                total.update(block)
        known = memory.digests[key] = stamp, total.hexdigest()
    return known[1]


def known_whole(path: Path) -> bool:
    """Whether a file was noted as whole, and has not changed since."""
    return _memory.whole.get(str(path.absolute())) == _stamp(path)


def note_whole(path: Path) -> None:
    """Note that a file could be read to its end."""
    _memory.whole[str(path.absolute())] = _stamp(path)


@contextmanager
def remembering(file: Path) -> Iterator[None]:
    """Run a block that loads and saves the digests in a file, for the next run; a damaged file is replaced.

    Args:
        file: JSON; its folder must exist when the block ends, or nothing is saved.
    """
    global _memory
    before, _memory = _memory, _read(file)
    try:
        yield
    finally:
        found, _memory = _memory, before
        if file.parent.is_dir():
            write_atomically(file, _written(found))


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns  # ctime: a copy may keep the old mtime


def _read(file: Path) -> Memory:
    memory = Memory()
    try:
        for path, (*stamp, digest, whole) in json.loads(file.read_text(encoding="utf-8")).items():
            size, modified, changed = map(int, stamp)
            memory.digests[path] = (size, modified, changed), str(digest)
            if whole:
                memory.whole[path] = size, modified, changed
    except (OSError, ValueError, TypeError, AttributeError):
        return Memory()
    return memory


def _written(memory: Memory) -> bytes:
    latest = (time.time() - _SETTLED) * 1e9
    kept = {
        path: [*stamp, digest, memory.whole.get(path) == stamp]
        for path, (stamp, digest) in memory.digests.items()
        if max(stamp[1:]) < latest
    }
    return json.dumps(kept, ensure_ascii=False).encode()
