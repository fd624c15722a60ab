"""Readers of arrays, one function for each form of file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..data import DataError, MissingDataError, UnreadableImageError, open_image, require

Read = Callable[[Path], NDArray[Any]]
OVERSHOOT = 0.01  # resampling moves floats slightly beyond 0 and 1
_HEADERS = threading.Lock()  # Python 3.11's ast, which reads .npy headers, fails when threads share it


def image(path: Path) -> Tensor:
    """A picture, float `[3, H, W]`, 0 to 1: any image file, or .npy of `[H, W, 3]`, bytes or floats 0 to 1.

    Raises:
        MissingDataError, UnreadableImageError: there is no such file, or it is not an image.
        DataError: the array has another shape or range.
    """
    if path.suffix != ".npy":
        return torch.from_numpy(np.array(open_image(path))).permute(2, 0, 1).float() / 255
    values = npy(path)
    if values.ndim != 3 or values.shape[2] != 3:
        raise DataError(f"{path}: an image must be [H, W, 3], found {list(values.shape)}")
    if values.dtype == np.uint8:
        return torch.from_numpy(values).permute(2, 0, 1).float() / 255
    if values.dtype.kind != "f":
        raise DataError(f"{path}: an image must be bytes or floats 0 to 1, found {values.dtype}")
    low, high = values.min(), values.max()
    if not -OVERSHOOT <= low <= high <= 1 + OVERSHOOT:  # true for NaN too
        raise DataError(f"{path}: an image in floats must be 0 to 1, found {low:g} to {high:g}: divide it")
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)).clamp(0, 1)


def npy(path: Path) -> NDArray[Any]:
    """An array in NumPy's own format; nothing is unpickled."""
    try:
        with _HEADERS:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(mapped)
    except FileNotFoundError:
        raise MissingDataError(f"no file at {path}: restore it") from None
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableImageError(f"{path} cannot be read as an array: {error}") from error


def pixels(path: Path) -> NDArray[Any]:
    """The raw numbers of an image file: palette indices, 8 or 16 bits, `[H, W]` or `[H, W, channels]`."""
    try:
        with Image.open(path) as picture:
            return np.array(picture)
    except FileNotFoundError:
        raise MissingDataError(f"no file at {path}: restore it") from None
    except Exception as error:  # decoders raise errors of any type
        raise UnreadableImageError(f"{path} cannot be read as an image: {error}") from error


def labels(path: Path) -> NDArray[Any]:
    """Classes from the grey values or palette indices of a .png."""
    found = pixels(path)
    if found.ndim != 2:
        raise DataError(f"{path}: classes must be grey values or palette indices, found {found.shape[2]} channels")
    return found


def millimetres(path: Path) -> NDArray[Any]:
    """Depth in metres from a 16-bit .png of millimetres, 0 where unknown."""
    found = pixels(path)
    if found.ndim != 2 or found.dtype == np.uint8:
        raise DataError(
            f"{path}: depth must be one channel of 16 bits, millimetres, found {list(found.shape)} {found.dtype}"
        )
    return found.astype(np.float32) / 1000


def directions(path: Path) -> NDArray[Any]:
    """Normals from bytes, 2x/255 − 1."""
    found = pixels(path)
    if found.ndim != 3 or found.shape[2] != 3 or found.dtype != np.uint8:
        raise DataError(f"{path}: normals must be red, green, blue of 8 bits, found {list(found.shape)} {found.dtype}")
    return found.astype(np.float32) * (2 / 255) - 1


def strengths(path: Path) -> NDArray[Any]:
    """Edges from bytes, x/255; from the first channel of a colour image."""
    found = pixels(path)
    found = found if found.ndim == 2 else found[..., 0]
    return found.astype(np.float32) / (1 if found.dtype == bool else 255)


@dataclass(frozen=True)
class Mat:
    """An array of a MATLAB file; version 7.3 needs h5py.

    Args:
        key: the array's name.
    """

    key: str

    def __call__(self, path: Path) -> NDArray[Any]:
        io = require("scipy.io", '"taskfold[dense]"')
        if not path.is_file():
            raise MissingDataError(f"no file at {path}: restore it")
        try:
            found = io.loadmat(path, variable_names=[self.key])
        except NotImplementedError:
            found = self._version_73(path)
        except Exception as error:  # scipy raises errors of any type on damaged files
            raise UnreadableImageError(f"{path} cannot be read as a MATLAB file: {error}") from error
        if self.key not in found:
            raise DataError(f"{path}: holds no array {self.key!r}")
        return np.asarray(found[self.key])

    def _version_73(self, path: Path) -> dict[str, NDArray[Any]]:
        h5py = require("h5py", "h5py")
        try:
            with h5py.File(path) as file:
                # MATLAB stores columns first.
                return {self.key: np.asarray(file[self.key]).T} if self.key in file else {}
        except OSError as error:
            raise UnreadableImageError(f"{path} cannot be read as a MATLAB file: {error}") from error


@dataclass(frozen=True)
class Shifted:
    """Classes counted from 1 in the file; 0, unlabelled, becomes −1.

    Args:
        read: reads the file.
    """

    read: Read

    def __call__(self, path: Path) -> NDArray[Any]:
        found = self.read(path).astype(np.int64)
        return np.where(found == 255, found, found - 1)
