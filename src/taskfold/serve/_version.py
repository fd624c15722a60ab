"""The version that a name has, and its place in the engine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tasks import Info
from ._reading import Reading

DIGITS = 16
"""Digits of a digest, as `Store` writes them."""


@dataclass(eq=False)
class Held:
    """A task in the engine, under a key that no other task ever has.

    Attributes:
        key: the key in the engine.
        leases: the number of requests that may still need the task.
        gone: no name has this version any more.
        pinned: the task stays in the engine.
        present: the task is in the engine, not on the disk.
        asking: the number of rows that wait for its answer, or for its arrival.
        coming: its way into the engine, if it is on it.
        file: a copy of its file; None: it never leaves.
    """

    key: str
    leases: int = 0
    gone: bool = False
    pinned: bool = False
    present: bool = False
    asking: int = 0
    coming: asyncio.Future[None] | None = None
    file: Path | None = None


@dataclass(frozen=True, eq=False)
class Version:
    """A version of a task, which answers for its name.

    Attributes:
        name: the task's name.
        digest: 16 hexadecimal digits of its file's digest, which other contents change.
        generation: grows with every change of this server; no two versions have the same.
        reading: how it reads inputs and words answers.
        info: labels, preprocessing, metrics.
        method: the method's name.
        nbytes: the bytes of its numbers.
        held: its place in the engine.
        counts: answers given, and requests that failed.
    """

    name: str
    digest: str
    generation: int
    reading: Reading
    info: Info
    method: str
    nbytes: int
    held: Held
    counts: dict[str, int] = field(default_factory=lambda: {"answers": 0, "errors": 0})

    @property
    def identity(self) -> dict[str, Any]:
        """The part of every answer that identifies the version."""
        return {"task": self.name, "digest": self.digest, "generation": self.generation}
