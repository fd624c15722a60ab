from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..functions import FunctionError, function_of
from ._loaded import BackboneError, LoadedBackbone, Request, construct
from ._weights import load_weights


def python_path(request: Request) -> LoadedBackbone:
    """`package.module:function` or `path/to/file.py:function`: the user's own code, called without arguments."""
    name = request.name.rpartition(":")[2]
    try:
        function = function_of(request.name, request.base)
    except FunctionError as error:
        raise BackboneError(f"backbone {error}") from error
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
    """Runs the user's code; an error there becomes one line, with the place in its cause."""
    try:
        return work()
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(f"backbone {request.name!r} failed with {type(error).__name__}: {error}") from error
