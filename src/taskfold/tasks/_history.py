"""What happened to a task in a store: lines of JSON, added at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def append(path: Path, entry: Mapping[str, str]) -> None:
    """A line more; one that was cut off stays by itself."""
    with path.open("ab") as out:
        whole = not out.tell() or _last_byte(path) == b"\n"
        out.write(f"{'' if whole else chr(10)}{json.dumps(entry)}\n".encode())
        out.flush()
        os.fsync(out.fileno())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()


def entry_of(line: str) -> dict[str, str] | None:
    """What a line says; None: it is no such line, or was cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"time", "event", "digest"} <= found.keys() else None
