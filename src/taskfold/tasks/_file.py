"""A task's tensors and header to a file and back. Written atomically, checked on reading, never unpickled."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ..files import (
    FORMAT_VERSION,
    KEY,
    LONGEST,
    canonical,
    check_inside,
    check_no_folder,
    metadata_of,
    read_raw,
    write_atomically,
)
from ._fingerprint import digest


@dataclass(frozen=True)
class Contents:
    """What a task file holds.

    Attributes:
        header: the JSON document, `digest` included.
        tensors: by name, as `Task.state_dict()` names them.
    """

    header: dict[str, Any]
    tensors: dict[str, Tensor]


def write(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a task file; the old file stays until the new one is complete.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: the path is a folder.
        ValueError: the file's name is too long.
    """
    check_inside(path, "save")
    if (size := len(os.fsencode(path.name))) > LONGEST:
        raise ValueError(
            f"cannot save {path.name!r}: the name of a file may have {LONGEST} bytes, found {size}; choose a shorter "
            "one"
        )
    check_no_folder(path)
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    header = {"kind": "task", **header, "format_version": FORMAT_VERSION}
    header["digest"] = digest(plain, canonical(header))
    data = safetensors.torch.save(plain, {KEY: json.dumps(header, ensure_ascii=False)})
    write_atomically(path, data)


def contents_of(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata of a safetensors file and its tensors, of one opening.

    Raises:
        SafetensorError, OSError: it is no such file, or can't be read.
    """
    data = path.read_bytes()
    tensors = _tensors(data)  # which says so where the bytes are no such file
    return metadata_of(data), tensors


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return dict(sorted(safetensors.torch.load(data).items()))
    except KeyError as error:
        raise SafetensorError(f"its type {error} is not known here") from None


def read(path: Path, kind: str = "task") -> Contents:
    """A whole file of that kind, its digest checked.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: as for `read_header`, or the digest does not match.
    """
    found = read_raw(path, kind)
    return Contents(found.header, _tensors(found.data))
