"""Reads pickles of arrays without running anything.

Some data sets are published as pickles only. A pickle is a program; this reader knows the few names with
which NumPy writes an array of numbers, gives each a harmless stand-in, and refuses all others.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._errors import DataError

NUMBERS = "buif"  # kinds of NumPy type: bool, unsigned, signed, float


class _Type:
    """A stand-in for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        self.type = np.dtype(code)
        if self.type.kind not in NUMBERS:
            raise pickle.UnpicklingError(f"it holds values of type {self.type}, not numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.type = self.type.newbyteorder(state[1])


class _Array:
    """A stand-in for an array: its bytes are read, never executed."""

    value: np.ndarray

    def __init__(self, *_: object) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Type) or not isinstance(raw, bytes | str):
            raise pickle.UnpicklingError("it holds an array that is not plain numbers")
        data = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote its bytes as text
        self.value = np.frombuffer(data, kind.type).reshape(shape, order="F" if fortran else "C")


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Bytes as protocol 2 spells them; the real `_codecs.encode` would run any other codec too."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes in encoding {encoding!r}, not 'latin1'")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., Any]:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is no array") from None


def _plain(value: Any) -> Any:
    """The containers with arrays in place of stand-ins."""
    match value:
        case _Array():
            return value.value
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def load_arrays(data: bytes, source: Path | str) -> Any:
    """Arrays of numbers, and plain containers of them, from a pickle; tuples become lists.

    Args:
        data: the pickle. Strings of Python 2 are read as latin-1.
        source: its origin, for messages.

    Example:
        >>> load_arrays(pickle.dumps({"data": np.arange(3)}), "example")
        {'data': array([0, 1, 2])}
    """
    try:
        return _plain(_ArraysOnly(io.BytesIO(data), encoding="latin1").load())
    except Exception as error:  # damaged pickles raise errors of any type
        raise DataError(f"{source} is refused: {error}. Only pickled NumPy arrays are read") from error
