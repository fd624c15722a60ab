"""A run's folder: its checkpoint and its log."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from . import _checkpoint
from ._log import Log
from ._trackers import finish, tell, track
from .settings import Settings

CHECKPOINT, LOG, FEATURES = "checkpoint.safetensors", "log.jsonl", "features"


class Folder:
    """The folder of a run. Every process reads it, the first process writes.

    Args:
        path: the folder; None: nothing is kept.
        identity: JSON that tells this run from others.
        writes: this process is the first.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any], writes: bool) -> None:
        self.path, self.identity = path, identity
        self.target = path if writes else None
        self.log = Log(None)

    @classmethod
    def open(cls, path: str | Path | None, identity: dict[str, Any], fresh: bool, accelerator: Accelerator) -> Folder:
        """Makes the folder, and clears it if `fresh`.

        Raises:
            NotADirectoryError: `path` is a file.
            CheckpointError: the folder holds a log without its checkpoint.
        """
        if path is None:
            return cls(None, identity, False)
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"folder {str(path)!r} is a file; choose another")
        if accelerator.is_main_process:
            path.mkdir(parents=True, exist_ok=True)
            for unfinished in path.glob(f".{CHECKPOINT}.*"):  # of a process killed while writing
                unfinished.unlink()
            if fresh:
                (path / CHECKPOINT).unlink(missing_ok=True)
                (path / LOG).unlink(missing_ok=True)
                shutil.rmtree(path / FEATURES, ignore_errors=True)
        accelerator.wait_for_everyone()
        log = path / LOG
        if log.exists() and log.stat().st_size and not (path / CHECKPOINT).exists():
            raise _checkpoint.CheckpointError(
                f"{log} is the log of a run whose checkpoint is gone; choose another folder, or start over with "
                "fresh=True"
            )
        return cls(path, identity, accelerator.is_main_process)

    def load(self) -> dict[str, Any] | None:
        """The last saved state, if there is one.

        Raises:
            CheckpointError: the checkpoint is damaged or another run's.
        """
        if self.path is None or not (self.path / CHECKPOINT).exists():
            return None
        return _checkpoint.load(self.path / CHECKPOINT, self.identity)

    def save(self, kept: dict[str, Any]) -> None:
        if self.target is not None:
            _checkpoint.save(self.target / CHECKPOINT, self.identity, kept)

    def open_log(self, offset: int, accelerator: Accelerator, settings: Settings) -> None:
        """Continue the log after these bytes; trackers receive each line."""
        track(accelerator, settings, self.path)
        self.log = Log(self.target and self.target / LOG, offset, partial(tell, accelerator))

    def close_log(self, accelerator: Accelerator) -> None:
        """Flush and close the log and the trackers."""
        self.log.close()
        finish(accelerator)
