"""One process at a time in an output folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ._output import UserError
from ._trainings import is_main_process

try:
    import fcntl
except ModuleNotFoundError:  # not on Windows, where nobody guards the folder
    fcntl = None  # type: ignore[assignment]

_DRAFT = re.compile(r"\..+\.[0-9a-f]{8}")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else works in a folder; a process that is killed lets go. What killed ones left half-written is removed.

    Of several processes of one training the first one holds it.

    Args:
        folder: made if need be, and removed again where nothing was written into it.

    Raises:
        UserError: another process does.
    """
    if not is_main_process():
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".held"
    try:
        with mark.open("w") as file:
            if not _alone(file, mark):
                raise UserError(f"another taskfold command works in {folder}; wait for it, or choose another output")
            for draft in [path for path in folder.rglob(".*") if _DRAFT.fullmatch(path.name) and path.is_file()]:
                draft.unlink(missing_ok=True)
            try:
                yield
            finally:
                if folder.is_dir() and [*folder.iterdir()] == [mark]:  # nothing was written
                    mark.unlink()
    finally:
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _alone(file: IO[str], mark: Path) -> bool:
    """Whether this process holds the file, and whoever held it before has not just removed it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), mark.stat())
    except OSError:
        return False
