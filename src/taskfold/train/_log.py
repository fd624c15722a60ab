"""A log with one JSON object per line, which a resumed run cuts back to its checkpoint."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Log:
    """Appends lines to a file.

    Args:
        path: the file; None: nothing is written.
        offset: bytes to keep; later ones were written after the checkpoint.
        also: called with each line's content.
    """

    def __init__(
        self, path: Path | None, offset: int = 0, also: Callable[[str, Mapping[str, Any]], None] | None = None
    ) -> None:
        self._file, self._also = None, also
        if path is not None:
            self._file = path.open("ab")
            self._file.truncate(min(offset, path.stat().st_size))
            self._file.seek(0, os.SEEK_END)

    def write(self, event: str, **fields: Any) -> None:
        """Write one line; infinities and NaN become null."""
        if self._also is not None:
            self._also(event, fields)
        if self._file is not None:
            line = {"time": round(time.time(), 3), "event": event, **fields}
            self._file.write(json.dumps(_finite(line), allow_nan=False).encode() + b"\n")
            self._file.flush()

    def sync(self) -> int:
        """Flush the file to the disk; returns its bytes."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
