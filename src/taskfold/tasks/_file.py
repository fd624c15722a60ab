"""Task files: tensors and a header, written atomically, checked on reading, never unpickled."""

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
    """The contents of a task file.

    Attributes:
        header: the JSON document, `digest` included.
        tensors: the tensors, by the names in `Task.state_dict()`.
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
    """The metadata of a safetensors file and its tensors, read in one opening.

    Raises:
        SafetensorError, OSError: the file is not one, or can't be read.
    """
    data = path.read_bytes()
    tensors = _tensors(data)  # it raises for bytes that are not such a file
    return metadata_of(data), tensors


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return dict(sorted(safetensors.torch.load(data).items()))
    except KeyError as error:
        raise SafetensorError(f"its type {error} is not known here") from None


def read(path: Path, kind: str = "task") -> Contents:
    """The contents of a file of the given kind, with its digest checked.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: as for `read_header`, or the digest does not match.
    """
    found = read_raw(path, kind)
    return Contents(found.header, _tensors(found.data))
