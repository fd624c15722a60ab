from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ._loaded import BackboneError, LoadedBackbone, Request, construct
from ._weights import load_weights


def is_importable(spec: str) -> bool:
    """Whether a specification names a Python file, or a module that can be found."""
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


def python_path(request: Request) -> LoadedBackbone:
    """`package.module:function` or `path/to/file.py:function`: the user's own code, called without arguments."""
    place, _, name = request.name.rpartition(":")
    module = _run(request, lambda: _module(request, place))
    function = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise BackboneError(f"backbone {request.name!r}: {place} has no function {name!r}; it has {there or 'none'}")
    made = _run(request, lambda: construct(function, request.meta))
    loaded = LoadedBackbone(made) if isinstance(made, nn.Module) else made
    if not isinstance(loaded, LoadedBackbone):
        raise BackboneError(
            f"backbone {request.name!r}: {name}() must return an nn.Module or a LoadedBackbone, "
            f"found {type(made).__name__}"
        )
    if request.weights:
        load_weights(loaded.network, request.weights)
    return loaded


def _run(request: Request, work: Callable[[], Any]) -> Any:
    """Run the user's code; what goes wrong there is said in one line, with the place in the cause."""
    try:
        return work()
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(f"backbone {request.name!r} failed with {type(error).__name__}: {error}") from error


def _module(request: Request, place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = (request.base / Path(place).expanduser()).resolve()
    if not path.is_file():
        raise BackboneError(f"backbone {request.name!r}: there is no file {str(path)!r}")
    name = f"taskfold_backbone_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # loader processes and copies look classes up by module name
    found.loader.exec_module(module)
    return module
