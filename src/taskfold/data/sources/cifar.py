"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), binary or Python version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._errors import DataError, MissingDataError
from .._sets import ImageSet
from .._unpickle import load_arrays
from ._arrays import Bytes, array_set, records
from ._base import PADDED, Parts, Source, existing_folder, first_existing

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Layout:
    """The names of files and keys. In the binary version labels precede each image; the last label counts."""

    binary: str
    python: str
    train: tuple[str, ...]
    test: str
    names_file: str
    meta: str
    names_key: str
    label_key: str
    label_bytes: int


_TEN = _Layout(
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    tuple(f"data_batch_{n}" for n in range(1, 6)),
    "test_batch",
    "batches.meta.txt",
    "batches.meta",
    "label_names",
    "labels",
    1,
)
_HUNDRED = _Layout(
    "cifar-100-binary",
    "cifar-100-python",
    ("train",),
    "test",
    "fine_label_names.txt",
    "meta",
    "fine_label_names",
    "fine_labels",
    2,
)


class Cifar(Source):
    """The official folders, as torchvision unpacks them, or the binary version's, which needs no unpickling.

    The Python version is pickled; only arrays are read from it, and nothing in it is executed.

    Attributes:
        root: the folder `cifar-10-batches-py` (`-bin`, `cifar-100-python`, `-binary`), or its parent.
    """

    kind: Literal["cifar10", "cifar100"]
    root: Path
    usual = PADDED

    def parts(self) -> Parts:
        """Train and test are official; val comes out of train."""
        layout = _TEN if self.kind == "cifar10" else _HUNDRED
        root = existing_folder(self.root, "root")
        if place := _place(root, layout.binary, layout.names_file):
            names = [line for line in (place / layout.names_file).read_text().splitlines() if line.strip()]
            train = [_read_binary(_file(place, f"{file}.bin"), layout) for file in layout.train]
            test = _read_binary(_file(place, f"{layout.test}.bin"), layout)
        elif place := _place(root, layout.python, layout.meta):
            names = _unpickled(place / layout.meta, layout.names_key)[layout.names_key]
            train = [_read_python(_file(place, file), layout) for file in layout.train]
            test = _read_python(_file(place, layout.test), layout)
        else:
            raise MissingDataError(f"root: no {layout.binary} or {layout.python} in {root.absolute()}")
        pixels, targets = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
        return Parts(tuple(names), self._set(pixels, targets, "train"), None, self._set(*test, "test"))

    def _set(self, pixels: Bytes, targets: np.ndarray, split: str) -> ImageSet:
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return array_set(np.ascontiguousarray(images), targets, f"{self.kind}/{split}")


def _place(root: Path, name: str, witness: str) -> Path | None:
    return next((path for path in (root / name, root) if (path / witness).is_file()), None)


def _file(place: Path, name: str) -> Path:
    return first_existing([place / name], "CIFAR batch")


def _read_binary(path: Path, layout: _Layout) -> tuple[Bytes, np.ndarray]:
    rows = records(path, layout.label_bytes + PIXELS)
    return rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1]


def _read_python(path: Path, layout: _Layout) -> tuple[Bytes, np.ndarray]:
    batch = _unpickled(path, "data", layout.label_key)
    pixels, targets = np.asarray(batch["data"]), np.asarray(batch[layout.label_key])
    if pixels.dtype != np.uint8 or pixels.shape != (len(targets), PIXELS):
        raise DataError(
            f"{path}: data must be uint8 {[len(targets), PIXELS]}, found {pixels.dtype} {list(pixels.shape)}"
        )
    return pixels, targets


def _unpickled(path: Path, *keys: str) -> dict[str, Any]:
    content = load_arrays(path.read_bytes(), path)
    found = (
        {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()} if isinstance(content, dict) else {}
    )
    if absent := [key for key in keys if key not in found]:
        raise DataError(f"{path}: must hold {absent[0]!r}, found {sorted(found)}")
    return found
