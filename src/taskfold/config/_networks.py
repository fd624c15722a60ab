"""Networks for dense prediction from their settings, each checked against the architecture's fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from ._errors import Place, problems, unknown
from ._method import settings_model

if TYPE_CHECKING:
    from ..dense.networks import Architecture, DenseNetwork

WEIGHTS = "weights"
PACKAGED = "packaged"
"""The value of `WEIGHTS` that is not a path."""


def architectures() -> Mapping[str, type[Architecture]]:
    from ..dense.networks import NETWORKS  # noqa: PLC0415  an extra, and seconds to import

    return NETWORKS


def network_names() -> tuple[str, ...]:
    """The names of all architectures; empty if their packages are not installed."""
    try:
        return tuple(architectures())
    except ImportError:
        return ()


def try_network(name: Any, settings: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems with a network's name and settings; files of weights are not checked."""
    try:
        known = architectures()
    except ImportError as error:
        return [(("network",), str(error))]
    if name not in known:
        return [(("network",), unknown(name, known, f"network {name!r}"))]
    model = settings_model(known[name], name)
    try:
        model.model_validate(dict(settings))
        known[name](**{key: value for key, value in settings.items() if key != WEIGHTS})
    except ValidationError as error:
        return problems(error, dict(settings), model)
    except (ValueError, ImportError) as error:
        return [((), str(error))]
    return []


def build(name: str, settings: Mapping[str, Any], seed: int, base: Path, meta: bool) -> DenseNetwork:
    """The network.

    Args:
        name: one of `network_names`.
        settings: the architecture's settings.
        seed: the seed of its initialisation; the global generators are unaffected.
        base: the folder that a relative path of weights starts from.
        meta: build the architecture only, without weights.
    """
    said = dict(settings)
    if meta:
        said.pop(WEIGHTS, None)
    elif isinstance(said.get(WEIGHTS), str) and said[WEIGHTS] != PACKAGED:
        said[WEIGHTS] = str(base / Path(said[WEIGHTS]).expanduser())
    chosen = architectures()[name](**said)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if meta:
            with torch.device("meta"):
                return chosen.build()
        return chosen.build()
