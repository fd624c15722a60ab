"""A process that dies before a chosen operation on files: opening for writing, writing, renaming, removing, …"""

from __future__ import annotations

import builtins
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 77
_PLACES = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.link": 2, "os.truncate": -1}
"""Audited operations, and which of their arguments is the folder that a relative path counts from."""


class _Deaths:
    """Counts the operations below a folder; before the one of that number the process is gone."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.left, self.said = str(folder.resolve()), number, list[str]()

    def below(self, path: Any, at: int = -1) -> bool:
        if isinstance(path, int):
            path = f"/proc/self/fd/{path}"
            path = os.readlink(path) if os.path.exists(path) else ""
        elif at >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{at}"), os.fsdecode(path))
        whole = os.path.abspath(os.fsdecode(path))
        return whole.startswith(f"{self.folder}/")

    def due(self, operation: str, path: Any = None) -> bool:
        """One operation more; whether it is the one."""
        self.said.append(f"{operation} {path}")
        self.left -= 1
        return self.left == 0

    def audited(self, event: str, given: tuple[Any, ...]) -> None:
        """Before Python opens, renames or removes."""
        if event == "open":
            path, _, flags = given
            if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
            at = -1
        elif event in _PLACES:
            path = given[0]
            at = given[_PLACES[event]] if _PLACES[event] >= 0 else -1
        else:
            return
        if self.below(path, at if isinstance(at, int) else -1) and self.due(event, path):
            os._exit(KILLED)

    def install(self) -> None:
        """For good: of a process that was made for it."""
        deaths, opened, synced, placed = self, io.open, os.fsync, os.pwrite

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                if deaths.below(self.name) and deaths.due("write", self.name):
                    super().write(bytes(data)[: len(data) // 2])  # half of it is there
                    os._exit(KILLED)
                return super().write(data)

        def counted_open(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if "b" in mode and "+" not in mode and "r" not in mode and not named:
                return io.BufferedWriter(Raw(file, mode.replace("b", "")))
            if mode == "w":
                return io.TextIOWrapper(io.BufferedWriter(Raw(file, mode)), encoding="utf-8", newline="\n")
            return opened(file, mode, *more, **named)

        def counted_sync(number: int) -> None:
            if deaths.below(number) and deaths.due("fsync", number):
                os._exit(KILLED)
            synced(number)

        def counted_place(number: int, data: Any, at: int) -> int:
            if deaths.below(number) and deaths.due("pwrite", number):
                placed(number, bytes(data)[: len(data) // 2], at)
                os._exit(KILLED)
            return placed(number, data, at)

        builtins.open = io.open = counted_open  # type: ignore[assignment]
        os.fsync, os.pwrite = counted_sync, counted_place
        sys.addaudithook(self.audited)


def apart(work: Callable[[Path], None], folder: Path, said: Path, number: int = 0) -> int:
    """Do it in a process of its own; its exit status: 0, `KILLED`, or 1 after an error.

    Args:
        work: what is done in the folder.
        folder: operations below it count.
        said: file for what it says, and of all its operations.
        number: of the operation before which it is killed; 0: it is not.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
            deaths = _Deaths(folder, number)
            deaths.install()
            try:
                work(folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.write("\n".join(["", "", *deaths.said]))
            sys.stdout.write(f"\noperations: {len(deaths.said)}\n")
            sys.stdout.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def operations(said: Path) -> int:
    """How many operations a whole process did."""
    return int(said.read_text(encoding="utf-8", errors="replace").rstrip().rpartition(" ")[2])
