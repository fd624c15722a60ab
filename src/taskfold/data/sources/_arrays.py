"""Reads raw images of unsigned bytes."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._errors import DataError
from .._images import ArrayImages
from .._sets import ImageSet

Bytes = NDArray[np.uint8]


def array_set(pixels: Bytes, targets: Sequence[int] | np.ndarray, name: str) -> ImageSet:
    """Images in memory, with names `name/0`, `name/1`, …

    Raises:
        DataError: the numbers of images and targets differ.
    """
    if len(pixels) != len(targets):
        raise DataError(f"{name}: has {len(pixels)} images and {len(targets)} labels; the files do not belong together")
    numbers = np.asarray(targets).tolist()
    return ImageSet(numbers, ArrayImages(pixels), [f"{name}/{index}" for index in range(len(numbers))])


def records(path: Path, size: int) -> Bytes:
    """A file of records of `size` bytes each, as `[N, size]`."""
    data = np.fromfile(path, dtype=np.uint8)
    if len(data) == 0 or len(data) % size:
        raise DataError(f"{path}: must be records of {size} bytes, found {len(data)} bytes; the file is truncated")
    return data.reshape(-1, size)


def read_idx(path: Path) -> Bytes:
    """An array of bytes in the IDX format of MNIST, gzipped or not.

    Raises:
        DataError: the file has another format, or is truncated.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, axes = struct.unpack_from(">HBB", raw)
        shape = struct.unpack_from(f">{axes}I", raw, 4)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"{path}: cannot be read as IDX: {error}") from error
    start, unsigned_bytes = 4 + 4 * axes, 8
    if zeros or kind != unsigned_bytes or len(raw) - start != math.prod(shape):
        raise DataError(f"{path}: must be IDX of unsigned bytes {list(shape)}, found {len(raw) - start} bytes")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
