"""Files and folders that appear complete: made beside their place under a hidden name, then renamed."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # not on Windows, where no lock tells whether a draft is still being written
    fcntl = None  # type: ignore[assignment]

_MOST = 100
"""The most bytes of a name at the beginning of its draft's name, which may not exceed the file system's limit."""
_DRAFT = re.compile(r"\..+\.[0-9a-f]{8}")


def check_no_folder(path: Path) -> None:
    """Checks that a file can be written there.

    Raises:
        IsADirectoryError: the path is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder; name a file in it")


def check_inside(path: Path, does: str = "write") -> None:
    """Checks that the parent folder of a new file or folder exists.

    Args:
        path: the new file or folder.
        does: the intended action, for the message.

    Raises:
        FileNotFoundError: it does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot {does} {path.name}: folder {str(path.parent)!r} does not exist; create it first"
        )


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes into a file atomically: readers see the old file or the new one, even after a crash.

    Raises:
        FileNotFoundError: the parent folder does not exist.
        IsADirectoryError: the path is a folder.
    """
    with draft_of(path) as draft:
        with draft.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, path)


@contextmanager
def draft_of(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """An empty draft beside a path, which the block fills and renames; a draft that is not renamed is removed.

    A killed process leaves its draft; the next draft of the same path removes it, but none that is still being written.

    Args:
        path: the final file or folder.
        folder: a folder instead of a file.

    Raises:
        FileNotFoundError: the parent folder does not exist.
        IsADirectoryError: the draft is a file, and the path is a folder.
    """
    check_inside(path)
    if not folder:
        check_no_folder(path)
    remove_drafts(path)
    draft, lock = _made(path, _short(path), folder)
    try:
        yield draft
    except OSError as error:
        if error.errno is not None and error.filename is None:  # the error of a full disk has no name
            error.filename = str(path)
        raise
    finally:
        _remove(draft)
        if lock is not None:
            os.close(lock)


def remove_drafts(path: Path) -> None:
    """Remove the drafts of a path whose processes are gone."""
    for left in path.parent.glob(f".{glob.escape(_short(path))}.*"):
        remove_abandoned(left)


def _short(path: Path) -> str:
    return os.fsdecode(os.fsencode(path.name)[:_MOST])


def remove_abandoned(draft: Path) -> None:
    """Remove a draft whose process is gone; any other file or folder stays."""
    if fcntl is None or not _DRAFT.fullmatch(draft.name):
        return
    with suppress(OSError):  # another process removes it, or the file system has no locks
        lock = os.open(draft, os.O_RDONLY)
        try:
            if only_one(lock):
                _remove(draft)
        finally:
            os.close(lock)


def only_one(lock: int) -> bool:
    """Lock an open file until it is closed; returns whether no other process holds it.

    On file systems without locks the answer is always yes.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold an existing folder for the block; others who want to hold it wait, threads of this process too.

    On file systems without locks nobody waits.
    """
    if fcntl is None or not folder.is_dir():
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _made(path: Path, short: str, folder: bool) -> tuple[Path, int | None]:
    """A draft, and the descriptor of its lock."""
    while True:
        draft = path.with_name(f".{short}.{secrets.token_hex(4)}")
        if folder:
            draft.mkdir()
        else:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        if fcntl is None:
            return draft, None
        with suppress(FileNotFoundError):  # another process took it for abandoned before it was locked
            lock = os.open(draft, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if draft.exists():
                return draft, lock
            os.close(lock)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
