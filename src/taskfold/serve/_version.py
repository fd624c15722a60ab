"""What a name stands for, and where that stands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tasks import Info
from ._reading import Reading

DIGITS = 16
"""Of a digest, as `Store` writes them."""


@dataclass(eq=False)
class Held:
    """A task in the engine, under a key that no other task ever has.

    Attributes:
        key: in the engine.
        leases: requests that may still ask it.
        gone: no name stands for it any more.
        pinned: it stays in the engine.
        present: it stands there, and does not lie on the disk.
        asking: rows that wait for its answer, or for it to come.
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
    """What a name stands for.

    Attributes:
        name: of the task.
        digest: 16 hexadecimal digits of its file's digest: others for other contents.
        generation: grows with every change of this server; no two versions have the same.
        reading: how it reads inputs and words answers.
        info: labels, preprocessing, metrics.
        method: its name.
        nbytes: of its numbers.
        held: where it stands.
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
        """What every answer carries."""
        return {"task": self.name, "digest": self.digest, "generation": self.generation}
