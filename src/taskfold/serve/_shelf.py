"""Where task files lie, so that a server which starts again serves what it served."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..tasks import read, write


class Shelf(Protocol):
    """Task files by name; each change is on the disk, whole, when the call returns."""

    def files(self) -> Mapping[str, Path]:
        """The current file of every task."""
        ...

    def put(self, name: str, file: Path) -> Path:
        """Keep a copy of a file as that task's current one."""
        ...

    def remove(self, name: str) -> None:
        """Forget a task."""
        ...

    def rename(self, old: str, new: str) -> Path:
        """Give a task another name."""
        ...


class Folder(Shelf):
    """`<folder>/<name>.safetensors`, as `taskfold train` writes them.

    Args:
        folder: is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> dict[str, Path]:
        """By the name that each file has."""
        return {path.stem: path for path in sorted(self.folder.glob("[!.]*.safetensors"))}

    def put(self, name: str, file: Path) -> Path:
        """Written beside the old one, and put in its place at once."""
        contents, path = read(file), self._place(name)
        write(path, contents.header | {"task": name}, contents.tensors)
        self._settle()
        return path

    def remove(self, name: str) -> None:
        """Its file goes."""
        self._place(name).unlink()
        self._settle()

    def rename(self, old: str, new: str) -> Path:
        """The new file is written before the old one goes."""
        path = self.put(new, self._place(old))
        self.remove(old)
        return path

    def _place(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _settle(self) -> None:
        """The folder's list of names reaches the disk."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
