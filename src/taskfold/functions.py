"""Users' functions by name: `package.module:function`, or `path/to/file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

NAMED = 5
"""The most functions of a module that an error names, the most alike first."""


class FunctionError(ValueError):
    """A function cannot be loaded: the message has its name, the value found and the remedy."""


def is_importable(spec: str) -> bool:
    """Whether a specification names a Python file, or a module that exists."""
    place, colon, function = spec.rpartition(":")
    if not colon or not function.isidentifier():
        return False
    if place.endswith(".py"):
        return True
    if not all(part.isidentifier() for part in place.split(".")):
        return False
    try:
        return importlib.util.find_spec(place) is not None
    except ModuleNotFoundError:
        return False


def function_of(spec: str, base: str | Path = ".") -> Callable[..., Any]:
    """The function that a specification names. A file is run once, however often it is named.

    Args:
        spec: `package.module:function` or `path/to/file.py:function`.
        base: the folder that a relative path starts from.

    Raises:
        FunctionError: there is no such module, file or function, or the module's import fails.

    Example:
        >>> function_of("torch.nn.functional:l1_loss").__name__
        'l1_loss'
    """
    place, _, name = spec.rpartition(":")
    if not is_importable(spec):
        raise FunctionError(
            f"must be package.module:function or path/to/file.py:function, found {spec!r}, whose module does not exist"
        )
    try:
        module = _module(spec, place, Path(base))
    except FunctionError:
        raise
    except Exception as error:
        raise FunctionError(f"{spec!r} failed with {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        named = ", ".join(get_close_matches(name, there, NAMED) or there[:NAMED]) or "none"
        raise FunctionError(f"{spec!r}: {place} has no function {name!r}; it has {named}{', …' * (len(there) > NAMED)}")
    return function


def _module(spec: str, place: str, base: Path) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = (base / Path(place).expanduser()).resolve()
    if not path.is_file():
        raise FunctionError(f"{spec!r}: there is no file {str(path)!r}")
    name = f"taskfold_code_{path.stem}_{zlib.crc32(str(path).encode() + path.read_bytes()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # loader processes and copies find classes by module name
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
