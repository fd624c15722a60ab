"""What files hold, as digests that are remembered as long as a file's size and times stay."""

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
"""Seconds after which a second change would have another time; what is younger is not kept in a file."""


class Memory:
    """Digests by file, and which files were found to be whole."""

    def __init__(self) -> None:
        self.digests: dict[str, tuple[Stamp, str]] = {}
        self.whole: dict[str, Stamp] = {}


_memory = Memory()


def digest_of(path: Path) -> str:
    """A digest of a file's contents: equal for equal contents, wherever the file lies.

    Raises:
        OSError: it can't be read.
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
    """A file could be read to its end."""
    _memory.whole[str(path.absolute())] = _stamp(path)


@contextmanager
def remembering(file: Path) -> Iterator[None]:
    """Keep what is found about files in a file of its own, for the next run; a damaged one is written anew.

    Args:
        file: JSON; its folder exists when the block ends, or nothing is kept.
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
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns  # the last one where a copy keeps the time before it


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
