"""Task and inventory files as bytes: the checked header, and raw tensors. Nothing here imports torch.

One safetensors file per task. The header's metadata holds one JSON document under `taskfold`: format version, task,
method, head, labels, preprocessing, metrics, each tensor's group, which are packed bits, which are left out
since they are unused, the backbone's fingerprint, and a digest over all of that and the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize

from ._header import HEADERS, odd, too_deep
from ._names import check_name

FORMAT_VERSION = 4
LONGEST = 255
"""The most bytes of a file's name, on the file systems of Linux, macOS and Windows."""
KEY = "taskfold"
LOGITS = "routing"
"""The leaf with the logits of a task's routing."""
_MOST_HEADER = 100_000_000
"""The most bytes of a header that safetensors reads."""
_TYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


BESIDE = {"bits": 1, "indices": 32}
"""Counts of a task that are not values, and the bits of each: of a mask, of a sparse value's index."""


def bits_beside(counts: Mapping[str, int]) -> int:
    """The bits of a task beside values."""
    return sum(size * counts.get(kind, 0) for kind, size in BESIDE.items())


class TaskFileError(ValueError):
    """A file is not a task file, is damaged, is newer than this version, or belongs to another backbone."""


@dataclass(frozen=True)
class Raw:
    """A tensor's bytes in a file.

    Attributes:
        dtype: torch's name of the type, `float32`.
        shape: its sizes.
        data: its bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray

    def numel(self) -> int:
        """The number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class RawContents:
    """The contents of a file.

    Attributes:
        header: the JSON document, `digest` included.
        tensors: the tensors, by name.
        data: the whole file.
    """

    header: dict[str, Any]
    tensors: dict[str, Raw]
    data: bytes


def read_header(path: Path, kind: str = "task") -> dict[str, Any]:
    """The header of a file; its tensors are neither read nor checked.

    Args:
        path: the file.
        kind: `task` or `inventory`.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: the file is not of that kind, damaged, or of a newer format.
    """
    with _reading(path):
        metadata = _header_of(path).get("__metadata__") or {}
    return _checked(path, metadata, kind)


def read_raw(path: Path, kind: str = "task") -> RawContents:
    """The contents of a file, read in one opening, with its digest checked.

    Args:
        path: the file.
        kind: `task` or `inventory`.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: as for `read_header`, or the digest does not match.
    """
    with _reading(path):
        data = path.read_bytes()
        found = {name: _raw(one) for name, one in sorted(deserialize(data))}
        metadata = metadata_of(data)
    header = _checked(path, metadata, kind)
    if digest_of(found, canonical(header)) != header["digest"]:
        raise TaskFileError(f"{path} is damaged: its contents do not match its digest; save or copy the task again")
    return RawContents(header, found, data)


def _header_of(path: Path) -> dict[str, Any]:
    """The header of a safetensors file that has the stated length; `safe_open` would import numpy."""
    with path.open("rb") as file:
        size, whole = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
        if not 0 < size <= min(_MOST_HEADER, whole - 8):
            raise ValueError(f"its header cannot have {size} bytes, the file has {whole}")
        header = json.loads(file.read(size))
    try:
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        if max(ends, default=0) != whole - 8 - size or not all(map(_is_text, header.get("__metadata__", {}).items())):
            raise ValueError("its header does not fit its tensors")
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"its header is none of safetensors: {error!r}") from None
    return header


def _is_text(item: tuple[object, object]) -> bool:
    return all(isinstance(one, str) for one in item)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Run a block that reads a file's bytes, which another process may replace at any moment.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: the block has failed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no task file {str(path)!r}" + (": it is a folder" * path.is_dir()))
    try:
        yield
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError) as error:
        raise TaskFileError(
            f"{path} is truncated, damaged or no safetensors file ({error}); save the task again"
        ) from None


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata in the bytes of a safetensors file that was read before."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__") or {}


def _raw(one: Mapping[str, Any]) -> Raw:
    if one["dtype"] not in _TYPES:
        raise SafetensorError(f"its type {one['dtype']} is not known here")
    return Raw(_TYPES[one["dtype"]], tuple(one["shape"]), one["data"])


def digest_of(tensors: Mapping[str, Raw], *also: str) -> str:
    """`taskfold.tasks.digest` of raw tensors."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(json.dumps([name, f"torch.{tensor.dtype}", list(tensor.shape)]).encode())
        total.update(tensor.data)
    for text in also:
        total.update(text.encode())
    return total.hexdigest()


def _checked(path: Path, metadata: dict[str, str], kind: str) -> dict[str, Any]:
    """The checked JSON document in a file's metadata."""
    if KEY not in metadata:
        raise TaskFileError(f"{path} is a safetensors file but no task file: its header has no {KEY!r} entry")
    try:
        header = json.loads(metadata[KEY])
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
    """The fault in a task's name or labels that the form of its header does not show."""
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


def needs_inventory(header: Mapping[str, Any]) -> bool:
    """Whether a task's header names an inventory that is not in its file."""
    stated = header.get("inventory")
    return isinstance(stated, dict) and not stated.get("standalone")


def canonical(header: Mapping[str, Any]) -> str:
    """A header in the form that its digest covers."""
    return json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True)
