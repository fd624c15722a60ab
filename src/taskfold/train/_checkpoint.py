"""Checkpoints: one file of safetensors and JSON with everything that a run needs to resume exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from ..tasks import contents_of, digest, write_atomically
from ._pack import pack, unpack
from .differences import differences

VERSION = 4
_KEY = "taskfold-training"
REMEDY = "choose another folder, or start over with fresh=True"


class CheckpointError(ValueError):
    """A checkpoint is damaged, of another version of taskfold, or of another run."""


def save(path: Path, identity: dict[str, Any], state: Any) -> None:
    """Write a checkpoint; the previous one stays until this one is complete.

    Args:
        path: the file, in an existing folder.
        identity: JSON that tells this run from others.
        state: nested dicts, lists, tensors and numbers.
    """
    tensors, plain = pack(state)
    text = json.dumps({"version": VERSION, "identity": identity, "state": plain})
    metadata = {_KEY: text, "digest": digest(tensors, text)}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load(path: Path, identity: dict[str, Any]) -> Any:
    """The state in a checkpoint of this run.

    Raises:
        CheckpointError: the file is damaged, of another version, or of another run.
    """
    there, state = read(path)
    check_same(path, there, identity)
    return state


def check_same(path: Path, there: dict[str, Any], identity: dict[str, Any]) -> None:
    """Checks that a checkpoint is of this run.

    Raises:
        CheckpointError: it is of another run.
    """
    if differing := differences(there, identity):
        raise CheckpointError(f"{path} is of another run: {differing}; {REMEDY}")


def read(path: Path) -> tuple[dict[str, Any], Any]:
    """The identity of a checkpoint's run, and its state.

    Raises:
        CheckpointError: the file is damaged, or of another version.
    """
    try:
        metadata, tensors = contents_of(path)
        text = metadata[_KEY]
        document = json.loads(text)
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint ({error}); {REMEDY}") from None
    if (version := document.get("version", 0)) != VERSION:
        other = "a newer version of taskfold; upgrade" if version > VERSION else "an older version of taskfold; use it"
        raise CheckpointError(f"{path} was written by {other}, or {REMEDY}")
    if digest(tensors, text) != metadata.get("digest"):
        raise CheckpointError(f"{path} is damaged: its contents do not match its digest; {REMEDY}")
    return document["identity"], unpack(tensors, document["state"])
