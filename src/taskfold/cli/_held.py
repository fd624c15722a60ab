"""One process at a time in an output folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        folder: made if need be.

    Raises:
        UserError: another process does.
    """
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".held").open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"another taskfold command works in {folder}; wait for it, or choose another output"
                ) from None
        for draft in [path for path in folder.rglob(".*") if _DRAFT.fullmatch(path.name) and path.is_file()]:
            draft.unlink(missing_ok=True)
        yield
