"""One safetensors file per task. Written atomically, checked on reading, never unpickled.

The header's metadata holds one JSON document under `taskfold`: format version, task, method, head, labels,
preprocessing, metrics, what each tensor counts as, which are packed bits, which are left out since they have no part,
the backbone's fingerprint, and a digest over all of that and the tensors.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ._fingerprint import digest
from ._header import HEADERS, odd, too_deep
from ._task_name import check_name

FORMAT_VERSION = 4
LONGEST = 255
"""Bytes in the name of a file, on the file systems of Linux, macOS and Windows."""
_DRAFT = 100
_KEY = "taskfold"


class TaskFileError(ValueError):
    """A file is not a task file, is damaged, is newer than this version, or belongs to another backbone."""


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
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path.name}: folder {str(path.parent)!r} does not exist; create it first")
    if (size := len(os.fsencode(path.name))) > LONGEST:
        raise ValueError(
            f"cannot save {path.name!r}: the name of a file may have {LONGEST} bytes, found {size}; choose a shorter "
            "one"
        )
    check_no_folder(path)
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    header = {"kind": "task", **header, "format_version": FORMAT_VERSION}
    header["digest"] = digest(plain, _canonical(header))
    data = safetensors.torch.save(plain, {_KEY: json.dumps(header, ensure_ascii=False)})
    write_atomically(path, data)


def check_no_folder(path: Path) -> None:
    """A file can be written there.

    Raises:
        IsADirectoryError: the path is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder; name a file in it")


def write_atomically(path: Path, data: bytes) -> None:
    """Bytes into a file at once: whoever looks sees the old file or the new one, also after a crash.

    Raises:
        IsADirectoryError: the path is a folder.
    """
    check_no_folder(path)
    short = os.fsdecode(os.fsencode(path.name)[:_DRAFT])  # or the draft's name is too long where the file's is not
    draft = path.with_name(f".{short}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_header(path: Path, kind: str = "task") -> dict[str, Any]:
    """The header of a file, without its tensors and without checking them.

    Args:
        path: the file.
        kind: `task` or `inventory`.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: not a file of that kind, damaged, or of a newer format.
    """
    return _checked(path, _opened(path, False)[0], kind)


def _opened(path: Path, whole: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    """A file's metadata and tensors, of one opening: somebody may put another file in its place at any moment."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no task file {str(path)!r}" + (": it is a folder" * path.is_dir()))
    try:
        return contents_of(path, whole)
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError) as error:
        raise TaskFileError(
            f"{path} is truncated, damaged or no safetensors file ({error}); save the task again"
        ) from None


def contents_of(path: Path, whole: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata of a safetensors file and its tensors (none unless `whole`), of one opening.

    Raises:
        SafetensorError, OSError: it is no such file, or can't be read.
    """
    if not whole:
        with safe_open(path, "np") as file:  # as "pt" it opens the file once more, for its tensors
            return file.metadata() or {}, {}
    data = path.read_bytes()
    try:
        tensors = safetensors.torch.load(data)
    except KeyError as error:
        raise SafetensorError(f"its type {error} is not known here") from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__") or {}, dict(sorted(tensors.items()))


def _checked(path: Path, metadata: dict[str, str], kind: str) -> dict[str, Any]:
    """The JSON document in a file's metadata."""
    if _KEY not in metadata:
        raise TaskFileError(f"{path} is a safetensors file but no task file: its header has no {_KEY!r} entry")
    try:
        header = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise TaskFileError(f"{path} is damaged: its header is no JSON ({error}); save the task again") from None
    version = header.get("format_version") if isinstance(header, dict) else None
    if type(version) is not int or version < 1:
        raise TaskFileError(f"{path} is damaged: format_version is no whole number ≥ 1; save the task again")
    if version < FORMAT_VERSION:
        raise TaskFileError(
            f"{path} has format {version}, of before the first release; this version of taskfold reads format "
            f"{FORMAT_VERSION}: train the task again"
        )
    if version > FORMAT_VERSION:
        raise TaskFileError(
            f"{path} has format {version}, this version of taskfold reads up to {FORMAT_VERSION}; upgrade taskfold"
        )
    found = header.get("kind")
    if found != kind:
        remedy = _LOADERS.get(found, "upgrade taskfold") if isinstance(found, str) else "save the task again"
        raise TaskFileError(f"{path} holds {_a(found)}, not {_a(kind)}; {remedy}")
    if (wrong := too_deep(header) or odd(header, HEADERS[kind]) or _odd_task(header, kind)) is not None:
        raise TaskFileError(f"{path} is damaged: {wrong}; save the task again")
    return header


def _odd_task(header: dict[str, Any], kind: str) -> str | None:
    """What is wrong with a task's name and labels, which its header's form does not show."""
    if kind != "task":
        return None
    try:
        check_name(header["task"])
    except ValueError as error:
        return str(error)
    outputs, labels = (header["head"] or {}).get("outputs"), header["info"]["labels"]
    if labels and outputs is not None and len(labels) != outputs:
        return f"its header names {len(labels)} labels for {outputs} outputs; they must be as many"
    return None


_LOADERS = {"task": "load it with model.load_task", "inventory": "load it with model.load_inventory"}


def _a(kind: object) -> str:
    word = kind if isinstance(kind, str) and kind else "thing of no known kind"
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def read(path: Path, kind: str = "task") -> Contents:
    """A whole file of that kind, its digest checked.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: as for `read_header`, or the digest does not match.
    """
    metadata, tensors = _opened(path, True)
    header = _checked(path, metadata, kind)
    found = digest(tensors, _canonical(header))
    if found != header["digest"]:
        raise TaskFileError(f"{path} is damaged: its contents do not match its digest; save or copy the task again")
    return Contents(header, tensors)


def _canonical(header: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True)
