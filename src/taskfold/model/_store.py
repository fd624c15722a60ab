"""A store of rows of bytes by key, in memory and on disk, both bounded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

KEY = 16
"""Bytes of a key."""
_CHECK = 8


class Store:
    """Tables of rows, which are kept until the bounds are reached. Rows on disk survive a crash.

    With a folder every row is on disk, so that a resumed training finds the same rows.

    Args:
        memory: the most bytes in memory.
        folder: of the files, one for each table; None: memory alone.
        disk: the most bytes on disk.
    """

    def __init__(self, memory: int, folder: Path | None = None, disk: int = 0) -> None:
        self.memory, self.disk = memory, disk
        self.folder = folder if disk else None
        self.in_memory = self.on_disk = 0
        self.tables: dict[str, Table] = {}

    def table(self, name: str, width: int) -> Table:
        """The table of a name with rows of `width` bytes, and with the rows of earlier processes."""
        if name not in self.tables:
            path = self.folder and self.folder / f"{name}.rows"
            self.tables[name] = Table(self, width, path)
        return self.tables[name]

    def drop(self, name: str) -> None:
        """Deletes a table and its file."""
        table = self.tables.pop(name, None)
        if table is not None:
            table.close()
            self.in_memory -= sum(map(len, table.rows.values()))
            self.on_disk -= len(table.places) * table.width
            if table.path is not None:
                table.path.unlink(missing_ok=True)

    def clear(self) -> None:
        for name in list(self.tables):
            self.drop(name)

    def close(self) -> None:
        """Closes the files."""
        for table in self.tables.values():
            table.close()


class Table:
    """Rows of one width. A file is a list of atomic groups: count, keys, rows, and their checksum.

    Args:
        store: sets the bounds.
        width: bytes of a row.
        path: of the file; None: no file.
    """

    def __init__(self, store: Store, width: int, path: Path | None) -> None:
        self.store, self.width, self.path = store, width, path
        self.rows: dict[bytes, Tensor] = {}
        self.places: dict[bytes, int] = {}
        self.full = False
        self.file: int | None = None
        self.end = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(path, os.O_RDWR | os.O_CREAT)
            self._read()

    def __len__(self) -> int:
        return len(self.rows.keys() | self.places.keys())

    def __contains__(self, key: bytes) -> bool:
        return key in self.rows or key in self.places

    def get(self, keys: Sequence[bytes]) -> Tensor:
        """The rows of known keys, `[n, width]` uint8."""
        return torch.stack([self.rows[key] if key in self.rows else self._from_disk(key) for key in keys])

    def add(self, keys: Sequence[bytes], rows: Tensor) -> None:
        """Adds rows `[n, width]`; if they exceed a bound, none of them and no later ones."""
        new = {key: n for n, key in enumerate(keys) if key not in self}
        size, store = len(new) * self.width, self.store
        if not new or self.full:
            return
        fits = store.in_memory + size <= store.memory
        if self.file is not None:
            self.full = store.on_disk + size > store.disk
        else:
            self.full = not fits
        if self.full:
            return
        mine = rows[list(new.values())]
        if self.file is not None:
            self._write(list(new), mine)
        if fits:
            self.rows |= dict(zip(new, mine, strict=True))
            store.in_memory += size

    def _write(self, keys: Sequence[bytes], rows: Tensor) -> None:
        assert self.file is not None
        body = len(keys).to_bytes(4, "little") + b"".join(keys) + rows.numpy().tobytes()
        os.pwrite(self.file, body + sha256(body).digest()[:_CHECK], self.end)
        self._place(keys)

    def _place(self, keys: Sequence[bytes]) -> None:
        first = self.end + 4 + KEY * len(keys)
        self.places |= {key: first + n * self.width for n, key in enumerate(keys)}
        self.end = first + len(keys) * self.width + _CHECK
        self.store.on_disk += len(keys) * self.width

    def _read(self) -> None:
        """Reads the file up to the first incomplete group."""
        assert self.file is not None
        while head := os.pread(self.file, 4, self.end):
            count = int.from_bytes(head, "little")
            size = 4 + count * (KEY + self.width)
            if not count or self.end + size + _CHECK > os.fstat(self.file).st_size:
                break
            body = os.pread(self.file, size + _CHECK, self.end)
            if sha256(body[:size]).digest()[:_CHECK] != body[size:]:
                break
            keys = [body[4 + n * KEY : 4 + (n + 1) * KEY] for n in range(count)]
            if self.store.in_memory + count * self.width <= self.store.memory:
                rows = np.frombuffer(bytearray(body[4 + KEY * count : size]), np.uint8).reshape(count, self.width)
                self.rows |= dict(zip(keys, torch.from_numpy(rows), strict=True))
                self.store.in_memory += count * self.width
            self._place(keys)
        os.ftruncate(self.file, self.end)

    def _from_disk(self, key: bytes) -> Tensor:
        assert self.file is not None
        return torch.frombuffer(bytearray(os.pread(self.file, self.width, self.places[key])), dtype=torch.uint8)

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None
