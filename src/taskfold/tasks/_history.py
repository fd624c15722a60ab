"""The history of a task in a store: lines of JSON, appended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def append(path: Path, entry: Mapping[str, str]) -> None:
    """Append a line; an incomplete last line stays a line of its own."""
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
    """The entry of a line; None: the line is incomplete or not an entry."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"time", "event", "digest"} <= found.keys() else None
