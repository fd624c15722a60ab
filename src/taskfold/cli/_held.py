"""A lock on an output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import only_one, remove_abandoned
from ._output import UserError
from ._trainings import is_main_process


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Locks a folder, and removes unfinished files of killed processes. A killed process releases its lock.

    Of several processes of one training the first one holds the lock.
    """
    if not is_main_process():
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".held"
    try:
        with mark.open("w") as file:
            if not (only_one(file.fileno()) and _there(file.fileno(), mark)):
                raise UserError(f"another taskfold command works in {folder}; wait for it, or choose another output")
            for draft in [*folder.rglob(".*")]:
                remove_abandoned(draft)
            try:
                yield
            finally:
                mark.unlink(missing_ok=True)
    finally:
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _there(file: int, mark: Path) -> bool:
    """Whether the file is still the lock: its last owner may just have removed it."""
    try:
        return os.path.samestat(os.fstat(file), mark.stat())
    except OSError:
        return False
