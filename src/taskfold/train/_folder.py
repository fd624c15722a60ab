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
    """Where a run is kept. Every process reads it, the first one writes.

    Args:
        path: the folder; None: nothing is kept.
        identity: what makes this run this run.
        writes: this process is the first.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any], writes: bool) -> None:
        self.path, self.identity = path, identity
        self.target = path if writes else None
        self.log = Log(None)

    @classmethod
    def open(cls, path: str | Path | None, identity: dict[str, Any], fresh: bool, accelerator: Accelerator) -> Folder:
        """The folder, there and ready.

        Raises:
            NotADirectoryError: it is a file.
            CheckpointError: it holds a log whose checkpoint is gone.
        """
        if path is None:
            return cls(None, identity, False)
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"folder {str(path)!r} is a file; choose another")
        if accelerator.is_main_process:
            path.mkdir(parents=True, exist_ok=True)
            for unfinished in path.glob(f".{CHECKPOINT}.*"):  # a process killed while it wrote
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
        """What was saved last, if anything was.

        Raises:
            CheckpointError: by another run, or it is damaged.
        """
        if self.path is None or not (self.path / CHECKPOINT).exists():
            return None
        return _checkpoint.load(self.path / CHECKPOINT, self.identity)

    def save(self, kept: dict[str, Any]) -> None:
        """Write a checkpoint."""
        if self.target is not None:
            _checkpoint.save(self.target / CHECKPOINT, self.identity, kept)

    def open_log(self, offset: int, accelerator: Accelerator, settings: Settings) -> None:
        """Go on with the log behind these bytes; trackers are told what each line says."""
        track(accelerator, settings, self.path)
        self.log = Log(self.target and self.target / LOG, offset, partial(tell, accelerator))

    def close_log(self, accelerator: Accelerator) -> None:
        """The log, and what the trackers know, are whole."""
        self.log.close()
        finish(accelerator)
