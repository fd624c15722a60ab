"""One file that holds everything a run needs to go on exactly: safetensors and JSON, nothing pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from ..tasks import contents_of, digest, write_atomically
from ._pack import pack, unpack
from .differences import differences

VERSION = 3
_KEY = "taskfold-training"


class CheckpointError(ValueError):
    """A checkpoint is damaged, of another version of taskfold, or of another run."""


def save(path: Path, identity: dict[str, Any], state: Any) -> None:
    """Write a checkpoint; the one before stays until this one is complete.

    Args:
        path: the file; its folder exists.
        identity: what makes this run this run; JSON.
        state: nested dicts, lists, tensors and numbers.
    """
    tensors, plain = pack(state)
    text = json.dumps({"version": VERSION, "identity": identity, "state": plain})
    metadata = {_KEY: text, "digest": digest(tensors, text)}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load(path: Path, identity: dict[str, Any]) -> Any:
    """The state in a checkpoint of this very run.

    Raises:
        CheckpointError: it is damaged, of another version, or of another run.
    """
    remedy = "choose another folder, or start over with fresh=True"
    try:
        metadata, tensors = contents_of(path)
        text = metadata[_KEY]
        document = json.loads(text)
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint ({error}); {remedy}") from None
    if (version := document.get("version", 0)) != VERSION:
        other = "a newer version of taskfold; upgrade" if version > VERSION else "an older version of taskfold; use it"
        raise CheckpointError(f"{path} was written by {other}, or {remedy}")
    if digest(tensors, text) != metadata.get("digest"):
        raise CheckpointError(f"{path} is damaged: its contents do not match its digest; {remedy}")
    if differing := differences(document["identity"], identity):
        raise CheckpointError(f"{path} is of another run: {differing}; {remedy}")
    return unpack(tensors, document["state"])
