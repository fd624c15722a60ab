"""A file that one of several processes writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(path: Path) -> Iterator[Path | None]:
    """The file, empty and ours to write; None if another process was first. What is not finished is given back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.open("x").close()
    except FileExistsError:
        yield None
        return
    try:
        yield path
    except BaseException:
        path.unlink()
        raise
